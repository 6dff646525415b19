"""The caller's turns as a handler has them: on a phone without a socket, and on a line with a recording behind it."""

import asyncio

import pytest

from calls.media.audio import tone
from calls.models import AudioChunk
from calls.server import ear
from calls.speech.detector import detector
from calls.streams import Speech
from tests.support import sounds
from tests.support.line import Line, stored
from tests.support.phone import Phone, begin, done


QUIET = sounds.silence(1)
# Of the caller's first sentence: "Hi, this is Martin."
WORDS = sounds.CALLER[:9600]


@pytest.fixture
async def phone():
    return Phone()


def frames(audio):
    return [audio[at : at + 160] for at in range(0, len(audio), 160)]


async def all_of(turns):
    return [said async for said in turns]


# --- turns ------------------------------------------------------------------------------------------------------------


async def test_a_turn_is_what_the_recording_has_between_its_ends(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET + sounds.CALLER + QUIET)
    said = await done(anext(turns))
    recorded = QUIET + sounds.CALLER + QUIET
    assert said == Speech(said.start_ms, said.end_ms, recorded[said.start_ms * 8 : said.end_ms * 8])
    assert 800 <= said.start_ms <= 1080
    assert 8800 <= said.end_ms <= 9200


async def test_two_sentences_with_silence_between_them_are_two_turns(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS + QUIET + WORDS + QUIET)
    first, second = await done(anext(turns)), await done(anext(turns))
    assert second.start_ms - first.start_ms == pytest.approx(2200, abs=100)


async def test_a_shorter_silence_ends_a_turn_if_it_is_to(phone):
    tasks = begin(all_of(phone.stream.speech(end_silence=0.2))), begin(all_of(phone.stream.speech()))
    await asyncio.sleep(0)
    phone.speak(QUIET + WORDS + QUIET[:4800] + WORDS)
    phone.hang_up()
    assert [len(await done(task)) for task in tasks] == [2, 1]


@pytest.mark.parametrize("seconds", [0, 0.05, 11, -1, float("nan")])
async def test_silences_that_end_nothing_or_everything_are_refused(phone, seconds):
    with pytest.raises(ValueError, match=r"0\.1 to 10\.0 seconds"):
        phone.stream.speech(end_silence=seconds)


async def test_noise_is_no_turn(phone):
    turns = phone.stream.speech()
    phone.speak(sounds.keyboard(3) + sounds.ringing()[:24_000])
    phone.hang_up()
    assert await done(begin(all_of(turns))) == []


async def test_a_turn_that_runs_when_the_caller_hangs_up_is_given_out(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS)
    phone.hang_up()
    [said] = await done(begin(all_of(turns)))
    assert said.end_ms == 2200
    assert said.audio == (QUIET + WORDS)[said.start_ms * 8 :]


async def test_a_stream_that_is_over_has_no_turns(phone):
    phone.hang_up()
    assert await done(begin(all_of(phone.stream.speech()))) == []


async def test_a_stream_without_a_word_has_no_turns(phone):
    turns = begin(all_of(phone.stream.speech()))
    await asyncio.sleep(0)
    phone.hang_up()
    assert await done(turns) == []


async def test_a_phone_that_sends_nothing_while_it_is_silent_ends_its_turn_by_the_clock(phone):
    turns = phone.stream.speech(end_silence=0.1)
    phone.speak(WORDS[:4800])
    said = await done(anext(turns))
    assert said.end_ms <= 600


async def test_a_hole_ends_a_turn_when_the_phone_speaks_again(phone):
    turns = phone.stream.speech()
    phone.speak(WORDS)
    phone.number += 100
    phone.speak(WORDS)
    phone.hang_up()
    first, second = await done(begin(all_of(turns)))
    assert second.start_ms - first.end_ms > 1000


async def test_a_jump_of_the_phones_clock_costs_no_words_of_before_it(phone):
    turns = begin(all_of(phone.stream.speech()))
    await asyncio.sleep(0)
    phone.speak(WORDS)
    await phone.listened()
    phone.number += 1000
    phone.speak(WORDS)
    phone.hang_up()
    first, second = await done(turns)
    assert first.start_ms < 1000
    assert first.audio == WORDS[first.start_ms * 8 : first.end_ms * 8]
    assert second.start_ms >= 20_000


async def test_behind_such_a_jump_the_detector_knows_nothing_of_before_it(phone):
    phone.stream.speech()
    phone.speak(WORDS)
    voice, _ = phone.live.ear.take()
    phone.speak(WORDS)
    assert phone.live.ear.take()[0] is voice
    phone.number += 1000
    phone.speak(WORDS)
    assert phone.live.ear.take()[0] is not voice


async def test_only_the_callers_own_track_is_heard():
    phone = Phone(bidirectional=False)
    turns = phone.stream.speech()
    for frame in frames(WORDS):
        phone.say(frame, track="outbound")
    phone.hang_up()
    assert await done(begin(all_of(turns))) == []


# --- who gets them ----------------------------------------------------------------------------------------------------


async def test_each_of_several_iterators_has_all_turns_by_its_own_silence(phone):
    short, long = phone.stream.speech(end_silence=0.2), phone.stream.speech(end_silence=2)
    tasks = begin(all_of(short)), begin(all_of(long))
    await asyncio.sleep(0)
    phone.speak(QUIET + WORDS + QUIET + WORDS + QUIET)
    phone.hang_up()
    many, few = await done(tasks[0]), await done(tasks[1])
    assert (len(many) >= 2, len(few)) == (True, 1)
    assert few[0].start_ms == many[0].start_ms


