"""The list of calls and a call's page: what they show, to whom, and how many queries they cost."""

import datetime as dt
import re
from html import escape, unescape

import pytest
from django.urls import reverse

from calls.admin.cells import precise
from calls.models import Call, Stream, Tag
from calls.summaries.problems import problems
from tests.support.factories import (
    START,
    make_call,
    make_chunk,
    make_digit,
    make_event,
    make_gap,
    make_live_call,
    make_mark,
    make_recording,
    make_staff,
    make_stream,
)


pytestmark = pytest.mark.django_db
LIST = "/admin/calls/call/"


def page(call):
    return reverse("admin:calls_call_change", args=[call.pk])


def text(response):
    return response.content.decode()


@pytest.fixture
def ops(client):
    """A member of staff with all that ops staff may do."""
    user = make_staff(
        "view_call", "change_call", "listen_call", "download_call", "export_call", "see_numbers", "view_tag"
    )
    client.force_login(user)
    return user


def rows(response):
    return [call.sid for call in response.context["cl"].result_list]


def test_the_list_says_who_called_whom_when_and_how_it_went(client, ops):
    make_recording(seconds=75, handler="voicemail", duration=80)
    html = text(client.get(LIST))
    for part in (
        "+15550100001",
        "+15550100002",
        "2026-03-14 15:09:26 UTC",
        "Completed",
        "voicemail",
        ">1:15<",
        "In</span>",
    ):
        assert part in html


def test_the_newest_call_comes_first(client, ops):
    old, new = make_call(created_at="2026-01-01T00:00Z"), make_call(created_at="2026-02-01T00:00Z")
    assert rows(client.get(LIST)) == [new.sid, old.sid]


def test_the_list_costs_the_same_for_one_call_and_for_fifty(client, ops, django_assert_num_queries):
    for _ in range(50):
        call = make_call()
        make_stream(call, frames_missing=3)
        call.tags.add(Tag.objects.get_or_create(name="billing")[0])
    # Session, user, two of permissions, the handlers, the tags (to filter by, to put on), the calls, their streams,
    # problems and tags, their open comments, and the saved views.
    with django_assert_num_queries(LIST_QUERIES):
        client.get(LIST)
    Call.objects.exclude(pk=call.pk).delete()
    with django_assert_num_queries(LIST_QUERIES):
        client.get(LIST)


LIST_QUERIES = 13


def test_the_list_counts_nothing_and_reads_no_audio(client, ops, django_assert_num_queries):
    make_recording()
    with django_assert_num_queries(LIST_QUERIES) as queries:
        client.get(LIST)
    sql = " ".join(query["sql"] for query in queries)
    assert "COUNT(" not in sql
    assert "payload" not in sql


def test_a_full_page_leads_to_the_next_one(client, ops):
    for _ in range(51):
        make_call()
    first, second = client.get(LIST), client.get(LIST + "?p=2")
    assert (len(rows(first)), len(rows(second))) == (50, 1)
    assert "?p=2" in text(first)
    assert not set(rows(first)) & set(rows(second))


@pytest.mark.parametrize("number", ["0", "-3", "x", "999999999999999999999"])
def test_a_page_that_is_not_there_is_not_an_error(client, ops, number):
    assert client.get(LIST + f"?p={number}").status_code == 200


def test_a_calls_page_has_a_player_and_its_facts(client, ops):
    call = make_recording()
    html = text(client.get(page(call)))
    for part in ("<audio", "recording.wav", "+15550100001", call.sid, "voicemail"):
        assert part in html


def test_a_calls_page_shows_what_the_handler_set_in_its_order(client, ops):
    call = make_call(
        data={"amount": 12, "order": "A-17", "rows": [{"n": 1}]}, data_at={"order": 1, "amount": 2, "rows": 3}
    )
    response = client.get(page(call))
    assert response.context["data"] == [("order", "A-17"), ("amount", "12"), ("rows", '[{"n": 1}]')]
    assert "<h2>Data</h2>" in text(response)


def test_a_call_of_which_nothing_was_set_has_no_data(client, ops):
    assert "<h2>Data</h2>" not in text(client.get(page(make_call())))


def test_a_note_of_the_handlers_lies_on_the_recordings_clock(client, ops):
    stream = make_stream(length=80_000, after=1)
    facts = {"source": "stream", "stream": stream, "occurred_at": stream.started_at}
    make_event(stream.call, kind="note", data={"text": "asked for a refund", "position": 16_000}, **facts)
    (entry,) = client.get(page(stream.call)).context["timeline"]
    assert (entry.word, entry.text, entry.seconds) == ("The handler noted", "asked for a refund", "2.00")


