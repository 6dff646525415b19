"""Whom a campaign would call, and when, if every call was over at once."""

import datetime as dt
from collections.abc import Iterator, Sequence

from django.utils import timezone

from calls.campaigns.quiet import Place, QuietHours
from calls.campaigns.running import at_clock


def foretell(lines: Sequence[tuple[int, str]], rate: float, hours: QuietHours | None) -> Iterator[str]:
    """A sentence for each (line, number), in the order in which they would be called, and one for all."""
    now = timezone.now()
    free = [(Place.of(number).free_from(now, hours) or now, line, number) for line, number in lines]
    at = now
    for moment, line, number in sorted(free):
        at = max(at, moment)
        yield f"line {line}: {number} {at_clock(at)}{_there(number, at)}"
        at += dt.timedelta(seconds=1 / rate)
    last = f", the last one {at_clock(at)} at the earliest" if lines else ""
    yield f"{len(lines)} would be called{last}. Nothing was done."


def _there(number: str, at: dt.datetime) -> str:
    """What time it is then for whoever is called."""
    zones = Place.of(number).zones
    local = sorted({f"{at.astimezone(zone):%H:%M}" for zone in zones})
    return f", {local[0]} there" if len(local) == 1 else f", {local[0]} to {local[-1]} there"
