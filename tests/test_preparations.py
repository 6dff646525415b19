"""What a handler prepares at the webhook is there when the stream comes, and is closed in any case."""

import asyncio
import contextvars
import signal

import pytest

from calls.handlers import handler
from calls.media.rows import EventRow
from calls.models import CallEvent, Stream
from calls.server import preparations as module
from calls.server.preparations import ExpectedCall, preparations
from calls.server.stalls import Stall
from calls.server.switchboard import switchboard
from tests.support.child import HANDLERS
from tests.support.line import PATIENCE, Line, stored, until
from tests.support.phone import Phone, begin, done
from tests.support.servers import Server
from tests.support.webhooks import CALL, COMPLETED, INCOMING, post, token


recorded = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])


class Service:
    """A socket to somebody who takes a while."""

    def __init__(self):
        self.calls, self.given, self.closed = [], [], []
        self.opens, self.closes = asyncio.Event(), asyncio.Event()
        self.opens.set()

    async def open(self, call):
        self.calls.append(call)
        await self.opens.wait()
        return self

    async def aclose(self):
        self.closed.append(self)
        self.closes.set()

    async def gone(self):
        async with asyncio.timeout(PATIENCE):
            await self.closes.wait()


@pytest.fixture
async def service(monkeypatch):
    monkeypatch.setattr("tests.test_preparations.here", service := Service())
    yield service
    service.opens.set()
    await preparations.close()
    assert len(preparations) == 0


here = None


async def warm_up(call):
    """Opens the service of the test that runs."""
    return await here.open(call)


def listen(noun):
    return noun.start(track="inbound_track")


async def talk(stream):
    here.given.append(stream.prepared)
    async for _ in stream:
        pass


ready = handler(prepare=warm_up)(talk)


@handler(prepare=warm_up)
async def fails(stream):
    raise LookupError("no such flight")


@handler(prepare=warm_up, twiml=listen)
async def beside(stream):
    here.given.append(stream.prepared)


@handler(prepare=warm_up, twiml=lambda noun: noun._begin(None))
async def says_no(stream): ...


@pytest.fixture(autouse=True)
def own(settings):
    settings.STREAM_HANDLERS = {
        name: f"tests.test_preparations.{name}" for name in ("ready", "fails", "beside", "says_no")
    }


EXPECTED = ExpectedCall(
    call_sid=CALL,
    account_sid="AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    from_number="+14155550100",
    to_number="+14155550199",
    direction="inbound",
    parameters={},
    resumed=0,
)


async def ring(client, path="/incoming/ready", **more):
    return await post(client, path, {**INCOMING, **more})


def expect(prepare=warm_up, name="test", **facts):
    """As the webhook does, without one; the phone's handler is named test."""
    preparations.begin(
        name, prepare, ExpectedCall(**{**{f: getattr(EXPECTED, f) for f in EXPECTED.__struct_fields__}, **facts})
    )


async def turn():
    """Lets whatever is ready to run come to its next wait."""
    for _ in range(10):
        await asyncio.sleep(0)


def told(phone):
    return [row.data for row in phone.rows(EventRow) if row.kind == "prepare-failed"]


# --- at the webhook ---------------------------------------------------------------------------------------------------


@recorded
async def test_what_the_webhook_prepared_is_there_when_the_stream_comes(async_client, service, process):
    answer = await ring(async_client)
    assert service.calls == [EXPECTED]
    async with Line(call_sid=CALL, token=token(answer)) as line:
        line.press("1")
    assert (service.given, service.calls) == ([service], [EXPECTED])


@pytest.mark.django_db(transaction=True)
async def test_twilio_is_answered_before_anything_is_prepared(async_client, service, process):
    service.opens.clear()
    assert (await ring(async_client)).status_code == 200
    assert service.calls == [EXPECTED]


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_is_connected_again_says_so_and_closes_what_was_there_before(async_client, service, process):
    await ring(async_client)
    again = {**INCOMING, "CallStatus": "in-progress"}
    assert (await post(async_client, "/stream-ended?handler=ready&resumed=0", again)).status_code == 200
    await service.gone()
    assert [call.resumed for call in service.calls] == [0, 1]
    assert len(preparations) == 1


@pytest.mark.django_db(transaction=True)
async def test_parameters_are_those_that_the_stream_will_have(async_client, service, process):
    await ring(async_client, CallerName="ANNA")
    (call,) = service.calls
    assert (call.parameters, call.caller_name, call.forwarded_from) == ({"CallerName": "ANNA"}, "ANNA", "")


