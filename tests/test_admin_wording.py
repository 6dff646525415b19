"""The words of the admin are a person's: no SIDs, no kinds of events, no names that we made up."""

import re

import pytest
from django.urls import reverse

from calls.models import Stream
from tests.support.factories import (
    make_call,
    make_digit,
    make_event,
    make_gap,
    make_mark,
    make_recording,
    make_staff,
    make_stream,
)


pytestmark = pytest.mark.django_db


@pytest.fixture
def ops(client):
    client.force_login(make_staff("view_call", "change_call", "see_numbers"))


def page(client, call):
    return client.get(reverse("admin:calls_call_change", args=[call.pk]))


def words(client, call):
    return [(entry.word, entry.text) for entry in page(client, call).context["timeline"]]


def test_a_call_is_named_by_who_called_whom_and_when(client, ops):
    context = page(client, make_call()).context
    assert context["title"] == "+15550100001 → +15550100002, 14 Mar 2026 15:09"
    assert context["subtitle"] is None


def test_no_heading_holds_a_callsid(client, ops):
    call = make_call()
    head = page(client, call).content.decode().partition('id="call-problems"')[0]
    assert call.sid not in head


def test_the_page_of_who_changed_what_leads_back_to_the_call_by_its_name(client, ops):
    call = make_call()
    html = client.get(reverse("admin:calls_call_history", args=[call.pk])).content.decode()
    assert f'/{call.pk}/change/">+15550100001 → +15550100002, 14 Mar 2026 15:09</a>' in html
    assert "<h1>Who changed what</h1>" in html
    assert call.sid not in html


def test_numbers_in_the_heading_are_masked_for_those_who_may_not_see_them(client):
    client.force_login(make_staff("view_call"))
    assert "5550100001" not in page(client, make_call()).context["title"]


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("stream-started", {}, ("Twilio opened the stream", "stream status callback")),
        ("in-progress", {}, ("The call was answered", "stream status callback")),
        ("barge-in", {"by": "key"}, ("The caller interrupted us", "with a key")),
        ("transfer-unknown", {}, ("A transfer was asked for, and Twilio did not answer", "stream status callback")),
        ("handler-failed", {"error": "ValueError: no"}, ("The handler failed", "ValueError: no")),
        ("loop-blocked", {"seconds": 2.1, "by": "", "line": "a.py:3"}, ("All audio stood still", "2.1 s, a.py:3")),
        (
            "words-missing",
            {"lane": "outbound", "start": 12.5, "length": 3.1, "why": "the transcriber was too slow"},
            (
                "Some of what was said is not written down",
                "3.1 s of ours, from 12.5 s on: the transcriber was too slow",
            ),
        ),
        ("what-comes-tomorrow", {}, ("what-comes-tomorrow", "stream status callback")),
    ],
)
def test_an_event_is_said_in_words(client, ops, kind, data, said):
    call = make_call()
    make_event(call, kind=kind, data=data, source="stream-status")
    assert words(client, call) == [said]


def test_of_a_call_that_we_placed_nobody_is_called_the_caller(client):
    client.force_login(make_staff("view_call", "listen_call", "download_call"))
    call = make_recording(direction="outbound-api", was_interrupted=True)
    stream = call.streams.get()
    Stream.objects.filter(pk=stream.pk).update(frames_missing=20)
    make_digit(stream, "5")
    for start in (0, 4_000, 8_000):
        make_gap(stream, start=start, length=160, reason="sequence")
    make_gap(stream, start=12_000, reason="paused")
    make_event(call, kind="barge-in", source="stream")
    make_event(call, kind="stream-error", data={"StreamError": "31930"})
    html = page(client, call).content.decode()
    assert "aller" not in re.sub(r'Caller.s name|"caller"', "", html)
    assert 'Key 5</bdi> <bdi class="call-text">pressed by the other side' in html


def test_a_mark_of_our_own_is_said_without_its_name(client, ops):
    call = make_call()
    make_mark(make_stream(call), name="callstream:0", outcome="played")
    assert words(client, call) == [("Heard to its end", "what we had played until then")]


def test_a_saved_call_is_not_called_by_its_sid(client, ops):
    call = make_call()
    url = reverse("admin:calls_call_change", args=[call.pk])
    answer = client.post(url, {"notes": "heard", "_save": "Save"}, follow=True)
    assert [str(message) for message in answer.context["messages"]] == ["Saved."]


# --- what was done from outside ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data", "found"),
    [
        ("clear", {"cleared_ms": 1240}, ("What was playing was cleared", "1.2 s of it")),
        (
            "play",
            {"name": "beep.wav", "length_ms": 3200, "waits_ms": 1500},
            ("A sound was asked for", "beep.wav (3.2 s), in 1.5 s"),
        ),
        (
            "play-heard",
            {"name": "", "length_ms": 300, "heard_ms": 300, "by": "code"},
            ("A sound was played", "a sound, to its end, by code"),
        ),
        (
            "play-cleared",
            {"name": "beep.wav", "length_ms": 3200, "heard_ms": 400},
            ("A part of a sound was played", "beep.wav, 0.4 s of 3.2 s"),
        ),
        ("hang-up", {"waits_ms": 0}, ("A hang-up was asked for", "at once")),
        ("hang-up", {}, ("A hang-up was asked for", "staff")),
        (
            "hang-up",
            {"outcome": "no answer", "why": "not within 3 s"},
            ("A hang-up was asked for, and nobody answered", "not within 3 s"),
        ),
        (
            "clear",
            {"outcome": "not live", "why": "this call is over"},
            ("To clear what plays was asked for, in vain", "this call is over"),
        ),
        ("dial", {"number": "+14155550100", "waits_ms": 0}, ("Another number was asked for", "+14155550100")),
        ("hand-over", {"handler": "echo", "by": "code"}, ("Another handler was asked for", "echo, by code")),
    ],
)
def test_what_was_done_from_outside_is_told_in_words(client, ops, kind, data, found):
    event = make_event(make_call(), kind=kind, source="control", data=data)
    assert words(client, event.call) == [found]


def test_a_number_that_was_asked_for_is_masked_for_those_who_may_not_see_it(client):
    client.force_login(make_staff("view_call"))
    data = {"number": "+14155550100", "outcome": "no answer", "why": "not within 3 s"}
    event = make_event(make_call(), kind="dial", source="control", data=data)
    assert words(client, event.call) == [
        ("Another number was asked for, and nobody answered", "+•••••••0100: not within 3 s")
    ]


@pytest.mark.parametrize(
    ("reason", "dial", "found"),
    [
        ("handler", {"by": "anna"}, ("ended from outside", "hung up, as anna asked")),
        ("dial", {"handler": "echo"}, ("ended from outside", "handed over to echo, as code asked")),
        ("stop", {"handler": "echo"}, ("ended with the call", "Twilio said stop")),
        ("dial", None, ("waited for the caller", "another number was dialled")),
    ],
)
def test_a_stream_says_who_has_ended_it(client, ops, reason, dial, found):
    call = make_call()
    make_stream(call, ended_at=call.ended_at, end_reason=reason, dial=dial)
    facts = {name: value for name, value, _ in page(client, call).context["streams"][0].facts}
    assert (facts["Handler"], facts["Ended by"]) == found
