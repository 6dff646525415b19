"""What was said, on a call's page: in order of time, for those who may listen, and on record before it is sent."""

import csv
import io
import json
import zipfile

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from calls.models import Call, RecordingAccess, Utterance
from calls.recordings import words
from calls.recordings.rendering import Recording
from tests.support.factories import (
    make_call,
    make_event,
    make_live_call,
    make_recording,
    make_staff,
    make_stream,
    make_utterance,
)


pytestmark = pytest.mark.django_db


@pytest.fixture
def ops(client):
    user = make_staff("view_call", "listen_call")
    client.force_login(user)
    return user


@pytest.fixture
def stream():
    return make_stream(length=80_000)


def url(call, name="words"):
    return reverse(f"admin:calls_call_{name}", args=[call.pk])


def asked(client, call, **query):
    response = client.get(url(call), query)
    assert response.status_code == 200
    return response.json()


def said(client, call, **query):
    return [line["text"] for line in asked(client, call, **query)["lines"]]


# --- what is there ----------------------------------------------------------------------------------------------------


def test_both_sides_are_told_in_order_of_time(client, ops, stream):
    make_utterance(stream, "I want a refund", start=24_000)
    make_utterance(stream, "How can I help?", start=8_000, track="outbound")
    first, second = asked(client, stream.call)["lines"]
    assert (first["text"], first["track"], first["at"], first["clock"]) == ("How can I help?", "outbound", 1.0, "0:01")
    assert (second["text"], second["at"], second["end"]) == ("I want a refund", 3.0, 4.9)
    assert second["words"] == [["I", 3.0], ["want", 3.5], ["a", 4.0], ["refund", 4.5]]


def test_words_lie_on_the_recordings_clock(client, ops):
    call = make_call()
    make_stream(call, length=8_000)
    make_utterance(make_stream(call, after=10, length=8_000), "back again", start=4_000)
    (line,) = asked(client, call)["lines"]
    assert (line["at"], line["words"][0]) == (10.5, ["back", 10.5])


def test_words_of_two_streams_are_told_one_after_the_other(client, ops):
    call = make_call()
    first, second = make_stream(call, length=8_000), make_stream(call, after=10, length=8_000)
    make_utterance(second, "and then", start=80)
    make_utterance(first, "at first", start=4_000)
    assert said(client, call) == ["at first", "and then"]
    assert said(client, call, **{"from": 80_000}) == ["and then"]


def test_what_two_streams_heard_at_once_is_told_once(client, ops):
    call = make_call()
    whole = make_stream(call, length=80_000)
    beside = make_stream(call, after=1, length=80_000, bidirectional=False, name="desk-start")
    make_utterance(whole, "hello", start=16_000)
    make_utterance(beside, "hello", start=8_100)
    make_utterance(beside, "goodbye", start=76_000)
    assert said(client, call) == ["hello", "goodbye"]


