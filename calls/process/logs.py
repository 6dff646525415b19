"""What the servers and Python itself say becomes lines of ours, and without queries.

A query holds numbers that staff search for, and what Twilio signs. uvicorn gives its loggers handlers of their own
before our settings are read, daphne writes its access log past logging, and Python prints what nobody caught: none of
that would have the form that LOG_FORMAT asks for, or be masked.
"""

import logging
import sys
import threading
from types import TracebackType
from typing import Any

from daphne.access import AccessLogGenerator

from calls.process import lines


logger = logging.getLogger(__name__)
_access = logging.getLogger("daphne.access")


class WithoutQuery(logging.Filter):
    """Cuts everything after a `?` from the parts that a line is made of."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(value) if isinstance(value, str) else value for value in record.args)
        return True


def _bare(text: str) -> str:
    return text.partition("?")[0]


def _log_entry(
    generator: Any, host: Any, date: Any, request: str, status: Any = None, *facts: Any, **named: Any
) -> None:
    _access.info('%s "%s" %s', host, _bare(request), status)


def install(worker: str) -> None:
    """For a server process, which the others know as `worker`."""
    lines.process["worker"] = worker
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.addFilter(WithoutQuery())
        # Without any, it was told to be silent.
        if theirs.handlers:
            theirs.handlers, theirs.propagate = [], True
    _access.setLevel(logging.INFO)
    AccessLogGenerator.write_entry = _log_entry  # type: ignore[method-assign, assignment]
    sys.excepthook = _note_fatal
    threading.excepthook = _note_thread


def _note_fatal(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("process_failed", exc_info=(kind, error, trace))


def _note_thread(failed: threading.ExceptHookArgs) -> None:
    # A thread that is told to exit has not failed; Python itself says nothing of it either.
    if not issubclass(failed.exc_type, SystemExit):
        error = failed.exc_value or failed.exc_type()
        name = failed.thread.name if failed.thread else "unknown"
        logger.critical("thread_failed thread=%s", name, exc_info=error)
