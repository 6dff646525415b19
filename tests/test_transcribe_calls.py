"""`transcribe_calls` writes down what was said in recordings, as often as it is started."""

import asyncio
import os
import signal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from calls.handlers import handler
from calls.media.transcript import Heard
from calls.models import CallEvent, Stream, Utterance
from calls.recordings.retention import erase
from calls.speech import scribe
from calls.speech.transcribers import Refused
from tests.support.factories import START, make_call, make_chunk, make_event, make_stream, make_utterance
from tests.support.transcribers import CERTAINLY, PLEASE, REFUND, Ear


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
QUIET = b"\xff" * 4000
calls = []


async def understands(audio):
    calls.append(1)
    ear = Ear()
    async for piece in audio:
        if words := ear.hear(piece):
            yield heard(words)
    if words := ear.end():
        yield heard(words)


def heard(words):
    return Heard(" ".join(word for word, _, _ in words), words[0][1], words[-1][2], words)


async def refuses(audio):
    calls.append(1)
    raise Refused("the service answered 401")
    yield


async def fails(audio):
    calls.append(1)
    raise ConnectionError("the service answered 500")
    yield


async def fails_at_please(audio):
    async for piece in audio:
        if PLEASE in piece:
            raise ConnectionError("the service answered 500")
    yield Heard("refund", 0.0, 0.5)


@handler(transcribes=False)
async def private(stream):
    """Nobody writes this down."""


@pytest.fixture(autouse=True)
def transcriber(settings, monkeypatch):
    settings.TRANSCRIBER = "tests.test_transcribe_calls.understands"
    settings.STREAM_HANDLERS = {"private": "tests.test_transcribe_calls.private"}
    monkeypatch.setattr(scribe, "FIRST_PAUSE", 0.0)
    calls.clear()


def run(*arguments, **options):
    out = StringIO()
    call_command("transcribe_calls", *arguments, stdout=out, verbosity=0, **options)
    return out.getvalue()


def recorded(*sounds, **facts):
    """A call that is over, whose caller said that."""
    call = make_call(**facts)
    name = call.handler
    stream = make_stream(call, ended_at=call.ended_at, length=sum(map(len, sounds)), name=name)
    at = 0
    for sound in sounds:
        make_chunk(stream, sound, start=at)
        at += len(sound)
    return stream


def words():
    return sorted(Utterance.objects.values_list("track", "start", "length", "text"))


def test_both_sides_of_a_recording_are_written_down_where_they_were_said():
    stream = recorded(QUIET, REFUND * 4000, QUIET)
    make_chunk(stream, CERTAINLY * 2000, start=40_000, track="outbound")
    assert run() == "Wrote down 2 utterances of 1 call.\n"
    assert words() == [("inbound", 4000, 4000, "refund"), ("outbound", 40_000, 2000, "certainly")]


def test_what_is_known_is_not_listened_to_again():
    recorded(REFUND * 4000, QUIET)
    run()
    calls.clear()
    assert run() == "Wrote down 0 utterances of 0 calls.\n"
    assert calls == []


def test_where_words_were_missing_all_are_written_anew_and_the_call_says_so():
    stream = recorded(REFUND * 4000, QUIET, PLEASE * 4000)
    make_utterance(stream, "fund", start=10)
    make_event(stream.call, stream=stream, kind="words-missing")
    run()
    assert [text for _, _, _, text in words()] == ["refund", "please"]
    assert CallEvent.objects.get().kind == "words-found"


def test_a_long_recording_is_read_in_parts(monkeypatch):
    monkeypatch.setattr("calls.speech.afterwards.WINDOW", 8000)
    monkeypatch.setattr(scribe, "LITTLE", 1000)
    recorded(*(sound for _ in range(10) for sound in (REFUND * 4000, QUIET)))
    assert run() == "Wrote down 10 utterances of 1 call.\n"


def test_a_transcriber_that_is_slower_than_the_database_misses_nothing():
    recorded(*(REFUND * 16_000 for _ in range(40)))
    assert run() == "Wrote down 1 utterance of 1 call.\n"


