"""Browsers' sockets: who gets one, for how long, and how much of the process they may take."""

import asyncio
import contextlib
import json
import threading

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.db import OperationalError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_otp.plugins.otp_totp.models import TOTPDevice

from calls.post.post import post
from calls.routing import for_staff
from calls.server.switchboard import switchboard
from calls.supervision import browsers, lines, lookups
from calls.supervision import pages as module
from calls.supervision.browsers import is_own
from calls.supervision.lines import TOO_MUCH, TOO_SLOW
from calls.supervision.pages import FAILED, GOING_AWAY, NO_LONGER, Page, pages
from tests.support.factories import make_call, make_staff
from tests.support.line import PATIENCE, Line, payload, stored


OURS = "https://voice.example.org"


class Echo(Page):
    """Says what it is told, and fails if it is told so."""

    def find(self, user):
        return self.arguments.get("pk") != "missing"

    def take(self, said):
        if said.get("do") == "fail":
            raise ValueError("a defect")
        self.say(**said)

    def take_bytes(self, data):
        self.give(data)


class Browser:
    """The other end of a socket."""

    def __init__(self, cookie="", origin=OURS, host="voice.example.org", pk="1", page=Echo):
        headers = {"host": host, "origin": origin, "cookie": cookie and f"sessionid={cookie}"}
        self.scope = {
            "type": "websocket",
            "path": "/live",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
            "url_route": {"kwargs": {"pk": pk}},
        }
        self._application = for_staff(page)
        self.to_app, self.got = asyncio.Queue(), asyncio.Queue()
        #: Cleared while the browser does not read.
        self.reads = asyncio.Event()
        self.reads.set()

    async def _take(self, message):
        await self.reads.wait()
        self.got.put_nowait(message)

    async def next(self):
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()

    async def opened(self):
        """The answer to the handshake."""
        self.task = asyncio.create_task(self._application(self.scope, self.to_app.get, self._take))
        self.to_app.put_nowait({"type": "websocket.connect"})
        return (await self.next())["type"] == "websocket.accept"

    def say(self, text):
        self.to_app.put_nowait({"type": "websocket.receive", "text": text})

    async def heard(self):
        return json.loads((await self.next())["text"])

    async def closed(self):
        while (message := await self.next())["type"] != "websocket.close":
            pass
        await asyncio.wait_for(self.task, PATIENCE)
        return message["code"]

    async def leave(self):
        self.to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(self.task, PATIENCE)


@contextlib.asynccontextmanager
async def open_page(**facts):
    browser = Browser(**facts)
    assert await browser.opened()
    yield browser
    if not browser.task.done():
        await browser.leave()


def log_in(user):
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


@pytest.fixture
def staff(transactional_db):
    return make_staff("view_call")


@pytest.fixture
def cookie(staff):
    return log_in(staff)


# --- origin -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("https://voice.example.org", "voice.example.org", True),
        # A proxy that names another host to us.
        ("https://voice.example.org", "web:8000", True),
        ("https://127.0.0.1:8000", "127.0.0.1:8000", True),
        ("https://ops.example.org", "voice.example.org", True),
        ("https://team.trusted.example", "voice.example.org", True),
        ("http://voice.example.org", "voice.example.org", False),
        ("https://voice.example.org:8443", "voice.example.org", False),
        ("https://voice.example.org.evil.example", "voice.example.org", False),
        ("https://evil.example", "voice.example.org", False),
        ("https://evil.example", "evil.example", False),
        ("https://localhost", "voice.example.org", False),
        ("https://trusted.example.evil.example", "voice.example.org", False),
        ("https://[", "voice.example.org", False),
        ("null", "voice.example.org", False),
    ],
)
def test_only_our_own_pages_are_ours(settings, origin, host, own):
    settings.SESSION_COOKIE_SECURE = True
    settings.CSRF_TRUSTED_ORIGINS = ["https://ops.example.org", "https://*.trusted.example"]
    assert is_own(origin, host) is own


def test_in_development_a_page_of_this_machine_is_ours(settings):
    settings.SESSION_COOKIE_SECURE = False
    assert is_own("http://127.0.0.1:8000", "127.0.0.1:8000")
    assert not is_own("http://127.0.0.1:9000", "127.0.0.1:8000")


@pytest.mark.parametrize("origin", ["", "null", "https://evil.example", OURS + "," + OURS])
async def test_another_sites_page_is_refused_without_a_query(origin):
    browser = Browser("a" * 32, origin=origin)
    assert not await browser.opened()


# --- who it is --------------------------------------------------------------------------------------------------------


