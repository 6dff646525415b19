"""The quick way of frames in C: whatever comes, it leaves what Python alone would have left."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calls import quick
from calls.media import audio, playback, tape
from calls.media.audio import LOUDNESS, peaks
from calls.media.protocol import Media
from calls.server import outgoing
from calls.server.inbox import Takeover
from calls.sockets import frames, media_web_socket
from tests.support.masking import masked
from tests.support.phone import STREAM, Phone
from tests.support.quick import FRAME, PAYLOAD, Beside, QuickPhone, books, in_python, need_build


need_build()

TWILIO = (
    '{"event":"media","sequenceNumber":"%(number)s","media":{"track":"inbound","chunk":"1","timestamp":"%(at)s",'
    '"payload":"%(payload)s"},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
)
# Media messages that C takes, that Python takes, and that nobody does.
SHAPES = [
    TWILIO,
    TWILIO.replace(",", " ,\n").replace(":", "\t: ") + " \r\n",
    '{"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","media":{"payload":"%(payload)s","timestamp":"%(at)s"},'
    '"sequenceNumber":"%(number)s","event":"media"}',
    TWILIO.replace('"%(number)s"', "%(number)s").replace('"%(at)s"', "%(at)s").replace('"1"', "1"),
    TWILIO.replace('"%(at)s"', "%(at)s "),
    TWILIO.replace('"%(at)s"', '"0%(at)s"'),
    TWILIO.replace('"%(at)s"', '"+%(at)s"'),
    TWILIO.replace('"%(at)s"', "%(at)s.0"),
    TWILIO.replace('"%(at)s"', '""'),
    TWILIO.replace('"%(number)s"', '"-%(number)s"'),
    TWILIO.replace('"sequenceNumber":"%(number)s",', ""),
    TWILIO.replace('"sequenceNumber"', '"sequenceNumber":"7","sequenceNumber"'),
    *(TWILIO.replace('"1"', f'"{chunk}"') for chunk in ("0", "00", "9" * 15, "9" * 16, "9" * 17, "9" * 30, "٣")),
    TWILIO.replace('"chunk":"1",', ""),
    TWILIO.replace('"track":"inbound",', ""),
    TWILIO.replace('"inbound"', '"outbound"'),
    TWILIO.replace('"inbound"', '"inbound_track"'),
    TWILIO.replace('"inbound"', "null"),
    TWILIO.replace('"event"', '"new":[{"a":"é"}],"event"'),
    TWILIO.replace('"chunk":"1"', '"chunk":"1","new":null'),
    TWILIO.replace('"chunk":"1"', '"chunk":"1","chunk":"2"'),
    TWILIO.replace('"timestamp"', '"timestamp":"5","timestamp"'),
    TWILIO.replace('"media",', '"media","event":"media",'),
    TWILIO.replace('"media",', '"medi\\u0061",'),
    TWILIO.replace('"payload"', '"payl\\u006fad"'),
    TWILIO.replace('"payload":"', '"payload":"\\/'),
    TWILIO.replace('"media",', '"mediä",'),
    TWILIO.replace("MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687", "MZ00000000000000000000000000000000"),
    TWILIO.replace("MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687", "MZ5d2f8e1a7c3b9046e8f1d2c3b4a5968"),
    TWILIO.replace("MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687", "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687\\u0000"),
    TWILIO.replace(',"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"', ""),
    TWILIO + "}",
    TWILIO + "\0",
    TWILIO + "é",
    TWILIO[:-1],
    TWILIO[:-1] + ",}",
    TWILIO.replace('"}', '",}'),
    TWILIO.replace("{", "[", 1),
    "\ufeff" + TWILIO,
    TWILIO[:-1] + ',"new":' + "[" * 1500 + "]" * 1500 + "}",
    TWILIO[:-1] + ',"new":' + "[" * 300,
    '{"event":"media","sequenceNumber":"%(number)s","media":{},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}'
    + " " * 50,
    '{"event":"dtmf","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","sequenceNumber":"%(number)s",'
    '"dtmf":{"track":"inbound_track","digit":"5"}}',
    '{"event":"mark","sequenceNumber":"%(number)s","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"mark":{"name":"greeting-3"}}',
    '{"event":"later","sequenceNumber":"%(number)s","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","new":{"a":1}}',
]
PAYLOADS = [
    *(PAYLOAD, PAYLOAD[:212], PAYLOAD + PAYLOAD[:211] + "A", PAYLOAD * 8, PAYLOAD * 20, "/w==", "/39+", ""),
    *(
        "/x==",
        "/38=",
        "/3==",
        "/39",
        "/39+=",
        "====",
        "=",
        "/39 ",
        "_39-",
        "/39+/w==/39+",
        "/39+" * 53 + "/z==",
        "ÿ39+",
    ),
]
# What every other one has to follow, or it is not in its turn.
GOOD = (TWILIO, PAYLOAD, 0, 0, [])
MESSAGES = st.tuples(
    st.one_of(st.just(TWILIO), st.sampled_from(SHAPES)),
    st.one_of(st.just(PAYLOAD), st.sampled_from(PAYLOADS)),
    # How much higher the sequence number and the timestamp are than what would be in order.
    st.sampled_from([0] * 8 + [1, 7, -1, -5, 99_999, 100_000, 200_000]),
    st.sampled_from([0] * 8 + [20, -20, 10, -1000, 3000, 45_000, 75_000, 10**9, 10**15, 10**16]),
    # Bytes that are different on the way.
    st.one_of(st.just([]), st.just([]), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=2)),
)


def texts(messages):
    """The bytes of these, each in its turn as far as it does not say otherwise."""
    number, at = 2, 20
    for shape, payload, skip, jump, changes in messages:
        text = bytearray(
            (shape % {"number": max(number + skip, 0), "at": max(at + jump, 0), "payload": payload}).encode()
        )
        for place, byte in changes:
            text[place % len(text)] = byte
        yield bytes(text)
        number, at = number + max(skip, 0) * (skip < 100_000) + 1, at + 20


@settings(deadline=None, max_examples=150)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=12))
@example(messages=[message for shape in SHAPES for message in (GOOD, (shape, PAYLOAD, 0, 0, []))])
@example(messages=[message for payload in PAYLOADS for message in (GOOD, (TWILIO, payload, 0, 0, []))])
@example(messages=[GOOD, (TWILIO, PAYLOAD, 3, 10**9, []), (TWILIO, PAYLOAD, 0, -20, [])])
@example(messages=[GOOD, (TWILIO, "/39+" * 1000, 0, 59_800, []), (TWILIO, PAYLOAD, 0, 59_800 + 355, [])])
def test_frames_leave_in_c_what_they_leave_in_python(messages):
    async def both():
        in_c, alone = Beside(), Phone()
        for text in texts(messages):
            in_c.hear(masked(text))
            if in_c.left:
                assert in_c.left == [masked(text)]
                in_c.left.clear()
                in_python(in_c.live, text)
            in_python(alone.live, text)
            assert books(in_c.live) == books(alone.live)

    asyncio.run(both())


@pytest.mark.parametrize("shape", SHAPES[:4])
async def test_what_nearly_every_frame_is_is_taken_in_c(shape):
    phone = QuickPhone.talking()
    text = shape % {"number": 3, "at": 40, "payload": PAYLOAD}
    phone.hear(masked(text.encode()))
    assert phone.left == []
    assert phone.live.inbox._events[0] == Media(timestamp=40, payload=FRAME, track="inbound", chunk="chunk" in shape)


@pytest.mark.parametrize("size", [136, 4095, 4096, 4097, 65_535])
async def test_a_frame_of_any_size_is_heard(size):
    phone = QuickPhone.talking()
    bare = TWILIO.replace('"track":"inbound","chunk":"1",', "") % {"number": 3, "at": 40, "payload": "/39+"}
    phone.hear(masked(bare.replace('"event"', '"event"' + " " * (size - len(bare))).encode()))
    assert bool(phone.left) == (size > 4096)
    assert phone.tape.inbound.end == 163


async def test_frames_of_one_read_are_taken_together():
    phone = QuickPhone.talking()
    phone.hear(b"".join(phone.media() for _ in range(5)))
    assert phone.left == []
    assert phone.tape.inbound.end == 6 * 160


async def test_half_a_frame_is_left_where_it_begins():
    phone = Beside.talking()
    whole, half = phone.media(), phone.media()[:-1]
    phone.hear(whole + half)
    assert phone.left == [half]
    assert phone.tape.inbound.end == 2 * 160


async def test_nothing_is_taken_while_a_frame_is_half_read():
    phone = Beside.talking()
    phone.live.path.is_between = False
    frame = phone.media()
    phone.hear(frame)
    assert phone.left == [frame]


async def test_a_frame_of_pythons_between_two_keeps_its_turn():
    phone = QuickPhone.talking()
    key = '{"event":"dtmf","streamSid":"%s","sequenceNumber":"4","dtmf":{"track":"inbound_track","digit":"5"}}'
    first = phone.media()
    phone.number += 1
    phone.hear(first + masked((key % STREAM).encode()) + phone.media(at=60))
    kinds = [type(event).__name__ for event in phone.live.inbox._events]
    assert kinds == ["Media", "Dtmf", "Media"]


async def test_after_a_gap_the_next_frames_are_taken_in_c_again():
    phone = QuickPhone.talking()
    phone.number += 3
    gap = phone.media()
    phone.hear(gap)
    phone.hear(phone.media())
    assert phone.left == [gap]
    assert phone.protocol.sequence_gaps == 3


async def test_a_paused_recording_stays_silent():
    phone = QuickPhone.talking()
    phone.stream.pause_recording()
    phone.hear()
    phone.stream.resume_recording()
    phone.hear()
    assert [(start, len(audio)) for start, audio in phone.tape.inbound.runs] == [(0, 160)]
    assert len(phone.tape.inbound.run) == 160
    assert phone.tape.inbound.settled == [(160, 320, "paused")]


async def test_what_is_not_recorded_is_heard():
    phone = QuickPhone.talking()
    phone.tape.pause()
    phone.hear()
    assert len(phone.live.inbox) == 1
    assert phone.tape.inbound.runs == [(0, bytearray(b"\xff\x7e\x7f\xfe" * 40))]


async def test_the_recorder_may_take_the_run_between_two_frames():
    phone = QuickPhone.talking()
    phone.hear()
    assert [row.payload for row in phone.tape.cut(0)] == [b"\xff\x7e\x7f\xfe" * 40 + FRAME]
    phone.hear()
    assert bytes(phone.tape.inbound.run) == FRAME


async def test_who_listens_hears_each_frame():
    phone = QuickPhone.talking()
    ear = phone.live.listen()
    before = ear.kept
    phone.hear()
    assert phone.left == []
    assert ear.kept == before + 160


async def test_a_caller_who_is_somebody_elses_is_not_the_handlers():
    phone = QuickPhone.talking()
    phone.live.inbox.hold()
    phone.hear()
    assert len(phone.live.inbox) == 0
    phone.live.inbox.release(Takeover("ann", 0, 20))
    phone.hear()
    assert [type(event) for event in phone.live.inbox._events] == [Takeover, Media]


async def test_a_handler_two_seconds_behind_loses_the_oldest():
    phone = QuickPhone.talking()
    for _ in range(103):
        phone.hear()
    assert phone.left == []
    assert phone.live.inbox._events[0].timestamp == 100
    assert phone.live.inbox._media_queued == 100


async def test_a_stream_that_has_stopped_takes_nothing():
    phone = Beside.talking()
    phone.protocol.stop()
    frame = phone.media()
    phone.hear(frame)
    assert phone.left == [frame]


async def test_a_path_that_is_closed_takes_nothing():
    phone = Beside.talking()
    phone.live.path.close()
    frame = phone.media()
    phone.hear(frame)
    assert phone.left == [frame]


async def test_a_path_that_was_never_opened_says_so():
    phone = Phone()
    with pytest.raises(RuntimeError, match="never opened"):
        phone.live.path.data_received(b"\x81")


async def test_the_clock_follows_as_in_python():
    in_c, alone = QuickPhone.talking(), Phone()
    alone.say()
    for clock in (in_c.live.clock, alone.live.clock):
        # The first one came a second late.
        clock._arrival -= 8000
    for _ in range(3):
        in_c.hear()
        alone.say()
    assert in_c.left == []
    assert in_c.live.clock.jitter_ms == pytest.approx(alone.live.clock.jitter_ms, abs=5)
    assert in_c.live.clock._lead == pytest.approx(alone.live.clock._lead, abs=8000)


async def test_frames_leave_no_reference_behind():
    phone = QuickPhone.talking()
    phone.hear()
    payload = phone.live.inbox._events[0].payload
    counts = [
        sys.getrefcount(each) for each in (Media, None, "inbound", phone.live.inbox, phone.live.arrivals, phone.tape)
    ]
    for _ in range(99):
        phone.hear()
    phone.stream.skip()
    assert sys.getrefcount(payload) == 2
    now = [
        sys.getrefcount(each) for each in (Media, None, "inbound", phone.live.inbox, phone.live.arrivals, phone.tape)
    ]
    assert [after - before < 50 for before, after in zip(counts, now, strict=True)] == [True] * 6


@given(
    audio=st.binary(max_size=1000),
    samples=st.one_of(st.integers(1, 400), st.just(sys.maxsize), st.just(sys.maxsize - 1)),
    step=st.one_of(st.integers(1, 400), st.just(sys.maxsize)),
)
def test_peaks_are_pythons(audio, samples, step):
    assert quick.peaks(audio, LOUDNESS, samples, step) == peaks(audio, samples, step=step)


@pytest.mark.parametrize(
    ("samples", "step", "table"), [(0, 1, 256), (1, 0, 256), (-1, 1, 256), (1, -1, 256), (1, 1, 255)]
)
def test_peaks_of_nothing_at_all_are_refused(samples, step, table):
    with pytest.raises(ValueError, match="at least"):
        quick.peaks(b"abc", LOUDNESS[:table], samples, step)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAMPLE_RATE", audio.SAMPLE_RATE),
        ("SAMPLES_PER_MS", audio.SAMPLES_PER_MS),
        ("FRAME_SAMPLES", audio.FRAME_SAMPLES),
        ("TOLERANCE", tape.TOLERANCE),
        ("ADJACENT", playback.ADJACENT),
        ("LOOK_AHEAD", outgoing.LOOK_AHEAD),
        ("HEAD", frames.HEAD),
        ("SHORTEST", frames.IN_TWO_BYTES),
        ("LONGEST", media_web_socket.LONGEST_QUICK),
    ],
)
def test_the_numbers_of_the_c_are_those_of_python(name, value):
    source = Path(quick.__file__).with_name("_quick.c").read_text()
    [number] = re.findall(rf"^#define {name} (.+)$", source, re.MULTILINE)
    assert eval(number, {"SAMPLES_PER_MS": 8}) == value
