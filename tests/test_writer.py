"""How batches reach the database: every row once, with its texts made storable, on either database."""

import datetime as dt

import pytest
from django.db import IntegrityError, connections
from hypothesis import given
from hypothesis import strategies as st

from calls.media.placement import tiled
from calls.media.rows import CallRow, DataRow, DtmfRow, StreamChange, UtteranceRow, decode, encode
from calls.models import AudioChunk, Call, CallEvent, Dtmf, Gap, Mark, Stream, Utterance
from calls.recorder.writer import Writer
from calls.recordings.retention import erase
from calls.summaries.summary import summarise
from tests.support.batches import START, chunk, ended, event, gap, mark, stream_row
from tests.support.factories import (
    make_call,
    make_chunk,
    make_event,
    make_gap,
    make_live_call,
    make_stream,
    make_utterance,
)


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
LONE, NUL = "\ud800", "\x00"


@pytest.fixture
def writer():
    yield Writer()
    connections["recorder"].close()


def stored():
    """Every row of a recording, as (table, values) without its keys."""
    return [
        sorted(map(str, model.objects.values_list(*fields)))
        for model, fields in (
            (Call, ("sid", "status", "from_number", "audio_samples", "has_warning", "data", "data_at")),
            (Stream, ("sid", "nonce", "length", "end_reason", "ended_at")),
            (AudioChunk, ("stream__sid", "track", "index", "start", "length", "payload")),
            (Gap, ("stream__sid", "track", "start", "length", "reason")),
            (Mark, ("stream__sid", "index", "name", "outcome")),
            (Dtmf, ("stream__sid", "index", "digit")),
            (Utterance, ("stream__sid", "track", "start", "length", "text", "words")),
            (CallEvent, ("call__sid", "key", "kind")),
        )
    ]


BATCH = [
    CallRow("CA1", {"to_number": "+15550100002", "status": "ringing", "duration": 60}),
    stream_row(),
    chunk(0),
    chunk(1),
    gap(320, 160),
    mark(0, "played", returned_at=START),
    DtmfRow("MZ1", 0, "5", 1000),
    UtteranceRow("MZ1", "inbound", 80, 320, "well then", [("well", 80, 160), ("then", 250, 150)]),
    event(),
    DataRow("MZ1", {"order": "A-17", "rows": [{"n": 1}]}, START),
    ended(length=480),
]

# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_batch_becomes_rows(writer):
    writer.write(BATCH)
    call, stream = Call.objects.get(), Stream.objects.get()
    assert (call.sid, call.from_number, call.to_number, call.status) == (
        "CA1",
        "+15550100001",
        "+15550100002",
        "in-progress",
    )
    assert (stream.sid, stream.call, stream.lease_owner, stream.length) == ("MZ1", call, "a process", 480)
    assert [bytes(c.payload) for c in AudioChunk.objects.all()] == [b"\x2a" * 160] * 2


def test_a_chunk_is_written_with_the_loudest_sample_of_every_20_ms(writer):
    # 0x00 is µ-law's loudest sample, 0xFF its silence.
    writer.write([stream_row(), chunk(payload=b"\xff" * 160 + b"\xff" * 159 + b"\x00")])
    assert bytes(AudioChunk.objects.get().peaks) == b"\x00\x7d"


def test_writing_a_batch_again_changes_nothing(writer):
    writer.write(BATCH)
    before = stored()
    writer.write(BATCH)
    Writer().write(BATCH)
    assert stored() == before


def test_a_batch_that_went_through_msgpack_writes_the_same_rows(writer):
    writer.write(BATCH)
    before = stored()
    Call.objects.all().delete()
    writer.forget()
    writer.write(decode(encode(BATCH)))
    assert stored() == before


def test_what_a_request_said_before_rows_had_its_time_is_read_from_a_spool_still():
    assert decode(b"\x91\x94\xa7CallRow\xa3CA1\x81\xa6status\xa7ringing\xc0") == [CallRow("CA1", {"status": "ringing"})]


