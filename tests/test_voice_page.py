"""A member of staff takes over by their browser's socket: one process with both, in Twilio's JSON and the page's."""

import asyncio
import json
import time

import pytest
from django.contrib.auth.models import User
from django.test import Client

from calls.media.audio import tone
from calls.models import Call, CallEvent, Stream
from calls.routing import websocket
from calls.server.switchboard import switchboard
from calls.supervision import beside, pages, takeovers, voice_page, work
from tests.support.factories import make_call, make_staff
from tests.support.line import PATIENCE, Line, payload, stored, until


pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
    pytest.mark.usefixtures("process"),
]

HTTPS = {"X-Forwarded-Proto": "https"}
VOICE = tone(300, 60, level=0.9)
told = []


async def waits(stream):
    """A handler that plays nothing, and remembers what it is told."""
    async for event in stream:
        told.append(event)


to_fail = asyncio.Event()


async def fails(stream):
    """A handler that fails when a test says so."""
    await to_fail.wait()
    raise LookupError("no such flight")


@pytest.fixture(autouse=True)
def handlers(settings):
    settings.STREAM_HANDLERS = {"waits": "tests.test_voice_page.waits", "fails": "tests.test_voice_page.fails"}
    told.clear()


@pytest.fixture
async def supervision():
    tasks = work.start()
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Browser:
    """The page's socket."""

    def __init__(self, call, cookie):
        self.path = f"/live/calls/{call.pk}/voice"
        self.headers = {
            "origin": "https://voice.example.org",
            "host": "voice.example.org",
            "cookie": f"sessionid={cookie}",
        }
        self._to_app, self._from_app = asyncio.Queue(), asyncio.Queue()

    async def __aenter__(self):
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {"type": "websocket", "path": self.path, "query_string": b"", "headers": headers, "subprotocols": []}
        self._task = asyncio.create_task(websocket(scope, self._to_app.get, self._from_app.put))
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.opened = await self.answer()
        return self

    async def __aexit__(self, *_):
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait({self._task}, timeout=PATIENCE)

    async def answer(self):
        async with asyncio.timeout(PATIENCE):
            return await self._from_app.get()

    async def hear(self, kind):
        while (said := json.loads((await self.answer())["text"]))["type"] != kind:
            pass
        return said

    async def take(self):
        self.say("take")
        return json.loads((await self.answer())["text"])

    def say(self, kind):
        self._to_app.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": kind})})

    def speak(self, audio=VOICE):
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": audio})


def login(name="anna", permissions=("view_call", "supervise_call")):
    """The key of their session."""
    browser = Client(headers=HTTPS)
    browser.force_login(make_staff(*permissions, username=name))
    return browser.cookies["sessionid"].value


@pytest.fixture
async def anna(supervision):
    return await stored(login)


async def row_of(line):
    """The call's row, once the process that holds it is in it."""
    streams = Call.objects.filter(sid=line.call_sid, streams__lease_owner__gt="")
    return await until(streams.first)


def acts():
    return list(CallEvent.objects.filter(source="control").order_by("pk").values_list("kind", "user__username"))


def live(line):
    return switchboard.live[line.stream_sid]


