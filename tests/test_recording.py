"""A recording read back: where chunks lie, what holes sound like, and what a range costs."""

import pytest
from asgiref.sync import async_to_sync

from calls.media import audio
from calls.recordings.rendering import PIECE, Recording
from tests.support.factories import make_call, make_chunk, make_gap, make_live_call, make_stream


pytestmark = pytest.mark.django_db
S = b"\xff"


def test_a_call_without_streams_has_no_recording():
    recording = Recording.of(make_call())
    assert (recording.samples, recording.streams, recording.origin) == (0, (), None)


def test_the_caller_is_left_and_we_are_right():
    stream = make_stream(length=4)
    make_chunk(stream, b"abcd")
    make_chunk(stream, b"wxyz", track="outbound")
    assert Recording.of(stream.call).read(0, 4) == (b"abcd", b"wxyz")


def test_a_stream_of_which_nothing_is_stored_is_silence_and_says_so():
    stream = make_stream(length=4)
    assert Recording.of(stream.call).read(0, 4) == (S * 4, S * 4)
    assert not Recording.of(stream.call).has_audio
    make_chunk(stream, b"ab")
    assert Recording.of(stream.call).has_audio


def test_holes_are_silence():
    stream = make_stream(length=8)
    make_chunk(stream, b"ab", start=1)
    make_chunk(stream, b"cd", start=5)
    assert Recording.of(stream.call).read(0, 8) == (S + b"ab" + S + S + b"cd" + S, S * 8)


def test_chunks_that_were_stored_out_of_order_lie_where_they_belong():
    stream = make_stream()
    make_chunk(stream, b"cd", start=2)
    make_chunk(stream, b"ab", start=0)
    assert Recording.of(stream.call).read(0, 4)[0] == b"abcd"


def test_a_range_begins_and_ends_inside_chunks():
    stream = make_stream(length=8)
    make_chunk(stream, b"abcd")
    make_chunk(stream, b"efgh", start=4)
    assert Recording.of(stream.call).read(3, 6) == (b"def", S * 3)


def test_a_range_inside_one_chunk_is_cut_at_both_ends():
    stream = make_stream(length=8)
    make_chunk(stream, b"abcdefgh")
    assert Recording.of(stream.call).read(2, 4)[0] == b"cd"


def test_the_stream_counts_as_long_as_its_chunks_while_it_runs():
    stream = make_stream(make_live_call(), length=0)
    make_chunk(stream, b"abcd", start=6, track="outbound")
    assert Recording.of(stream.call).samples == 10


def test_a_stream_that_says_it_is_longer_ends_in_silence():
    stream = make_stream(length=6)
    make_chunk(stream, b"abcd")
    recording = Recording.of(stream.call)
    assert recording.read(0, recording.samples)[0] == b"abcd" + S * 2


def test_a_reconnected_stream_lies_where_its_start_puts_it():
    call = make_call()
    make_chunk(make_stream(call, length=8000), b"ab")
    make_chunk(make_stream(call, after=2, length=4), b"cdef")
    recording = Recording.of(call)
    assert recording.samples == 16004
    assert recording.read(15998, 16004)[0] == S * 2 + b"cdef"


def test_a_reconnected_stream_never_lies_over_the_one_before():
    call = make_call()
    first = make_stream(call, length=24000)
    second = make_stream(call, after=2, length=8)
    recording = Recording.of(call)
    assert recording.place(first.pk, 5) == 5
    assert recording.place(second.pk, 5) == 24005


def test_streams_that_run_at_once_lie_where_they_began():
    call = make_call()
    listens = make_stream(call, length=64000, bidirectional=False, name="monitor-start")
    speaks = make_stream(call, after=2, length=40000)
    recording = Recording.of(call)
    assert (recording.place(listens.pk, 0), recording.place(speaks.pk, 0)) == (0, 16000)
    assert recording.samples == 64000


def test_a_short_stream_beside_a_long_one_does_not_cut_the_recording_short():
    call = make_call()
    make_stream(call, length=64000, bidirectional=False)
    make_stream(call, after=2, length=8000)
    assert Recording.of(call).samples == 64000


def test_two_streams_of_one_conversation_are_not_mixed_the_later_one_fills_what_the_first_lacks():
    call = make_call()
    listens = make_stream(call, length=8, bidirectional=False)
    speaks = make_stream(call, after=0.00025, length=8)
    make_chunk(listens, b"ab")
    make_chunk(listens, b"gh", start=6)
    make_chunk(speaks, b"CDEFGHIJ")
    assert Recording.of(call).read(0, 10)[0] == b"abCDEFghIJ"


def test_the_waveform_of_two_streams_at_once_is_that_of_what_one_hears():
    call = make_call()
    listens = make_stream(call, length=320, bidirectional=False)
    speaks = make_stream(call, length=480)
    make_chunk(listens, audio.SILENCE * 320)
    make_chunk(speaks, audio.tone(440, 60))
    left, _ = Recording.of(call).peaks(0, 480)
    assert left[:2] == b"\0\0"
    assert left[2] > 0


def test_what_one_stream_was_told_not_to_record_is_not_heard_through_the_other():
    call = make_call()
    asks = make_stream(call, length=480)
    listens = make_stream(call, length=480, bidirectional=False)
    make_chunk(asks, b"a" * 160)
    make_gap(asks, start=160, length=160, reason="paused")
    make_chunk(asks, b"c" * 160, start=320)
    make_chunk(listens, b"x" * 480)
    recording = Recording.of(call)
    assert recording.read(100, 400)[0] == b"a" * 60 + S * 160 + b"c" * 80
    assert recording.peaks(0, 480)[0][1] == 0


