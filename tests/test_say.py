"""What a handler says, as speech services give it: in chunks, stalling, taken back; and what was heard of it."""

import asyncio
import threading

import pytest

from calls.media.audio import mulaw_to_pcm16, tone
from calls.media.rows import ChunkRow, EventRow, GapRow, MarkRow
from calls.server import sources
from calls.streams import Played, StreamEnded
from tests.support.line import payload
from tests.support.phone import STREAM, Phone, begin, done


SECOND = b"\x20" * 8000
A, B, C = b"\x21" * 8000, b"\x22" * 8000, b"\x23" * 8000


@pytest.fixture
async def phone():
    return Phone()


class Service:
    """A speech service: gives what it is told to, and knows whether it was closed."""

    def __init__(self, *chunks):
        self.coming = asyncio.Queue()
        self.closed = asyncio.Event()
        for chunk in chunks:
            self.coming.put_nowait(chunk)

    async def __aiter__(self):
        try:
            while (chunk := await self.coming.get()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.closed.set()


def audio(phone):
    return b"".join(payload(message) for message in phone.sent if message["event"] == "media")


def kinds(phone):
    return [message["event"] for message in phone.sent]


def heard_by_now(playing, ms):
    """Between what the clock says and what the test itself took."""
    return ms <= playing.heard_ms < ms + 500


# --- what becomes of it -----------------------------------------------------------------------------------------------


async def test_what_was_heard_to_its_end_was_played(phone):
    playing = begin(phone.stream.play(SECOND))
    await phone.play_out()
    assert await done(playing) == Played("played", heard_ms=1000, sent_ms=1000)


async def test_of_what_is_cleared_it_is_known_how_much_was_heard(phone):
    playing = phone.stream.say(SECOND * 3)
    await phone.heard("mark")
    phone.later(1240)
    assert heard_by_now(playing, 1240)
    await phone.stream.clear()
    played = await done(playing)
    assert (played.outcome, played.sent_ms) == ("cleared", 3000)
    assert 1240 <= played.heard_ms < 1740


async def test_what_was_never_sent_does_not_count_as_sent(phone):
    playing = phone.stream.say(SECOND * 30)
    for _ in range(10):
        await phone.heard("media")
    await phone.stream.clear()
    played = await done(playing)
    assert (played.outcome, played.sent_ms) == ("cleared", 10_000)


async def test_of_what_plays_when_the_caller_leaves_it_is_known_how_much_was_heard(phone):
    playing = phone.stream.say(SECOND * 3)
    await phone.heard("mark")
    phone.later(2000)
    phone.hang_up()
    played = await done(playing)
    assert (played.outcome, played.sent_ms) == ("cleared", 3000)
    assert 2000 <= played.heard_ms < 2500


async def test_a_played_still_equals_its_outcome():
    played = Played("cleared", 10, 20)
    assert played == "cleared"
    assert played != "played"
    assert played != Played("cleared", 11, 20)
    assert {played: 1}["cleared"] == 1


async def test_what_is_said_next_waits_for_its_turn_and_counts_on_its_own(phone):
    first, second = phone.stream.say(A), phone.stream.say(B)
    await phone.heard("mark")
    await phone.heard("mark")
    assert audio(phone) == A + B
    phone.later(1500)
    assert first.heard_ms == 1000
    assert heard_by_now(second, 500)
    phone.return_mark("callstream:0")
    assert await done(first) == Played("played", 1000, 1000)


async def test_who_waits_may_give_up_and_what_is_said_goes_on(phone):
    playing = phone.stream.say(SECOND)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await playing
    await phone.play_out()
    assert await done(playing) == Played("played", 1000, 1000)


async def test_of_a_play_that_is_given_up_what_was_sent_is_heard(phone):
    playing = begin(phone.stream.play(SECOND * 20))
    for _ in range(10):
        await phone.heard("media")
    playing.cancel()
    await asyncio.wait({playing})
    await phone.stream.mark("said")
    await phone.heard("mark")
    assert kinds(phone) == ["media"] * 10 + ["mark"]


async def test_nothing_is_said_after_the_end(phone):
    phone.hang_up()
    with pytest.raises(StreamEnded):
        phone.stream.say(SECOND)


# --- sources ----------------------------------------------------------------------------------------------------------


async def test_speech_begins_with_its_first_chunk(phone):
    service = Service(A[:1600])
    playing = phone.stream.say(service)
    assert payload(await phone.heard("media")) == A[:1600]
    assert kinds(phone) == ["media"]
    service.coming.put_nowait(B[:800])
    service.coming.put_nowait(None)
    await phone.play_out()
    assert await done(playing) == Played("played", 300, 300)


async def test_a_source_that_stalls_keeps_its_place(phone):
    service = Service(A)
    phone.stream.say(service)
    await phone.heard("media")
    phone.stream.say(C)
    await phone.stream.mark("last")
    service.coming.put_nowait(B)
    service.coming.put_nowait(None)
    while (await phone.heard("mark"))["mark"]["name"] != "last":
        pass
    assert audio(phone) == A + B + C
    assert kinds(phone) == ["media", "media", "mark", "media", "mark", "mark"]


async def test_chunks_of_any_size_are_joined_and_only_the_last_frame_is_filled(phone):
    speech = tone(440, 1001)
    playing = phone.stream.say([speech[at : at + 777] for at in range(0, len(speech), 777)])
    await phone.play_out()
    await done(playing)
    assert audio(phone) == speech + b"\xff" * 152


async def test_the_beginning_of_a_frame_is_not_held_back_while_the_source_stalls(phone):
    phone.stream.say(Service(A[:1000]))
    await phone.heard("media")
    assert payload(await phone.heard("media")) == A[:40] + b"\xff" * 120


@pytest.mark.parametrize("kind", [list, tuple, iter])
async def test_chunks_at_hand_are_said(phone, kind):
    playing = phone.stream.say(kind([A, B]))
    await phone.play_out()
    await done(playing)
    assert audio(phone) == A + B


async def test_a_plain_generator_is_asked_in_a_thread_since_it_may_wait_for_a_network(phone):
    threads = []

    def response():
        threads.append(threading.current_thread())
        yield A

    assert await done(begin(_heard_out(phone, response()))) == "played"
    assert threads != [threading.current_thread()]


async def _heard_out(phone, source):
    playing = phone.stream.say(source)
    await phone.play_out()
    return await playing


async def test_a_source_is_closed_at_its_end(phone):
    service = Service(A, None)
    await done(begin(_heard_out(phone, service)))
    assert service.closed.is_set()


async def test_a_source_is_closed_when_it_is_cleared(phone):
    service = Service(A)
    phone.stream.say(service)
    await phone.heard("media")
    await phone.stream.clear()
    await done(begin(service.closed.wait()))


async def test_a_source_is_closed_when_the_caller_leaves(phone):
    service = Service(A)
    phone.stream.say(service)
    await phone.heard("media")
    phone.hang_up()
    await done(begin(service.closed.wait()))


async def test_a_plain_generator_is_closed_when_it_is_cleared(phone):
    closed = threading.Event()

    def response():
        try:
            while True:
                yield A[:160]
        finally:
            closed.set()

    phone.stream.say(response())
    await phone.heard("media")
    await phone.stream.clear()
    assert await asyncio.to_thread(closed.wait, 8)


async def test_a_source_without_end_is_not_asked_for_more_than_a_minute_ahead(phone, monkeypatch):
    monkeypatch.setattr(sources, "AHEAD", 8000)
    asked = []

    async def music():
        while True:
            asked.append(1)
            yield A

    phone.stream.say(music())
    for _ in range(10):
        await phone.heard("media")
    await asyncio.sleep(0)
    assert len(asked) <= 13
    await phone.stream.clear()


async def test_what_a_source_gave_before_it_failed_is_heard_and_its_error_is_raised_and_told(phone, caplog):
    playing = phone.stream.say(Service(A, OSError("the service is away")))
    phone.stream.say(B)
    with pytest.raises(OSError, match="away"):
        await done(playing)
    await phone.heard("mark")
    assert audio(phone) == A + B
    assert [row.data for row in phone.rows(EventRow)] == [{"error": "OSError: the service is away"}]
    assert any(
        message.startswith("source_failed call=CA7b1e09d4c2a85f6390d1e4b7a2c8f056") for message in caplog.messages
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (iter(["hello"]), "gives chunks of bytes, not text"),
        (iter([b"", None]), "not NoneType"),
        (iter([160]), "not int"),
    ],
)
async def test_a_chunk_that_is_no_audio_is_an_error_of_its_source(phone, source, why):
    with pytest.raises(TypeError, match=why):
        await done(begin(phone.stream.play(source)))


