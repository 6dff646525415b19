"""MediaStream as a handler uses it, with a phone at the other end that answers in Twilio's JSON."""

import asyncio
import datetime as dt
import logging
import time
from pathlib import Path

import pytest
from django.utils import timezone

from calls.media import hearing
from calls.media.audio import mulaw_to_pcm16, tone
from calls.media.protocol import StateError
from calls.media.rows import ChunkRow, DataRow, DtmfRow, EventRow, GapRow, MarkRow
from calls.server import outgoing, speaking, voice
from calls.sounds import FOLDER
from calls.streams import Media, StreamEnded
from tests.support import sounds
from tests.support.line import payload
from tests.support.phone import CALL, LOUD, QUIET, STREAM, Phone, begin, done


SECOND = b"\x20" * 8000


@pytest.fixture
async def phone():
    return Phone()


@pytest.fixture
async def listener():
    """The phone of a <Start> stream."""
    return Phone(bidirectional=False)


def audio(phone):
    return [payload(message) for message in phone.sent if message["event"] == "media"]


# --- what it is -------------------------------------------------------------------------------------------------------


async def test_a_stream_knows_its_call(phone):
    stream = phone.stream
    assert (stream.call_sid, stream.stream_sid, stream.from_number) == (CALL, STREAM, "+14155550100")
    assert (stream.bidirectional, stream.ended, stream.resumed) == (True, False, 0)
    assert repr(stream) == f"<MediaStream {STREAM} of {CALL}>"


async def test_parameters_are_those_of_the_document_without_our_token():
    assert Phone(more=',"lang":"de"').stream.parameters == {"lang": "de"}


async def test_a_handler_sees_who_calls_and_who_forwarded_the_call():
    stream = Phone(more=',"CallerName":"ANNA","ForwardedFrom":"+14155550111"').stream
    assert (stream.caller_name, stream.forwarded_from) == ("ANNA", "+14155550111")
    stream = Phone().stream
    assert (stream.caller_name, stream.forwarded_from) == ("", "")


async def test_a_stream_says_how_often_its_call_was_connected_again():
    assert Phone(resumed=2).stream.resumed == 2


# --- play -------------------------------------------------------------------------------------------------------------


async def test_play_returns_when_its_mark_has_come_back(phone):
    playing = begin(phone.stream.play(SECOND))
    mark = await phone.heard("mark")
    assert not playing.done()
    phone.return_mark(mark["mark"]["name"])
    assert await done(playing) == "played"


async def test_audio_is_sent_in_pieces_of_a_second_with_one_mark_after_them(phone):
    playing = begin(phone.stream.play(SECOND * 2 + b"\x20" * 800))
    await phone.play_out()
    assert await done(playing) == "played"
    assert [message["event"] for message in phone.sent] == ["media", "media", "media", "mark"]
    assert [len(piece) for piece in audio(phone)] == [8000, 8000, 800]


@pytest.mark.parametrize("size", [1, 159, 160, 161, 8001])
async def test_only_the_last_piece_is_padded_with_silence(phone, size):
    playing = begin(phone.stream.play(b"\x20" * size))
    await phone.play_out()
    await done(playing)
    assert b"".join(audio(phone)) == b"\x20" * size + b"\xff" * (-size % 160)
    assert all(len(piece) % 160 == 0 for piece in audio(phone))


async def test_play_without_waiting_sends_no_mark(phone):
    await phone.stream.play(SECOND, wait=False)
    assert [message["event"] for message in phone.sent] == ["media"]


async def test_nothing_to_play_is_heard_at_once(phone):
    playing = begin(phone.stream.play(b""))
    await phone.play_out()
    assert await done(playing) == "played"
    assert audio(phone) == []


async def test_what_is_not_waited_for_is_taken_at_once_and_no_more_than_ten_seconds_of_it_are_sent_ahead(phone):
    await phone.stream.play(SECOND * 30, wait=False)
    assert len(audio(phone)) == 10


async def test_what_is_left_is_sent_when_there_is_room_again_with_what_came_after_it(phone, monkeypatch):
    monkeypatch.setattr(outgoing, "LOOK_AHEAD", 8000 + 800)
    await phone.stream.play(SECOND + b"\x20" * 1600, wait=False)
    await phone.stream.mark("said")
    await phone.stream.play(b"\x21" * 160, wait=False)
    assert [message["event"] for message in phone.sent] == ["media"]
    while (await phone.heard("media"))["media"]["payload"][:4] != "ISEh":
        pass
    assert [message["event"] for message in phone.sent] == ["media", "media", "mark", "media"]
    assert b"".join(audio(phone)) == SECOND + b"\x20" * 1600 + b"\x21" * 160