def test_a_call_that_runs_and_one_without_audio_are_left_alone():
    make_chunk(make_stream(make_call(ended_at=None)), REFUND * 4000)
    make_stream(ended_at=START)
    assert run() == "Wrote down 0 utterances of 0 calls.\n"


def test_calls_are_chosen_by_sid_handler_and_day():
    one = recorded(REFUND * 4000)
    recorded(PLEASE * 4000, handler="echo")
    recorded(CERTAINLY * 4000, created_at="2026-01-01T00:00Z")
    run(one.call.sid)
    run("--handler", "echo")
    run("--since", "2026-03-01")
    assert {text for _, _, _, text in words()} == {"refund", "please"}


def test_a_service_that_refuses_is_told_once_and_asked_no_more(settings):
    settings.TRANSCRIBER = "tests.test_transcribe_calls.refuses"
    for _ in range(3):
        recorded(REFUND * 4000)
    with pytest.raises(CommandError) as error:
        run("--at-once", "1")
    assert str(error.value) == (
        "Wrote down 0 utterances of 0 calls. Then the transcriber refused: the service answered 401."
    )
    assert len(calls) == 1


def test_a_service_that_fails_at_one_recording_goes_on_with_the_others(settings):
    settings.TRANSCRIBER = "tests.test_transcribe_calls.fails_at_please"
    bad = recorded(PLEASE * 4000)
    make_utterance(bad, "please")
    recorded(REFUND * 4000)
    with pytest.raises(CommandError, match=f"{bad.sid}: the transcriber failed: the service answered 500"):
        run()
    assert {text for _, _, _, text in words()} == {"please", "refund"}
    assert Stream.objects.filter(transcribed_at=None).get() == bad


def test_a_service_that_fails_is_tried_three_times(settings):
    settings.TRANSCRIBER = "tests.test_transcribe_calls.fails"
    recorded(REFUND * 4000)
    with pytest.raises(CommandError):
        run()
    assert len(calls) == 3


def test_what_its_handler_keeps_to_itself_is_never_sent():
    stream = recorded(REFUND * 4000, handler="private")
    for arguments in ((), (stream.call.sid,)):
        with pytest.raises(CommandError, match="transcribes=False"):
            run(*arguments)
    assert calls == []


def test_a_handler_that_is_gone_may_have_wanted_that_too():
    stream = recorded(REFUND * 4000, handler="gone")
    with pytest.raises(CommandError, match="its handler 'gone' is not known; name the call"):
        run()
    run(stream.call.sid)
    assert len(words()) == 1


def test_audio_that_is_erased_meanwhile_leaves_no_words(settings, monkeypatch):
    stream = recorded(REFUND * 4000)
    erase(stream.call, "asked for", audio_only=True)
    make_chunk(stream, REFUND * 4000)
    run()
    assert words() == []


@pytest.mark.parametrize("setting", ["", "nowhere.at.all"])
def test_without_a_transcriber_it_says_so(settings, setting):
    settings.TRANSCRIBER = setting
    with pytest.raises(CommandError, match="TRANSCRIBER"):
        run()


@pytest.mark.parametrize(("arguments", "why"), [(["CA1"], "There is no call CA1"), (["--since", "May"], "not a day")])
def test_a_wrong_choice_is_explained(arguments, why):
    with pytest.raises(CommandError, match=why):
        run(*arguments)


async def interrupts(audio):
    """Whoever waits for it presses Ctrl-C."""
    async for _ in audio:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(60)
    yield


@pytest.fixture
def from_a_terminal():
    """SIGINT is handled as Python does at first, whatever the loop of another test has left there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("from_a_terminal")
def test_ctrl_c_ends_it_and_what_is_done_is_done(settings):
    recorded(REFUND * 4000)
    run()
    recorded(PLEASE * 4000)
    settings.TRANSCRIBER = "tests.test_transcribe_calls.interrupts"
    with pytest.raises(CommandError, match="Interrupted") as error:
        run()
    assert error.value.returncode == 130
    assert [text for _, _, _, text in words()] == ["refund"]
