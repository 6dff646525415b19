"""A person takes over by a real browser's microphone, from a call on a real server: what the caller hears, and when."""

import time

import numpy as np
import pytest
from django.test import Client

from calls.models import Call, CallEvent, Stream
from simulator.playbuffer import flatten
from tests.support.browser import HTTPS, MARKS, chromium, page_of, site, visit, wait_until
from tests.support.callers import Calls
from tests.support.factories import make_call, make_staff, make_stream
from tests.support.microphone import RATE, WORDS, found, microphone, speaker
from tests.support.recorded import lane, stored_to_the_end
from tests.support.servers import Server, until
from tests.support.talks import linear, spoken


__all__ = ["chromium", "microphone", "site", "speaker", "visit"]
pytestmark = [*MARKS, pytest.mark.process, pytest.mark.clock]

MAY = ("view_call", "listen_call", "supervise_call")
# Of what the caller hears, in samples, that is looked at before and after the page has seen the first word.
BEFORE, AFTER = RATE // 2, 6 * RATE


def opened(browser, server, call):
    """The call's page, as somebody who may take over."""
    client = Client(headers=HTTPS)
    client.force_login(make_staff(*MAY, username="anna"))
    page = browser.new_context(base_url=server.url).new_page()
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.url}])
    page.goto(page_of(call))
    return page


def test_what_the_microphone_hears_the_caller_hears_within_800_ms_and_the_right_lane_holds_it(speaker, tmp_path):
    with Server("uvicorn", tmp_path) as server:
        calls = Calls(server, handler="echo", audio=b"\xff" * RATE, duration=60).talk(0.5)
        [simulated] = calls.calls
        [stream] = simulated.caller.streams
        call = until(lambda: Call.objects.filter(sid=simulated.report.call_sid).first(), "the call's row")
        page = opened(speaker, server, call)
        page.evaluate(
            """() => {
                const panel = document.getElementById("call-takeover");
                let quiet = 0;
                panel.addEventListener("call:voice", ({ detail }) => {
                    const talks = panel.dataset.state === "on";
                    if (detail.level > 0.05 && quiet > 8 && talks) document.body.dataset.onset ??= Date.now();
                    quiet = detail.level < 0.05 ? quiet + 1 : 0;
                });
            }"""
        )
        page.click(".call-takeover-take")
        page.wait_for_selector(".call-takeover[data-state=on]")
        wait_until(page, "document.body.dataset.onset", seconds=20)
        page.wait_for_timeout(5000)
        page.click(".call-takeover-back")
        until(lambda: CallEvent.objects.filter(kind="hand-back", user__username="anna").exists(), "the hand-back")
        onset = int(page.evaluate("document.body.dataset.onset")) / 1000
        reports = calls.hang_up().result()
    # When the page saw the first word, on the caller's own clock.
    seen = round((onset - time.time() + time.monotonic() - stream.buffer._started) * RATE)
    heard = linear(flatten(reports[0].streams[0].heard))[seen - BEFORE : seen + AFTER]
    delays, likeness = np.array(list(found(heard, spoken("en-us", WORDS)))).T
    delays = delays - BEFORE / 8
    print(f"heard {np.median(delays):.0f} ms after the page had it; {np.round(delays)}; {np.round(likeness, 2)}")
    assert np.median(likeness) > 0.6
    assert np.median(delays) < 800
    stored_to_the_end(reports)
    recorded = linear(lane(Stream.objects.get(), "outbound"))
    assert np.median([like for _, like in found(recorded, heard[BEFORE:])]) > 0.9


def test_a_page_without_a_microphone_says_what_to_do_and_leaves_the_caller_to_the_handler(visit):
    call = make_call(handler="echo", status="in-progress", ended_at=None)
    make_stream(call, ended_at=None)
    page = visit(page_of(call), make_staff(*MAY))
    page.click(".call-takeover-take")
    page.wait_for_selector(".call-takeover[data-state=failed]")
    assert "microphone" in page.inner_text(".call-takeover-said")
    assert page.is_visible(".call-takeover-take")
    assert not CallEvent.objects.filter(source="control").exists()


def test_who_may_only_look_is_offered_no_takeover(visit):
    call = make_call(handler="echo", status="in-progress", ended_at=None)
    page = visit(page_of(call), make_staff("view_call", "listen_call"))
    assert page.query_selector("#call-takeover") is None