async def test_clear_forgets_what_was_not_sent_and_says_how_much_that_was(phone):
    await phone.stream.play(SECOND * 30, wait=False)
    await phone.stream.mark("said")
    await phone.stream.clear()
    await phone.stream.play(LOUD, wait=False)
    assert [message["event"] for message in phone.sent] == ["media"] * 10 + ["clear", "media"]
    (event,) = phone.rows(EventRow)
    assert event.data["unsent"] == 160_000
    assert 0 < event.data["samples"] <= 80_000


async def test_a_mark_that_was_never_sent_comes_back_cleared(phone):
    await phone.stream.play(SECOND * 30, wait=False)
    await phone.stream.mark("said")
    await phone.stream.clear()
    phone.hang_up()
    assert [(event.name, event.outcome) async for event in phone.stream] == [("said", "cleared")]
    assert [(row.name, row.outcome) for row in phone.rows(MarkRow)] == [("said", "cleared")]


async def test_clear_ends_a_play_that_waits_for_others(phone):
    await phone.stream.play(SECOND * 30, wait=False)
    playing = begin(phone.stream.play(SECOND))
    await asyncio.sleep(0)
    await phone.stream.clear()
    assert await done(playing) == "cleared"
    assert [message["event"] for message in phone.sent] == ["media"] * 10 + ["clear"]


async def test_a_play_that_is_given_up_before_it_was_sent_never_is(phone, monkeypatch):
    monkeypatch.setattr(outgoing, "LOOK_AHEAD", 1600)
    await phone.stream.play(b"\x20" * 1600, wait=False)
    playing = begin(phone.stream.play(SECOND))
    await asyncio.sleep(0)
    playing.cancel()
    await phone.stream.mark("said")
    await phone.heard("mark")
    assert b"".join(audio(phone)) == b"\x20" * 1600


async def test_hanging_up_waits_for_what_was_not_sent_yet(phone, monkeypatch):
    monkeypatch.setattr(outgoing, "LOOK_AHEAD", 8000)
    await phone.stream.play(SECOND + b"\x21" * 1600, wait=False)
    hanging_up = begin(phone.stream.hang_up())
    await phone.play_out()
    await done(hanging_up)
    assert b"".join(audio(phone)) == SECOND + b"\x21" * 1600


async def test_what_was_never_sent_when_the_caller_hangs_up_is_told_and_is_not_an_interruption(phone):
    await phone.stream.play(SECOND * 30, wait=False)
    phone.hang_up()
    rows = phone.rows(EventRow)
    assert [(row.kind, row.data) for row in rows] == [("unsent", {"samples": 160_000})]


async def test_ten_minutes_may_wait_and_then_a_play_waits_for_room(phone, monkeypatch):
    monkeypatch.setattr(voice, "MOST_WAITING", 8000)
    await phone.stream.play(SECOND * 12, wait=False)
    playing = begin(phone.stream.play(SECOND, wait=False))
    await asyncio.sleep(0)
    assert not playing.done()
    await phone.stream.clear()
    assert await (await done(playing)) == "cleared"


# --- chunks of any size -----------------------------------------------------------------------------------------------


TONE = tone(440, 2000)


async def test_chunks_of_any_size_make_one_speech_without_seams(phone):
    for at in range(0, len(TONE), 1037):
        await phone.stream.play(TONE[at : at + 1037], wait=False)
    await phone.stream.mark("said")
    assert b"".join(audio(phone)) == TONE
    assert all(len(piece) % 160 == 0 for piece in audio(phone))


@pytest.mark.parametrize("size", [1, 77, 160, 161, 320, 999, 1037, 8001])
async def test_a_speech_in_chunks_ends_with_a_play_that_waits(phone, size):
    for at in range(0, 8000, size):
        await phone.stream.play(TONE[at : min(at + size, 8000)], wait=False)
    playing = begin(phone.stream.play(TONE[8000:8100]))
    await phone.play_out()
    await done(playing)
    assert b"".join(audio(phone)) == TONE[:8100] + b"\xff" * 60


async def test_the_end_of_a_speech_is_sent_though_nothing_follows(phone):
    await phone.stream.play(TONE[:1037], wait=False)
    await phone.heard("media")
    assert payload(await phone.heard("media")) == TONE[960:1037] + b"\xff" * 83


