"""Listening in, in a real browser: what it plays is what the caller says, soon, and it says what becomes of it."""

import asyncio
import threading
import time

import numpy as np
import pytest

from calls.models import Call, RecordingAccess
from calls.server.switchboard import switchboard
from simulator import Scenario, simulate
from tests.support.browser import MARKS, page_of, violations, wait_until
from tests.support.factories import make_staff
from tests.support.loudspeaker import TAP, best_likeness
from tests.support.servers import SPEECH, until


pytestmark = [
    *(mark for mark in MARKS if mark.name != "django_db"),
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
    pytest.mark.usefixtures("process"),
]


@pytest.fixture
def supervisor():
    return make_staff("view_call", "change_call", "listen_call", "supervise_call")


@pytest.fixture
def call(site, settings):
    """One that runs: its caller speaks, again and again, until the test is over."""
    facts = {"account_sid": settings.TWILIO_ACCOUNT_SID, "auth_token": settings.TWILIO_AUTH_TOKENS[0]}
    scenario = Scenario(public_url=settings.PUBLIC_URL, server=site, handler="echo", audio=SPEECH * 20, **facts)
    thread = threading.Thread(target=asyncio.run, args=[simulate(scenario)], kwargs={"debug": False})
    thread.start()
    try:
        yield until(lambda: Call.objects.filter(streams__ended_at=None, streams__length__gt=0).first(), "the call")
    finally:
        for live in [*switchboard.live.values()]:
            live.loop.call_soon_threadsafe(live.lifetime.end, "handler")
        thread.join()


def state(page):
    return page.evaluate("document.getElementById('call-listen').dataset.state")


def wait_for(page, wanted):
    wait_until(page, f"document.getElementById('call-listen').dataset.state === '{wanted}'", seconds=15)


def look(page):
    """How like it is, and how many seconds it is behind what the server had been sent by then."""
    page.wait_for_timeout(300)
    taken = page.evaluate("taken()")
    (live,) = switchboard.live.values()
    line = live.tape.inbound.end / 8000 - (time.time() - taken["at"])
    alike, at = best_likeness(np.array(taken["samples"]), taken["rate"], SPEECH)
    return alike, (line - at) % (len(SPEECH) / 8000)


def test_the_caller_is_heard_as_they_speak_and_soon(visit, call, supervisor):
    page = visit(page_of(call), supervisor)
    page.evaluate(TAP)
    page.click(".call-listen-toggle")
    wait_for(page, "live")
    until(lambda: (found := look(page))[0] >= 0.95 and found[1] < 0.7, "the caller's voice, at most 0.7 s late")
    page.click(".call-listen-toggle")
    assert state(page) == "idle"
    access = until(lambda: RecordingAccess.objects.exclude(played=[]).first(), "what was played on record")
    assert (access.detail, access.user) == ("live", supervisor)
    page.click(".call-listen-toggle")
    wait_for(page, "live")
    assert violations(page) == []


def test_a_browser_that_plays_nothing_by_itself_says_so_and_a_click_helps(visit, call, supervisor):
    page = visit(page_of(call, "#listen"), supervisor)
    wait_for(page, "blocked")
    assert not RecordingAccess.objects.exists()
    # Chromium says so too.
    assert "The AudioContext was not allowed to start" in page.problems.pop()
    page.click(".call-listen-toggle")
    wait_for(page, "live")
    # While somebody listens, 1 is the side that they hear, not the recording's; and only one of the two plays.
    page.keyboard.press("1")
    pressed = "[...document.querySelectorAll('.call-lane-name.call-inbound, .call-listen .call-inbound button')]"
    assert page.evaluate(f"{pressed}.map((each) => each.getAttribute('aria-pressed'))") == ["true", "false"]
    page.click(".call-toggle")
    wait_for(page, "idle")


def test_a_call_that_ends_says_so(visit, call, supervisor):
    page = visit(page_of(call), supervisor)
    page.keyboard.press("i")
    wait_for(page, "live")
    (live,) = switchboard.live.values()
    live.loop.call_soon_threadsafe(live.lifetime.end, "handler")
    wait_for(page, "over")