async def test_who_may_is_answered(cookie):
    async with open_page(cookie=cookie) as browser:
        browser.say('{"type": "hello"}')
        assert await browser.heard() == {"type": "hello"}


@pytest.mark.parametrize("cookie", ["", '"a\\000b"', "ä" * 32, "../../etc/passwd", "a b"])
async def test_who_has_no_session_is_refused_without_a_query(cookie):
    assert not await Browser(cookie).opened()


@pytest.mark.parametrize("facts", [{"is_staff": False}, {"is_active": False}])
async def test_who_is_no_member_of_staff_is_refused(transactional_db, facts):
    user = await stored(lambda: make_staff("view_call"))
    cookie = await stored(lambda: log_in(user))
    await stored(lambda: type(user).objects.filter(pk=user.pk).update(**facts))
    assert not await Browser(cookie).opened()


@pytest.mark.parametrize("key", ["wrong" * 6, "a" * 32])
async def test_a_session_that_is_none_is_refused(transactional_db, key):
    assert not await Browser(key).opened()


async def test_without_the_permission_a_call_that_is_there_and_one_that_is_not_are_one(transactional_db, monkeypatch):
    queries = []

    def counted(key):
        with CaptureQueriesContext(connections["default"]) as context:
            user = browsers.user_of(key)
            allowed = user is not None and user.has_perms(Echo.permissions)
        queries.append([query["sql"].split(" WHERE ")[0] for query in context])
        return user if allowed else None

    cookie = await stored(lambda: log_in(make_staff("export_call")))
    there = await stored(lambda: str(make_call().pk))
    monkeypatch.setattr(module, "user_of", counted)
    answers = []
    for pk in (there, "missing"):
        browser = Browser(cookie, pk=pk)
        assert not await browser.opened()
        answers.append(browser.got.qsize())
    assert queries[0] == queries[1]
    assert answers == [0, 0]


def logged_out(user):
    Session.objects.all().delete()


def without_password(user):
    user.set_password("another one")
    user.save()


def deactivated(user):
    user.is_active = False
    user.save()


def no_staff(user):
    user.is_staff = False
    user.save()


def without_permission(user):
    user.user_permissions.clear()


def with_another_permission(user):
    user.user_permissions.add(Permission.objects.get(codename="erase_call"))


def without_group(user):
    user.groups.clear()


CHANGES = [logged_out, without_password, deactivated, no_staff, without_permission, with_another_permission]


@pytest.mark.parametrize("lose", CHANGES)
async def test_who_loses_the_right_to_it_is_out(staff, cookie, monkeypatch, lose):
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
    async with open_page(cookie=cookie) as browser:
        await stored(lambda: lose(staff))
        assert await browser.closed() == NO_LONGER


async def test_nobody_has_one_who_has_a_second_factor_to_show(staff):
    await stored(lambda: TOTPDevice.objects.create(user=staff, name="app"))
    browser = Browser(cookie=await stored(lambda: log_in(staff)))
    assert not await browser.opened()


async def test_who_leaves_the_group_is_out(transactional_db, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)

    def make():
        group, user = Group.objects.create(name="desk"), make_staff()
        group.permissions.set(make_staff("view_call").user_permissions.all())
        user.groups.add(group)
        return user, log_in(user)

    user, cookie = await stored(make)
    async with open_page(cookie=cookie) as browser:
        await stored(lambda: without_group(user))
        assert await browser.closed() == NO_LONGER


async def test_a_look_ends_no_session_even_of_one_whose_password_was_changed(staff, cookie, monkeypatch):
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
    async with open_page(cookie=cookie) as browser:
        await stored(lambda: without_password(staff))
        await browser.closed()
    assert await stored(Session.objects.count) == 1


async def test_an_older_secret_key_keeps_the_session_and_its_cookie(staff, cookie, settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [settings.SECRET_KEY]
    assert await stored(lambda: browsers.user_of(cookie)) == staff
    assert await stored(lambda: [each.session_key for each in Session.objects.all()]) == [cookie]


async def test_one_look_in_vain_sends_nobody_away_and_two_do(cookie, monkeypatch):
    async with open_page(cookie=cookie) as browser:
        looks = []

        def away(key):
            looks.append(key)
            raise OperationalError("the database is away")

        monkeypatch.setattr(module, "user_of", away)
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.02)
        # The look that it began with is half a minute away.
        page = next(iter(pages._open))
        looker = asyncio.create_task(page._look())
        assert await browser.closed() == NO_LONGER
        looker.cancel()
    assert len(looks) == 2


# --- how much of it ---------------------------------------------------------------------------------------------------