async def test_a_mark_ends_a_speech(phone):
    await phone.stream.play(b"\x20" * 77, wait=False)
    await phone.stream.mark("said")
    await phone.stream.play(b"\x21" * 160, wait=False)
    assert audio(phone) == [b"\x20" * 77 + b"\xff" * 83, b"\x21" * 160]


async def test_clear_ends_a_speech_without_its_last_samples(phone):
    await phone.stream.play(b"\x20" * 77, wait=False)
    await phone.stream.clear()
    await phone.stream.play(b"\x21" * 160, wait=False)
    assert audio(phone) == [b"\x21" * 160]


async def test_a_mark_that_never_comes_back_does_not_hold_a_handler_for_ever(phone, monkeypatch, caplog):
    monkeypatch.setattr(speaking, "MARK_PATIENCE", 0.01)
    assert await done(begin(phone.stream.play(b"\x20" * 160))) == "played"
    assert any(message.startswith("mark_lost") for message in caplog.messages)
    assert phone.return_mark("callstream:0")


async def test_two_plays_one_after_the_other_each_have_a_mark_of_their_own(phone):
    first, second = begin(phone.stream.play(SECOND)), begin(phone.stream.play(SECOND))
    await phone.play_out()
    assert await done(first) == "played"
    assert not second.done()
    await phone.play_out()
    assert await done(second) == "played"


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("greeting.wav", "the name of a file \\('greeting.wav'\\).*read_wav"),
        ("Hello there.", "text \\('Hello there.'\\); a speech service"),
        ("g" * 160, "text"),
        (Path("greeting.wav"), "the name of a file"),
        (None, "NoneType"),
        ([1, 2, 3], "list"),
    ],
)
async def test_what_is_not_audio_is_refused_with_what_to_do(phone, what, why, wait):
    with pytest.raises(TypeError, match=f"bytes.*, not {why}"):
        await phone.stream.play(what, wait=wait)
    assert phone.sent == []


@pytest.mark.parametrize("wait", [True, False])
async def test_a_file_or_pcm16_is_refused_rather_than_played_as_noise(phone, wait):
    with pytest.raises(ValueError, match="read_wav"):
        await phone.stream.play((FOLDER / "greeting.wav").read_bytes(), wait=wait)
    with pytest.raises(ValueError, match="16-bit PCM"):
        await phone.stream.play(mulaw_to_pcm16(TONE), wait=wait)
    assert phone.sent == []


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_bytes_of_any_kind_are_played(phone, kind):
    await phone.stream.play(kind(LOUD), wait=False)
    assert audio(phone) == [LOUD]


# --- clear ------------------------------------------------------------------------------------------------------------


async def test_clear_cuts_what_is_playing(phone):
    playing = begin(phone.stream.play(SECOND))
    mark = await phone.heard("mark")
    await phone.stream.clear()
    assert await done(playing) == "cleared"
    assert phone.sent[-1] == {"event": "clear", "streamSid": STREAM}
    assert phone.return_mark(mark["mark"]["name"])
    (gap,) = phone.rows(GapRow)
    assert (gap.track, gap.reason) == ("outbound", "cleared")
    assert 0 < gap.length <= 8000


async def test_clear_with_nothing_playing_is_sent_and_changes_nothing(phone):
    await phone.stream.clear()
    assert [message["event"] for message in phone.sent] == ["clear"]
    assert phone.rows(GapRow | EventRow) == []


async def test_clear_then_new_audio_then_a_new_mark(phone):
    first = begin(phone.stream.play(SECOND))
    old = (await phone.heard("mark"))["mark"]["name"]
    await phone.stream.clear()
    second = begin(phone.stream.play(SECOND))
    new = (await phone.heard("mark"))["mark"]["name"]
    assert await done(first) == "cleared"
    phone.return_mark(old)
    assert not second.done()
    phone.return_mark(new)
    assert await done(second) == "played"


async def test_a_mark_pending_at_the_clear_is_cleared_and_a_later_one_of_its_name_is_played(phone):
    await phone.stream.play(SECOND, wait=False)
    await phone.stream.mark("part")
    await phone.stream.clear()
    await phone.stream.mark("part")
    phone.return_mark("part")
    phone.return_mark("part")
    phone.hang_up()
    assert [(e.name, e.outcome) async for e in phone.stream] == [("part", "cleared"), ("part", "played")]


async def test_a_cleared_play_that_is_still_sending_stops(phone, monkeypatch):
    monkeypatch.setattr(outgoing, "LOOK_AHEAD", 16_000)
    playing = begin(phone.stream.play(SECOND * 30))
    await phone.heard("media")
    await phone.heard("media")
    await phone.stream.clear()
    assert await done(playing) == "cleared"
    assert [message["event"] for message in phone.sent] == ["media", "media", "clear"]


