"""What the database is asked outside of a request's own thread, where nobody else lets a connection go."""

from collections.abc import Callable
from typing import TypeVar

from django.db import close_old_connections


Found = TypeVar("Found")


def letting_go(question: Callable[[], Found]) -> Callable[[], Found]:
    """The same, and then this thread's connection goes back to the pool; one that is broken is not used again."""

    def answer() -> Found:
        try:
            return question()
        finally:
            close_old_connections()

    return answer
