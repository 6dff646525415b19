"""What a handler writes down of its call: business data and notes. They go the way of all that is on tape."""

import datetime as dt
import time
from typing import Any

from django.utils import timezone

from calls.media import data
from calls.media.playback import StreamClock
from calls.media.tape import Tape
from calls.server.lifetime import Lifetime
from calls.server.outgoing import StreamEnded


_TICK = dt.timedelta(microseconds=1)


class Notebook:
    """One stream's."""

    def __init__(self, tape: Tape, clock: StreamClock, lifetime: Lifetime) -> None:
        self._tape = tape
        self._clock = clock
        self._lifetime = lifetime
        #: What this stream has set.
        self._set: dict[str, Any] = {}
        self._last = dt.datetime.min.replace(tzinfo=dt.UTC)

    def set(self, values: dict[str, Any]) -> None:
        """Notes data of the call by name; what is set later stays."""
        self._check_open()
        plain = data.checked(values, self._set)
        self._set |= plain
        # The wall clock may be set back, and is the only one that the streams of a call share.
        self._last = max(timezone.now(), self._last + _TICK)
        self._tape.data(plain, self._last)

    def note(self, text: str) -> None:
        """A line of the call's timeline, here and now."""
        self._check_open()
        position = self._clock.now(time.monotonic())
        self._tape.event("note", timezone.now(), text=data.note(text), position=position)

    def _check_open(self) -> None:
        # A handler whose caller is with another number goes on writing: what it leaves is collected (`switchboard`).
        if self._lifetime.is_recorded and self._lifetime.reason != "dial":
            raise StreamEnded("the last rows of this stream are written: what comes later needs a table of your own")