# --- marks ------------------------------------------------------------------------------------------------------------


async def test_a_mark_comes_back_as_an_event(phone):
    await phone.stream.mark("greeting")
    assert phone.sent == [{"event": "mark", "streamSid": STREAM, "mark": {"name": "greeting"}}]
    phone.return_mark("greeting")
    phone.hang_up()
    assert [(event.name, event.outcome) async for event in phone.stream] == [("greeting", "played")]


async def test_marks_of_one_name_come_back_one_by_one(phone):
    for _ in range(3):
        await phone.stream.mark("part")
    assert [phone.return_mark("part") for _ in range(4)] == [True, True, True, False]
    rows = phone.rows(MarkRow)
    assert [(row.index, row.outcome) for row in rows if row.returned_at] == [
        (0, "played"),
        (1, "played"),
        (2, "played"),
    ]


@pytest.mark.parametrize("name", ["never", "", "callstream:0", "x" * 60_000])
async def test_a_mark_that_was_never_sent_changes_nothing(phone, name):
    assert not phone.return_mark(name)
    phone.hang_up()
    assert [event async for event in phone.stream] == []
    assert phone.rows(MarkRow) == []


async def test_the_marks_of_play_are_not_events(phone):
    playing = begin(phone.stream.play(SECOND))
    await phone.play_out()
    await done(playing)
    phone.hang_up()
    assert [event async for event in phone.stream] == []


# --- barge-in ---------------------------------------------------------------------------------------------------------


async def test_a_key_cuts_what_may_be_interrupted(phone):
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    await phone.heard("mark")
    phone.press("5")
    assert await done(playing) == "cleared"
    assert phone.sent[-1]["event"] == "clear"
    assert [row.kind for row in phone.rows(EventRow)] == ["barge-in", "cleared"]


async def test_speech_cuts_what_may_be_interrupted(phone):
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    await phone.heard("mark")
    phone.speak(sounds.CALLER[:8000])
    assert await done(playing) == "cleared"
    assert [row.data for row in phone.rows(EventRow) if row.kind == "barge-in"] == [{"by": "speech"}]


@pytest.mark.parametrize("noise", [QUIET * 50, sounds.keyboard(2), sounds.ringing()[:16_000], sounds.music(2)])
async def test_noise_cuts_nothing(phone, noise):
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    mark = await phone.heard("mark")
    phone.speak(noise)
    await phone.listened()
    phone.return_mark(mark["mark"]["name"])
    assert await done(playing) == "played"
    assert phone.rows(EventRow) == []


async def test_the_other_persons_speech_is_not_a_barge_in(phone):
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    mark = await phone.heard("mark")
    phone.live.ear.hear(8000, Media(timestamp=100, payload=sounds.CALLER[:8000], track="outbound"))
    await phone.listened()
    phone.return_mark(mark["mark"]["name"])
    assert await done(playing) == "played"
    assert phone.rows(EventRow) == []


async def test_who_speaks_already_interrupts_by_going_on(phone):
    phone.stream.speech()
    phone.speak(sounds.CALLER[:8000])
    await phone.listened()
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    await phone.heard("mark")
    phone.speak(sounds.CALLER[8000:12_000])
    assert await done(playing) == "cleared"


async def test_a_stream_that_asks_for_nothing_is_not_listened_to(phone):
    await phone.stream.play(SECOND, wait=False)
    phone.speak(sounds.CALLER[:8000])
    assert phone.live.ear is None


async def test_what_may_not_be_interrupted_is_not(phone):
    playing = begin(phone.stream.play(SECOND))
    mark = await phone.heard("mark")
    phone.press("5")
    phone.speak(sounds.CALLER[:8000])
    phone.return_mark(mark["mark"]["name"])
    assert await done(playing) == "played"
    assert phone.rows(EventRow) == []


async def test_a_key_also_cuts_what_has_not_been_sent_yet(phone):
    playing = begin(phone.stream.play(SECOND * 30, barge_in=True))
    for _ in range(10):
        await phone.heard("media")
    phone.press("5")
    assert await done(playing) == "cleared"
    assert len(audio(phone)) == 10
    assert phone.sent[-1]["event"] == "clear"