async def test_what_is_no_message_is_left_out(cookie):
    async with open_page(cookie=cookie) as browser:
        for text in ("", "{", "[1]", "null", "[" * 16_000, '"\ud800"', "1e999", '{"type": "good"}'):
            browser.say(text)
        assert await browser.heard() == {"type": "good"}


@pytest.mark.parametrize("message", [{"text": "x" * 16_385}, {"bytes": bytes(65_537)}, {"text": "[" * 1_000_000}])
async def test_a_message_longer_than_any_of_ours_ends_it(cookie, message):
    async with open_page(cookie=cookie) as browser:
        browser.to_app.put_nowait({"type": "websocket.receive", **message})
        assert await browser.closed() == TOO_MUCH


async def test_a_flood_ends_it_and_leaves_the_loop_to_others(cookie):
    async with open_page(cookie=cookie) as browser:
        turns, over = 0, asyncio.ensure_future(browser.closed())
        for _ in range(10_000):
            browser.say("{")
        while not over.done():
            turns += 1
            await asyncio.sleep(0)
        assert await over == TOO_MUCH
        assert turns > lines.MOST_AT_ONCE / lines.FAIR_SHARE
        assert browser.to_app.qsize() > 9_000


async def test_who_does_not_read_is_sent_away_and_costs_no_more_memory(cookie, monkeypatch):
    monkeypatch.setattr(lines, "MOST_SECONDS", 0.05)
    async with open_page(cookie=cookie) as browser:
        page = next(iter(pages._open))
        browser.reads.clear()
        for _ in range(1000):
            page.say(type="news")
        assert page._outgoing.code == TOO_SLOW
        assert len(page._outgoing._waiting) == 0
        await asyncio.wait_for(browser.task, PATIENCE)
    assert not pages._open


async def test_what_waits_is_counted_in_bytes_too(cookie):
    async with open_page(cookie=cookie) as browser:
        page = next(iter(pages._open))
        browser.reads.clear()
        for _ in range(30):
            page.give(bytes(100_000))
        assert page._outgoing.code == TOO_SLOW
        browser.reads.set()
        assert await browser.closed() == TOO_SLOW


async def test_one_person_has_so_many_sockets_and_others_have_theirs(cookie, monkeypatch):
    monkeypatch.setattr(module, "MOST_OF_ONE", 2)
    another = await stored(lambda: log_in(make_staff("view_call")))
    async with open_page(cookie=cookie), open_page(cookie=cookie) as second:
        assert not await Browser(cookie).opened()
        async with open_page(cookie=another):
            await second.leave()
            async with open_page(cookie=cookie):
                pass
    assert pages._by_user == {}


async def test_a_flood_of_handshakes_waits_for_the_database_no_longer_than_so_many(cookie, monkeypatch):
    monkeypatch.setattr(module, "MOST_OPENING", 3)
    held = threading.Event()
    monkeypatch.setattr(module, "user_of", lambda key: held.wait(PATIENCE) and None)
    waiting = [asyncio.create_task(Browser(cookie).opened()) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Nobody looks for the user of this one.
    assert not await Browser(cookie).opened()
    held.set()
    assert await asyncio.gather(*waiting) == [False] * 3
    assert pages.opening == 0


@pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
async def test_queries_of_pages_that_hang_delay_no_call(process):
    held = threading.Event()
    slow = [asyncio.create_task(lookups.look_up(held.wait)) for _ in range(4)]
    async with Line() as line:
        line.say(b"\x20" * 160)
        assert payload(await line.heard()) == b"\x20" * 160
    # It is recorded and over, and they still hang.
    assert not any(task.done() for task in slow)
    held.set()
    await asyncio.gather(*slow)


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_a_page_that_fails_is_closed_and_logged(cookie, caplog):
    async with open_page(cookie=cookie) as browser:
        browser.say('{"do": "fail"}')
        assert await browser.closed() == FAILED
    assert "page_failed" in caplog.text


async def test_a_process_that_ends_closes_its_pages_and_opens_no_others(cookie):
    async with open_page(cookie=cookie) as browser:
        switchboard.leaving = True
        await pages.leave()
        assert await browser.closed() == GOING_AWAY
        assert not await Browser(cookie).opened()
        switchboard.leaving = False


async def test_pages_are_told_of_the_layer(cookie):
    async with open_page(cookie=cookie) as browser:
        post._note(OSError("gone"))
        assert await browser.heard() == {"type": "away"}
        async with open_page(cookie=cookie) as later:
            assert await later.heard() == {"type": "away"}
            post._note(None)
            assert await browser.heard() == await later.heard() == {"type": "back"}
    assert post._watchers == []