def test_a_calls_page_shows_marks_keys_gaps_and_events_in_one_order(client, ops):
    stream = make_stream(length=80_000)
    make_mark(stream, name="greeting", position=40_000, outcome="cleared")
    make_digit(stream, "7", timestamp_ms=4_000)
    make_gap(stream, start=8_000, length=1_600, reason="sequence")
    make_event(stream.call, kind="answered")
    words = [entry.word for entry in client.get(page(stream.call)).context["timeline"]]
    assert words == ["answered", "Silence", "Key 7", "Mark cleared"]


def test_a_calls_page_costs_the_same_however_much_happened(client, ops, django_assert_num_queries):
    quiet, busy = make_stream().call, make_stream().call
    for number in range(3):
        stream = make_stream(busy, after=number + 1, length=8000)
        make_chunk(stream, b"abc")
        make_mark(stream)
        make_digit(stream)
        make_gap(stream)
        make_event(busy, stream=stream, user=ops, source="control")
    client.get(page(quiet))  # what Django keeps per process (content types) is loaded
    for call in (quiet, busy):
        with django_assert_num_queries(PAGE_QUERIES):
            client.get(page(call))


# Six of them for the calls beside this one (the list's filters, before, after) and with the same number.
PAGE_QUERIES = 23


def test_whoever_may_not_listen_gets_no_player(client):
    client.force_login(make_staff("view_call"))
    html = text(client.get(page(make_recording())))
    assert "<audio" not in html
    assert "not listen" in html
    assert "call-play" not in text(client.get(LIST))


def test_numbers_are_masked_for_those_who_may_not_see_them(client):
    client.force_login(make_staff("view_call"))
    call = make_call(caller_name="Ada", parameters={"Caller": "+15550100001", "ForwardedFrom": "(555) 010-0099"})
    make_event(call, data={"To": "+15550100002", "note": "call 555 010 0100 back"})
    make_stream(call, custom_parameters={"number": "15550100001"})
    Call.objects.filter(pk=call.pk).update(data={"phone": "+1 555 010 0001", "5550100": "Ada"})
    make_event(call, kind="note", data={"text": "Ada is at 555 010 0100", "position": 0})
    html = text(client.get(LIST)) + text(client.get(page(call)))
    for part in ("5550100", "555 010", "010-0099", "Ada"):
        assert part not in html
    assert "+•••••••0001" in html


@pytest.mark.parametrize("name", ["Zelda Ó Néill", "Zelda & Sons", "ZÉ"])
def test_a_callers_name_is_hidden_wherever_twilio_and_we_repeated_it(client, name):
    client.force_login(make_staff("view_call", "view_stream"))
    call = make_call(caller_name=name)
    document = f'<Parameter name="CallerName" value="{escape(name)}" />'
    make_event(call, kind="ringing", data={"CallerName": name, "said": f"Hello {name.lower()}!"})
    make_event(call, kind="incoming", data={"answer": "connected", "twiml": document})
    stream = make_stream(call, custom_parameters={"CallerName": name, "greet": name})
    html = text(client.get(page(call))) + text(client.get(f"/admin/calls/stream/{stream.pk}/change/"))
    assert "•••" in html
    assert escape(name).lower() not in unescape(html).lower()
    assert name.lower() not in unescape(html).lower()


def test_a_name_that_twilio_said_later_is_hidden_too(client):
    client.force_login(make_staff("view_call"))
    call = make_call()
    document = '<Stream><Parameter name="CallerName" value="Zelda" /></Stream>'
    make_event(call, data={"CallerName": "Zelda", "twiml": document})
    assert "Zelda" not in text(client.get(page(call)))


def test_numbers_in_the_names_of_marks_and_streams_are_masked(client):
    client.force_login(make_staff("view_call"))
    stream = make_stream(make_live_call(), name="line +4930901820")
    make_mark(stream, name="transfer to +4930901820")
    address = f"{LIST}{stream.call_id}/"
    html = text(client.get(page(stream.call))) + client.get(f"{address}follow.json").content.decode()
    assert "4930901820" not in html
    assert "••1820" in html


def test_somebody_who_may_not_see_calls_sees_none(client):
    client.force_login(make_staff("listen_call"))
    assert client.get(LIST).status_code == 403
    assert client.get(page(make_call())).status_code == 403


