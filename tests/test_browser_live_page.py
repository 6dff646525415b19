"""A call's page while the call runs, in a real browser: it grows by what it is told, and becomes that of history."""

import asyncio
import itertools
import uuid

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from calls.models import Call
from calls.post.post import post
from calls.supervision import work
from calls.supervision.followers import followers
from tests.support.browser import MARKS, page_of, wait_for_waveform, wait_until
from tests.support.factories import make_digit, make_event, make_recording, make_staff


pytestmark = MARKS
LOUD = b"\x60" * 50


class Holder:
    """The process that holds the calls, as the one that the browser talks to hears of it."""

    def __init__(self):
        self._name, self._numbers = uuid.uuid4().hex, itertools.count(1)
        self._loop = None
        self._start = work.start

    def start(self):
        self._loop = asyncio.get_running_loop()
        return self._start()

    def call(self, act, *arguments):
        self._loop.call_soon_threadsafe(act, *arguments)

    def tell(self, stream, end, *peaks):
        entry = {"call": stream.call.sid, "stream": stream.sid, "end": end, "is_new": False, "peaks": peaks}
        letter = {"type": "audience.told", "from": self._name, "number": next(self._numbers), "streams": [entry]}
        self.call(followers.told, letter)

    def change(self, call):
        self.call(followers.changed, {"type": "call.changed", "call": call.sid})


@pytest.fixture
def holder(monkeypatch):
    holder = Holder()
    monkeypatch.setattr(work, "start", holder.start)
    return holder


@pytest.fixture
def ops():
    return make_staff("view_call", "change_call", "listen_call", "download_call")


@pytest.fixture
def running():
    return make_recording(seconds=12, status="in-progress", ended_at=None)


def follow(visit, call, user):
    """Opens the page, and waits until it is told what happens."""
    page = visit(page_of(call), user)
    page.wait_for_event("response", lambda got: "follow.json" in got.url)
    while call.sid not in followers._followers:
        page.wait_for_timeout(20)
    return page


def asked(page, *names):
    return len([got for got in page.requests if any(name in got.url for name in names)])


def rest(page):
    """Until it has looked for all that it was told of by now: it does that once a second."""
    looks = -1
    while looks != (looks := asked(page, "follow.json", "peaks.json")):
        page.wait_for_timeout(1_200)
    return looks


def test_the_wave_grows_by_what_is_told_and_the_page_asks_for_nothing(holder, visit, ops, running):
    page, stream = follow(visit, running, ops), running.streams.get()
    wait_for_waveform(page)
    before = rest(page)
    quiet = page.get_attribute(".call-lane.call-outbound path", "d")
    for second in range(12, 15):
        holder.tell(stream, (second + 1) * 8_000, (1, second * 8_000, LOUD))
        wait_until(page, f"document.querySelector('.call-total').textContent === '0:{second + 1}.0'")
    assert page.get_attribute(".call-lane.call-outbound path", "d").count("V") > quiet.count("V")
    assert page.inner_text(".call-present") == "We speak"
    assert asked(page, "follow.json", "peaks.json") == before


def test_what_happens_appears_and_what_is_read_stays(holder, visit, ops, running):
    make_event(running, kind="answered", data={"some": "thing"})
    page = follow(visit, running, ops)
    page.click(".call-timeline summary")
    page.focus(".call-timeline a")
    page.evaluate("window.seen = document.querySelector('.call-timeline details')")
    make_digit(running.streams.get(), "5", timestamp_ms=11_000)
    holder.change(running)
    page.wait_for_selector('.call-marker[data-kind="key"]')
    assert page.evaluate("seen.isConnected && seen.open")
    assert page.evaluate("document.activeElement.matches('.call-timeline a')")


def test_it_becomes_the_page_of_history_under_the_hands_of_who_writes(holder, visit, ops, running):
    page = follow(visit, running, ops)
    page.fill(".call-comment-form textarea", "half a com")
    page.fill("#id_notes", "half a sen")
    Call.objects.filter(pk=running.pk).update(status="completed", ended_at=timezone.now())
    holder.change(running)
    page.wait_for_selector(".call-keys:has-text('S skips silence')")
    assert page.evaluate("document.activeElement.id") == "id_notes"
    written = [page.input_value("#id_notes"), page.input_value(".call-comment-form textarea")]
    assert written == ["half a sen", "half a com"]
    assert page.locator(":is(.call-catch-up, .call-running, .call-interrupted, .call-present):visible").count() == 0
    assert page.locator(":is(.call-skip, .call-menu):visible").count() == 2
    assert "0:12 recorded" in page.inner_text("#call-head")
    page.fill(".call-comment-form textarea", "")
    page.fill("#id_notes", "")


def test_it_says_that_live_updates_are_interrupted_until_they_are_back(holder, visit, ops, running):
    page = follow(visit, running, ops)
    holder.call(post._note, OSError("the layer is away"))
    page.wait_for_selector("text=Live updates are interrupted; the call goes on and is recorded.")
    holder.call(post._note, None)
    page.wait_for_selector(".call-interrupted", state="hidden")


def test_who_was_logged_out_is_told_and_asks_no_more(holder, visit, ops, running):
    page = follow(visit, running, ops)
    Session.objects.all().delete()
    holder.change(running)
    page.wait_for_selector("text=You have been logged out.")
    looks = asked(page, "follow.json", "peaks.json")
    holder.change(running)
    assert rest(page) == looks
