"""A real browser on the admin: fixtures for every test of its pages, and what these look for.

Every page that a test opens must end without a console error, a failed request, a dialog or a sideways scroll bar.
"""

import asyncio
import os
import shutil
import threading
import time

import pytest
import uvicorn
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.test import Client

from calls.media import audio
from calls.routing import websocket
from calls.sockets.uvicorn import MediaWebSocket
from calls.supervision import work
from tests.support.factories import (
    make_chunk,
    make_digit,
    make_event,
    make_gap,
    make_mark,
    make_recording,
    make_utterance,
)


MARKS = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    # A test may end while the browser still fetches the icon, or a script.
    pytest.mark.filterwarnings(r"ignore:[\s\S]*/static/:pytest.PytestUnraisableExceptionWarning"),
    # WhiteNoise's files: Django reads them whole under ASGI, which is what one wants of small files.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators:Warning"),
]
HTTPS = {"X-Forwarded-Proto": "https"}
LIST = "/admin/calls/call/"
# The build without windows draws a page in half the time.
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium") or "chromium"
)
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def chromium(django_db_setup):
    if not shutil.which(CHROMIUM):
        missing = f"there is no Chromium: {CHROMIUM}"
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's synchronous API runs a loop in this thread; the tests' own queries are no danger to it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def site(settings, chromium):
    """The application under uvicorn, in a thread, since ASGI is how it is served."""
    settings.SECURE_SSL_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": websocket})
    config = uvicorn.Config(application, port=0, log_level="error", lifespan="off", ws=MediaWebSocket)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=[serve(server)], kwargs={"debug": False})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


async def serve(server):
    """With the tasks of supervision, which belong to a process's lifespan."""
    working = work.start()
    await server.serve()
    for task in working:
        task.cancel()


@pytest.fixture
def visit(chromium, site):
    """Opens a path as somebody, and sees to it that nothing went wrong behind the scenes."""
    visits = []

    def visit(path, user, width=1280, scheme="light"):
        context = chromium.new_context(base_url=site, viewport={"width": width, "height": 900}, color_scheme=scheme)
        client = Client(headers=HTTPS)
        client.force_login(user)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])
        page, problems = context.new_page(), []
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("response", lambda got: problems.append(f"{got.status} {got.url}") if got.status >= 400 else None)
        page.requests, page.problems = [], problems
        page.on("response", lambda got: page.requests.append(got))
        visits.append((context, page, problems))
        page.goto(path)
        return page

    yield visit
    for context, page, problems in visits:
        assert not problems
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a sideways scroll bar"
        context.close()


def eventful():
    """20 seconds in which the caller speaks into the greeting, presses a key, and is lost for a moment."""
    call = make_recording(seconds=20, was_interrupted=True)
    stream = call.streams.get()
    make_chunk(stream, audio.tone(300, 1500), start=16_000, track="outbound")
    make_gap(stream, track="outbound", start=28_000, length=16_000, reason="cleared")
    make_gap(stream, start=80_000, length=1_600, reason="sequence")
    make_mark(stream, name="greeting", position=44_000, outcome="cleared")
    make_mark(stream, name="thanks", position=120_000, outcome="played")
    make_digit(stream, "7", timestamp_ms=8_000)
    make_event(call, kind="answered")
    make_utterance(stream, "How can I help you today?", start=16_000, track="outbound")
    make_utterance(stream, "I want a refund for order A-17", start=64_000)
    return call


def page_of(call, moment=""):
    return f"{LIST}{call.pk}/change/{moment}"


def at(page):
    return page.evaluate("document.querySelector('audio').currentTime")


def wait_until(page, condition, seconds=8):
    """Playwright's own `wait_for_function` needs eval, which the pages' policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never: {condition}"
        page.wait_for_timeout(30)


def wait_for_waveform(page):
    wait_until(page, "document.querySelector('.call-lane path').getAttribute('d')")


# What Django's own pages of users and groups have: a tooltip with a name, and a time whose label names one half of it.
DJANGOS = [[".help-tooltip"], [".vTimeField"], [".vDateField"]]


def violations(page):
    """What axe-core complains of; without `preload` it adds no styles, which the pages' policy would refuse."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, {"exclude": DJANGOS}, options).response["violations"]
    return [(broken["id"], broken["nodes"][0]["target"]) for broken in found]
