"""What the short way uses of the servers that nobody promised us, and the look at start whether it is there.

A release that we do not know may have renamed some of it. Then a server's own protocol carries the calls, as it would
have without us, and the log says so once: slower is better than not at all. The look is at names, at parameters and at
what a method sets. That each still means what it did is what the pins in pyproject.toml and the tests are for.
"""

import dis
import functools
import inspect
import logging
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


# Where base classes come from that have every method and attribute of a protocol, and none that does anything.
INERT = ("asyncio", "builtins", "twisted")


@dataclass(frozen=True)
class Internal:
    """A name in a module or a class, `owner`, as `pkgutil.resolve_name` takes it."""

    owner: str
    name: str
    #: Of a method that we call or take the place of: what it takes behind `self`, by name.
    takes: tuple[str, ...] | None = None
    #: Of what only instances have: the method that sets it.
    set_by: str = ""

    def is_there(self) -> bool:
        found = self._definitions()
        if self.set_by:
            return any(self.name in _names_set_by(method) for method in found)
        return bool(found) and (self.takes is None or _parameters(found[0]) == ("self", *self.takes))

    def _definitions(self) -> list[Any]:
        """What stands in the module, or in the class and its bases, under this name or that of the method."""
        try:
            owner = pkgutil.resolve_name(self.owner)
        except (ImportError, AttributeError):
            return []
        bases = [base for base in getattr(owner, "__mro__", ())[1:] if base.__module__.partition(".")[0] not in INERT]
        name = self.set_by or self.name
        return [vars(home)[name] for home in (owner, *bases) if name in vars(home)]

    def __str__(self) -> str:
        by = f" (set by {self.set_by})" if self.set_by else f"({', '.join(self.takes)})" if self.takes else ""
        return f"{self.owner.rpartition(':')[2]}.{self.name}{by}"


def _parameters(function: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


@functools.cache
def _names_set_by(function: Callable[..., Any]) -> frozenset[str]:
    """The attributes that a function sets, of whatever object; none that we know of if it is no Python."""
    try:
        steps = dis.get_instructions(inspect.unwrap(function))
        return frozenset(str(step.argval) for step in steps if step.opname == "STORE_ATTR")
    except TypeError:
        return frozenset()


def missing(internals: Iterable[Internal]) -> list[Internal]:
    return [internal for internal in internals if not internal.is_there()]


def warn(logger: logging.Logger, server: str, lost: Iterable[Internal], cost: str) -> None:
    """Says what is missing of a server, and what that costs."""
    logger.warning(
        "short_way_missing server=%s version=%s: no %s as we know it, so its own protocol carries the calls: %s. "
        "requirements.txt has the versions that have it.",
        server,
        getattr(sys.modules.get(server), "__version__", "unknown"),
        ", no ".join(map(str, lost)),
        cost,
    )
