"""Rows of audio of streams that are over become few and long, and nothing that is read of them changes."""

import datetime as dt
import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from calls import vault
from calls.media.lane import MAX_CHUNK
from calls.models import AudioChunk, Call, Stream
from calls.recorder.writer import Writer
from calls.recordings import export
from calls.recordings.rendering import Recording
from calls.recordings.verification import problems
from calls.store import merging
from tests.support.batches import chunk, ended, stream_row
from tests.support.factories import make_call, make_chunk, make_gap, make_stream
from tests.support.sealed import KEY


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
HOUR_AGO = dt.timedelta(hours=1)


def over(**facts):
    """A stream that ended an hour ago."""
    end = timezone.now() - HOUR_AGO
    return make_stream(make_call(ended_at=end), **{"ended_at": end, "end_reason": "stop", **facts})


def record(stream, *lengths, start=0, track="inbound"):
    """Rows of these lengths one after the other, each with a sound of its own."""
    for number, length in enumerate(lengths):
        make_chunk(stream, bytes((7 * number + at) % 256 for at in range(length)), start=start, track=track)
        start += length
    return start


def rows(track="inbound"):
    return list(AudioChunk.objects.filter(track=track).order_by("start").values_list("index", "start", "length"))


def read(stream):
    recording = Recording.of(stream.call)
    sound, frames = (b"".join(content(stream.call)) for content in (export.wav, export.frames))
    facts = json.loads(b"".join(export.facts(stream.call)))
    facts["format"].pop("at")  # when it was exported
    peaks = recording.peaks(0, recording.samples), recording.peaks(37, 9000, 3)
    return [*peaks, sound, facts, frames, list(problems(stream))]


def test_ten_seconds_of_the_recorders_rows_become_one_that_keeps_the_first_ones_number():
    stream = over()
    record(stream, *[1600] * 60)
    assert merging.merge_next()
    assert rows() == [(0, 0, MAX_CHUNK), (50, MAX_CHUNK, 16_000)]
    assert Stream.objects.get().merged_at


def test_what_is_read_stays_as_it_was_to_the_byte():
    stream = over(length=40_000, heard=3360, frames_missing=2)
    end = record(stream, *[160] * 20, 1680, 100, 1600, 1, 159, 1600)
    make_gap(stream, start=end, length=320)
    end = record(stream, *[1600] * 19, 1140, start=end + 320)
    record(stream, 1600, 1600, 160, start=777, track="outbound")
    Stream.objects.update(length=end)
    stream.refresh_from_db()
    before = read(stream)
    merging.merge_next()
    assert AudioChunk.objects.count() < 12
    assert read(stream) == before
    assert before[-1] == []


@pytest.mark.parametrize(
    ("lengths", "merged"),
    [
        ([1600, 1680, 1600], [3280, 1600]),  # a row ends between two peaks: the next one's lie elsewhere
        ([1600, 1600, 100], [3300]),
        ([MAX_CHUNK, 160, 160], [MAX_CHUNK, 320]),
        ([MAX_CHUNK - 160, 160, 160], [MAX_CHUNK, 160]),
    ],
)
def test_a_row_ends_where_the_next_ones_peaks_or_its_length_do_not_fit(lengths, merged):
    record(over(), *lengths)
    merging.merge_next()
    assert [length for _, _, length in rows()] == merged


def test_what_lies_elsewhere_or_has_no_peaks_is_left_alone():
    stream = over()
    make_chunk(stream, b"", length=160, peaks=b"\0")
    make_chunk(stream, b"", start=160, length=160, peaks=b"\0")
    for start in (320, 480):
        make_chunk(stream, b"\x2a" * 160, start=start, peaks=b"")
    merging.merge_next()
    assert [length for _, _, length in rows()] == [160] * 4


def test_what_was_interrupted_goes_on_where_it_was(monkeypatch):
    stream = over()
    record(stream, *[1600] * 120)
    before = read(stream)
    monkeypatch.setattr(merging, "SLICE", 60)
    merging._merge_some(stream, "inbound", 0)
    assert len(rows()) == 71
    merging.merge(stream)
    assert [length for _, _, length in rows()] == [MAX_CHUNK, MAX_CHUNK, 32_000]
    assert read(stream) == before


@pytest.mark.parametrize("minutes", [None, 5, 25 * 60])
def test_streams_that_run_or_ended_just_now_are_left_alone_and_old_ones_to_the_command(minutes):
    end = minutes and timezone.now() - dt.timedelta(minutes=minutes)
    record(make_stream(make_call(ended_at=end), ended_at=end), 160, 160)
    assert not merging.merge_next()
    call_command("merge_audio", stdout=StringIO())
    assert len(rows()) == (1 if minutes == 25 * 60 else 2)


def test_a_stream_is_merged_by_one_machine_and_by_another_once_that_has_died():
    record(over(), 160, 160)
    Stream.objects.update(merging_since=timezone.now())
    assert not merging.merge_next()
    Stream.objects.update(merging_since=timezone.now() - dt.timedelta(minutes=11))
    assert merging.merge_next()


def test_what_is_torn_stays_for_verify_calls_to_tell():
    stream = over()
    record(stream, 160, 160)
    AudioChunk.objects.filter(start=160).update(payload=b"\x2a" * 80)
    merging.merge_next()
    assert rows() == [(0, 0, 160), (1, 160, 160)]


# --- what comes late -------------------------------------------------------------------------------------------------


@pytest.fixture
def merged():
    """The stream MZ1, of whose rows 0 to 2 and 4 are written and merged."""
    Writer().write([stream_row(), *map(chunk, (0, 1, 2, 4)), ended()])
    long_ago = timezone.now() - HOUR_AGO
    Stream.objects.update(ended_at=long_ago)
    assert merging.merge_next()
    assert rows() == [(0, 0, 480), (4, 640, 160)]
    return Stream.objects.get()


@pytest.mark.parametrize("begins", [[], [stream_row()]])
def test_what_a_spool_brings_again_is_there_once_and_what_is_new_comes_in(merged, begins):
    Writer().write([*begins, *map(chunk, range(6)), chunk(1, track="outbound")])
    assert rows() == [(0, 0, 480), (3, 480, 160), (4, 640, 160), (5, 800, 160)]
    assert rows("outbound") == [(1, 160, 160)]


def test_a_stream_that_went_on_after_all_is_merged_again_when_it_ends(merged):
    Stream.objects.update(ended_at=None)
    Writer().write([*map(chunk, range(4, 9)), ended()])
    assert len(rows()) == 6
    assert Stream.objects.get().merged_at is None
    Stream.objects.update(ended_at=timezone.now() - HOUR_AGO, merging_since=timezone.now() - HOUR_AGO)
    merging.merge_next()
    assert rows() == [(0, 0, 480), (4, 640, 800)]


def test_a_stream_that_runs_is_written_without_looking_for_merged_rows(settings, django_assert_num_queries):
    settings.RECORDING_KEYS = [KEY]
    writer = Writer()
    writer.write([stream_row(sealing_key=vault.new_key("MZ1"))])
    writer.forget()
    writer._keys.of("MZ1")
    with django_assert_num_queries(1, using="recorder"):
        writer._write_chunks([chunk(0)])


def test_the_database_names_the_index_of_what_is_due(merged):
    Stream.objects.bulk_create(
        Stream(call=Call.objects.get(), sid=f"MZ{n}0", nonce=f"{n}", started_at=merged.started_at) for n in range(300)
    )
    assert "stream_unmerged" in merging.due().order_by("ended_at")[:10].explain()
