"""Traces: one for each call, whoever has a part in it; and nothing at all where nobody wants them."""

import datetime as dt
import subprocess
import sys

import pytest

from calls import tracing
from calls.about import about
from tests.support.collector import Collector, attributes
from tests.support.servers import ROOT, Server, until


CALL, STREAM = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056", "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"
NOW = dt.datetime(2026, 11, 27, 14, 3, tzinfo=dt.UTC)


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector
        tracing.stop(10)


@pytest.fixture
def traced(collector, monkeypatch):
    """Starts to trace; to be called once the environment is as it is to be."""

    def begin(**facts):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        tracing.start("callstream", "worker", **facts)

    return begin


def test_all_that_happens_to_a_call_is_below_one_root_without_being_told_of_it(collector, traced):
    traced()
    with about(CALL), tracing.span("webhook"):
        pass
    tracing.stop(10)
    # Another process.
    traced()
    with about(CALL, STREAM), tracing.span("stream"), tracing.span("handler", handler="echo") as span:
        span.note(outcome="done")
    tracing.note_call(CALL, NOW, NOW + dt.timedelta(seconds=9), outcome="completed")
    tracing.stop(10)
    call, webhook, stream, handler = (collector.trace(CALL)[name] for name in ("call", "webhook", "stream", "handler"))
    assert (call.parent_span_id, call.end_time_unix_nano - call.start_time_unix_nano) == (b"", 9_000_000_000)
    assert {webhook.parent_span_id, stream.parent_span_id} == {call.span_id}
    assert handler.parent_span_id == stream.span_id
    assert attributes(handler) == {"call_sid": CALL, "stream_sid": STREAM, "handler": "echo", "outcome": "done"}
    assert collector.resources[0]["service.name"] == "callstream"


def test_an_error_is_that_of_its_span_and_has_no_number_if_these_are_masked(collector, traced):
    traced(masks=True)
    with pytest.raises(ValueError, match="no table"), about(CALL, STREAM), tracing.span("handler"):
        raise ValueError("no table for +14155550123")
    tracing.stop(10)
    span = collector.trace(CALL)["handler"]
    assert (span.status.code, span.status.message) == (2, "ValueError: no table for +1••••••0123")
    assert [event.name for event in span.events] == ["exception"]
    assert "5550" not in str(span)


def test_a_sampler_takes_a_call_whole_or_not_at_all(collector, traced, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    traced()
    # The lower half of an id decides.
    for sid in (few := "CA" + "1" * 32), (many := "CA" + "f" * 32):
        with about(sid), tracing.span("webhook"):
            pass
        tracing.note_call(sid, NOW, NOW)
    tracing.stop(10)
    assert (set(collector.trace(few)), set(collector.trace(many))) == ({"webhook", "call"}, set())


def test_what_is_about_no_call_is_in_no_trace(collector, traced):
    traced()
    with tracing.span("twilio") as span:
        span.fail("refused")
    tracing.stop(10)
    assert collector.spans == []


def test_a_collector_that_is_away_costs_one_line_and_another_when_it_is_back(collector, traced, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    collector.status = 400
    traced()
    until(lambda: (_one_span(), "collector_away" in caplog.text)[1], "the line")
    collector.status = 200
    until(lambda: (_one_span(), "collector_back" in caplog.text)[1], "the other line")
    assert [line.split(":")[0] for line in caplog.messages if "collector" in line] == [
        "collector_away",
        "collector_back",
    ]
    assert "400" in caplog.text


def _one_span():
    with about(CALL), tracing.span("webhook"):
        pass


OFF = """
import sys
from calls import tracing
from calls.about import about
with about("CA" + "0" * 32), tracing.span("stream", handler="echo") as span:
    span.note(outcome="stop")
    span.fail("never")
    tracing.current().note(outcome="stop")
import config.asgi
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
"""


@pytest.mark.django_db
def test_nothing_is_imported_and_nothing_made_where_nobody_wants_traces(tmp_path):
    # redis-py imports it wherever it is installed.
    environment = {**Server("uvicorn", tmp_path).environment, "REDIS_URL": ""}
    done = subprocess.run([sys.executable, "-c", OFF], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert tracing.span("stream") is tracing.span("handler")