def test_a_range_over_two_streams_reads_both():
    call = make_call()
    make_chunk(make_stream(call, length=4), b"abcd")
    make_chunk(make_stream(call, after=0.0005, length=4), b"efgh")
    assert Recording.of(call).read(2, 6)[0] == b"cdef"


def test_moments_lie_on_the_timeline_and_before_it():
    stream = make_stream(after=10)
    recording = Recording.of(stream.call)
    assert recording.when(stream.started_at) == 0
    assert recording.when(stream.call.created_at) == -80000


def test_opening_a_recording_costs_one_query(django_assert_num_queries):
    stream = make_stream(length=400)
    for start in range(0, 400, 4):
        make_chunk(stream, b"abcd", start=start)
    with django_assert_num_queries(1):
        Recording.of(stream.call)


def test_a_range_reads_only_the_chunks_around_it(django_assert_num_queries):
    stream = make_stream(length=400_000)
    make_chunk(stream, b"far before", start=0)
    make_chunk(stream, b"near", start=300_000)
    recording = Recording.of(stream.call)
    with django_assert_num_queries(1) as queries:
        assert recording.read(300_000, 300_004)[0] == b"near"
    assert '"start" > 220000' in queries[0]["sql"]


def test_a_wav_holds_its_header_and_every_sample():
    stream = make_stream(length=3)
    make_chunk(stream, b"\x00\x80\xff")
    wav = Recording.of(stream.call).wav()
    data = b"".join(wav.pieces(0, wav.size - 1))
    assert data[:44] == audio.wav_header(3, 2)
    assert data[44:].hex() == "848200007c7d000000000000"


@pytest.mark.parametrize(
    ("channel", "expected"), [("inbound", b"abcd"), ("outbound", b"wxyz"), ("stereo", b"awbxcydz")]
)
def test_a_mulaw_wav_holds_the_stored_bytes(channel, expected):
    stream = make_stream(length=4)
    make_chunk(stream, b"abcd")
    make_chunk(stream, b"wxyz", track="outbound")
    wav = Recording.of(stream.call).wav(channel, "mulaw")
    assert b"".join(wav.pieces(44, wav.size - 1)) == expected


def test_one_lane_does_not_read_the_other(django_assert_num_queries):
    stream = make_stream(length=4)
    make_chunk(stream, b"wxyz", track="outbound")
    with django_assert_num_queries(2) as queries:
        Recording.of(stream.call).lanes(0, 4, ["inbound"])
    assert "outbound" not in queries[1]["sql"].rsplit("AND", 1)[1]


@pytest.mark.parametrize("channel", ["stereo", "inbound"])
@pytest.mark.parametrize("encoding", ["pcm16", "mulaw"])
def test_every_range_of_a_wav_is_a_piece_of_the_whole(channel, encoding):
    stream = make_stream(length=12)
    make_chunk(stream, b"abcdefghijkl")
    wav = Recording.of(stream.call).wav(channel, encoding)
    whole = b"".join(wav.pieces(0, wav.size - 1))
    assert len(whole) == wav.size
    for first in range(0, wav.size, 5):
        for last in range(first, wav.size, 7):
            assert b"".join(wav.pieces(first, last)) == whole[first : last + 1]


def test_a_long_wav_comes_in_pieces_of_bounded_size():
    wav = Recording.of(make_stream(length=PIECE * 3).call).wav()
    sizes = [len(piece) for piece in wav.pieces(0, wav.size - 1)]
    assert sum(sizes) == wav.size
    assert max(sizes) == 256 * 1024
    assert sizes[0] == 32 * 1024


def test_the_asynchronous_stream_is_the_same_file():
    stream = make_stream(length=20_000)
    make_chunk(stream, audio.tone(440, 2500))
    wav = Recording.of(stream.call).wav()

    async def collect():
        return b"".join([piece async for piece in wav.stream(0, wav.size - 1)])

    assert async_to_sync(collect)() == b"".join(wav.pieces(0, wav.size - 1))


def test_what_a_player_was_told_of_a_growing_call_stays_true():
    stream = make_stream(make_live_call(), length=8)
    make_chunk(stream, b"abcdefgh")
    assert Recording.of(stream.call).until(5).samples == 5
    assert Recording.of(stream.call).until(500).samples == 8


def test_peaks_lie_on_the_calls_timeline():
    stream = make_stream(length=640)
    make_chunk(stream, b"\x80" * 320, start=160)
    assert Recording.of(stream.call).peaks(0, 640) == (b"\x00\x7d\x7d\x00", bytes(4))


def test_peaks_of_several_frames_are_their_loudest():
    stream = make_stream(length=640)
    make_chunk(stream, b"\x80" * 160, start=320)
    assert Recording.of(stream.call).peaks(0, 640, step=2)[0] == b"\x00\x7d"


def test_chunks_without_peaks_are_measured(django_assert_num_queries):
    stream = make_stream(length=160)
    make_chunk(stream, b"\x80" * 160, peaks=b"")
    assert Recording.of(stream.call).peaks(0, 160)[0] == b"\x7d"


def test_peaks_do_not_read_the_audio(django_assert_num_queries):
    stream = make_stream(length=160)
    make_chunk(stream, b"\x80" * 160)
    recording = Recording.of(stream.call)
    with django_assert_num_queries(1) as queries:
        recording.peaks(0, 160)
    assert "payload" not in queries[0]["sql"]
