"""What a program may take of a server: one thread for all of them, few places for each, and nothing of staff's."""

import asyncio
import json
import threading

import pytest
from asgiref.sync import sync_to_async

from calls.process.pools import MOST_API, MOST_API_OF_ONE, Pools


CALLS, PAGE = "/api/v1/calls", "/admin/calls/call/"


def request(address="192.0.2.1", path=CALLS, **headers):
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "path": path, "client": [address, 1], "headers": named}


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

        await pools(scope, None, send)
        sent.append((messages[0]["status"], dict(messages[0]["headers"]), json.loads(messages[1]["body"])))

    pools = Pools(application)
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
