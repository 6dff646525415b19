"""A person takes over from a handler and hands back: what the caller hears, and what the handler gets and is told."""

import asyncio
import time

import pytest

from calls.media.audio import tone
from calls.media.protocol import StateError
from calls.media.rows import ChunkRow, EventRow
from calls.server import hold
from calls.server.departures import Departure
from calls.server.hold import Taken
from calls.streams import Control, Mark, Media, Played, StreamEnded, Takeover
from calls.supervision import stepping_in
from tests.support import sounds
from tests.support.line import payload
from tests.support.phone import LOUD, Phone, begin, done


SECOND = b"\x20" * 8000
# What a browser sends every 60 ms.
VOICE = tone(300, 60, level=0.9)
MONEY = sounds.spoken_by("en-us", "I want my money back, and I want it today.")
THANKS = sounds.spoken_by("en-us", "Thank you very much for that.")


@pytest.fixture
async def phone():
    return Phone()


@pytest.fixture
async def held(phone):
    """Anna talks to the caller."""
    await phone.live.hold.begin(7, "anna")
    return phone


def spoken(phone):
    """What was sent to the caller, without what a clear took back."""
    return b"".join(payload(message) for message in phone.sent if message["event"] == "media")


def ours(phone):
    """What of us is recorded."""
    return [row for row in phone.rows(ChunkRow) if row.track == "outbound"]


def acts(phone):
    return [row for row in phone.rows(EventRow) if row.source == "control"]


async def turned(times=20):
    """Whatever can go on has gone on."""
    for _ in range(times):
        await asyncio.sleep(0)


# --- beginning --------------------------------------------------------------------------------------------------------


async def test_what_plays_and_what_waits_is_cleared_when_somebody_takes_over(phone):
    playing, next_one = begin(phone.stream.play(SECOND * 8)), phone.stream.say(SECOND * 8)
    await phone.heard("media")
    await phone.live.hold.begin(7, "anna")
    assert await done(playing) == "cleared"
    assert await done(later(next_one)) == "cleared"
    assert phone.sent[-1]["event"] == "clear"


async def test_a_second_person_is_told_who_talks_and_cuts_nobody_off(held):
    with pytest.raises(Taken, match=r"^anna has taken over$"):
        await held.live.hold.begin(8, "bert")
    assert held.live.hold.user == "anna"


async def test_nobody_takes_over_where_we_only_listen():
    with pytest.raises(StateError):
        await Phone(bidirectional=False).live.hold.begin(7, "anna")


async def test_nobody_takes_over_a_call_that_is_over(phone):
    phone.hang_up()
    with pytest.raises(StreamEnded):
        await phone.live.hold.begin(7, "anna")


# --- the person's voice -----------------------------------------------------------------------------------------------


async def test_what_the_person_says_goes_to_the_caller_at_once_behind_a_cushion(held):
    await held.live.hold.say(VOICE)
    assert spoken(held) == b"\xff" * (hold.CUSHION - 480) + VOICE


async def test_of_what_comes_too_fast_no_more_than_a_fifth_of_a_second_lies_ahead(held):
    for _ in range(20):
        await held.live.hold.say(VOICE)
    assert held.live.hearing.playback.pending <= 1600 + 160


async def test_after_a_hole_more_lies_ahead_so_that_the_next_one_is_none(held):
    await held.live.hold.say(VOICE)
    held.later(1000)
    await held.live.hold.say(VOICE)
    assert held.live.hearing.playback.pending == hold.CUSHION + hold.STEP


async def test_of_what_comes_in_any_size_whole_frames_are_sent(held):
    for size in (1, 300, 481, 7):
        await held.live.hold.say(b"\x20" * size)
        held.later(1000)
        held.live.hearing.advance(time.monotonic())
    assert spoken(held).replace(b"\xff", b"") == b"\x20" * 640


async def test_silence_is_left_out_before_speech_is(held):
    for _ in range(5):
        await held.live.hold.say(b"\xff" * 480)
    assert held.live.hearing.playback.pending <= hold.CUSHION + hold.SPARE_SILENCE + 160
    await held.live.hold.say(VOICE)
    assert VOICE[:160] in spoken(held)


async def test_the_right_lane_holds_what_the_person_said(held):
    await held.live.hold.say(VOICE)
    held.later(1000)
    held.live.hearing.advance(time.monotonic())
    [chunk] = ours(held)
    assert VOICE in chunk.payload


async def test_a_person_talks_on_a_call_that_is_not_recorded_and_leaves_no_audio(held):
    held.stream.pause_recording()
    await held.live.hold.say(VOICE)
    held.later(1000)
    held.live.hearing.advance(time.monotonic())
    assert (VOICE in spoken(held), ours(held)) == (True, [])


# --- what the handler gets --------------------------------------------------------------------------------------------


