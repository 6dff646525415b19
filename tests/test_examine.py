"""The examination accuses no server that is right, and finds what is wrong with each that is wrong in one way."""

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest

from simulator.examine import CHECKS, Target, Verdict, examine
from tests.support.media_servers.aiohttp_server import TOKEN, serving
from tests.support.media_servers.quickly import run_quickly
from tests.support.media_servers.running import needs_node, running


pytestmark = [pytest.mark.process, pytest.mark.clock]

WARN, FAIL = Verdict.WARN, Verdict.FAIL
# What is wrong with the aiohttp server, and all that is to be said about it.
WRONG = {
    "webhook": {"webhook": FAIL},
    "redirect": {"redirect": FAIL},
    "json": {"content-type": FAIL},
    "text": {"content-type": WARN},
    "long": {"twiml-size": FAIL},
    "xml": {"twiml": FAIL},
    "nothing signed": {"unsigned-webhook": FAIL, "unsigned-socket": FAIL},
    "forged": {"forged-webhook": FAIL},
    "get": {"get-webhook": FAIL},
    "get refused": {"get-webhook": WARN},
    "repeated": {"repeated-webhook": FAIL},
    "repeated kills": {"repeated-webhook": FAIL},
    "callbacks": {"callbacks": FAIL},
    "action": {"documents": FAIL},
    "verb": {"verbs": FAIL},
    "query": {"stream-url": WARN},
    "scheme": {"stream-url": FAIL},
    "no url": {"stream-url": FAIL},
    "track": {"track": FAIL},
    "parameter": {"parameters": FAIL},
    "callback": {"stream": FAIL},
    "start alone": {"start-alone": FAIL},
    "start speaks": {"start-speaks": FAIL},
    "pause": {"trailing-pause": WARN},
    "path": {"opens": FAIL},
    "unmoved": {"interruption": WARN},
    "waiting": {"after-clear": WARN},
    "1011": {"close-code": FAIL},
    "no close frame": {"close-code": FAIL},
    "rfc": {"websocket": FAIL},
    "busy": {"second-call": FAIL},
    "same parameters": {"mixed-up": FAIL},
    "echoing": {"mixed-up": FAIL},
    "crossed": {"mixed-up": FAIL},
    "binary": {"binary-frames": FAIL},
    "not json": {"json": FAIL},
    "event": {"events": FAIL},
    "no sid": {"missing-fields": FAIL},
    "extra": {"extra-fields": FAIL},
    "number": {"structure": FAIL},
    "body": {"bodies": FAIL},
    "sid": {"stream-sid": FAIL},
    "base64": {"base64": FAIL},
    "wav": {"container": FAIL},
    "pcm16": {"mulaw": FAIL},
    "zeros": {"mulaw": WARN},
    "odd": {"frame-size": WARN},
    "uncut": {"message-size": WARN},
    "ahead": {"ahead": FAIL},
    "unsigned socket": {"unsigned-socket": FAIL},
    "forged socket": {"forged-socket": FAIL},
    "unknown call": {"unknown-call": WARN},
    "before start": {"before-start": FAIL},
    "deaf to stop": {"after-stop": WARN},
    "left open": {"left-open": FAIL},
    "dtmf": {"dtmf": FAIL},
    "unknown mark": {"unknown-mark": FAIL},
    "weather": {"unknown-event": FAIL},
    "jumps": {"jumps": FAIL},
}
# Other servers, with the argument that makes them wrong.
OTHERS = {
    ("flask", ()): {},
    ("fastapi", ()): {},
    ("node", ()): {},
    ("flask", ("--wav",)): {"container": FAIL},
    ("fastapi", ("--unsigned-socket",)): {"unsigned-socket": FAIL},
    ("node", ("--extra",)): {"extra-fields": FAIL},
    ("aiohttp", ("blocking",)): {"blocking": WARN},
    ("aiohttp", ("slow",)): {"reads": WARN},
}


def target(url):
    return Target(voice_url=url, auth_token=TOKEN, status_callback=url.replace("/voice", "/stream"))


@pytest.fixture(scope="module")
def examined():
    """The results of all servers that are in this process, beside each other."""

    async def all_at_once():
        async with AsyncExitStack() as stack:
            urls = {wrong: await stack.enter_async_context(serving(wrong)) for wrong in ("", "wss", *WRONG)}
            return await together(urls)

    return run_quickly(all_at_once())


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """The results of all servers that are processes, beside each other."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        urls = {other: stack.enter_context(running(other[0], folder, *other[1])) for other in OTHERS if can(other)}
        # Not in debug mode: the examination would take itself for a slow server.
        return asyncio.run(together(urls), debug=False)


async def together(urls):
    return dict(zip(urls, await asyncio.gather(*(examine(target(url)) for url in urls.values())), strict=True))


def can(other):
    try:
        return other[0] != "node" or needs_node() is None
    except pytest.skip.Exception:
        return False


def objections(results):
    return {result.check.id: result.verdict for result in results if result.verdict in (WARN, FAIL)}


@pytest.mark.parametrize("right", ["", "wss"])
def test_a_server_that_is_right_is_not_accused(examined, right):
    assert objections(examined[right]) == {}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found_and_nothing_else(examined, wrong):
    assert objections(examined[wrong]) == WRONG[wrong]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: " ".join([other[0], *other[1]]))
def test_other_servers_are_judged_as_well(others, other):
    if other[0] == "node":
        needs_node()
    assert objections(others[other]) == OTHERS[other]


def test_every_check_can_fail():
    found = {id for wrong in (*WRONG.values(), *OTHERS.values()) for id in wrong}
    assert found == {check.id for check in CHECKS}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_accusation_is_proved_by_what_went_over_the_wire(examined, wrong):
    accused = [result for result in examined[wrong] if result.verdict in (WARN, FAIL)]
    assert all(result.judgement.proof for result in accused)


def test_a_check_can_be_asked_for_alone(examined):
    async def alone(check):
        async with serving("wss") as url:
            (result,) = await examine(target(url), [check])
            return check.id, result.verdict

    async def each_alone():
        return dict(await asyncio.gather(*map(alone, CHECKS)))

    assert run_quickly(each_alone()) == {result.check.id: result.verdict for result in examined["wss"]}


def test_a_right_server_gives_occasion_to_nearly_every_check(examined):
    untested = {result.check.id for result in examined["wss"] if result.verdict is Verdict.NOT_TESTED}
    assert untested == {"documents", "start-alone", "start-speaks"}
