"""Who may take rows in the recorder's place: whoever rehearses a handler without a server (calls.rehearsal)."""

from collections.abc import Callable, Sequence
from typing import Protocol

from calls.media.rows import AnyRow


class StandIn(Protocol):
    """Called from the event loop alone. It never waits."""

    @property
    def has_database(self) -> bool:
        """Whether webhooks may ask and write the database, as they do in a server."""

    def take(self, rows: Sequence[AnyRow], committed: Callable[[], None] | None) -> None:
        """Rows, as `Recorder.submit` takes them; `committed` is called once they are where they belong."""