async def tts():
    yield A


async def speech():
    return A


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (tts, r"a function: call it, tts\(…\)"),
        ({"audio": A}, "dict"),
        ("hello", "text"),
        (7, "int"),
        ([A, "hello"], "list"),
    ],
)
async def test_what_gives_no_audio_is_refused_at_once(phone, what, why):
    with pytest.raises(TypeError, match=why):
        phone.stream.say(what)
    assert phone.sent == []


async def test_a_coroutine_is_refused_with_the_await_that_it_lacks(phone):
    with pytest.raises(TypeError, match=r"a coroutine: await speech\(…\) first"):
        phone.stream.say(speech())


async def test_an_unknown_format_is_refused_at_once(phone):
    with pytest.raises(ValueError, match="encoding"):
        phone.stream.say(A, encoding="opus")
    with pytest.raises(ValueError, match="rate"):
        phone.stream.say(A, rate=44_100)
    assert phone.sent == []


async def test_pcm16_of_24_khz_lasts_as_long_as_it_did(phone):
    chunk = b"\x00\x10" * 24_000
    playing = phone.stream.say([chunk[:7], chunk[7:20_001], chunk[20_001:]], encoding="pcm16", rate=24_000)
    await phone.play_out()
    assert await done(playing) == Played("played", 1000, 1000)