async def test_what_the_caller_says_after_the_end_interrupts_nothing(phone):
    playing = begin(phone.stream.play(SECOND, barge_in=True))
    await phone.play_out()
    await done(playing)
    phone.press("5")
    phone.speak(sounds.CALLER[:8000])
    await phone.listened()
    assert [row.kind for row in phone.rows(EventRow)] == []


async def test_a_play_that_was_given_up_is_not_interrupted_later(phone):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await phone.stream.play(SECOND, barge_in=True)
    phone.press("5")
    assert [row.kind for row in phone.rows(EventRow)] == []


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_digits_end_with_their_count(phone):
    typed = begin(phone.stream.digits(3))
    phone.press("1234")
    assert await done(typed) == "123"
    assert await phone.stream.digits(1, timeout=0) == "4"


async def test_digits_end_with_the_terminator_which_is_not_one_of_them(phone):
    typed = begin(phone.stream.digits())
    phone.press("12#3")
    assert await done(typed) == "12"


async def test_another_terminator_makes_the_hash_a_digit(phone):
    phone.press("1#2*")
    assert await done(begin(phone.stream.digits(terminator="*"))) == "1#2"


async def test_digits_end_when_no_more_come(phone):
    phone.press("12")
    assert await done(begin(phone.stream.digits(4, timeout=0.01))) == "12"
    assert await done(begin(phone.stream.digits(4, timeout=0.01))) == ""


async def test_what_was_typed_ahead_counts(phone):
    phone.press("12")
    assert await done(begin(phone.stream.digits(2))) == "12"


async def test_audio_between_keys_is_not_a_digit_and_is_not_lost(phone):
    typed = begin(phone.stream.digits(2))
    phone.press("1")
    phone.say(LOUD)
    phone.press("2")
    assert await done(typed) == "12"
    phone.hang_up()
    assert [event.payload async for event in phone.stream.media()] == [LOUD]


async def test_digits_end_with_the_stream(phone):
    typed = begin(phone.stream.digits(4))
    phone.press("12")
    phone.hang_up()
    assert await done(typed) == "12"


async def test_sensitive_digits_are_stored_masked_and_never_logged(phone, caplog):
    caplog.set_level(logging.DEBUG)
    typed = begin(phone.stream.digits(4, sensitive=True))
    await asyncio.sleep(0)
    phone.press("9753")
    assert await done(typed) == "9753"
    phone.press("8")
    assert [row.digit for row in phone.rows(DtmfRow)] == ["•", "•", "•", "•", "8"]
    assert "9753" not in caplog.text


async def test_keys_typed_ahead_of_sensitive_digits_are_masked_and_no_others(phone):
    phone.press("1")
    assert await phone.stream.digits(1, timeout=0) == "1"
    phone.press("97#5")
    assert await phone.stream.digits(4, timeout=0, sensitive=True) == "97"
    assert {row.index: row.digit for row in phone.rows(DtmfRow)} == {0: "1", 1: "•", 2: "•", 3: "•", 4: "5"}


async def test_all_digits_are_masked_where_the_settings_say_so(settings):
    settings.MASK_DTMF = True
    phone = Phone()
    phone.press("12")
    assert await phone.stream.digits(2, timeout=0) == "12"
    assert [row.digit for row in phone.rows(DtmfRow)] == ["•", "•"]


async def test_one_task_may_take_keys_while_another_takes_audio(phone):
    async def listen():
        return [media.payload async for media in phone.stream.media() if media.payload == LOUD]

    typed, listening = begin(phone.stream.digits(1, timeout=60)), begin(listen())
    await asyncio.sleep(0)
    phone.say(LOUD)
    await asyncio.sleep(0)
    assert not typed.done()
    phone.hang_up()
    assert await done(listening) == [LOUD]
    assert await done(typed) == ""


# --- iteration --------------------------------------------------------------------------------------------------------


async def test_audio_comes_in_the_format_that_was_asked_for(phone):
    phone.say(LOUD, times=10)
    phone.hang_up()
    heard = [media async for media in phone.stream.media(encoding="pcm16", rate=16000)]
    assert sum(len(media.payload) for media in heard) == 10 * 640


async def test_audio_in_no_format_of_ours_is_refused_where_it_is_asked_for(phone):
    with pytest.raises(ValueError, match="not 44100"):
        phone.stream.media(encoding="pcm16", rate=44100)
    with pytest.raises(ValueError, match="not 'opus'"):
        phone.stream.media(encoding="opus")


async def test_events_come_in_the_order_of_their_arrival(phone):
    await phone.stream.mark("m")
    phone.say(LOUD)
    phone.press("1")
    phone.return_mark("m")
    phone.say(QUIET)
    phone.hang_up()
    kinds = [type(event).__name__ async for event in phone.stream]
    assert kinds == ["Media", "Dtmf", "Mark", "Media"]