def test_a_call_began_when_its_first_request_came_however_late_that_is_written(writer):
    writer.write(decode(encode([CallRow("CA1", {"status": "in-progress"}, at=START)])))
    call = Call.objects.get()
    assert call.created_at == call.answered_at == START


def test_a_batch_is_written_whole_or_not_at_all(writer):
    with pytest.raises(IntegrityError):
        writer.write([stream_row(), chunk(), gap(160, 160, "other")])
    assert not Stream.objects.exists()


def test_a_stream_that_was_rolled_back_is_not_remembered(writer):
    with pytest.raises(IntegrityError):
        writer.write([stream_row(), gap(160, 160, "other")])
    writer.write([stream_row()])
    writer.write([chunk()])
    assert AudioChunk.objects.count() == 1


def test_a_gap_that_grew_is_one_row(writer):
    writer.write([stream_row(), gap(0, 160, "paused")])
    writer.write([gap(0, 320, "paused"), gap(0, 480, "paused")])
    assert Gap.objects.get().length == 480


def test_a_mark_that_came_back_is_one_row_with_its_new_place(writer):
    writer.write([stream_row(), mark(0, position=160)])
    writer.write([mark(0, "played", position=400, returned_at=START)])
    assert Mark.objects.values_list("position", "outcome", "returned_at").get() == (400, "played", START)


def test_what_is_understood_better_later_replaces_what_was_written(writer):
    writer.write([stream_row(), UtteranceRow("MZ1", "inbound", 80, 320, "a fund", [("a", 80, 160)])])
    writer.write([UtteranceRow("MZ1", "inbound", 80, 400, "refund")])
    assert Utterance.objects.values_list("length", "text", "words").get() == (400, "refund", [])


def test_erased_audio_gets_no_words_later(writer):
    writer.write(BATCH[:3])
    erase(Call.objects.get(), "asked for", audio_only=True)
    writer.forget()
    writer.write([UtteranceRow("MZ1", "inbound", 80, 400, "refund")])
    assert not Utterance.objects.exists()


@pytest.mark.parametrize("wrong", [{"track": "both"}, {"length": 0}, {"text": ""}])
def test_no_utterance_is_without_a_side_a_length_and_words(wrong):
    with pytest.raises(IntegrityError):
        make_utterance(make_stream(), **wrong)


def test_one_lane_says_one_thing_at_a_time():
    stream = make_stream()
    make_utterance(stream)
    make_utterance(stream, track="outbound")
    with pytest.raises(IntegrityError):
        make_utterance(stream, "something else")


def test_a_masked_key_replaces_the_open_one_and_is_never_replaced_by_it(writer):
    known, masked = DtmfRow("MZ1", 0, "5", 1000), DtmfRow("MZ1", 0, "•", 1000)
    writer.write([stream_row(), known])
    for rows in ([masked], [known], [masked, known], [known, masked], [DtmfRow("MZ1", 1, "6", 9), known]):
        writer.write(rows)
        assert Dtmf.objects.get(index=0).digit == "•"
    assert Dtmf.objects.get(index=1).digit == "6"


def test_rows_of_an_erased_stream_vanish_and_hold_nothing_up(writer):
    writer.write([stream_row(), stream_row("MZ2"), chunk()])
    Call.objects.get(sid="CA1").delete()
    writer.forget()
    writer.write([chunk(1), gap(0, 1), mark(), chunk(stream="MZ2")])
    assert AudioChunk.objects.get().stream.sid == "MZ2"


def test_a_call_that_only_a_callback_knows_is_made(writer):
    writer.write([event("ringing", call="CA9", stream=None, source="call-status")])
    assert CallEvent.objects.get().call.sid == "CA9"


def test_a_moment_that_became_text_is_one_again(writer):
    writer.write([stream_row(), StreamChange("MZ1", {"handler_finished_at": "2026-03-14T15:09:26Z"})])
    assert Stream.objects.get().handler_finished_at == START