async def test_chunks_in_another_format_that_are_not_waited_for_are_one_speech_too(phone):
    pcm = mulaw_to_pcm16(tone(440, 1000))
    for at in range(0, len(pcm), 1001):
        await phone.stream.play(pcm[at : at + 1001], encoding="pcm16", rate=16_000, wait=False)
    await phone.stream.mark("said")
    assert len(audio(phone)) == 4000
    assert kinds(phone)[-1] == "mark"


# --- taking it back ---------------------------------------------------------------------------------------------------


async def paused(phone, playing, ms):
    """Heard for so long, then paused; what was heard, in samples."""
    await phone.heard("mark")
    phone.later(ms)
    await playing.pause()
    return sum(len(row.payload) for row in phone.rows(ChunkRow) if row.track == "outbound")


async def test_a_pause_clears_what_was_not_heard_and_resume_goes_on_from_there(phone):
    playing = phone.stream.say(A + B)
    heard = await paused(phone, playing, 700)
    assert kinds(phone) == ["media", "media", "mark", "clear"]
    phone.return_mark("callstream:0")
    sent = len(phone.sent)
    await playing.resume()
    again = b"".join(payload(message) for message in phone.sent[sent:] if message["event"] == "media")
    assert again[: 16_000 - heard] == (A + B)[heard:]
    phone.return_mark("callstream:1")
    assert await done(playing) == Played("played", 2000, 2000)


async def test_what_was_said_after_it_goes_on_while_it_is_paused(phone):
    first, second = phone.stream.say(A), phone.stream.say(B)
    await phone.heard("mark")
    await phone.heard("mark")
    await first.pause()
    sent = len(phone.sent)
    assert kinds(phone)[-3:] == ["clear", "media", "mark"]
    assert payload(phone.sent[sent - 2]) == B
    phone.return_mark("callstream:0")
    phone.return_mark("callstream:1")
    phone.return_mark("callstream:2")
    assert await done(second) == Played("played", 1000, 1000)
    await first.resume()
    phone.return_mark("callstream:3")
    assert await done(first) == Played("played", 1000, 1000)


async def test_a_mark_of_the_handlers_that_a_pause_cleared_comes_back_once(phone):
    first = phone.stream.say(A)
    phone.stream.say(B)
    await phone.heard("mark")
    await phone.heard("mark")
    await phone.stream.mark("said")
    await first.pause()
    phone.return_mark("callstream:0")
    phone.return_mark("callstream:1")
    phone.return_mark("said")
    phone.return_mark("callstream:3")
    phone.return_mark("said")
    phone.hang_up()
    assert [(event.name, event.outcome) async for event in phone.stream] == [("said", "played")]
    rows = [row.outcome for row in phone.rows(MarkRow) if row.name == "said" and row.returned_at]
    assert rows == ["cleared", "played"]


async def test_a_pause_is_no_gap_in_the_recording_but_a_line_in_the_timeline(phone):
    playing = phone.stream.say(SECOND)
    await phone.heard("mark")
    await playing.pause()
    await playing.pause()
    await playing.resume()
    await playing.resume()
    rows = phone.rows(EventRow | GapRow)
    assert [row.kind for row in rows] == ["playback-paused", "playback-resumed"]