async def test_who_may_supervise_talks_to_the_caller_and_hands_back(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        assert await browser.take() == {"type": "taken"}
        assert (await line.heard())["event"] == "clear"
        browser.speak()
        assert payload(await line.heard()).endswith(VOICE)
        browser.say("hand-back")
        await until(lambda: not live(line).hold.is_on)
    assert await stored(acts) == [("take-over", "anna"), ("hand-back", "anna")]
    assert [event.user for event in told] == ["anna"]


async def test_a_second_one_is_told_who_has_the_caller(anna):
    bert = await stored(lambda: login("bert"))
    async with Line("waits") as line:
        call = await row_of(line)
        async with Browser(call, anna) as first, Browser(call, bert) as second:
            await first.take()
            assert await second.take() == {"type": "refused", "why": "anna has taken over"}
            assert live(line).hold.user == "anna"


async def test_a_second_window_of_ones_own_is_told_so(anna):
    async with Line("waits") as line:
        call = await row_of(line)
        async with Browser(call, anna) as first, Browser(call, anna) as second:
            await first.take()
            assert (await second.take())["why"] == "you have taken over already, in another window"


async def test_a_browser_that_is_gone_gives_the_caller_back_at_once(anna):
    async with Line("waits") as line:
        async with Browser(await row_of(line), anna) as browser:
            await browser.take()
        await until(lambda: not live(line).hold.is_on)
        assert live(line).hold.why == voice_page.GONE
    assert await stored(acts) == [("take-over", "anna"), ("takeover-ended", None)]


async def test_a_browser_that_says_nothing_any_more_has_the_caller_no_longer(anna, monkeypatch):
    monkeypatch.setattr(takeovers, "SILENT", 0.1)
    monkeypatch.setattr(takeovers, "EVERY", 0.05)
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        assert (await browser.hear("over"))["why"] == takeovers.SILENCE
        assert not live(line).hold.is_on


async def test_who_loses_the_permission_loses_the_caller(anna, monkeypatch):
    monkeypatch.setattr(pages, "LOOK_AGAIN", 0.2)
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        await stored(lambda: User.objects.get(username="anna").user_permissions.clear())
        while (message := await browser.answer())["type"] != "websocket.close":
            pass
        assert message["code"] == pages.NO_LONGER
        await until(lambda: not live(line).hold.is_on)
        assert live(line).hold.why == voice_page.NO_LONGER_MAY


async def test_a_call_that_ends_is_told_to_the_page(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        line.stop()
        assert (await browser.hear("over"))["why"] == "the call's stream ended"


async def test_a_handler_that_fails_does_not_end_the_call_while_a_person_talks(anna):
    to_fail.clear()
    async with Line("fails") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        to_fail.set()
        await until(CallEvent.objects.filter(kind="handler-failed").exists)
        assert not live(line).lifetime.is_ending
        browser.say("hand-back")
        await line.gone()
    assert await stored(lambda: Stream.objects.get().end_reason) == "error"


async def test_a_call_that_is_over_is_not_taken(anna):
    call = await stored(lambda: make_call())
    async with Browser(call, anna) as browser:
        assert await browser.take() == {"type": "refused", "why": "this call is over"}


async def test_where_we_only_listen_nobody_takes_over(anna):
    async with Line("waits", bidirectional=False) as line, Browser(await row_of(line), anna) as browser:
        assert await browser.take() == {"type": "refused", "why": takeovers.ONLY_LISTENS}


async def test_without_redis_a_call_of_another_process_is_not_asked_for_in_vain(anna, settings):
    settings.REDIS_URL = ""
    async with Line("waits") as line:
        call = await row_of(line)
        await stored(lambda: call.streams.update(lease_owner="another"))
        async with Browser(call, anna) as browser:
            assert "REDIS_URL is not set" in (await browser.take())["why"]


async def test_a_process_that_is_stopped_gives_the_caller_back_and_says_so(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        await pages.pages.leave()
        await until(lambda: ("takeover-ended", None) in acts())
        assert live(line).hold.why == voice_page.RENEWED


async def test_a_process_that_does_not_answer_is_told(anna, monkeypatch, settings):
    settings.REDIS_URL = settings.REDIS_URL or "redis://elsewhere"
    monkeypatch.setattr(voice_page, "PATIENCE", 0.1)
    async with Line("waits") as line:
        call = await row_of(line)
        await stored(lambda: call.streams.update(lease_owner="gone"))
        async with Browser(call, anna) as browser:
            assert await browser.take() == {"type": "refused", "why": voice_page.NO_ANSWER}


async def test_a_process_of_which_nothing_is_heard_any_more_is_taken_for_gone(anna, monkeypatch):
    monkeypatch.setattr(voice_page, "SILENT", -1.0)
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        browser.speak()
        assert (await browser.hear("over"))["why"] == voice_page.LOST
        await until(lambda: not live(line).hold.is_on)


async def test_who_asked_so_long_ago_that_they_have_given_up_does_not_get_the_caller(anna, monkeypatch):
    monkeypatch.setattr(voice_page, "GRACE", -2 * PATIENCE)
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        assert (await browser.take())["type"] == "refused"
        assert not live(line).hold.is_on


async def test_who_takes_over_in_the_moment_of_a_hand_back_has_the_caller_alone(anna):
    own = takeovers.takeovers
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        [first] = own._people
        asks = {"key": "second", "from": "mailbox.elsewhere", "user": 1, "name": "bert"}
        own.hand_back({"key": first, "why": ""})
        own.take({**asks, "call": line.call_sid, "until": time.time() + 60, "answer_to": "answer.elsewhere"})
        await until(lambda: [*own._people] == ["second"])
        assert live(line).hold.user == "bert"


async def test_a_letter_that_is_delivered_twice_is_heard_once(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        await browser.take()
        await line.heard()
        [person] = takeovers.takeovers._people.values()
        letter = {"key": person.key, "number": 1, "audio": VOICE}
        person.hear(letter)
        person.hear(letter)
        assert len(person._waiting) == 1


def asked(line, **facts):
    """A letter by which somebody takes over."""
    who = {"key": "one", "from": "mailbox.another", "answer_to": "answer.one", "user": 1, "name": "bert"}
    return {"type": "takeover.take", "call": line.call_sid, "until": time.time() + PATIENCE, **who, **facts}


async def test_a_takeover_that_the_layer_has_kept_too_long_is_not_begun(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        takeovers.takeovers.take(asked(line, until=time.time() - 1))
        assert (await browser.take())["type"] == "taken"


async def test_a_takeover_that_is_asked_for_twice_by_one_letter_begins_once(supervision):
    async with Line("waits") as line:
        before = len(beside._running)
        for _ in range(2):
            takeovers.takeovers.take(asked(line, key="twice", call="CAnone"))
        assert len(beside._running) == before + 1


@pytest.mark.parametrize("lacks", ["key", "from", "answer_to", "call", "user", "name", "until"])
async def test_a_letter_that_does_not_say_who_takes_over_begins_nothing(anna, lacks):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        with pytest.raises(ValueError, match="who takes over"):
            takeovers.takeovers.take(asked(line, **{lacks: None}))
        assert (await browser.take())["type"] == "taken"


async def test_what_a_browser_sends_before_it_has_taken_over_is_not_heard(anna):
    async with Line("waits") as line, Browser(await row_of(line), anna) as browser:
        browser.speak()
        await browser.take()
        assert (await line.heard())["event"] == "clear"
        assert line.left() == []


@pytest.mark.parametrize("permission", ["view_call", "supervise_call"])
async def test_who_may_not_does_not_learn_that_there_is_a_call(supervision, permission):
    cookie = await stored(lambda: login("bert", [permission]))
    call = await stored(lambda: make_call(status="in-progress"))
    async with Browser(call, cookie) as browser:
        assert browser.opened == {"type": "websocket.close", "code": pages.REFUSED}