async def test_iteration_waits_for_what_comes(phone):
    async def first():
        async for event in phone.stream:
            return event

    waiting = begin(first())
    await asyncio.sleep(0)
    phone.press("7")
    assert (await done(waiting)).digit == "7"


async def test_iteration_ends_with_the_stream(phone):
    async def everything():
        return [event async for event in phone.stream]

    waiting = begin(everything())
    await asyncio.sleep(0)
    phone.hang_up()
    assert await done(waiting) == []


async def test_audio_that_nobody_takes_is_kept_for_two_seconds_and_is_not_an_overrun(phone):
    phone.press("1")
    phone.say(QUIET, times=50)
    phone.say(LOUD, times=100)
    assert phone.stream.overruns == 0
    phone.hang_up()
    events = [event async for event in phone.stream]
    assert events[0].digit == "1"
    assert [event.payload for event in events[1:]] == [LOUD] * 100


async def test_a_wait_that_timed_out_can_be_repeated(phone):
    coming = phone.stream.media()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(coming), 0.001)
    phone.say(LOUD)
    assert (await done(begin(anext(coming)))).payload == LOUD


async def test_audio_that_a_handler_is_too_slow_for_is_counted(phone):
    iterator = aiter(phone.stream)
    phone.say(LOUD)
    await anext(iterator)
    phone.say(LOUD, times=103)
    assert phone.stream.overruns == 3
    await iterator.aclose()
    phone.say(LOUD, times=5)
    assert phone.stream.overruns == 3


async def test_keys_are_never_dropped(phone):
    for _ in range(10):
        phone.press("1")
        phone.say(QUIET, times=100)
    assert await phone.stream.digits(10, timeout=0) == "1" * 10


async def test_what_has_arrived_can_be_passed_over(phone):
    phone.press("1")
    phone.say(LOUD, times=100)
    phone.stream.skip()
    phone.say(QUIET, times=100)
    phone.hang_up()
    assert [event.payload async for event in phone.stream] == [QUIET] * 100


# --- recording --------------------------------------------------------------------------------------------------------


async def test_a_recording_is_paused_and_resumed_once(phone):
    for _ in range(2):
        phone.stream.pause_recording()
    assert phone.stream.recording_paused
    for _ in range(2):
        phone.stream.resume_recording()
    assert not phone.stream.recording_paused
    assert [row.kind for row in phone.rows(EventRow)] == ["recording-paused", "recording-resumed"]


async def test_while_it_is_paused_neither_side_is_kept(phone):
    phone.tape.media("inbound", 100, LOUD, 0)
    phone.stream.pause_recording()
    phone.tape.media("inbound", 120, LOUD, 160)
    phone.stream.resume_recording()
    phone.tape.media("inbound", 140, LOUD, 320)
    rows = phone.tape.cut_all()
    chunks = [(row.start, row.payload) for row in rows if type(row).__name__ == "ChunkRow"]
    assert chunks == [(0, LOUD), (320, LOUD)]
    assert [(g.track, g.start, g.length, g.reason) for g in rows if isinstance(g, GapRow)] == [
        ("inbound", 160, 160, "paused")
    ]


# --- the call's data --------------------------------------------------------------------------------------------------


async def test_data_is_on_tape_at_once(phone):
    phone.stream.set(order="A-17", amount=12)
    phone.stream.set(amount=13)
    rows = phone.rows(DataRow)
    assert [(row.stream, row.values) for row in rows] == [
        (STREAM, {"order": "A-17", "amount": 12}),
        (STREAM, {"amount": 13}),
    ]


async def test_what_is_set_later_is_later_even_if_the_clock_is_set_back(phone, monkeypatch):
    now = timezone.now()
    for second in (0, -60, -30):
        monkeypatch.setattr(timezone, "now", lambda at=now + dt.timedelta(seconds=second): at)
        phone.stream.set(step=second)
    moments = [row.at for row in phone.rows(DataRow)]
    assert moments == sorted(set(moments))


async def test_what_is_refused_leaves_nothing_behind(phone):
    with pytest.raises(TypeError, match="order is a bytes"):
        phone.stream.set(order=b"A-17", amount=12)
    phone.stream.set(order="A" * 10_000)
    with pytest.raises(ValueError, match="at most 16384 bytes"):
        phone.stream.set(more="A" * 10_000)
    assert len(phone.rows(DataRow)) == 1


