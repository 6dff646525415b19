"""Requests of staff share a few threads; webhooks do not wait for them."""

import asyncio
import threading

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.urls import resolve

from calls.admin.base import waits_for_twilio, waits_for_worker
from calls.process.lifespan import Lifespan
from calls.process.pools import STAFF_THREADS
from calls.process.threads import SharedThreads


@pytest.fixture
def rarely(monkeypatch):
    """What a server's process looks at every few seconds, it would look at while the tests run that come after this."""
    for every in ("calls.server.inquiry.EVERY", "calls.server.listening.EVERY"):
        monkeypatch.setattr(every, 1e6)


async def ten_requests(path):
    """The threads in which ten requests at once do their synchronous part, as Django's handler has it done."""
    used, together = set(), threading.Barrier(10)

    async def application(scope, receive, send):
        async with ThreadSensitiveContext():
            used.add(await sync_to_async(threading.get_ident)())
            if not path.startswith("/admin/"):
                await sync_to_async(together.wait)(10)

    lifespan = Lifespan(application)
    await asyncio.gather(*(lifespan({"type": "http", "method": "GET", "path": path}, None, None) for _ in range(10)))
    return used


async def test_ten_members_of_staff_share_two_threads(rarely):
    assert len(await ten_requests("/admin/calls/call/")) == STAFF_THREADS == 2


async def test_ten_webhooks_have_a_thread_each(rarely):
    assert len(await ten_requests("/incoming")) == 10


@pytest.mark.parametrize(
    ("page", "methods"),
    [
        ("", []),
        ("17/change/", []),
        ("17/recording.wav", []),
        ("place/", ["POST"]),
        ("17/hang-up/", ["POST"]),
        ("17/goodbye/", ["POST"]),
        ("17/transfer/", ["POST"]),
        ("numbers/", ["GET", "HEAD"]),
        ("numbers/point/PN17/", ["GET", "HEAD", "POST"]),
    ],
)
def test_a_page_that_asks_twilio_says_with_which_methods(page, methods):
    view = resolve(f"/admin/calls/call/{page}").func
    assert [method for method in ("GET", "HEAD", "POST", "PUT") if waits_for_twilio(view, method)] == methods


@pytest.mark.parametrize(
    ("page", "methods"),
    [
        ("call/17/change/", []),
        ("call/17/hang-up/", []),
        ("call/17/step-in/clear/", ["POST"]),
        ("call/17/step-in/play/", ["POST"]),
        ("sound/add/", ["POST"]),
        ("sound/17/change/", []),
    ],
)
def test_a_page_that_asks_another_process_says_with_which_methods(page, methods):
    view = resolve(f"/admin/calls/{page}").func
    assert [method for method in ("GET", "HEAD", "POST", "PUT") if waits_for_worker(view, method)] == methods


async def test_a_request_goes_to_the_thread_that_has_least_to_do():
    threads, asked = SharedThreads(2), []

    async def ask():
        asked.append(await sync_to_async(threading.get_ident)())

    with threads.thread():
        await ask()
        with threads.thread():
            await ask()
        with threads.thread():
            await ask()
    assert asked[0] != asked[1] == asked[2]


async def test_a_request_that_fails_leaves_its_thread_to_others():
    threads = SharedThreads(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="defect"), threads.thread():
            raise ValueError("defect")
    with threads.thread():
        assert await sync_to_async(threading.get_ident)() != threading.get_ident()
