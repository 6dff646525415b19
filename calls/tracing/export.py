"""How spans are made and sent: OpenTelemetry's SDK, which is imported only where traces are wanted.

The endpoint, its headers, the sampler and the batches are set by OpenTelemetry's own variables
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

import datetime as dt
import hashlib
import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from calls import about
from calls.masking import masked
from calls.tracing import Span, Value


logger = logging.getLogger(__name__)

# Characters of an attribute, and of a traceback, whose end says most.
MOST, MOST_TRACEBACK = 500, 8_000


class Tracer:
    """This process's."""

    def __init__(self, service: str, worker: str, *, masks: bool = False) -> None:
        self._text = masked if masks else str
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: service, SERVICE_INSTANCE_ID: worker}),
            id_generator=self._ids,
            # It would wait for a collector that is away.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Told(trace_exporter.OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer("calls")

    def stop(self, seconds: float) -> None:
        # Its own limit is 30 s, and what it waits for may be a request that nobody answers.
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(seconds)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        call_sid, stream_sid = about.sids()
        if not call_sid:
            # What is about no call is in no trace.
            yield _Recorded(trace.INVALID_SPAN, self._text)
            return
        known = {"call_sid": call_sid, **({"stream_sid": stream_sid} if stream_sid else {})}
        with self._tracer.start_as_current_span(
            name, self._parent(call_sid), attributes=known, record_exception=False, set_status_on_exception=False
        ) as made:
            recorded = _Recorded(made, self._text)
            recorded.note(**attributes)
            try:
                yield recorded
            except Exception as error:
                recorded.fail(error)
                raise

    def current(self) -> Span:
        return _Recorded(trace.get_current_span(), self._text)

    def note_call(self, call_sid: str, began: dt.datetime, ended: dt.datetime, attributes: Mapping[str, Value]) -> None:
        root = _root(call_sid)
        with self._ids.fixed(root):
            known = {"call_sid": call_sid, **attributes}
            made = self._tracer.start_span("call", Context(), attributes=known, start_time=_nanoseconds(began))
        made.end(_nanoseconds(ended))

    def _parent(self, call_sid: str) -> Context | None:
        """What the new span belongs below: the one whose block this is in, or the call itself."""
        root = _root(call_sid)
        if trace.get_current_span().get_span_context().trace_id == root.trace_id:
            return None
        # Of a parent elsewhere samplers believe that it was decided there: it was, by the same rule for the same id.
        decision = self._provider.sampler.should_sample(None, root.trace_id, "call").decision
        flags = TraceFlags(TraceFlags.SAMPLED if decision is Decision.RECORD_AND_SAMPLE else TraceFlags.DEFAULT)
        parent = SpanContext(root.trace_id, root.span_id, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(parent), Context())


class _Recorded:
    def __init__(self, made: trace.Span, text: Callable[[str], str]) -> None:
        self._made = made
        self._text = text

    def note(self, **attributes: Value) -> None:
        short = {name: self._short(value) if isinstance(value, str) else value for name, value in attributes.items()}
        self._made.set_attributes(short)

    def fail(self, error: BaseException | str) -> None:
        if isinstance(error, BaseException):
            # It would have the whole text otherwise, and the whole traceback.
            trace_of = self._text("".join(traceback.format_exception(error)))[-MOST_TRACEBACK:]
            said = {"exception.message": self._short(str(error)), "exception.stacktrace": trace_of}
            self._made.record_exception(error, said)
            error = f"{type(error).__name__}: {error}"
        self._made.set_status(Status(StatusCode.ERROR, self._short(error)))

    def _short(self, text: str) -> str:
        return self._text(text)[:MOST]


class _Ids(RandomIdGenerator):
    """Random ones, but for the root of a trace, which others know without having met it."""

    def __init__(self) -> None:
        self._fixed: ContextVar[SpanContext | None] = ContextVar("fixed", default=None)

    @contextmanager
    def fixed(self, context: SpanContext) -> Iterator[None]:
        token = self._fixed.set(context)
        try:
            yield
        finally:
            self._fixed.reset(token)

    def generate_trace_id(self) -> int:
        fixed = self._fixed.get()
        return fixed.trace_id if fixed else super().generate_trace_id()

    def generate_span_id(self) -> int:
        fixed = self._fixed.get()
        return fixed.span_id if fixed else super().generate_span_id()


class _Told(SpanExporter):
    """Says once that the collector is away, and once that it is back; OpenTelemetry says so for every batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_away = False
        self._why = ""
        trace_exporter._logger.addFilter(self._note)

    def _note(self, record: logging.LogRecord) -> bool:
        self._why = record.getMessage()
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            logger.warning("collector_away: %s Traces are lost, and nothing else.", ascii(self._why[:300])[1:-1])
        elif self._is_away and not is_away:
            logger.warning("collector_back")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _root(call_sid: str) -> SpanContext:
    """Of a CallSid: CA and 32 hexadecimal digits, which is as long as the id of a trace."""
    span_id = int.from_bytes(hashlib.sha256(call_sid.encode()).digest()[:8]) or 1
    return SpanContext(int(call_sid[2:], 16) or 1, span_id, is_remote=True)


def _nanoseconds(at: dt.datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