@pytest.mark.django_db(transaction=True)
async def test_a_webhook_that_is_delivered_twice_prepares_once(async_client, service, process):
    await ring(async_client)
    await ring(async_client)
    assert service.calls == [EXPECTED]


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_is_over_before_its_stream_closes_it_at_once(async_client, service, process):
    await ring(async_client)
    await post(async_client, "/call-status", COMPLETED)
    await service.gone()
    assert len(preparations) == 0


@pytest.mark.django_db(transaction=True)
async def test_a_question_about_a_call_that_is_over_closes_it_too(async_client, service, process):
    await ring(async_client)
    await post(async_client, "/stream-ended?handler=ready&resumed=0", COMPLETED)
    await service.gone()


@pytest.mark.django_db(transaction=True)
async def test_a_document_without_a_stream_needs_nothing_prepared(async_client, service, process):
    await ring(async_client, "/incoming/says_no")
    assert service.calls == []


@pytest.mark.django_db(transaction=True)
async def test_a_process_that_drains_leaves_it_to_the_one_that_takes_the_stream(async_client, service, process):
    switchboard.draining = True
    await ring(async_client)
    assert service.calls == []


@pytest.mark.django_db
def test_below_wsgi_it_is_left_to_the_stream(client, monkeypatch, process):
    monkeypatch.setattr("tests.test_preparations.here", None)
    assert post(client, "/incoming/ready", INCOMING).status_code == 200
    assert len(preparations) == 0


async def test_it_runs_outside_of_its_request(service):
    # Whose thread for the database ends with its answer.
    request = contextvars.ContextVar("request")
    request.set("of somebody")
    service.open = lambda call: asyncio.sleep(0, service.given.append(request.get("none")))
    expect()
    await turn()
    assert service.given == ["none"]


async def test_no_stream_within_a_minute_closes_it(service, monkeypatch):
    monkeypatch.setattr(module, "STREAM_PATIENCE", 0)
    expect()
    await service.gone()
    assert len(preparations) == 0


async def test_there_are_no_more_of_them_than_streams_may_be(service, settings, caplog):
    settings.MAX_STREAMS = 1
    for sid in ("CA1", "CA2", "CA3"):
        expect(call_sid=sid)
    await turn()
    assert [call.call_sid for call in service.calls] == ["CA1"]
    assert caplog.text.count("prepare_put_off: 1 calls wait") == 1


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_server_that_ends_closes_what_waits(tmp_path):
    with Server("uvicorn", tmp_path, STREAM_HANDLERS=HANDLERS, DRAIN_SECONDS="0") as server:
        assert server.post("/incoming/prepares", CallSid=CALL) == 200
        server.send(signal.SIGTERM)
        server.wait()
        assert "what was prepared is closed" in server.log


async def test_the_end_of_the_process_closes_what_waits(service):
    service.opens.clear()
    expect()
    expect(call_sid="CA2")
    service.opens.set()
    await turn()
    await preparations.close()
    assert service.closed == [service, service]


async def test_what_is_still_being_prepared_is_cancelled_without_a_word(service, caplog):
    service.opens.clear()
    expect()
    await turn()
    await preparations.close()
    assert (service.closed, caplog.text) == ([], "")


# --- at the stream ----------------------------------------------------------------------------------------------------


@recorded
async def test_a_stream_that_comes_to_another_process_is_prepared_for_there(service, process):
    async with Line("ready", call_sid=CALL, from_number="+14155550100", to_number="+14155550199") as line:
        line.press("1")
    assert (service.given, service.calls) == ([service], [EXPECTED])


@recorded
async def test_a_start_stream_is_prepared_for_too(async_client, service, process):
    answer = await ring(async_client, "/incoming/beside")
    async with Line(call_sid=CALL, token=token(answer)):
        await service.gone()
    assert (service.given, len(service.calls)) == ([service], 1)


@recorded
async def test_a_handler_that_fails_leaves_nothing_open(service, process):
    async with Line("fails") as line:
        await line.gone()
    await service.gone()


@recorded
async def test_a_failure_is_on_the_call_and_in_the_log_and_the_call_goes_on(service, process, caplog):
    service.open = refuses
    async with Line("ready") as line:
        line.press("1")
    event = await until(CallEvent.objects.filter(kind="prepare-failed").first)
    assert (event.data["error"], service.given) == ("ConnectionError: no such host", [None])
    assert event.data["line"].endswith(" in refuses")
    assert f"prepare_failed handler=ready call={line.call_sid}" in caplog.messages
    assert (await stored(Stream.objects.get)).end_reason == "stop"


async def refuses(call):
    raise ConnectionError("no such host")