async def test_what_is_paused_when_the_caller_leaves_was_cleared(phone):
    playing = phone.stream.say(SECOND)
    await phone.heard("mark")
    phone.later(300)
    await playing.pause()
    phone.hang_up()
    played = await done(playing)
    assert (played.outcome, played.sent_ms) == ("cleared", 1000)
    assert 300 <= played.heard_ms < 800
    (gap,) = phone.rows(GapRow)
    assert (gap.reason, (8000 - gap.length) // 8) == ("cleared", played.heard_ms)


async def test_hanging_up_does_not_wait_for_what_is_paused(phone):
    playing = phone.stream.say(SECOND)
    await phone.heard("mark")
    await playing.pause()
    await done(begin(phone.stream.hang_up()))
    assert (await done(playing)).outcome == "cleared"


async def test_a_clear_forgets_what_is_paused(phone):
    playing = phone.stream.say(SECOND)
    await phone.heard("mark")
    await playing.pause()
    await phone.stream.clear()
    assert (await done(playing)).outcome == "cleared"
    await playing.resume()
    assert kinds(phone) == ["media", "mark", "clear", "clear"]


async def test_one_of_two_is_cleared_and_the_other_is_heard(phone):
    music, announcement = phone.stream.say(A), phone.stream.say(B)
    await phone.heard("mark")
    phone.later(400)
    await music.clear()
    assert payload(phone.sent[-2]) == B
    assert 400 <= (await done(music)).heard_ms < 900
    phone.return_mark("callstream:0")
    phone.return_mark("callstream:1")
    phone.return_mark("callstream:2")
    assert await done(announcement) == Played("played", 1000, 1000)


async def test_what_waits_for_its_turn_is_taken_out_without_a_clear(phone):
    phone.stream.say(SECOND * 10)
    waiting = phone.stream.say(B)
    for _ in range(10):
        await phone.heard("media")
    await waiting.clear()
    assert await done(waiting) == Played("cleared", 0, 0)
    assert "clear" not in kinds(phone)


async def test_what_was_heard_is_not_cleared(phone):
    playing = phone.stream.say(SECOND)
    await phone.play_out()
    await done(playing)
    await playing.clear()
    await playing.pause()
    await playing.resume()
    assert kinds(phone) == ["media", "mark"]


async def test_hold_music_is_a_play_that_is_not_waited_for_and_is_cleared(phone):
    music = await phone.stream.play(SECOND * 5, wait=False)
    phone.later(1000)
    assert heard_by_now(music, 1000)
    await music.clear()
    assert phone.sent[-1] == {"event": "clear", "streamSid": STREAM}
    assert (await done(music)).outcome == "cleared"


async def test_chunks_that_are_not_waited_for_tell_what_was_heard_of_all_of_them(phone):
    for _ in range(10):
        playing = await phone.stream.play(b"\x20" * 160, wait=False)
    phone.later(100)
    assert 100 <= playing.heard_ms <= 200
    assert playing.sent_ms == 200
    waiting = begin(phone.stream.mark("said"))
    await done(waiting)
    waiting = asyncio.ensure_future(playing)
    await phone.heard("mark")
    await phone.play_out()
    assert await done(waiting) == Played("played", 200, 200)


async def test_what_is_said_can_be_interrupted_by_the_caller(phone):
    playing = phone.stream.say(SECOND * 3, barge_in=True)
    await phone.heard("mark")
    phone.later(500)
    phone.press("5")
    played = await done(playing)
    assert played.outcome == "cleared"
    assert 500 <= played.heard_ms < 1000


async def test_a_speech_goes_on_after_the_one_that_resumed_before_it(phone):
    first = phone.stream.say(A)
    service = Service(B)
    phone.stream.say(service)
    await phone.heard("mark")
    await phone.heard("media")
    await first.pause()
    sent = len(phone.sent)
    await first.resume()
    service.coming.put_nowait(None)
    await phone.heard("mark")
    await phone.heard("mark")
    names = [payload(m)[:1] if m["event"] == "media" else m["event"].encode() for m in phone.sent[sent - 1 :]]
    assert names[:2] == [b"\x22", b"mark"]
    assert names[2] == b"\x21"