async def test_audio_and_keys_are_not_for_the_handler_while_a_person_talks_and_are_not_kept(held):
    held.say(LOUD, times=3)
    held.press("1")
    coming = begin(anext(aiter(held.stream)))
    await turned()
    assert not coming.done()
    held.live.hold.end()
    assert isinstance(await done(coming), Takeover)
    assert len(held.live.inbox) == 0


async def test_what_had_come_before_and_was_not_taken_is_gone(phone):
    phone.say(LOUD, times=3)
    phone.press("1")
    await phone.live.hold.begin(7, "anna")
    phone.live.hold.end()
    assert isinstance(await done(anext(aiter(phone.stream))), Takeover)


async def test_the_handler_is_told_who_talked_and_when_and_hears_its_caller_again(held):
    held.later(2000)
    held.live.hold.end()
    held.say(LOUD)
    events = aiter(held.stream)
    told = await done(anext(events))
    assert (told.user, told.end_ms - told.start_ms >= 2000) == ("anna", True)
    assert isinstance(await done(anext(events)), Media)


async def test_who_iterates_over_media_alone_is_not_told(held):
    coming = begin(anext(held.stream.media()))
    held.live.hold.end()
    held.say(LOUD)
    assert isinstance(await done(coming), Media)


async def test_what_was_done_from_outside_meanwhile_is_told_afterwards(held):
    held.live.inbox.put(Control("clear", "bert"))
    assert len(held.live.inbox) == 0
    held.live.hold.end()
    assert await done(anext(aiter(held.stream))) == Control("clear", "bert")


async def test_digits_do_not_run_out_against_a_caller_whom_somebody_else_has(phone):
    typing = begin(phone.stream.digits(2, timeout=0.05))
    await turned()
    await phone.live.hold.begin(7, "anna")
    phone.press("9")
    await asyncio.wait({typing}, timeout=0.15)
    assert not typing.done()
    phone.live.hold.end()
    await turned()
    phone.press("12")
    assert await done(typing) == "12"


async def test_digits_run_out_when_the_caller_is_back_and_presses_nothing(held):
    typing = begin(held.stream.digits(2, timeout=0.02))
    held.live.hold.end()
    assert await done(typing) == ""


async def test_the_recording_has_the_keys_that_were_for_the_person(held):
    held.press("5")
    assert "5" in [getattr(row, "digit", "") for row in held.tape.cut_all()]


async def test_what_is_said_to_the_person_is_no_turn_of_the_handlers(phone):
    turns = phone.stream.speech(end_silence=0.3)
    coming = begin(anext(turns))
    await turned()
    await phone.live.hold.begin(7, "anna")
    phone.speak(MONEY + b"\xff" * 8000)
    await phone.listened()
    assert not coming.done()
    phone.live.hold.end()
    phone.speak(THANKS + b"\xff" * 8000)
    said = await done(coming)
    assert said.start_ms >= 1000


async def test_whether_the_caller_speaks_is_known_while_a_person_talks(held):
    assert not held.stream.is_speaking
    held.speak(MONEY[:8000])
    await held.listened()
    assert held.stream.is_speaking


# --- what the handler says --------------------------------------------------------------------------------------------


async def test_a_play_is_not_heard_while_a_person_talks_and_returns_when_they_hand_back(held):
    playing = begin(held.stream.play(SECOND))
    await turned()
    assert (playing.done(), spoken(held)) == (False, b"")
    held.live.hold.end()
    assert await done(playing) == Played("cleared", 0, 0)
    assert spoken(held) == b""


async def test_frames_that_nobody_waits_for_are_dropped_at_once(held):
    for _ in range(3):
        playing = await done(begin(held.stream.play(LOUD, wait=False)))
    waiting = begin(later(playing))
    await turned()
    assert (spoken(held), playing.heard_ms, waiting.done()) == (b"", 0, False)
    held.live.hold.end()
    assert await done(waiting) == Played("cleared", 0, 0)


async def later(playing):
    return await playing


async def test_who_plays_without_end_waits_for_room_as_ever_and_does_not_spin(held):
    async def without_end():
        while True:
            await held.stream.play(SECOND * 60, wait=False)

    playing = begin(without_end())
    await turned(100)
    assert not playing.done()
    playing.cancel()


async def test_a_source_is_closed_without_being_begun(held):
    began = []

    async def source():
        began.append(True)
        yield SECOND

    audio = source()
    playing = held.stream.say(audio)
    await turned()
    assert (began, [chunk async for chunk in audio]) == ([], [])
    held.live.hold.end()
    assert await done(later(playing)) == "cleared"


async def test_a_plain_iterator_that_was_begun_is_closed(held):
    def source():
        try:
            yield SECOND
            yield SECOND
        finally:
            closed.append(True)

    closed, audio = [], source()
    next(audio)
    playing = begin(held.stream.play(audio))
    while not closed:  # noqa: ASYNC110 - a thread closes it
        await asyncio.sleep(0.005)
    held.live.hold.end()
    assert await done(playing) == "cleared"


