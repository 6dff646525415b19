"""Calls over a real server whose handler answers after a known time: what is measured is what the caller waited."""

import pytest

from calls.media.audio import SILENCE
from calls.models import Call, Turn
from calls.sounds import sound
from tests.support.callers import place
from tests.support.servers import Server, until
from tests.support.sounds import CALLER, silence


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

EXACT = 60
LATE = 1500
# Without the silence that the file has at both ends.
SAID = CALLER[640:-640]


async def answers(stream):
    """Greets, and answers a while after the caller has said all: at a moment that the stream's own clock tells."""
    await stream.play(sound("thanks"))
    async for media in stream.media():
        if media.timestamp >= BEGIN + len(SAID) // 8 + LATE:
            break
    await stream.play(sound("thanks"))
    await stream.hang_up()


# When the caller begins, in ms: after the greeting.
BEGIN = 4000


def test_a_call_is_measured_within_60_ms_of_what_its_caller_has_heard(tmp_path):
    audio = silence(BEGIN / 1000) + SAID + silence(6)
    own = {"STREAM_HANDLERS": "answers=tests.test_measured_calls.answers", "CHORES": "true"}
    with Server("uvicorn", tmp_path, **own) as server:
        (report,) = place(server, handler="answers", audio=audio)
        until(lambda: Call.objects.exclude(measured_at=None).exists(), "the call to be measured")
        assert server.errors == []
    heard = report.streams[0].heard_audio
    waited = answer_at(heard) // 8 - BEGIN - len(SAID) // 8
    [greeting, answer] = Turn.objects.filter(speaker="us")
    assert (greeting.response_ms, answer.response_ms) == (None, pytest.approx(waited, abs=EXACT))
    assert Call.objects.get().response_ms == answer.response_ms


def answer_at(heard):
    """Where the second of two sounds begins, in what the caller has heard."""
    first = heard.index(sound("thanks")[:1600].lstrip(SILENCE))
    return heard.index(sound("thanks")[:1600].lstrip(SILENCE), first + 1)