async def test_a_note_lies_where_the_call_is(phone):
    phone.say(times=50)
    phone.stream.note("asked for a refund")
    (row,) = phone.rows(EventRow)
    assert (row.kind, row.data["text"]) == ("note", "asked for a refund")
    assert 0 <= row.data["position"] <= phone.live.clock.elapsed(time.monotonic())


async def test_a_handler_that_cleans_up_can_still_write_something_down(phone):
    phone.hang_up()
    phone.stream.set(result="hung up")
    phone.stream.note("left in mid-sentence")
    assert len(phone.rows(DataRow | EventRow)) == 2


async def test_what_comes_after_the_last_rows_is_not_lost_in_silence(phone):
    phone.live.lifetime.note_recorded()
    with pytest.raises(StreamEnded, match="the last rows of this stream are written"):
        phone.stream.set(result="too late")
    with pytest.raises(StreamEnded):
        phone.stream.note("too late")


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_hanging_up_waits_until_everything_was_heard(phone):
    await phone.stream.play(SECOND, wait=False)
    hanging_up = begin(phone.stream.hang_up())
    mark = await phone.heard("mark")
    assert not phone.stream.ended
    phone.return_mark(mark["mark"]["name"])
    await done(hanging_up)
    assert phone.stream.ended


async def test_hanging_up_with_nothing_to_hear_is_at_once(phone):
    await done(begin(phone.stream.hang_up()))
    assert phone.stream.ended
    assert phone.sent == []


@pytest.mark.parametrize("how", ["play", "clear", "mark"])
async def test_nothing_can_be_sent_after_the_end(phone, how):
    phone.hang_up()
    actions = {
        "play": lambda: phone.stream.play(SECOND),
        "clear": phone.stream.clear,
        "mark": lambda: phone.stream.mark("m"),
    }
    with pytest.raises(StreamEnded):
        await actions[how]()
    assert phone.sent == []


async def test_who_waits_for_something_to_be_heard_learns_that_it_never_will_be(phone):
    playing = begin(phone.stream.play(SECOND))
    await phone.heard("mark")
    phone.hang_up()
    assert await done(playing) == "cleared"


async def test_hanging_up_twice_or_after_the_caller_is_not_an_error(phone):
    phone.hang_up()
    await done(begin(phone.stream.hang_up()))
    await done(begin(phone.stream.hang_up()))


async def test_a_play_that_fills_the_buffer_ends_with_the_stream(phone):
    playing = begin(phone.stream.play(SECOND * 60))
    for _ in range(10):
        await phone.heard("media")
    phone.hang_up()
    assert await done(playing) == "cleared"
    assert len(audio(phone)) == 10


async def test_a_play_that_the_caller_hangs_up_on_is_cleared(phone):
    phone.is_impatient = True
    assert await done(begin(phone.stream.play(SECOND * 3))) == "cleared"
    assert len(phone.sent) == 1


async def silent_for_five_seconds(phone):
    """One frame of the caller's, then nothing any more, while we talk."""
    phone.tape.media("inbound", 100, QUIET, 0)
    await phone.stream.play(SECOND * 9, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)


def stored(phone):
    """Samples that are stored of our side."""
    return sum(len(row.payload) for row in phone.rows(ChunkRow) if row.track == "outbound")


async def test_of_a_socket_that_had_died_nothing_was_heard_after_its_last_word(phone):
    await silent_for_five_seconds(phone)
    phone.live.fall_silent()
    rows = phone.tape.cut_all()
    (gap,) = [row for row in rows if isinstance(row, GapRow)]
    heard = sum(len(row.payload) for row in rows if isinstance(row, ChunkRow) and row.track == "outbound")
    assert phone.live.hearing.heard == heard <= 160
    assert (gap.reason, gap.length) == ("cleared", 72_000 - heard)


async def test_of_a_phone_that_sends_nothing_in_silence_all_was_heard_until_the_stop(phone):
    await silent_for_five_seconds(phone)
    assert stored(phone) == phone.live.hearing.heard == 0
    phone.hang_up()
    assert stored(phone) == phone.live.hearing.heard > 39_000


async def test_a_socket_that_was_silent_and_goes_on_has_played_all_the_time(phone):
    await silent_for_five_seconds(phone)
    phone.tape.media("inbound", 5100, QUIET, 40_000)
    phone.live.hearing.advance(time.monotonic() + 5.02)
    assert stored(phone) == phone.live.hearing.heard > 39_000


