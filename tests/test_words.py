"""A stream's words: from both lanes to a transcriber while the call runs, and back as rows, at the right places."""

import asyncio

import pytest

from calls.handlers import handler
from calls.media.transcript import Heard
from calls.models import AudioChunk, Call, CallEvent, Stream, Utterance
from calls.server.words import TranscriptsError
from calls.speech import scribe, transcription
from calls.speech.transcribers import Refused
from tests.support.line import Line, stored, until
from tests.support.transcribers import CERTAINLY, GOODBYE, PLEASE, REFUND, Deepgram, Vosk


pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
    pytest.mark.usefixtures("process"),
]
QUIET = b"\xff"
heard, refused = [], []


async def listens(stream):
    async for _ in stream:
        pass


async def answers(stream):
    """Says something for half a second, once the caller has begun to speak."""
    async for media in stream.media():
        if media.payload[:1] != QUIET:
            break
    await stream.play(CERTAINLY * 4000)
    async for _ in stream:
        pass


async def pauses(stream):
    """Keeps secret what is said until a key is pressed."""
    stream.pause_recording()
    await stream.digits(1, timeout=5)
    stream.resume_recording()
    async for _ in stream:
        pass


async def takes_notes(stream):
    async for said in stream.transcripts():
        heard.append(said)


async def secret(stream):
    try:
        stream.transcripts()
    except TranscriptsError as error:
        refused.append(str(error))


@handler(records=False)
async def unrecorded(stream):
    await secret(stream)
    await listens(stream)


@handler(transcribes=False)
async def private(stream):
    await secret(stream)
    await listens(stream)


@pytest.fixture(autouse=True)
def handlers(settings):
    names = ("listens", "answers", "pauses", "takes_notes", "secret", "unrecorded", "private")
    settings.STREAM_HANDLERS = {name: f"tests.test_words.{name}" for name in names}
    heard.clear()
    refused.clear()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(scribe, "FIRST_PAUSE", 0.01)


@pytest.fixture(params=[Deepgram, Vosk])
async def service(request, settings):
    async with request.param().running() as service:
        settings.TRANSCRIBER = request.param.__name__.lower()
        settings.TRANSCRIBER_URL = service.url
        settings.TRANSCRIBER_KEY = "the key"
        yield service


def transcribed_by(settings, function):
    settings.TRANSCRIBER = f"tests.test_words.{function.__name__}"


def speak(line, *sounds):
    """Each a byte and how many frames of it."""
    for sound, frames in sounds:
        for _ in range(frames):
            line.say(sound * 160)


def rows(track="inbound"):
    """(text, start, length, words) of a lane."""
    return [
        (row.text.lower(), row.start, row.length, [(word.lower(), *where) for word, *where in row.words])
        for row in Utterance.objects.filter(track=track).order_by("start")
    ]


def texts():
    return [row[0] for row in rows()]


def missing():
    return [event.data for event in CallEvent.objects.filter(kind="words-missing")]


def happened(kind):
    return CallEvent.objects.filter(kind=kind).exists()


def is_complete():
    return Stream.objects.filter(transcribed_at__isnull=False).exists()


# --- where and when ---------------------------------------------------------------------------------------------------


async def test_what_the_caller_says_is_written_down_where_it_was_said(service):
    async with Line("listens") as line:
        speak(line, (QUIET, 50), (REFUND, 20), (PLEASE, 10), (QUIET, 20))
        found = await until(rows)
    assert found == [("refund please", 8000, 4800, [("refund", 8000, 3200), ("please", 11200, 1600)])]


async def test_a_hole_in_the_callers_audio_moves_no_word(service):
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20))
        line.timestamp += 3000
        speak(line, (PLEASE, 20), (QUIET, 20))
        found = await until(lambda: rows()[1:])
    assert found == [("please", 6400 + 24000, 3200, [("please", 6400 + 24000, 3200)])]


