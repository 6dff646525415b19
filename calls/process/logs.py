"""What the servers' own log lines leave out: a query holds numbers that staff search for, and what Twilio signs."""

import logging
from typing import Any

from daphne.access import AccessLogGenerator


class WithoutQuery(logging.Filter):
    """Cuts everything after a `?` from the parts that a line is made of."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_bare(value) if isinstance(value, str) else value for value in record.args)
        return True


def _bare(text: str) -> str:
    return text.partition("?")[0]


_write_entry = AccessLogGenerator.write_entry


def _write_bare_entry(generator: Any, host: Any, date: Any, request: str, *facts: Any, **named: Any) -> None:
    _write_entry(generator, host, date, _bare(request), *facts, **named)  # type: ignore[no-untyped-call]


def install() -> None:
    """uvicorn's loggers stand before us, with handlers that Django's LOGGING would remove; daphne writes to a file."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(WithoutQuery())
    AccessLogGenerator.write_entry = _write_bare_entry  # type: ignore[method-assign, assignment]