def test_a_long_call_comes_in_parts_of_which_none_is_missing_or_twice(client, ops, stream, monkeypatch):
    monkeypatch.setattr(words.page, "__defaults__", (0, 3))
    for number in range(8):
        make_utterance(stream, f"line {number}", start=8_000 * (number // 2), track=("inbound", "outbound")[number % 2])
    found, start = [], 0
    while start is not None:
        part = asked(client, stream.call, **{"from": start})
        found += [line["text"] for line in part["lines"]]
        start = part["next"]
    assert found == [f"line {number}" for number in range(8)]


@pytest.mark.parametrize("start", ["", "x", "-1", "9" * 40, "١"])
def test_a_nonsensical_place_to_begin_is_no_error(client, ops, stream, start):
    make_utterance(stream, "hello")
    assert client.get(url(stream.call), {"from": start}).status_code == 200


def test_words_cost_the_same_however_many_there_are(client, ops, django_assert_num_queries):
    few, many = make_stream(length=8_000), make_stream(length=800_000)
    make_utterance(few, "hello")
    for number in range(100):
        make_utterance(many, f"line {number}", start=8_000 * number)
        make_event(many.call, stream=many, source="stream", kind="words-missing", data={"start": number, "length": 1})
    for stream in (few, many):
        client.get(url(stream.call))
        # Session, user, two of permissions, the call, its recording, words, who read them, streams, what is missing.
        with django_assert_num_queries(10):
            client.get(url(stream.call))


# --- who reads them ---------------------------------------------------------------------------------------------------


def test_who_may_not_listen_reads_nothing(client, stream):
    client.force_login(make_staff("view_call", "download_call", "export_call", "see_numbers"))
    make_utterance(stream, "I want a refund")
    assert client.get(url(stream.call)).status_code == 403
    html = client.get(reverse("admin:calls_call_change", args=[stream.call_id])).content.decode()
    assert "call-words" not in html
    assert "not listen to it or read" in html


def test_who_is_not_logged_in_is_asked_to(client, stream):
    assert client.get(url(stream.call)).status_code == 302


def test_who_reads_is_on_record_once_in_half_an_hour(client, ops, stream):
    make_utterance(stream, "I want a refund")
    for _ in range(3):
        client.get(url(stream.call), REMOTE_ADDR="192.0.2.7")
    access = RecordingAccess.objects.get()
    assert (access.call, access.user, access.kind) == (stream.call, ops, "read")
    assert (access.address, access.detail) == ("192.0.2.7", "words")


def test_reading_and_listening_are_two_things(client, ops):
    call = make_recording()
    make_utterance(call.streams.get(), "hello")
    client.get(url(call))
    client.get(url(call, "recording"))
    assert set(RecordingAccess.objects.values_list("kind", flat=True)) == {"read", "listen"}


def test_where_nothing_was_said_nobody_has_read_anything(client, ops, stream):
    assert said(client, stream.call) == []
    assert not RecordingAccess.objects.exists()


def test_opening_the_page_sends_no_words(client, ops, stream):
    make_utterance(stream, "I want a refund")
    html = client.get(reverse("admin:calls_call_change", args=[stream.call_id])).content.decode()
    assert "refund" not in html


def test_the_rows_of_words_do_not_tell_them(client, stream):
    client.force_login(make_staff(is_superuser=True))
    row = make_utterance(stream, "I want a refund")
    for path in ("", f"{row.pk}/change/"):
        html = client.get(f"/admin/calls/utterance/{path}").content.decode()
        assert "Call of" in html
        assert "refund" not in html


# --- what stands where there are none ---------------------------------------------------------------------------------


def states(client, call):
    found = asked(client, call)
    return found["empty"], found["complete"]


@pytest.mark.parametrize(
    ("transcriber", "live", "is_known", "words", "is_complete"),
    [
        ("", False, False, "no transcriber is set up", False),
        ("", True, False, "no transcriber is set up", False),
        ("vosk", True, False, "Nothing has been said yet", False),
        ("vosk", False, False, "not written down yet; manage.py transcribe_calls", False),
        ("vosk", False, True, "Nobody said anything that could be understood", True),
        ("", False, True, "Nobody said anything that could be understood", True),
    ],
)
def test_a_page_without_words_says_why(client, ops, settings, transcriber, live, is_known, words, is_complete):
    settings.TRANSCRIBER = transcriber
    call = make_live_call() if live else make_call()
    make_stream(call, transcribed_at=timezone.now() if is_known else None)
    empty, complete = states(client, call)
    assert words in empty
    assert complete == is_complete


def test_a_call_without_a_stream_has_no_words(client, ops, settings):
    settings.TRANSCRIBER = "vosk"
    assert "Nothing was recorded" in states(client, make_call())[0]


LOST = {"lane": "inbound", "start": 2.0, "length": 3.5, "why": "the service did not answer"}


def test_words_that_a_service_failed_to_understand_are_said_to_be_missing(client, ops):
    call = make_call()
    make_stream(call, length=8_000)
    stream = make_stream(call, after=10, length=80_000)
    make_event(call, stream=stream, source="stream", kind="words-missing", data=LOST)
    found = asked(client, call)
    (missing,) = found["missing"]
    assert missing["at"] == 12.0
    assert missing["text"] == "Words of the caller are missing from 0:12 to 0:15: the service did not answer"
    assert found["empty"] == "No words of this call are known."


def test_what_was_transcribed_since_is_not_missing(client, ops):
    stream = make_stream(length=80_000, transcribed_at=timezone.now())
    make_event(stream.call, stream=stream, source="stream", kind="words-missing", data=LOST)
    assert asked(client, stream.call)["missing"] == []


# --- taken away -------------------------------------------------------------------------------------------------------


TEXT = "0:01.0  Us:     How can I help?\n1:03.5  Caller: I want a refund\n"


def talk(call, **facts):
    stream = make_stream(call, length=800_000, **facts)
    make_utterance(stream, "How can I help?", start=8_000, track="outbound")
    make_utterance(stream, "I want a refund", start=508_000)
    return call


def test_words_are_downloaded_as_text(client):
    client.force_login(make_staff("view_call", "download_call", "see_numbers"))
    response = client.get(url(talk(make_call()), "words_text"))
    assert response.content.decode() == TEXT
    assert response["Content-Disposition"].endswith('-2026-03-14-150926-15550100001.txt"')
    assert RecordingAccess.objects.get().kind == "download"


def test_who_may_only_listen_takes_no_words_away(client, ops):
    assert client.get(url(talk(make_call()), "words_text")).status_code == 403


def test_in_a_call_that_we_placed_the_other_side_is_called():
    call = talk(make_call(direction="outbound-api"))
    assert "Called: I want a refund" in "".join(words.text(call, Recording.of(call)))


def test_a_zip_has_the_words_of_the_calls_that_have_any(client):
    client.force_login(make_staff("view_call", "change_call", "download_call"))
    calls = [talk(make_call()), make_recording(seconds=1)]
    chosen = {"action": "download", "_selected_action": [call.pk for call in calls]}
    data = b"".join(client.post("/admin/calls/call/", chosen).streaming_content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".txt")]
        assert archive.read(name).decode() == TEXT
        assert len(list(csv.reader(io.StringIO(archive.read("calls.csv").decode())))) == 3


def test_the_export_of_a_call_has_its_words(tmp_path):
    call = talk(make_call())
    call_command("export_call", call.sid, to=str(tmp_path), verbosity=0)
    (stream,) = json.loads((tmp_path / f"{call.sid}.json").read_text())["streams"]
    assert [line["text"] for line in stream["utterances"]] == ["How can I help?", "I want a refund"]
    assert stream["utterances"][1]["words"][0] == ["I", 508_000, 3200]


# --- made up ----------------------------------------------------------------------------------------------------------


def test_made_up_calls_talk(client, ops):
    call_command("seed_calls", "20", "--words", "1", "--seconds", "12", "--live", "0", verbosity=0)
    call = Call.objects.filter(audio_samples__gt=0).first()
    lines = asked(client, call)["lines"]
    assert [line["track"] for line in lines] == (["outbound", "inbound"] * len(lines))[: len(lines)]
    assert len(lines) > 1
    assert all(line["words"] and line["end"] <= 12 for line in lines)


def test_calls_are_made_up_without_words_too():
    call_command("seed_calls", "5", "--live", "0", verbosity=0)
    assert not Utterance.objects.exists()
