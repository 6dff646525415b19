"""What a program may take of a server: one thread for all of them, few places for each, and nothing of staff's."""

import asyncio
import json
import threading

import pytest
from asgiref.sync import sync_to_async

from calls.process import pools
from calls.process.pools import MOST_API, MOST_API_OF_ONE, Pools


CALLS, PAGE = "/api/v1/calls", "/admin/calls/call/"


def request(address="192.0.2.1", path=CALLS, **headers):
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": path, "client": [address, 1], "headers": named}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Refusals come without delay, but where a test says otherwise."""
    monkeypatch.setattr(pools, "REFUSED_AFTER", 0)


async def answers(*requests):
    """What requests get while those that are let in are not answered until all have come; and their threads."""
    sent, threads, all_there = [], set(), asyncio.Event()

    async def application(scope, receive, send):
        await all_there.wait()
        threads.add(await sync_to_async(threading.get_ident)())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(scope):
        messages = []

        async def send(message):
            messages.append(message)

        await around(scope, None, send)
        sent.append((messages[0]["status"], dict(messages[0]["headers"]), json.loads(messages[1]["body"])))

    around = Pools(application)
    tasks = [asyncio.create_task(ask(scope)) for scope in requests]
    for _ in range(20):
        await asyncio.sleep(0)
    all_there.set()
    await asyncio.gather(*tasks)
    return sorted(sent, key=lambda answer: answer[0]), threads


def statuses(found):
    return [status for status, _, _ in found]


async def test_all_programs_share_one_thread():
    found, threads = await answers(*(request(f"192.0.2.{at}") for at in range(10)))
    assert statuses(found) == [200] * 10
    assert len(threads) == 1


async def test_one_address_with_fifty_connections_has_eight_places():
    found, _ = await answers(*(request() for _ in range(50)))
    assert statuses(found) == [200] * MOST_API_OF_ONE + [429] * (50 - MOST_API_OF_ONE)
    _, headers, body = found[-1]
    assert (headers[b"retry-after"], headers[b"content-type"]) == (b"1", b"application/json")
    assert body["error"]["code"] == "too_many"


async def test_many_addresses_have_a_limited_number_of_places():
    found, _ = await answers(*(request(f"198.51.100.{at}") for at in range(MOST_API + 3)))
    assert statuses(found) == [200] * MOST_API + [429] * 3


async def test_programs_take_no_place_and_no_thread_of_staffs():
    programs = [request(f"198.51.100.{at}") for at in range(MOST_API)]
    found, threads = await answers(*programs, *(request(path=PAGE) for _ in range(4)))
    assert statuses(found) == [200] * (MOST_API + 4)
    assert len(threads) == 3


@pytest.mark.parametrize("headers", [{"content_length": "5"}, {"transfer_encoding": "chunked"}])
async def test_a_body_is_refused_before_it_is_waited_for(headers):
    [(status, _, body)], threads = await answers(request(**headers))
    assert (status, body["error"]["code"], threads) == (413, "no_body", set())


async def test_an_empty_body_is_none():
    found, _ = await answers(request(content_length="0"))
    assert statuses(found) == [200]


async def refused_while_others_wait(status, count, monkeypatch):
    """How many of so many requests of one address come as far as the application, which answers all with that status,
    and how many are answered, before any refusal is due."""
    monkeypatch.setattr(pools, "REFUSED_AFTER", 3600)
    asked, sent = [], []

    async def application(scope, receive, send):
        asked.append(scope)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        sent.append(message)

    around = Pools(application)
    tasks = [asyncio.create_task(around(request(), None, send)) for _ in range(count)]
    _, waiting = await asyncio.wait(tasks, timeout=0.1)
    for task in waiting:
        task.cancel()
    return len(asked), len(sent) // 2


@pytest.mark.parametrize("status", [401, 429])
async def test_a_program_that_is_refused_waits_for_it_and_takes_no_place_meanwhile(status, monkeypatch):
    assert await refused_while_others_wait(status, 2 * MOST_API_OF_ONE, monkeypatch) == (2 * MOST_API_OF_ONE, 0)


async def test_what_is_no_refusal_is_sent_at_once(monkeypatch):
    assert await refused_while_others_wait(200, 3, monkeypatch) == (3, 3)


async def test_who_has_no_place_waits_for_the_refusal(monkeypatch):
    monkeypatch.setattr(pools, "MOST_API_OF_ONE", 0)
    assert await refused_while_others_wait(200, 3, monkeypatch) == (0, 0)