def test_nobody_adds_or_deletes_calls(client):
    client.force_login(make_staff(is_superuser=True))
    call = make_call()
    assert client.get(LIST + "add/").status_code == 403
    assert client.post(f"{LIST}{call.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Call.objects.filter(pk=call.pk).exists()


def test_staff_write_notes_and_tags_and_review(client, ops):
    call, tag = make_call(), Tag.objects.create(name="billing")
    client.post(page(call), {"notes": "rang twice", "reviewed": "on", "tags": [tag.pk]})
    call.refresh_from_db()
    assert (call.notes, call.reviewed, call.reviewed_by) == ("rang twice", True, ops)
    assert call.reviewed_at is not None
    assert list(call.tags.all()) == [tag]


def opened(response):
    """The form of a call's page as a browser would send it back: what is in its fields, and what was when it came."""
    hidden = re.findall(r'<input type="hidden" name="initial-(\w+)"(?: value="([^"]*)")?', text(response))
    shown = {"notes": "", "reviewed": "", "tags": []}
    for name, value in hidden:
        shown[name] = [*shown["tags"], value] if name == "tags" else unescape(value)
    fields = {
        "notes": shown["notes"],
        "tags": shown["tags"],
        **({"reviewed": "on"} if shown["reviewed"] == "True" else {}),
    }
    return {**fields, **{f"initial-{name}": value for name, value in shown.items()}}


@pytest.fixture
def tags():
    return [Tag.objects.create(name=name) for name in ("billing", "refund", "vip")]


def test_who_saves_last_undoes_nothing_that_somebody_else_has_saved_meanwhile(client, ops, tags):
    call = make_call()
    form = opened(client.get(page(call)))
    client.post(page(call), {**form, "notes": "Rang twice.", "reviewed": "on", "tags": [tags[0].pk]})
    client.post(page(call), {**form, "tags": [tags[1].pk]})
    call.refresh_from_db()
    assert (call.notes, call.reviewed, call.reviewed_by, set(call.tags.all())) == (
        "Rang twice.",
        True,
        ops,
        set(tags[:2]),
    )


def test_a_tag_that_was_taken_off_meanwhile_stays_off(client, ops, tags):
    call = make_call()
    call.tags.set(tags[:2])
    form = opened(client.get(page(call)))
    call.tags.remove(tags[0])
    client.post(page(call), {**form, "tags": [tags[0].pk, tags[2].pk]})
    assert list(call.tags.all()) == [tags[2]]


def test_two_who_change_the_same_notes_are_told_and_nothing_is_lost(client, ops):
    call = make_call(notes="A line\nand another")
    form = opened(client.get(page(call)))
    Call.objects.filter(pk=call.pk).update(notes="Theirs <1>")
    answer = client.post(page(call), {**form, "notes": "Mine"})
    assert "Theirs are: “Theirs <1>”" in unescape(text(answer))
    assert answer.context["adminform"].form["notes"].value() == "Mine"
    assert Call.objects.get().notes == "Theirs <1>"


def test_who_has_read_the_other_notes_may_save_again(client, ops, tags):
    call = make_call()
    form = {**opened(client.get(page(call))), "notes": "Mine", "tags": [tags[0].pk]}
    Call.objects.filter(pk=call.pk).update(notes="Theirs")
    shown = opened(client.post(page(call), form))
    client.post(page(call), {**shown, "notes": "Theirs. Mine", "tags": [tags[0].pk]})
    assert (Call.objects.get().notes, list(call.tags.all())) == ("Theirs. Mine", [tags[0]])


def test_the_same_change_twice_is_not_a_conflict(client, ops):
    call = make_call(reviewed=True, reviewed_at="2026-03-15T00:00Z", notes="Rang\ntwice")
    client.post(page(call), {"notes": "Rang\r\ntwice", "reviewed": "on", "initial-reviewed": "False"})
    call.refresh_from_db()
    assert (call.notes, call.reviewed_by) == ("Rang\ntwice", None)


def test_taking_a_review_back_forgets_who_it_was(client, ops):
    call = make_call(reviewed=True, reviewed_by=ops, reviewed_at="2026-03-15T00:00Z")
    client.post(page(call), {"notes": "", "initial-reviewed": "True"})
    call.refresh_from_db()
    assert (call.reviewed, call.reviewed_by, call.reviewed_at) == (False, None, None)


def test_staff_change_no_facts(client, ops):
    call = make_live_call()
    client.post(page(call), {"notes": "x", "status": "failed", "from_number": "+1666", "handler": "evil"})
    call.refresh_from_db()
    assert (call.notes, call.status, call.from_number, call.handler) == (
        "x",
        "in-progress",
        "+15550100001",
        "voicemail",
    )


def test_saving_notes_leaves_what_changed_meanwhile(client, ops, monkeypatch):
    call = make_live_call()
    stale = Call.objects.get(pk=call.pk)
    Call.objects.filter(pk=call.pk).update(status="completed", audio_samples=99)
    monkeypatch.setattr("calls.admin.calls.CallAdmin.get_object", lambda *args: stale)
    client.post(page(call), {"notes": "late"})
    call.refresh_from_db()
    assert (call.notes, call.status, call.audio_samples) == ("late", "completed", 99)


def test_viewers_change_nothing(client):
    client.force_login(make_staff("view_call"))
    call = make_call()
    assert client.post(page(call), {"notes": "x"}).status_code == 403


def test_pages_forbid_everything_but_our_own_files(client, ops):
    call = make_call()
    for address in (LIST, page(call), f"{LIST}{call.pk}/history/"):
        policy = client.get(address)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_a_call_that_is_still_running_is_played_as_far_as_it_is(client, ops):
    stream = make_stream(make_live_call(), length=16_000)
    assert "recording.wav?until=16000" in text(client.get(page(stream.call)))


def test_a_call_without_audio_says_so(client, ops):
    assert "Nothing was recorded." in text(client.get(page(make_call())))
    assert "Nothing was recorded yet." in text(client.get(page(make_live_call())))


def follow(client, call, known=""):
    return client.get(f"{LIST}{call.pk}/follow.json?known={known}").json()


def test_a_running_call_is_followed_by_what_changed(client, ops):
    stream = make_stream(make_live_call(), length=16_000)
    first = follow(client, stream.call)
    assert (first["live"], first["samples"], set(first["html"])) == (
        *(True, 16_000),
        {"call-head", "call-problems", "call-figures", "call-timeline", "call-streams", "call-facts"},
    )
    known = ",".join(first["versions"].values())
    assert follow(client, stream.call, known)["html"] == {}
    make_digit(stream, "4")
    found = follow(client, stream.call, known)
    assert list(found["html"]) == ["call-timeline"]
    assert "Key 4" in found["html"]["call-timeline"]


def test_a_page_has_the_parts_that_are_followed_and_their_versions(client, ops):
    call = make_stream(make_live_call(), length=16_000).call
    html = client.get(page(call)).content.decode()
    known = re.findall(r'id="call-\w+" data-version="(\w+)"', html)
    assert len(known) == 6
    assert follow(client, call, ",".join(known))["html"] == {}


def test_a_running_calls_time_goes_on_without_being_news(client, ops):
    call = make_stream(make_live_call(), length=16_000).call
    known = ",".join(follow(client, call)["versions"].values())
    Stream.objects.update(length=80_000)
    assert follow(client, call, known)["html"] == {}
    assert f'data-since="{call.answered_at.timestamp():.0f}"' in follow(client, call)["html"]["call-head"]


def test_a_call_that_is_placed_has_a_socket_once_twilio_knows_it(client, ops):
    call = make_live_call(sid=None, status="queued", direction="outbound-api", answered_at=None)
    assert follow(client, call)["socket"] == ""
    Call.objects.update(sid=f"CA{'1' * 32}", status="ringing")
    assert follow(client, call)["socket"] == f"/live/calls/{call.pk}"


def test_whoever_follows_is_told_where_running_streams_lie(client, ops):
    call = make_live_call()
    make_stream(call, length=80_000, ended_at=START)
    second = make_stream(call, after=12)
    assert follow(client, call)["streams"] == {second.sid: 96_000}


def test_a_stream_beside_another_is_not_what_is_drawn(client, ops):
    call = make_live_call()
    first, beside = make_stream(call), make_stream(call, after=1, bidirectional=False)
    assert follow(client, call)["streams"] == {first.sid: 0, beside.sid: None}


def test_following_needs_the_permission_to_view(client):
    client.force_login(make_staff("listen_call"))
    assert client.get(f"{LIST}{make_call().pk}/follow.json").status_code == 403


def test_peaks_come_for_both_lanes_as_asked(client, ops):
    stream = make_stream(length=640)
    make_chunk(stream, b"\x80" * 320)
    address = f"{LIST}{stream.call_id}/peaks.json"
    assert client.get(f"{address}?from=160&until=640").json() == {"inbound": "fQAA", "outbound": "AAAA"}
    assert client.get(f"{address}?from=0&until=640&step=2").json()["inbound"] == "fQA="


@pytest.mark.parametrize(
    "query", ["", "?from=9999999&until=1", "?from=-1&until=x&step=0", "?until=999999999999999999999"]
)
def test_odd_questions_for_peaks_are_answered(client, ops, query):
    call = make_recording(seconds=1)
    assert client.get(f"{LIST}{call.pk}/peaks.json{query}").status_code == 200


def test_peaks_need_the_permission_to_listen(client):
    client.force_login(make_staff("view_call"))
    assert client.get(f"{LIST}{make_recording().pk}/peaks.json").status_code == 403


def test_much_of_one_kind_is_cut_and_said(client, ops, monkeypatch):
    monkeypatch.setattr("calls.admin.events.MOST", 3)
    stream = make_stream(length=8000)
    for _ in range(5):
        make_mark(stream)
    html = text(client.get(page(stream.call)))
    assert html.count("Mark pending") == 2 * 3  # in the row and its data
    assert "More happened than fits here; <code>manage.py export_call</code> writes all of it." in html


def lossy(pieces, every=8_000):
    stream = make_stream(length=800_000)
    for number in range(pieces):
        make_gap(stream, start=number * every, length=160, reason="sequence")
    return stream.call


def test_losses_near_each_other_are_one_line(client, ops):
    (entry,) = client.get(page(lossy(41, every=4_000))).context["timeline"]
    assert entry.text == "4.1 % of the caller lost between 0:00 and 0:20, 41 pieces: messages were lost"
    assert (entry.length, len(entry.pieces)) == (40 * 4_000 + 160, 41)


def test_losses_far_from_each_other_stay_apart(client, ops):
    assert len(client.get(page(lossy(3, every=100_000))).context["timeline"]) == 3


def test_two_losses_are_not_worth_folding(client, ops):
    assert [entry.pieces for entry in client.get(page(lossy(2))).context["timeline"]] == [(), ()]


def test_very_many_losses_are_counted_and_only_the_first_are_shown(client, ops):
    response = client.get(page(lossy(70)))
    (entry,) = response.context["timeline"]
    assert (entry.count, len(entry.pieces)) == (70, 50)
    assert "and 20 more" in text(response)


def test_more_losses_than_are_read_are_said_to_be(client, ops, monkeypatch):
    monkeypatch.setattr("calls.admin.events.MOST_GAPS", 40)
    assert "More happened" not in text(client.get(page(lossy(40))))
    assert "More happened" in text(client.get(page(lossy(41))))


def test_a_cleared_mark_lies_where_it_came_back(client, ops):
    stream = make_stream(length=80_000)
    make_mark(stream, position=40_000, outcome="cleared", returned_at=stream.started_at + dt.timedelta(seconds=2))
    (entry,) = client.get(page(stream.call)).context["timeline"]
    assert entry.clock == "0:02.0"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"kind": "answered"}, ("event", "quiet")),
        ({"kind": "stream-error"}, ("event", "bad")),
        ({"kind": "barge-in", "source": "stream"}, ("barge", "cleared")),
        ({"kind": "hang-up", "source": "control"}, ("staff", "staff")),
    ],
)
def test_an_event_is_drawn_as_what_it_is(client, ops, facts, expected):
    event = make_event(make_call(), **facts)
    (entry,) = client.get(page(event.call)).context["timeline"]
    assert (entry.kind, entry.tone) == expected


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(0, "0:00.0"), (-79, "0:00.0"), (-12_000, "-0:01.5"), (668_000, "1:23.5"), (28_800_000, "1:00:00.0")],
)
def test_a_position_is_read_like_a_clock(samples, expected):
    assert precise(samples) == expected


def test_a_call_whose_audio_was_erased_has_no_player_of_silence(client, ops):
    call = make_recording(seconds=2)
    call.streams.get().chunks.all().delete()
    html = text(client.get(page(call)))
    assert "it was erased" in html
    assert 'data-samples="0"' in html


def words(call):
    return [problem.word for problem in problems(call, call.streams.all(), ())]


def test_two_streams_at_once_are_not_a_reconnection():
    call = make_call(audio_samples=8000)
    make_stream(call, length=8000)
    make_stream(call, after=1, bidirectional=False, name="monitor-start")
    assert words(call) == []


def test_a_stream_that_takes_another_ones_place_is_one():
    call = make_call(audio_samples=8000)
    make_stream(call, length=8000)
    make_stream(call, after=1)
    assert words(call) == ["reconnected"]