async def test_what_we_say_is_written_down_where_the_caller_heard_it(service):
    async with Line("answers") as line:
        speak(line, (QUIET, 30), (REFUND, 10), (QUIET, 20))
        await line.play_out()
        speak(line, (QUIET, 100))
        [(text, start, length, _)] = await until(lambda: rows("outbound"))
    at = await stored(lambda: AudioChunk.objects.filter(track="outbound").earliest("start").start)
    assert (text, start, length) == ("certainly", at, 4000)


async def test_what_was_said_last_is_written_down_after_the_call(service):
    async with Line("listens") as line:
        speak(line, (GOODBYE, 10))
    assert await until(texts) == ["goodbye"]


async def test_a_call_whose_words_are_all_known_says_so(service):
    async with Line("listens") as line:
        speak(line, (REFUND, 10))
    await until(is_complete)
    assert await stored(missing) == []


async def test_what_is_not_recorded_is_not_sent(service):
    async with Line("pauses") as line:
        await until(lambda: happened("recording-paused"))
        speak(line, (GOODBYE, 20))
        line.press("1")
        await until(lambda: happened("recording-resumed"))
        speak(line, (QUIET, 5), (REFUND, 10), (QUIET, 30))
        await until(texts)
    assert GOODBYE not in b"".join(service.audio)


async def test_a_silent_side_costs_no_socket(service):
    async with Line("listens") as line:
        speak(line, (REFUND, 10), (QUIET, 20))
        await until(texts)
    assert len(service.audio) == 1


# --- what goes wrong with a service -----------------------------------------------------------------------------------


async def test_a_service_that_breaks_off_gets_what_it_has_not_answered_once_more(service):
    service.cuts, service.cut_after = 2, 6000
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20), (PLEASE, 20), (QUIET, 20))
        found = await until(lambda: rows()[1:] and rows())
    assert [(text, start) for text, start, _, _ in found] == [("refund", 0), ("please", 6400)]
    await until(is_complete)


async def test_a_service_that_talks_nonsense_is_left_for_another(service):
    service.talks_nonsense = 2
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20))
        assert await until(texts) == ["refund"]


async def test_a_service_that_refuses_costs_the_words_alone_and_is_not_asked_again(service, caplog):
    service.refuses = 401
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20))
    [data] = await until(missing)
    why = "the transcriber refused: the service answered 401"
    assert data == {"lane": "inbound", "start": 0.0, "length": 0.8, "why": why}
    assert len(service.requests) == 1
    assert [record.message.split()[0] for record in caplog.records if "transcriber" in record.message] == [
        "transcriber_refused"
    ]


async def test_a_dead_service_loses_words_and_nothing_else(settings, monkeypatch):
    monkeypatch.setattr(transcription, "LINGER", 0.1)
    monkeypatch.setattr(transcription, "WAITED_FOR", 0.05)
    settings.TRANSCRIBER, settings.TRANSCRIBER_URL = "vosk", "ws://127.0.0.1:1"
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20))
    [data] = await until(missing)
    assert (data["start"], data["length"]) == (0.0, 0.8)
    assert data["why"].startswith("the transcriber failed: ")
    chunks = await stored(lambda: [bytes(c.payload) for c in AudioChunk.objects.order_by("start")])
    assert b"".join(chunks) == REFUND * 3200 + QUIET * 3200
    call = await stored(Call.objects.get)
    assert (call.has_warning, call.audio_samples) == (False, 6400)


async def test_a_service_that_reads_nothing_costs_words_only(service, monkeypatch):
    monkeypatch.setattr(transcription, "LINGER", 0.1)
    monkeypatch.setattr(transcription, "WAITED_FOR", 0.05)
    service.stalls = True
    async with Line("listens") as line:
        speak(line, (REFUND, 20), (QUIET, 20))
    assert [data["why"] for data in await until(missing)] == [scribe.CUT_OFF]