async def test_what_is_said_while_recording_is_paused_stays_off_tape_though_its_life_shows_later(phone):
    phone.tape.media("inbound", 100, QUIET, 0)
    phone.stream.pause_recording()
    await phone.stream.play(b"\x11" * 32_000, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)
    phone.stream.resume_recording()
    phone.tape.media("inbound", 5100, QUIET, 40_000)
    await phone.stream.play(LOUD, wait=False)
    phone.hang_up()
    rows = phone.tape.cut_all()
    assert not any(b"\x11" in row.payload for row in rows if isinstance(row, ChunkRow))
    gaps = [(row.track, row.length, row.reason) for row in rows if isinstance(row, GapRow)]
    assert ("outbound", 32_000, "paused") in gaps


async def test_what_was_said_before_a_pause_is_on_tape_though_its_life_shows_later(phone):
    await phone.stream.play(SECOND, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)
    phone.stream.pause_recording()
    phone.tape.media("inbound", 5100, QUIET, 40_000)
    phone.live.hearing.advance(time.monotonic() + 5.02)
    assert stored(phone) == phone.live.hearing.heard == 8000


async def test_a_prompt_that_ended_in_silence_is_on_tape_once_the_caller_speaks(phone):
    await phone.stream.play(SECOND, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)
    assert stored(phone) == 0
    phone.tape.media("inbound", 5100, QUIET, 40_000)
    phone.live.hearing.advance(time.monotonic() + 5.02)
    assert stored(phone) == phone.live.hearing.heard == 8000


@pytest.mark.parametrize("sign", [lambda phone: phone.press("1"), lambda phone: phone.return_mark("said")])
async def test_a_key_or_a_mark_shows_that_all_before_it_was_heard(phone, sign):
    await phone.stream.mark("said")
    await phone.stream.play(SECOND, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)
    sign(phone)
    phone.live.fall_silent()
    assert stored(phone) == phone.live.hearing.heard == 8000


async def test_once_the_caller_is_lost_a_sign_that_was_on_its_way_adds_nothing(phone):
    await phone.stream.play(SECOND, wait=False)
    phone.live.hearing.note_lost(time.monotonic())
    phone.tape.media("inbound", 5000, QUIET, 40_000)
    phone.live.hearing.advance(time.monotonic() + 5)
    phone.live.fall_silent()
    assert stored(phone) == phone.live.hearing.heard < 160


async def test_a_mark_that_a_dead_socket_owes_us_is_not_played_though_it_is_we_who_hang_up(phone, monkeypatch):
    monkeypatch.setattr(hearing, "SIGN_OF_LIFE", -1)
    monkeypatch.setattr(speaking, "MARK_PATIENCE", 0.01)
    assert await done(begin(phone.stream.play(LOUD))) == "cleared"
    await done(begin(phone.stream.hang_up()))
    rows = phone.tape.cut_all()
    assert {row.outcome for row in rows if isinstance(row, MarkRow)} == {"pending", "cleared"}
    assert [(row.length, row.reason) for row in rows if isinstance(row, GapRow)] == [(160, "cleared")]
    assert phone.live.hearing.heard == 0


async def test_hanging_up_asks_a_phone_that_sends_nothing_in_silence_whether_it_has_heard_all(phone):
    await phone.stream.play(SECOND, wait=False)
    phone.live.hearing.advance(time.monotonic() + 5)
    hanging_up = begin(phone.stream.hang_up())
    await phone.play_out()
    await done(hanging_up)
    assert stored(phone) == phone.live.hearing.heard == 8000


# --- a <Start> stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["play", "clear", "mark"])
async def test_nothing_is_sent_on_a_start_stream(listener, how):
    stream = listener.stream
    actions = {"play": lambda: stream.play(SECOND), "clear": stream.clear, "mark": lambda: stream.mark("m")}
    with pytest.raises(StateError, match="<Start>"):
        await actions[how]()
    await stream.hang_up()
    assert listener.sent == []
    assert listener.rows(MarkRow | GapRow) == []


async def test_a_start_stream_hears_both_people(listener):
    listener.say(LOUD)
    listener.say(QUIET, track="outbound")
    listener.hang_up()
    assert [event.track async for event in listener.stream.media()] == ["inbound", "outbound"]


async def test_both_people_come_in_the_format_that_was_asked_for(listener):
    listener.say(LOUD)
    listener.say(QUIET, track="outbound")
    listener.hang_up()
    heard = [media async for media in listener.stream.media(encoding="pcm16", rate=24000)]
    assert [(media.track, len(media.payload)) for media in heard] == [("inbound", 960), ("outbound", 960)]
