"""A few threads that many requests share."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from asgiref.sync import SyncToAsync, ThreadSensitiveContext


class SharedThreads:
    """Threads for the synchronous part of requests, where Django would start one for each.

    Every busy thread keeps the interpreter for a while before the event loop has its turn again: ten people who browse
    at once delayed every call's audio by 340 ms, and by 12 with two threads for all of them (docs/performance.md).
    """

    def __init__(self, count: int, most: float = inf, most_of_one: float = inf) -> None:
        """With room for `most` requests at once, waiting ones too, and `most_of_one` of one client's."""
        #: How many requests each of them has to answer.
        self._requests = {ThreadSensitiveContext(): 0 for _ in range(count)}
        self._most, self._most_of_one = most, most_of_one
        self._clients: dict[str, int] = {}

    @contextmanager
    def thread(self, client: str = "") -> Iterator[None]:
        """What the current task runs with `sync_to_async`, views and middleware too, runs in the least busy one."""
        context = min(self._requests, key=self._requests.__getitem__)
        self._requests[context] += 1
        self._clients[client] = self._clients.get(client, 0) + 1
        # The context that Django enters for a request gives way to one that is there already.
        token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            self._requests[context] -= 1
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    def have_room_for(self, client: str) -> bool:
        """Whether one more request of this client's would not wait too long."""
        return sum(self._requests.values()) < self._most and self._clients.get(client, 0) < self._most_of_one
