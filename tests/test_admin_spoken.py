"""`said:` in the list's search: the calls in which that was said, with the words and the way to their moment."""

import re

import pytest
from django.db import connection

from calls.models import RecordingAccess
from tests.support.factories import make_call, make_staff, make_stream, make_utterance


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"


@pytest.fixture
def ops(client):
    client.force_login(make_staff("view_call", "listen_call", "export_call"))


def search(client, term, **query):
    response = client.get(LIST, {"q": term, **query})
    assert response.status_code == 200
    return response


def found(client, term, **query):
    return [call.pk for call in search(client, term, **query).context["cl"].result_list]


def say(text, **facts):
    call = facts.pop("call", None) or make_call()
    return make_utterance(make_stream(call, length=800_000), text, **facts).stream.call


@pytest.mark.parametrize("term", ["said:refund", "said: Refund ", "SAID:a refund", "said:refu"])
def test_a_call_is_found_by_what_was_said(client, ops, term):
    call = say("I want a refund")
    say("Thank you", track="outbound")
    make_call(notes="said:refund", data={"said": "refund"})
    assert call.pk in found(client, term)
    assert len(found(client, term)) == 1


def test_a_call_is_found_once_however_often_it_was_said(client, ops):
    call = say("refund")
    for number in range(1, 4):
        make_utterance(call.streams.get(), "refund", start=80_000 * number)
    assert found(client, "said:refund") == [call.pk]


def test_a_call_in_which_it_was_said_often_crowds_out_no_other(client, ops, monkeypatch):
    monkeypatch.setattr("calls.admin.spoken.MOST_FOUND", 2)
    calls = [say("refund"), say("refund")]
    for number in range(1, 4):
        make_utterance(calls[1].streams.get(), "refund", start=80_000 * number)
    assert set(found(client, "said:refund")) == {call.pk for call in calls}


def test_filters_go_with_it(client, ops):
    say("refund")
    call = say("refund", call=make_call(status="busy"))
    assert found(client, "said:refund", status="busy") == [call.pk]


def test_the_hit_is_quoted_and_leads_to_its_moment(client, ops):
    call = say("Well, I would like to have it as soon as I can: a refund for the order of last week", start=80_000)
    make_utterance(call.streams.get(), "a refund", start=400_000)
    html = search(client, "said:refund").content.decode()
    assert re.search(rf'href="{LIST}{call.pk}/change/\?_changelist_filters=[^"#]*#t=16.50"', html)
    assert "0:16 <q><bdi>…like to have it as soon as I can: a <mark>refund</mark> for the order of last week" in html


def test_a_hit_without_times_of_words_leads_to_its_line(client, ops):
    call = say("I want a refund", start=80_000, words=[])
    assert f"/{call.pk}/change/" in (html := search(client, "said:refund").content.decode())
    assert "#t=10.00" in html


def test_what_was_said_is_no_markup(client, ops):
    say("<script>alert(1)</script> refund")
    html = search(client, "said:refund").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <mark>refund</mark>" in html


def test_the_first_of_a_calls_hits_is_on_the_calls_clock(client, ops):
    call = make_call()
    make_stream(call, length=8_000)
    make_utterance(make_stream(call, after=10, length=80_000), "refund", start=8_000)
    assert "#t=11.00" in search(client, "said:refund").content.decode()


def test_whose_words_are_quoted_is_on_record_once_in_half_an_hour(client, ops):
    calls = {say("I want a refund").pk for _ in range(3)}
    say("thank you")
    for _ in range(2):
        search(client, "said:refund")
    assert [access.kind for access in RecordingAccess.objects.all()] == ["read"] * 3
    assert {access.call_id for access in RecordingAccess.objects.all()} == calls


def test_who_has_read_a_line_in_the_list_still_reads_the_call(client, ops):
    call = say("I want a refund")
    search(client, "said:refund")
    client.get(f"{LIST}{call.pk}/words.json")
    assert sorted(access.detail for access in call.accesses.all()) == ["a line, in the list", "words"]


def test_who_may_not_listen_finds_nothing_and_reads_why(client):
    client.force_login(make_staff("view_call", "see_numbers"))
    say("I want a refund")
    assert found(client, "said:refund") == []
    assert "Only those who may listen" in search(client, "said:refund").content.decode()


def test_words_that_are_still_to_be_typed_are_asked_for(client, ops):
    say("anything")
    assert found(client, "said:") == []
    assert "Type what was said behind it: said:refund" in search(client, "said:").content.decode()


def test_short_words_are_found_among_the_newest_and_that_is_said(client, ops):
    call = say("No.")
    assert found(client, "said:no") == [call.pk]
    assert "the last 500,000 lines" in search(client, "said:no").content.decode()


@pytest.mark.parametrize("words", ["%", "_", "'; DROP TABLE calls_utterance; --", '"', "x" * 3000])
def test_no_words_are_an_error(client, ops, words):
    say("hello")
    assert found(client, f"said:{words}") == []


def test_the_search_costs_the_same_for_one_call_and_for_many(client, ops, django_assert_num_queries):
    for _ in range(20):
        say("I want a refund")
    say("thank you")
    client.get(LIST)
    for term in ("said:refund", "said:thank"):
        search(client, term)  # who reads it is on record now
        # A list's twelve (no tag is on them), the calls in which it was said, where, and whether that is on record;
        # SQLite asks for the newest line, twice.
        with django_assert_num_queries(15 if connection.vendor == "postgresql" else 17):
            search(client, term)


def test_the_export_of_such_a_list_does_not_say_what_was_looked_for(client, ops):
    say("I want a refund")
    body = b"".join(client.get(LIST + "export.csv", {"q": "said:refund"}).streaming_content).decode()
    assert len(body.splitlines()) == 2
    assert "want a refund" not in body