async def exits(call):
    raise SystemExit("no more of this")


async def cancels_itself(call):
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


async def never(call):
    await asyncio.Event().wait()


async def comes_late(call):
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await turn()
        return here


async def given(phone, prepare=warm_up):
    """What a handler finds, whose stream is the phone's."""
    async with preparations.held(phone.live, prepare) as prepared:
        return prepared


async def test_a_handler_waits_for_what_is_not_done_yet(service):
    service.opens.clear()
    expect()
    waiting = begin(given(Phone()))
    await turn()
    assert not waiting.done()
    service.opens.set()
    assert await done(waiting) is service
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (refuses, "ConnectionError: no such host"),
        (exits, "RuntimeError: SystemExit: no more of this"),
        (cancels_itself, "CancelledError: it was cancelled"),
    ],
)
async def test_what_fails_is_nothing_and_is_told(service, caplog, prepare, error):
    phone = Phone()
    assert await given(phone, prepare) is None
    assert [data["error"] for data in told(phone)] == [error]
    assert f"prepare_failed handler=test call={CALL}" in caplog.messages


async def test_what_takes_too_long_is_nothing_and_is_told_with_its_line(service, monkeypatch, caplog):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    phone = Phone()
    assert await given(phone, never) is None
    (data,) = told(phone)
    assert data["error"] == "it was not done after 0.01 s"
    assert data["line"].endswith(" in never")
    assert f"prepare_slow handler=test call={CALL}: not done after 0.01 s, at {data['line']};" in caplog.text


async def test_what_failed_at_the_webhook_is_told_where_its_stream_is(service):
    expect(refuses)
    await turn()
    phone = Phone()
    assert await given(phone, refuses) is None
    assert len(told(phone)) == 1


async def test_what_comes_although_it_was_cancelled_is_closed(service, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    assert await given(Phone(), comes_late) is None
    await service.gone()


async def test_what_held_up_the_loop_at_the_webhook_is_told_where_its_stream_is(service):
    expect()
    for seconds in (0.3, 0.9, 0.4):
        preparations.note_stall(Stall(seconds, "handlers/desk.py:7 in warm_up", CALL))
    preparations.note_stall(Stall(2.0, "handlers/desk.py:9 in other", "CA2"))
    phone = Phone()
    await given(phone)
    (event,) = [row for row in phone.rows(EventRow) if row.kind == "loop-blocked"]
    assert event.data == {"seconds": 0.9, "line": "handlers/desk.py:7 in warm_up", "by": "this call's handler"}


async def test_code_that_was_reloaded_prepares_anew(service):
    expect(never)
    await turn()
    assert await given(Phone()) is service


async def test_a_conversation_that_is_cancelled_closes_it(service):
    service.opens.clear()
    waiting = begin(given(Phone()))
    await turn()
    service.opens.set()
    await turn()
    waiting.cancel()
    await service.gone()


async def test_a_handler_that_prepares_nothing_finds_nothing():
    assert Phone().stream.prepared is None


# --- its end ----------------------------------------------------------------------------------------------------------


class Closes:
    """Like a file: not to be awaited."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class ClosesLater(Closes):
    async def close(self):
        await asyncio.sleep(0)
        self.closed += 1


class ClosesBoth(ClosesLater):
    async def aclose(self):
        self.closed += 10


async def closed(value):
    """Has it prepared, taken and let go."""
    assert await given(Phone(), lambda call: asyncio.sleep(0, value)) is value
    await preparations.close()


@pytest.mark.parametrize(("kind", "times"), [(Closes, 1), (ClosesLater, 1), (ClosesBoth, 10)])
async def test_it_is_closed_in_its_own_way(kind, times):
    await closed(thing := kind())
    assert thing.closed == times


@pytest.mark.parametrize("value", [{"greeting": b"hello"}, None])
async def test_what_needs_no_end_has_none(caplog, value):
    await closed(value)
    assert caplog.text == ""


async def test_an_error_while_closing_is_a_line_of_the_log(caplog):
    thing = Closes()
    thing.close = lambda: 1 / 0
    await closed(thing)
    assert f"prepared_unclosed handler=test call={CALL}: ZeroDivisionError: division by zero" in caplog.messages


async def test_closing_does_not_take_for_ever(monkeypatch, caplog):
    monkeypatch.setattr(module, "CLOSE_PATIENCE", 0.05)
    thing = Closes()
    thing.aclose = asyncio.Event().wait
    await closed(thing)
    async with asyncio.timeout(PATIENCE):
        while "prepared_unclosed" not in caplog.text:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
    assert "TimeoutError" in caplog.text
