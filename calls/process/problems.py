"""The last warnings and errors of this process's log, so that what it said last can be read when it is gone."""

import logging
from collections.abc import Callable
from typing import Any

from calls.masking import masked
from calls.media.storable import storable
from calls.process.lines import event_of, sids_of


# How many are kept, and how many characters of each.
MOST, LONGEST = 20, 300


class Problems(logging.Handler):
    """A handler of the root logger. It keeps few, and says the same of one thing again by counting it.

    Numbers are masked: whoever reads this may not see them, and a backup keeps it.
    """

    def __init__(self, on_error: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._on_error = on_error
        #: By what they are about, the latest last.
        self._kept: dict[tuple[str, ...], dict[str, Any]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Ours, and others' errors: what frameworks warn of are strangers' requests."""
        is_one = record.name.startswith("calls.") or record.levelno >= logging.ERROR
        return is_one and bool(super().filter(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._keep(record)
        except Exception:
            self.handleError(record)

    def _keep(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and (error := record.exc_info[1]) is not None:
            text += f" ({type(error).__name__}: {error})"
        event, sids = event_of(record), sids_of(record)
        call, stream = sids["call_sid"], sids["stream_sid"]
        about = (event or text[:LONGEST], record.levelname, call, stream)
        times = self._kept.pop(about, {}).get("times", 0) + 1
        self._kept[about] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": event,
            "call": call,
            "stream": stream,
            "text": storable(masked(text), LONGEST),
            "times": times,
        }
        if len(self._kept) > MOST:
            del self._kept[next(iter(self._kept))]
        if record.levelno >= logging.ERROR:
            self._on_error()

    def latest(self) -> list[dict[str, Any]]:
        """The oldest first. From any thread."""
        self.acquire()
        try:
            return list(self._kept.values())
        finally:
            self.release()