# --- hostile texts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NUL, LONE, "x" * 5000])
def test_a_bad_text_is_made_storable_wherever_it_comes(writer, bad):
    writer.write(
        [
            CallRow("CA1", {"from_number": bad, "caller_name": bad, "direction": bad, "parameters": {bad: [bad]}}),
            stream_row(name=bad, custom_parameters={bad: {bad: bad}}, tracks=["inbound", bad], media_format={bad: bad}),
            mark(name=bad),
            DtmfRow("MZ1", 0, bad, 0),
            UtteranceRow("MZ1", "inbound", 0, 160, bad, [(bad, 0, 160)]),
            event(kind=bad, key=bad, data={bad: bad}),
        ]
    )
    assert Mark.objects.get().name == bad.replace(NUL, "\ufffd").replace(LONE, "\ufffd")[:255]
    assert Stream.objects.count() == Dtmf.objects.count() == CallEvent.objects.count() == Utterance.objects.count() == 1


@pytest.mark.parametrize("bad", [{"name": LONE}, {"custom_parameters": {LONE: LONE}}, {"media_format": {"n": 2**70}}])
def test_what_msgpack_refuses_is_made_storable_for_the_spool(bad):
    (row,) = decode(encode([stream_row(**bad)]))
    assert (row.sid, row.started_at) == ("MZ1", START)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(), st.lists, max_leaves=5))
def test_any_data_of_an_event_can_be_spooled(value):
    assert len(decode(encode([event(data={"value": value})]))) == 1


# --- streams that are not what they say -------------------------------------------------------------------------------


def test_a_token_that_another_stream_has_used_is_refused_and_nothing_stored(writer):
    writer.write([stream_row(nonce="once")])
    fake = stream_row("MZ2", nonce="once")
    refused = writer.write([fake, chunk(stream="MZ2"), gap(0, 1, stream="MZ2"), event(call="CA1", stream="MZ2")])
    assert refused == [fake]
    assert not AudioChunk.objects.exists()
    assert not CallEvent.objects.exists()
    assert Stream.objects.get().sid == "MZ1"


def test_a_refused_stream_stays_refused(writer):
    writer.write([stream_row(nonce="once"), stream_row("MZ2", nonce="once")])
    assert writer.write([chunk(stream="MZ2"), ended(stream="MZ2")]) == []
    assert not AudioChunk.objects.exists()


def test_a_stream_sid_that_another_process_holds_is_refused(writer):
    writer.write([stream_row(owner="another process")])
    assert len(Writer().write([stream_row(owner="a process"), chunk()])) == 1
    assert not AudioChunk.objects.exists()


def test_what_was_refused_in_a_transaction_that_failed_is_reported_by_the_next_one(writer):
    writer.write([stream_row(nonce="once")])
    fake = stream_row("MZ2", nonce="once")
    with pytest.raises(IntegrityError):
        writer.write([fake, gap(0, 1, "other")])
    assert writer.write([fake]) == [fake]


def test_our_own_stream_is_not_refused_when_it_is_written_again(writer):
    writer.write([stream_row()])
    assert Writer().write([stream_row(), chunk()]) == []
    assert AudioChunk.objects.count() == 1


# --- what the call's row says of its streams --------------------------------------------------------------------------


def test_the_call_is_as_long_as_its_streams_on_one_timeline(writer):
    later = START + dt.timedelta(seconds=10)
    writer.write([stream_row(), stream_row("MZ2", call_sid="CA1", started_at=later)])
    writer.write([ended(length=8000), ended(stream="MZ2", length=16000)])
    assert Call.objects.get().audio_samples == 10 * 8000 + 16000


def test_streams_that_run_at_once_do_not_make_the_call_longer(writer):
    later = START + dt.timedelta(seconds=2)
    listens = stream_row("MZ2", call_sid="CA1", started_at=later, bidirectional=False)
    writer.write([stream_row(), listens])
    writer.write([ended(length=64000), ended(stream="MZ2", length=16000)])
    assert Call.objects.get().audio_samples == 64000


def test_streams_that_replace_each_other_follow_each_other(writer):
    writer.write([stream_row(), stream_row("MZ2", call_sid="CA1")])
    writer.write([ended(length=8000), ended(stream="MZ2", length=16000)])
    assert Call.objects.get().audio_samples == 24000


