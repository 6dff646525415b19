"""The list of running calls in a real browser: meters move, rows come and go, and nothing moves below the pointer."""

import pytest
from django.utils import timezone

from calls.models import Call
from calls.post.post import post
from calls.supervision.watchers import watchers
from tests.support.browser import MARKS, violations
from tests.support.factories import make_live_call, make_staff, make_stream


pytestmark = MARKS
LIVE = "/admin/calls/call/live/"
ROW = ".call-live-calls tbody tr"


@pytest.fixture
def supervisor():
    return make_staff("view_call", "supervise_call", "see_numbers")


def on_line(**facts):
    call = make_live_call(**{"created_at": timezone.now(), "answered_at": timezone.now(), **facts})
    make_stream(call, lease_owner="worker")
    return call


def end(call):
    Call.objects.filter(pk=call.pk).update(ended_at=timezone.now())


class Worker:
    """The process that holds the calls, once a second."""

    number = 0

    def tell(self, *calls, **facts):
        self.number += 1
        figures = {"levels": [b"\x60\x60\x60\x60\x60", b"\0\0\0\0\0"], "speak": 1, "is_paused": False, **facts}
        told = [{"call": call.sid, **figures} for call in calls]
        watchers.told({"type": "meters.told", "from": "worker", "number": self.number, "calls": told})


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.setattr(watchers, "_last", {})
    return Worker()


def until_watched(page):
    """Its socket is there."""
    while not watchers._watchers:
        page.wait_for_timeout(20)


def test_a_row_shows_who_speaks_who_waits_and_what_happened(visit, supervisor, worker):
    call = on_line()
    page = visit(LIVE, supervisor)
    until_watched(page)
    worker.tell(call, event=["key", 100])
    page.wait_for_function("() => /scaleX\\(0.9/.test(document.querySelector('.call-meters i').style.transform)")
    assert page.locator(".call-live-who").inner_text() == "caller"
    assert page.locator("td.call-live-event").inner_text() == "The caller pressed a key"
    worker.tell(call, speak=0, wait=7000)
    page.wait_for_selector("td.call-live-wait.call-bad >> text=7 s")
    assert violations(page) == []


def test_rows_come_and_go_by_themselves(visit, supervisor, worker):
    first = on_line()
    page = visit(LIVE, supervisor)
    until_watched(page)
    second = on_line()
    worker.tell(first, second)
    page.wait_for_selector(f"{ROW}[data-pk='{second.pk}']")
    assert page.locator("h1").inner_text() == "2 live calls"
    assert page.locator(ROW).first.get_attribute("data-pk") == str(second.pk)
    end(first)
    worker.tell(second)
    page.wait_for_function("() => document.querySelectorAll('.call-live-calls tbody tr').length === 1")
    assert page.title().startswith("1 live call")


def test_nothing_moves_below_the_pointer(visit, supervisor, worker):
    first = on_line()
    page = visit(LIVE, supervisor)
    until_watched(page)
    page.locator(ROW).hover()
    place = page.locator(ROW).bounding_box()
    second = on_line()
    worker.tell(first, second)
    page.wait_for_selector("text=Show 1 new call")
    end(first)
    worker.tell(second)
    page.wait_for_selector(f"{ROW}.call-left[inert]")
    page.mouse.move(place["x"] + 60, place["y"] + 10)
    worker.tell(second, on_line())
    page.wait_for_selector("text=Show 2 new calls")
    assert page.locator(ROW).bounding_box() == place
    page.mouse.move(5, 5)
    page.wait_for_selector(f"{ROW}[data-pk='{first.pk}']", state="detached")
    assert page.locator(ROW).count() == 2


def test_without_the_layer_the_page_says_so_and_rows_still_come(visit, supervisor, worker):
    page = visit(LIVE, supervisor, width=390, scheme="dark")
    until_watched(page)
    post._note(OSError("gone"))
    page.wait_for_selector("text=The processes cannot reach each other")
    on_line()
    page.wait_for_selector(ROW)
    assert violations(page) == []
    post._note(None)
    page.wait_for_function("() => document.querySelector('.call-live-weather').textContent === ''")