async def test_a_source_under_way_is_closed_when_somebody_takes_over(phone):
    closed = asyncio.Event()

    async def source():
        try:
            yield SECOND
            await asyncio.Event().wait()
        finally:
            closed.set()

    phone.stream.say(source())
    await phone.heard("media")
    await phone.live.hold.begin(7, "anna")
    await done(closed.wait())


async def test_marks_come_back_as_cleared_when_the_person_hands_back(held):
    await held.stream.mark("said")
    held.live.hold.end()
    events = aiter(held.stream)
    assert await done(anext(events)) == Mark("said", "cleared")
    assert isinstance(await done(anext(events)), Takeover)
    assert "mark" not in [message["event"] for message in held.sent]


async def test_a_mark_that_was_on_its_way_is_told_when_the_person_hands_back(phone):
    await phone.stream.play(LOUD, wait=False)
    await phone.stream.mark("said")
    await phone.live.hold.begin(7, "anna")
    assert phone.return_mark("said")
    assert len(phone.live.inbox) == 0
    phone.live.hold.end()
    assert await done(anext(aiter(phone.stream))) == Mark("said", "cleared")


async def test_a_handlers_clear_leaves_what_the_person_says(held):
    await held.live.hold.say(VOICE)
    await held.stream.clear()
    assert [message["event"] for message in held.sent] == ["clear", "media"]


async def test_a_caller_who_speaks_to_the_person_interrupts_nothing(held):
    begin(held.stream.play(SECOND, barge_in=True))
    await turned()
    held.press("1")
    assert "barge-in" not in [row.kind for row in held.rows(EventRow)]


async def test_what_is_played_after_the_person_has_handed_back_is_heard(held):
    held.live.hold.end()
    playing = begin(held.stream.play(SECOND))
    await held.play_out()
    assert await done(playing) == "played"
    assert spoken(held) == SECOND


async def test_frames_go_straight_to_the_line_again_after_that(held):
    held.live.hold.end()
    await held.stream.play(LOUD, wait=False)
    assert spoken(held) == LOUD


# --- the handler's end ------------------------------------------------------------------------------------------------


async def test_a_handlers_hang_up_waits_until_the_person_has_handed_back(held):
    hanging_up = begin(held.stream.hang_up())
    await turned()
    assert (hanging_up.done(), held.live.lifetime.is_ending) == (False, False)
    held.live.hold.end()
    await done(hanging_up)
    assert held.live.lifetime.reason == "handler"


async def test_who_takes_over_from_a_goodbye_keeps_the_caller(phone):
    phone.stream.say(SECOND)
    hanging_up = begin(phone.stream.hang_up())
    await phone.heard("media")
    await phone.live.hold.begin(7, "anna")
    await turned()
    assert (hanging_up.done(), phone.live.lifetime.is_ending) == (False, False)
    phone.live.hold.end()
    await done(hanging_up)


async def test_a_dial_waits_until_the_person_has_handed_back(held):
    dialling = begin(held.stream.dial("+14155550111"))
    await turned()
    assert not held.live.lifetime.is_ending
    held.live.hold.end()
    await done(held.live.lifetime.until_ending())
    assert held.live.lifetime.reason == "dial"
    dialling.cancel()


async def test_a_person_who_talks_can_end_the_call(held):
    await stepping_in.hang_up(held.live, stepping_in.Asked("hang-up", {}, None, "anna"))
    await done(held.live.lifetime.until_ending())
    assert (held.live.lifetime.reason, held.live.hold.is_on) == ("handler", False)


async def test_a_caller_who_hangs_up_ends_it_and_frees_whoever_waits(held):
    playing = begin(held.stream.play(SECOND))
    await turned()
    held.hang_up()
    assert await done(playing) == "cleared"
    assert [type(event) async for event in held.stream] == [Takeover]


async def test_a_caller_who_hangs_up_ends_digits(held):
    typing = begin(held.stream.digits(2))
    await turned()
    held.hang_up()
    assert await done(typing) == ""


# --- on record --------------------------------------------------------------------------------------------------------


async def test_the_timeline_says_who_took_over_and_for_how_long(held):
    held.later(34_000)
    held.live.hold.end()
    took, back = acts(held)
    assert (took.kind, took.user, back.kind, back.user) == ("take-over", 7, "hand-back", 7)
    assert round(back.data["seconds"]) == 34
    assert "why" not in back.data


async def test_the_timeline_says_why_it_ended_if_nobody_handed_back(held):
    held.hang_up()
    assert acts(held)[-1].data["why"] == "the call's stream ended"


async def test_who_has_the_call_hung_up_while_they_talk_is_named_as_the_reason(held):
    held.live.departure = Departure(by="anna")
    held.hang_up()
    assert acts(held)[-1].data["why"] == "the call was hung up, as anna asked"
