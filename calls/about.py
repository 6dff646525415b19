"""Which call, and which of its streams, the code that runs is about: each line of the log says so, whoever wrote it.

A task hands that on to the tasks that it starts, so that what a handler logs has it too. A thread knows nothing of it,
and names the SIDs in its lines; so does a task that works for many calls, which is started in a context of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


# CallSid and StreamSid, or "".
_sids: ContextVar[tuple[str, str]] = ContextVar("about", default=("", ""))


def sids() -> tuple[str, str]:
    """The CallSid and the StreamSid, "" for what there is none of."""
    return _sids.get()


def note(call_sid: str, stream_sid: str = "") -> None:
    """From here on, this task is about them."""
    _sids.set((call_sid, stream_sid))


@contextmanager
def about(call_sid: str, stream_sid: str = "") -> Iterator[None]:
    """The block is."""
    token = _sids.set((call_sid, stream_sid))
    try:
        yield
    finally:
        _sids.reset(token)
