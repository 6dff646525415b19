"""A call on one server process, and a supervisor's real browser on another: seen, heard, talked to, and ended."""

import numpy as np
import pytest
from django.test import Client

from calls.models import Call, CallEvent, RecordingAccess, Stream
from simulator.playbuffer import flatten
from tests.support.browser import HTTPS, MARKS, chromium, wait_until
from tests.support.callers import Calls
from tests.support.factories import make_staff
from tests.support.loudspeaker import TAP, best_likeness
from tests.support.microphone import WORDS, found, microphone, speaker
from tests.support.recorded import lane, stored_to_the_end
from tests.support.servers import SPEECH, Server, until
from tests.support.supervised import OwnRedis
from tests.support.talks import linear, spoken


__all__ = ["chromium", "microphone", "speaker"]
pytestmark = [*MARKS, pytest.mark.process, pytest.mark.clock]


@pytest.fixture
def servers(tmp_path):
    """The one that calls come to, and the one whose pages are looked at."""
    with (
        OwnRedis() as redis,
        Server("uvicorn", tmp_path, REDIS_URL=redis.url) as calls_there,
        Server("uvicorn", tmp_path, REDIS_URL=redis.url) as pages_there,
    ):
        yield calls_there, pages_there


@pytest.fixture
def page(speaker, servers):
    """The list of running calls, as anna sees it."""
    server, client = servers[1], Client(headers=HTTPS)
    client.force_login(make_staff("view_call", "listen_call", "supervise_call", username="anna"))
    context = speaker.new_context(base_url=server.url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.url}])
    page = context.new_page()
    page.goto("/admin/calls/call/live/")
    return page


def test_a_supervisor_sees_hears_talks_to_and_ends_a_call_that_another_process_holds(page, servers):
    calls = Calls(servers[0], handler="echo", audio=SPEECH * 20, duration=90).talk(0.5)
    page.click(".call-live-calls tbody th a", timeout=20_000)
    page.wait_for_selector("#call-listen")
    page.evaluate(TAP)
    page.click(".call-listen-toggle")
    wait_until(page, "document.getElementById('call-listen').dataset.state === 'live'", seconds=20)
    until(lambda: heard(page) >= 0.95, "the caller's voice in the browser")
    assert RecordingAccess.objects.get().user.username == "anna"

    page.click(".call-takeover-take")
    page.wait_for_selector(".call-takeover[data-state=on]")
    page.wait_for_timeout(8000)  # the microphone's words, whole
    page.click(".call-takeover-back")
    page.wait_for_selector(".call-timeline >> text=They handed back")

    page.click("text=Hang up after this…")
    page.click("#call-step-hang-up button.default, #call-step-hang-up [type=submit]")
    page.wait_for_selector("#call-step-in", state="hidden", timeout=20_000)
    reports = calls.hang_up().result()
    stored_to_the_end(reports)
    until(lambda: Call.objects.get().ended_at, "the call's end")
    events = CallEvent.objects.filter(source="control").values_list("kind", "user__username")
    assert set(events) == {("take-over", "anna"), ("hand-back", "anna"), ("hang-up", "anna")}
    played = linear(flatten(reports[0].streams[0].heard))
    recorded = linear(lane(Stream.objects.get(), "outbound"))
    assert talked(played) > 0.6
    assert talked(recorded) > 0.6


def heard(page):
    """How like what the caller says the last moment is that the browser played."""
    page.wait_for_timeout(300)
    taken = page.evaluate("taken()")
    return best_likeness(np.array(taken["samples"]), taken["rate"], SPEECH)[0]


def talked(audio):
    """How like the microphone's words some of this is."""
    return np.median([like for _, like in found(audio, spoken("en-us", WORDS))])
