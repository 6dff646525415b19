"""What a process tells of its calls, to whom, and how much of it; with calls that run here."""

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.models import AudioChunk
from calls.server.switchboard import switchboard
from calls.supervision import audience as module
from calls.supervision.audience import MOST_WAITING, Audience, group
from tests.support import post as mailboxes
from tests.support.line import Line, until
from tests.support.phone import CALL, Phone
from tests.support.post import PATIENCE, Taken, layers, working
from tests.test_followers import ANYTHING


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])

SOUND = bytes(range(160))


@pytest.fixture
async def post(process, settings, monkeypatch):
    """Of this process, which holds the calls and follows them too."""
    settings.CHANNEL_LAYERS = layers()
    async with mailboxes.process("here") as (post, _):
        monkeypatch.setattr(module, "post", post)
        yield post


@pytest.fixture
async def letters(post):
    """What the process is told."""
    taken = Taken()
    post.take("audience.told", taken)
    await post.join(group("here"))
    return taken


@pytest.fixture
async def audience(post):
    audience = Audience("here")
    switchboard.listeners = [audience]
    async with working(audience.run()):
        yield audience
    switchboard.listeners = []


def follow(audience, sid, listens=False, who="mailbox.there"):
    audience.follow({"type": "audience.follow", "from": who, "calls": {sid: listens}})


async def test_a_followed_call_tells_how_long_it_is_and_nothing_of_what_is_said(audience, letters):
    async with Line() as line:
        follow(audience, line.call_sid)
        line.say(SOUND)
        [entry] = (await letters.next())["streams"]
        assert (entry["call"], entry["stream"]) == (line.call_sid, line.stream_sid)
        assert "audio" not in entry


async def test_who_listens_gets_what_the_recorder_gets(audience, letters):
    async with Line() as line:
        follow(audience, line.call_sid, listens=True)
        line.say(SOUND)
        heard = b""
        while SOUND not in heard:
            for entry in (await letters.next())["streams"]:
                heard += b"".join(payload for lane, _, payload in entry["audio"] if lane == 0)


async def test_a_call_that_nobody_follows_is_not_spoken_of(audience, letters):
    async with Line() as line, Line() as other:
        follow(audience, line.call_sid, listens=True)
        other.say(SOUND)
        line.say(SOUND)
        told = [entry["call"] for _ in range(5) for entry in (await letters.next())["streams"]]
    assert set(told) == {line.call_sid}


async def test_without_followers_nothing_is_sent_and_nothing_kept(audience, letters):
    async with Line() as line:
        line.say(SOUND)
        await until(AudioChunk.objects.exists)
        assert not audience.is_needed
    assert letters.rest == []
    assert audience._number == 0


async def test_ten_processes_that_listen_cost_one_letter_a_part():
    audience = Audience("here")
    for number in range(10):
        follow(audience, CALL, listens=True, who=f"mailbox.{number}")
    audience.hear(Phone().live, [])
    audience.flush()
    [part] = audience._waiting
    assert [entry["call"] for entry in part] == [CALL]


async def test_audio_ends_with_the_last_who_listens(audience, letters):
    async with Line() as line:
        follow(audience, line.call_sid, listens=True)
        follow(audience, line.call_sid, who="mailbox.other")
        await letters.next()
        follow(audience, line.call_sid)
        await asyncio.sleep(0)
        told = [*letters.rest, await letters.next(), await letters.next()]
    assert "audio" not in told[-1]["streams"][0]


async def test_who_does_not_say_again_that_they_follow_is_forgotten(audience, letters, monkeypatch):
    monkeypatch.setattr(module, "FORGOTTEN", 0.05)
    async with Line() as line:
        follow(audience, line.call_sid, listens=True)
        line.say(SOUND)
        await forgotten(audience)


async def forgotten(audience):
    async with asyncio.timeout(PATIENCE):
        while audience.is_needed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_slow_layer_costs_the_oldest_news_and_no_memory_and_their_numbers_are_missed():
    audience = Audience("here")
    for end in range(100):
        audience._entries = [{"call": "CA1", "end": end}]
        audience.flush()
    letter = audience._letter()
    assert [entry["end"] for entry in letter["streams"]] == [*range(100 - MOST_WAITING, 100)]
    assert letter["number"] == 1 + 100 - MOST_WAITING


async def test_what_many_calls_tell_within_a_moment_is_one_letter(audience, letters):
    for end in range(3):
        audience._entries = [{"call": "CA1", "end": end}]
        audience.flush()
    assert [entry["end"] for entry in (await letters.next())["streams"]] == [0, 1, 2]
    assert letters.rest == []


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from(["from", "calls"]), ANYTHING | st.just({"CA1": True}) | st.just("mailbox.x")))
def test_no_letter_keeps_calls_from_being_followed(rubbish):
    audience = Audience("here")
    with contextlib.suppress(TypeError, KeyError, ValueError):  # which the post logs
        audience.follow(rubbish)
    follow(audience, "CA2", listens=True)
    assert audience._wanted["CA2"] is True
    assert all(isinstance(listens, bool) for listens in audience._wanted.values())


class Deaf:
    is_needed = True

    def hear(self, live, rows):
        raise ValueError("a defect")

    def flush(self):
        raise AssertionError("nobody comes here")


async def test_a_listener_that_fails_costs_neither_rows_nor_other_listeners(audience, letters, caplog):
    switchboard.listeners.insert(0, Deaf())
    async with Line() as line:
        follow(audience, line.call_sid, listens=True)
        line.say(SOUND)
        await letters.next()
    assert "audience_failed" in caplog.text
    assert "beat_failed" not in caplog.text