@pytest.mark.parametrize("fields", [{"frames_missing": 1}, {"frames_rejected": 1}, {"handler_failed": True}])
def test_a_stream_that_lacks_something_warns_on_its_call(writer, fields):
    writer.write([stream_row(), ended(**fields)])
    assert Call.objects.get().has_warning


@pytest.mark.parametrize("when", ["before", "after"])
def test_audio_that_had_to_be_dropped_warns_on_its_call(writer, when):
    dropped = [gap(0, 160, "over_cap")]
    writer.write([stream_row(), *(dropped if when == "before" else [])])
    writer.write([ended(length=160)])
    writer.write(dropped if when == "after" else [])
    assert Call.objects.get().has_warning


def test_a_whole_stream_warns_of_nothing(writer):
    writer.write([stream_row(), chunk(), ended(length=160)])
    assert not Call.objects.get().has_warning


# --- what a handler sets ----------------------------------------------------------------------------------------------


def said(second=0, *, stream="MZ1", **values):
    return DataRow(stream, values, START + dt.timedelta(seconds=second))


def test_of_a_name_that_is_set_twice_the_later_value_stays(writer):
    writer.write([stream_row(), said(0, order="A-17", amount=12), said(1, amount=13)])
    assert Call.objects.get().data == {"order": "A-17", "amount": 13}


def test_what_was_set_before_and_is_written_later_changes_nothing(writer):
    writer.write([stream_row(), said(1, order="B")])
    writer.write([said(0, order="A", amount=12)])
    assert Call.objects.get().data == {"order": "B", "amount": 12}


def test_all_streams_of_a_call_set_the_same_data(writer):
    writer.write([stream_row(), said(0, order="A", amount=12), stream_row("MZ2", call_sid="CA1")])
    writer.write([said(2, stream="MZ2", order="B"), said(1, order="A again")])
    assert Call.objects.get().data == {"order": "B", "amount": 12}


def test_data_of_an_erased_call_does_not_bring_it_back(writer):
    writer.write([stream_row(), ended()])
    erase(Call.objects.get(), "asked to")
    Writer().write([said(order="A-17")])
    assert not Call.objects.exists()


def test_a_stream_that_was_refused_sets_nothing(writer):
    writer.write([stream_row()])
    writer.write([stream_row("MZ2", nonce="nonce of MZ1", call_sid="CA1"), said(stream="MZ2", order="A-17")])
    assert Call.objects.get().data == {}


# --- what is missing --------------------------------------------------------------------------------------------------


def test_what_no_chunk_and_no_gap_covers_is_unexplained():
    stream = make_stream(length=1000)
    make_chunk(stream, b"x" * 100, start=100)
    make_gap(stream, start=300, length=200)
    assert stream.find_unexplained("inbound") == [(0, 100), (200, 300), (500, 1000)]


def test_a_cleared_gap_explains_nothing():
    stream = make_stream(length=100)
    make_gap(stream, length=100, reason="cleared")
    assert stream.find_unexplained("inbound") == [(0, 100)]


def test_an_orphan_ends_with_a_crash_gap():
    stream = make_stream(make_call(ended_at=None), lease_owner="dead")
    make_chunk(stream, b"x" * 1600)
    stream.close_orphan(4000)
    summarise(stream.call_id, using="default")
    stream.refresh_from_db()
    assert (stream.end_reason, stream.length, stream.frames_missing) == ("interrupted", 5600, 25)
    assert Gap.objects.values_list("track", "start", "length", "reason").get() == ("inbound", 1600, 4000, "crash")
    assert Call.objects.get().has_warning


def test_an_orphan_of_two_tracks_lacks_both():
    stream = make_stream(make_live_call(), tracks=["inbound", "outbound"])
    make_chunk(stream, b"x" * 1600)
    stream.close_orphan(4000)
    assert list(Gap.objects.values_list("track", "start", "length")) == [("inbound", 1600, 4000), ("outbound", 0, 5600)]


