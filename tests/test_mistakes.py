"""The mistakes that everybody makes once: each is told in the log and on the call, with what to write instead."""

import asyncio
import json
from contextlib import closing

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation

from calls.media.audio import tone
from calls.models import Call, CallEvent, Stream
from calls.server import talker
from calls.server.mistakes import advice, sentence
from calls.server.stalls import raised_at
from calls.summaries.problems import problems
from tests.support.line import Line, stored
from tests.support.phone import Phone


recorded = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
QUIET = b"\xff" * 160


# --- what is made of an exception -------------------------------------------------------------------------------------


async def asks_the_orm(stream):
    Call.objects.count()


async def iterates_with_for(stream):
    for _ in stream:
        pass


async def iterates_over_media_with_for(stream):
    for _ in stream.media():
        pass


async def iterates_over_keys(stream):
    with closing(stream.digits(1)) as keys:
        async for _ in keys:
            pass


async def awaits_media(stream):
    await stream.media()


async def awaits_nothing(stream):
    await stream.skip()


async def forgets_an_await(stream):
    with closing(stream.digits(1)) as keys:
        return keys + "#"


async def runs_a_loop(stream):
    with closing(asyncio.sleep(0)) as nap:
        asyncio.run(nap)


async def leaves_the_loop(stream):
    async_to_sync(asyncio.sleep)(0)


async def misspells(stream):
    await stream.speak(b"")


async def imports_what_is_not_there(stream):
    import no_such_package  # noqa: F401


RAISED = (TypeError, RuntimeError, AttributeError, ImportError, SynchronousOnlyOperation)
MADE = {
    asks_the_orm: "Use the ORM's async methods",
    iterates_with_for: "Write `async for`, not `for`.",
    iterates_over_media_with_for: "Write `async for`, not `for`.",
    iterates_over_keys: "`await` it instead of iterating over it.",
    awaits_media: "Write `async for … in` instead of `await`.",
    awaits_nothing: "Leave that `await` out",
    forgets_an_await: "An `await` is missing",
    runs_a_loop: "`await` the coroutine itself",
    leaves_the_loop: "`await` the coroutine itself",
    misspells: "docs/handlers.md lists what a stream has.",
    imports_what_is_not_there: "handlers/requirements.txt",
}


@pytest.mark.parametrize("mistake", MADE)
async def test_a_mistake_is_told_with_what_to_write_instead(mistake):
    with pytest.raises(RAISED) as caught:
        await mistake(Phone().stream)
    assert MADE[mistake] in advice(caught.value)


def test_any_other_error_has_no_advice():
    assert advice(ValueError("no such flight")) == ""


def test_of_a_group_of_tasks_the_error_that_came_is_told():
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", [KeyError("menu")])])
    assert sentence(group) == "KeyError: 'menu'"


def test_the_line_is_the_users_own_also_where_a_library_raises():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("no json")
    assert raised_at(caught.value).endswith(" in test_the_line_is_the_users_own_also_where_a_library_raises")


def test_the_line_is_where_it_came_from_and_not_where_it_was_cleaned_up():
    def fails():
        try:
            raise LookupError
        finally:
            _ = "the last line that ran"

    with pytest.raises(LookupError) as caught:
        fails()
    assert raised_at(caught.value) == f"tests/test_mistakes.py:{fails.__code__.co_firstlineno + 2} in fails"


def test_an_error_is_cut_where_a_row_has_an_end():
    assert len(sentence(ValueError("x" * 1000))) == 500


# --- on the call ------------------------------------------------------------------------------------------------------


async def returns(stream):
    """Has nothing to say, and does not know it."""


async def returns_from_the_loop(stream):
    async for _ in stream:
        return


async def declines(stream):
    await stream.hang_up()


async def says(stream):
    await stream.play(tone(440, 20), wait=False)


async def breaks(stream):
    for _ in stream:
        pass


@pytest.fixture(autouse=True)
def own(settings):
    names = ("returns", "returns_from_the_loop", "declines", "says", "breaks", "broken")
    settings.STREAM_HANDLERS = {name: f"tests.test_mistakes.{name}" for name in names}


def told(kind):
    return CallEvent.objects.filter(kind=kind).exists()


def page():
    """What stands at the head of the call's page."""
    call = Call.objects.get()
    return [(each.word, each.advice) for each in problems(call, call.streams.all(), call.events.all())]


@recorded
@pytest.mark.parametrize("name", ["returns", "returns_from_the_loop"])
async def test_a_handler_that_returns_at_once_is_told(process, caplog, name):
    async with Line(name) as line:
        line.say(QUIET)
        await line.gone()
    assert await stored(lambda: told("handler-returned-at-once"))
    assert f"handler_returned_at_once handler={name} call={line.call_sid}: it ran for 0." in caplog.text
    assert (await stored(page))[0][0] == "said nothing"
    assert not (await stored(Stream.objects.get)).handler_failed


@recorded
async def test_a_handler_that_means_to_hang_up_at_once_may(process):
    async with Line("declines") as line:
        await line.gone()
    assert not await stored(lambda: told("handler-returned-at-once"))


@recorded
async def test_a_handler_that_has_said_something_may_return_at_once(process):
    async with Line("says") as line:
        await line.play_out()
        await line.gone()
    assert not await stored(lambda: told("handler-returned-at-once"))


@recorded
async def test_a_handler_that_took_its_time_may_say_nothing(process, monkeypatch):
    monkeypatch.setattr(talker, "AT_ONCE", 0)
    async with Line("returns") as line:
        await line.gone()
    assert not await stored(lambda: told("handler-returned-at-once"))


@recorded
async def test_the_advice_is_in_the_log_and_on_the_calls_page(process, caplog):
    async with Line("breaks") as line:
        await line.gone()
    assert f"handler_failed handler=breaks call={line.call_sid}: Write `async for`, not `for`." in caplog.messages
    assert await stored(page) == [("handler failed", "Write `async for`, not `for`.")]


@recorded
async def test_a_stream_whose_handler_cannot_be_found_any_more_is_refused_and_logged(process, caplog):
    async with Line("broken") as line:
        assert (await line.answer())["code"] == 4404
    assert f"handler_unusable handler='broken' call={line.call_sid}" in caplog.messages
