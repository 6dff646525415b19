"""Hours in which nobody is called, by the clock of whoever would be: where a number is says its country and area.

A mobile phone that has moved keeps its number, and with it the time zone that is assumed here.
"""

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from django.utils import timezone
from phonenumbers.timezone import time_zones_for_number


_HOURS = re.compile(r"(\d{1,2}):(\d\d)\s*[-–]\s*(\d{1,2}):(\d\d)", re.ASCII)


@dataclass(frozen=True)
class QuietHours:
    """From a time of day until another one, which may be the next day's."""

    start: dt.time
    end: dt.time

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Such as 21:00-08:00; None for "none". ValueError says what is wrong."""
        if text.strip().lower() == "none":
            return None
        wrong = ValueError(f"{text} are no hours such as 21:00-08:00, nor none")
        if not (found := _HOURS.fullmatch(text.strip())):
            raise wrong
        hours = [int(part) for part in found.groups()]
        try:
            start, end = dt.time(hours[0], hours[1]), dt.time(hours[2], hours[3])
        except ValueError:
            raise wrong from None
        if start == end:
            raise wrong
        return cls(start, end)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}–{self.end:%H:%M}"

    def hold(self, at: dt.datetime, zone: dt.tzinfo) -> bool:
        """Whether it is quiet there then."""
        local = at.astimezone(zone).time()
        if self.start < self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


@dataclass(frozen=True)
class Place:
    """Where a number may be, by its time zones; `is_known` is False if that is only TIME_ZONE, for want of any."""

    zones: tuple[dt.tzinfo, ...]
    is_known: bool = True

    @classmethod
    def of(cls, number: str) -> Self:
        """Of a number in E.164."""
        found = [_zone(name) for name in time_zones_for_number(phonenumbers.parse(number))]
        known = tuple(zone for zone in found if zone is not None)
        return cls(known) if found and len(known) == len(found) else cls((timezone.get_default_timezone(),), False)

    def is_quiet(self, at: dt.datetime, hours: QuietHours) -> bool:
        return any(hours.hold(at, zone) for zone in self.zones)

    def free_from(self, now: dt.datetime, hours: QuietHours | None) -> dt.datetime | None:
        """When it may be called, at `now` or later: no zone of it is quiet then. None if there is no such hour."""
        if hours is None or not self.is_quiet(now, hours):
            return now
        ends = sorted(self._ends(now, hours))
        return next((end for end in ends if end > now and not self.is_quiet(end, hours)), None)

    def _ends(self, now: dt.datetime, hours: QuietHours) -> Sequence[dt.datetime]:
        """Of the quiet hours of each zone, within the next days: only then a number becomes free."""
        local = {zone: now.astimezone(zone).date() for zone in self.zones}
        return [
            dt.datetime.combine(day + dt.timedelta(days=further), hours.end, zone).replace(fold=fold).astimezone(dt.UTC)
            for zone, day in local.items()
            for further in range(3)
            # In autumn, an hour is there twice.
            for fold in (0, 1)
        ]


def _zone(name: str) -> ZoneInfo | None:
    """None for what phonenumbers does not know either, and for names that this machine's zones do not have."""
    try:
        return None if name == phonenumbers.timezone.UNKNOWN_TIMEZONE else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