@pytest.mark.parametrize("error", [KeyError("surprise"), SystemExit(1), asyncio.CancelledError()])
async def test_a_transcriber_of_ones_own_may_raise_what_it_likes(settings, error):
    transcribed_by(settings, raises_once)
    raises_once.calls, raises_once.error = 0, error
    async with Line("listens") as line:
        speak(line, (REFUND, 20))
    assert await until(texts) == ["again"]


async def raises_once(audio):
    raises_once.calls += 1
    if raises_once.calls == 1:
        raise raises_once.error
    async for _ in audio:
        yield Heard("again", 0.0, 0.1)


async def test_a_transcriber_of_ones_own_may_leave_early_and_is_called_again(settings):
    transcribed_by(settings, leaves)
    async with Line("listens") as line:
        speak(line, (REFUND, 60))
        await until(lambda: texts()[1:])


async def leaves(audio):
    piece = await anext(audio)
    yield Heard("one", 0.0, len(piece) / 8000)


async def test_times_that_are_none_are_a_failure_like_others(settings):
    transcribed_by(settings, counts_wrongly)
    async with Line("listens") as line:
        speak(line, (REFUND, 20))
    [data] = await until(missing)
    assert data["why"] == "the transcriber refused: enough"


async def counts_wrongly(audio):
    async for _ in audio:
        if counts_wrongly.calls:
            raise Refused("enough")
        counts_wrongly.calls += 1
        yield Heard("nonsense", float("nan"), float("inf"))


counts_wrongly.calls = 0


# --- the handler ------------------------------------------------------------------------------------------------------


async def test_a_handler_gets_what_both_sides_say(service):
    async with Line("takes_notes") as line:
        speak(line, (QUIET, 10), (REFUND, 20), (QUIET, 20))
        await until(texts)
        line.stop()
    [said] = heard
    assert (said.track, said.start_ms, said.end_ms, said.text.lower()) == ("inbound", 200, 600, "refund")
    assert [(word.start_ms, word.end_ms) for word in said.words] == [(200, 600)]


async def test_a_handler_that_takes_words_to_the_end_is_not_cut(service):
    async with Line("takes_notes") as line:
        speak(line, (REFUND, 20))
    assert len(heard) == 1
    assert not await stored(lambda: happened("handler-cut"))


async def test_where_nobody_speaks_the_words_end_with_the_call(service):
    async with Line("takes_notes"):
        pass
    assert heard == []
    assert not await stored(lambda: happened("handler-cut"))


async def test_without_a_transcriber_a_handler_that_asks_for_words_is_told():
    async with Line("secret"):
        pass
    assert refused == ["transcripts() has nothing to give: TRANSCRIBER is not set, so nothing is transcribed"]


@pytest.mark.parametrize(("name", "option"), [("unrecorded", "records"), ("private", "transcribes")])
async def test_what_a_handler_keeps_to_itself_is_not_sent_and_it_is_told_so(service, name, option):
    async with Line(name) as line:
        speak(line, (REFUND, 20), (QUIET, 20))
    assert refused == [
        f"transcripts() has nothing to give: this handler is declared with {option}=False, so nothing of it is "
        "transcribed"
    ]
    assert service.requests == []


# --- a worker that is told to stop ------------------------------------------------------------------------------------


async def test_a_drain_waits_for_the_last_words_but_not_for_ever(service):
    service.stalls = True
    async with Line("listens") as line:
        speak(line, (REFUND, 20))
    assert transcription.lingering
    await transcription.drain(0.01)
    assert not transcription.lingering
    assert [data["why"] for data in await until(missing)] == [scribe.CUT_OFF]


async def test_a_drain_has_nothing_to_wait_for_where_all_is_written_down(service):
    async with Line("listens") as line:
        speak(line, (REFUND, 20))
    await transcription.drain(10)
    assert transcription.lingering == set()
    assert await until(texts) == ["refund"]
