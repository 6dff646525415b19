"""Functions of other modules that are replaced for a while."""

from typing import Any


class Patches:
    """What was put in whose place."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, str], tuple[Any, Any]] = {}

    def put(self, module: Any, name: str, ours: Any) -> None:
        """Once: what is in our place already stays."""
        if (module, name) not in self._made:
            self._made[module, name] = getattr(module, name), ours
            setattr(module, name, ours)

    def undo(self) -> None:
        """Puts everything back. What somebody else has put over ours stays, and goes through it."""
        for (module, name), (before, ours) in self._made.items():
            if getattr(module, name) is ours:
                setattr(module, name, before)
        self._made.clear()
