"""“Simulate a call…” in a real browser, on the servers that developers run: from the list to the page of the call."""

import pytest
from django.test import Client

from calls.models import Call, Dtmf, Stream, Turn
from calls.recordings.rendering import Recording
from tests.support.browser import HTTPS, MARKS, chromium, wait_until
from tests.support.factories import make_staff
from tests.support.servers import Server, until
from tests.support.sounds import espeak


__all__ = ["chromium", "espeak"]
pytestmark = [*MARKS, pytest.mark.process, pytest.mark.clock]


@pytest.fixture(params=["runserver", "uvicorn"])
def server(request, tmp_path):
    with Server(request.param, tmp_path, DEBUG="true") as server:
        yield server


@pytest.fixture
def page(server, chromium):
    client = Client(headers=HTTPS)
    client.force_login(make_staff("view_call", "change_call", "listen_call"))
    with chromium.new_context(base_url=server.url) as context:
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": server.url}])
        page = context.new_page()
        page.goto("/admin/calls/call/")
        yield page


def test_somebody_calls_and_the_page_shows_the_call_as_it_runs(page, espeak):
    page.click("text=Simulate a call…")
    page.select_option("#id_handler", "echo")
    page.fill("#id_says", "I would like to order a large pizza with olives, please.")
    page.fill("#id_keys", "1:5")
    page.fill("#id_duration", "12")
    page.click(".submit-row [type=submit]")
    page.wait_for_url("**/change/", timeout=60_000)
    assert "In progress" in page.inner_text("main, #content")
    page.wait_for_selector(".call-timeline >> text=Key 5", timeout=20_000)
    wait_until(page, "document.querySelector('.call-lane path').getAttribute('d')", seconds=20)
    page.wait_for_selector(".call-keys:has-text('S skips silence')", timeout=60_000)

    call = Call.objects.get()
    until(lambda: Stream.objects.get().ended_at, "the stream's end")
    assert (call.handler, call.is_simulated, Dtmf.objects.get().digit) == ("echo", True, "5")
    caller, _ = Recording.of(call).read(0, 3 * 8000)
    assert len(set(caller)) > 50
    assert page.inner_text("body").count("The simulated caller failed") == 0
    assert not Turn.objects.filter(stream__call=call, length=0).exists()


def test_whoever_clicks_twice_has_somebody_called_once(page):
    page.goto("/admin/calls/call/simulate/")
    page.fill("#id_duration", "1")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    button = page.locator(".submit-row [type=submit]").bounding_box()
    with page.expect_request("**/simulate/"):
        page.mouse.click(button["x"] + 9, button["y"] + 9)
    page.mouse.click(button["x"] + 9, button["y"] + 9)
    page.wait_for_url("**/change/", timeout=60_000)
    assert len(asked) == 1