async def test_turns_wait_while_the_handler_is_busy(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS + QUIET)
    await done(anext(turns))
    phone.speak(WORDS + QUIET)
    await phone.listened()
    assert (await done(anext(turns))).start_ms > 2000


async def test_of_turns_that_nobody_takes_the_oldest_goes(phone, monkeypatch, caplog):
    monkeypatch.setattr(ear, "MOST_WAITING", 28_000)
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS + QUIET)
    await done(anext(turns))
    phone.speak(4 * (WORDS + QUIET))
    await phone.listened()
    phone.hang_up()
    assert len(await done(begin(all_of(turns)))) == 2
    assert caplog.text.count("turns_dropped") == 1


async def test_who_interrupts_is_heard_from_their_first_word(phone):
    playing = begin(phone.stream.play(b"\x20" * 8000, barge_in=True))
    await phone.heard("mark")
    phone.speak(QUIET + sounds.CALLER[:8000])
    assert await done(playing) == "cleared"
    turns = phone.stream.speech()
    phone.speak(sounds.CALLER[8000:] + QUIET)
    said = await done(anext(turns))
    assert said.audio[: 3 * 8000] in QUIET + sounds.CALLER


async def test_a_turn_is_not_given_again_to_whoever_iterates_next(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS + QUIET)
    first = await done(anext(turns))
    await turns.aclose()
    turns = phone.stream.speech()
    phone.speak(WORDS + QUIET)
    second = await done(anext(turns))
    assert second.start_ms >= first.end_ms
    phone.hang_up()
    assert await done(begin(all_of(turns))) == []


async def test_the_last_turn_is_there_also_for_who_asks_after_the_end(phone):
    phone.stream.speech()
    phone.speak(QUIET + WORDS)
    await phone.listened()
    phone.hang_up()
    async with asyncio.timeout(8):
        while not phone.live.ear.is_finished:  # noqa: ASYNC110 - nobody is told who does not iterate
            await asyncio.sleep(0.005)
    assert len(await done(begin(all_of(phone.stream.speech())))) == 1
    assert await done(begin(all_of(phone.stream.speech()))) == []


# --- is_speaking ------------------------------------------------------------------------------------------------------


async def test_a_stream_knows_whether_the_caller_speaks(phone):
    assert phone.stream.is_speaking is False
    phone.speak(QUIET + WORDS)
    await phone.listened()
    assert phone.stream.is_speaking is True
    phone.speak(QUIET[:4000])
    await phone.listened()
    assert phone.stream.is_speaking is False


async def test_nobody_speaks_on_a_stream_that_is_over(phone):
    phone.stream.speech()
    phone.speak(QUIET + WORDS)
    await phone.listened()
    phone.hang_up()
    assert phone.stream.is_speaking is False


# --- what it costs ----------------------------------------------------------------------------------------------------


async def test_a_stream_is_not_listened_to_any_more_once_nobody_asks(phone, monkeypatch):
    monkeypatch.setattr(ear, "LINGER", 0)
    turns = phone.stream.speech()
    phone.speak(QUIET + WORDS + QUIET)
    await done(anext(turns))
    assert phone.live.ear is not None
    await turns.aclose()
    async with asyncio.timeout(8):
        while phone.live.ear:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.005)


async def test_an_iteration_that_begins_after_that_listens_again(phone, monkeypatch):
    monkeypatch.setattr(ear, "LINGER", 0)
    turns = phone.stream.speech()
    async with asyncio.timeout(8):
        while phone.live.ear:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.005)
    saying = begin(anext(turns))
    await asyncio.sleep(0)
    phone.speak(QUIET + WORDS + QUIET)
    assert (await done(saying)).end_ms > 1000


async def test_silence_is_not_kept(phone):
    turns = phone.stream.speech()
    phone.speak(QUIET * 5 + WORDS + QUIET)
    said = await done(anext(turns))
    phone.speak(QUIET)
    await phone.listened()
    # What was said is for who has it; a new iteration gets none of it.
    assert phone.live.ear.kept <= 4 * 8000
    assert said.end_ms > 5000


async def test_audio_that_is_too_much_for_the_detector_is_dropped_and_counted(phone, monkeypatch, caplog):
    monkeypatch.setattr(ear, "MOST_BEHIND", 8000)
    before = detector.dropped
    phone.stream.speech()
    phone.speak(QUIET * 2)
    await phone.listened()
    assert detector.dropped - before == 12_000


async def test_a_defect_of_ours_ends_the_iteration_and_not_the_call(phone, monkeypatch, caplog):
    turns = begin(all_of(phone.stream.speech()))
    await asyncio.sleep(0)
    monkeypatch.setattr(ear.Turns, "hear", lambda *_: 1 / 0)
    phone.speak(QUIET)
    assert await done(turns) == []
    assert "speech_failed" in caplog.text
    assert not phone.stream.ended


# --- the whole way ----------------------------------------------------------------------------------------------------


async def takes_turns(stream):
    """Answers each turn with a beep as long as it was."""
    async for said in stream.speech():
        await stream.play(tone(1000, said.end_ms - said.start_ms), wait=False)


@pytest.mark.usefixtures("process")
@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_a_handler_answers_each_turn_of_a_call(settings):
    settings.STREAM_HANDLERS = {"turns": "tests.test_speech.takes_turns"}
    async with Line("turns") as line:
        for frame in frames(QUIET + WORDS + QUIET):
            line.say(frame)
        answer = await line.heard()
        assert answer["event"] == "media"

    def lane():
        chunks = AudioChunk.objects.filter(track="inbound").order_by("start")
        return b"".join(bytes(payload) for payload in chunks.values_list("payload", flat=True))

    assert await stored(lane) == QUIET + WORDS + QUIET
