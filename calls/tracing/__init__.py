"""A trace for each call, from its webhook to its end, for who has set OTEL_EXPORTER_OTLP_ENDPOINT; else nothing at all.

    with span("ask the model", question=text):
        answer = await ask(text)

The trace's id is the CallSid without its CA, so that whatever happens to a call, in whatever process, is in one trace
without anybody having to know of the others. Below its root, `call`, are `webhook`, `stream`, and in that `handler`;
`transcriber`, `realtime` and `twilio` are where they are waited for. A handler may have spans of its own.

What is known of a span has no numbers and no words of callers; an error has the text that its handler has given it.
Nothing here waits: spans are handed to a thread that sends them.
"""

import datetime as dt
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from calls.tracing.export import Tracer

Value = str | int | float | bool


class Span(Protocol):
    """What is known of a span once it has begun."""

    def note(self, **attributes: Value) -> None:
        """Adds to what is known of it."""

    def fail(self, error: BaseException | str) -> None:
        """What it is about has failed."""


class _NoSpan:
    def note(self, **attributes: Value) -> None:
        """Nobody wants to know."""

    def fail(self, error: BaseException | str) -> None:
        """Nobody wants to know."""


_OFF = nullcontext(_NoSpan())
_tracer: "Tracer | None" = None


def start(service: str, worker: str, *, masks: bool = False) -> None:
    """Begins to trace; `worker` is this process of that service. ImportError without the extra `tracing`.

    With `masks` phone numbers in texts are hidden.
    """
    global _tracer
    from calls.tracing.export import Tracer

    _tracer = Tracer(service, worker, masks=masks)


def stop(seconds: float) -> None:
    """Sends what waits, for at most that long."""
    global _tracer
    if _tracer is not None:
        _tracer.stop(seconds)
        _tracer = None


def span(name: str, **attributes: Value) -> AbstractContextManager[Span]:
    """What the block does, as a part of the call that it is about; an exception that leaves it is its failure."""
    return _OFF if _tracer is None else _tracer.span(name, attributes)


def current() -> Span:
    """The span whose block this is in."""
    return _OFF.enter_result if _tracer is None else _tracer.current()


def note_call(call_sid: str, began: dt.datetime, ended: dt.datetime, **attributes: Value) -> None:
    """The root of a trace, once its call is over."""
    if _tracer is not None:
        _tracer.note_call(call_sid, began, ended, attributes)