def test_an_orphans_heard_audio_is_what_was_stored_of_it():
    stream = make_stream(heard=16000)
    make_chunk(stream, b"x" * 1600, track="outbound")
    make_gap(stream, start=1600, length=400, reason="paused", track="outbound")
    stream.close_orphan(4000)
    assert Stream.objects.get().heard == 2000


def test_a_crash_is_explained_again_when_more_of_it_is_found():
    stream = make_stream(make_live_call())
    stream.close_orphan(4000)
    make_chunk(stream, b"x" * 1600)
    stream.explain_crash(4000)
    assert Gap.objects.values_list("start", "length").get() == (1600, 4000)
    assert stream.find_unexplained("inbound") == []


def test_a_stream_that_ends_itself_has_no_crash_gap(writer):
    writer.write([stream_row(), chunk()])
    Stream.objects.get().close_orphan(4000)
    writer.write([chunk(1), ended(length=320)])
    assert not Gap.objects.exists()
    assert Stream.objects.get().end_reason == "stop"


@pytest.mark.parametrize(
    ("tracks", "lanes"),
    [
        (["inbound"], ["inbound"]),
        (["outbound"], ["outbound"]),
        (["inbound", "outbound"], ["inbound", "outbound"]),
        ([], ["inbound"]),
    ],
)
def test_the_lanes_without_holes_are_those_that_twilio_sends(tracks, lanes):
    assert tiled(tracks) == lanes


def test_missing_and_heard_are_sums_of_the_right_rows():
    stream = make_stream()
    for start, reason in ((0, "timestamp"), (160, "sequence"), (320, "paused"), (480, "over_cap")):
        make_gap(stream, start=start, reason=reason)
        make_gap(stream, start=start, reason=reason, track="outbound")
    make_gap(stream, start=640, reason="cleared", track="outbound")
    assert stream.count_missing_samples() == 320
    assert stream.count_heard_samples() == 320


def test_a_cleared_play_marks_the_call_as_interrupted(writer):
    writer.write([stream_row()])
    make_event(Call.objects.get(), kind="cleared", source="stream")
    writer.write([ended()])
    assert Call.objects.get().was_interrupted


# --- a call that was taken for over -----------------------------------------------------------------------------------


def presume_over(writer):
    writer.write([CallRow("CA1", {"status": "ringing"}), event("presumed-over", stream=None, source="system")])
    Call.objects.update(status="completed", ended_at=START)


def test_a_stream_that_begins_undoes_a_presumed_end(writer):
    presume_over(writer)
    writer.write([stream_row()])
    call = Call.objects.get()
    assert (call.status, call.ended_at, call.answered_at) == ("in-progress", None, START)
    assert call.events.get().kind == "presumed-over-wrongly"
    assert call.events.get().data == {"but": "A stream began at 15:09:26 UTC: the call was not over."}


def test_a_call_can_be_presumed_over_again(writer):
    presume_over(writer)
    writer.write([stream_row()])
    writer.write([event("presumed-over", stream=None, source="system")])
    assert sorted(CallEvent.objects.values_list("kind", flat=True)) == ["presumed-over", "presumed-over-wrongly"]


def test_what_twilio_says_of_a_calls_end_no_stream_undoes(writer):
    presume_over(writer)
    writer.write([event("completed", stream=None, source="call-status")])
    writer.write([stream_row()])
    assert Call.objects.get().status == "completed"


@pytest.mark.parametrize(("bidirectional", "goes_on"), [(True, False), (False, True)])
def test_a_call_whose_stream_died_with_its_process_goes_on_with_the_dial_beside_it(writer, bidirectional, goes_on):
    writer.write([CallRow("CA1", {"dialing": True}), stream_row(bidirectional=bidirectional)])
    Stream.objects.using("recorder").get().close_orphan(4000)
    assert Call.objects.get().dialing == goes_on


def test_a_start_stream_leaves_the_dial_beside_it(writer):
    writer.write([CallRow("CA1", {"dialing": True}), stream_row(bidirectional=False)])
    assert Call.objects.get().dialing
