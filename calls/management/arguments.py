"""What several commands take."""

import datetime as dt
import re
from argparse import ArgumentTypeError

from django.utils import timezone
from django.utils.dateparse import parse_datetime


UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def day(text: str) -> dt.datetime:
    """The beginning of a day such as 2026-03-14, in TIME_ZONE."""
    try:
        return timezone.make_aware(dt.datetime.strptime(text, "%Y-%m-%d"))
    except ValueError as error:
        raise ArgumentTypeError(f"{text} is not a day such as 2026-03-14") from error


def moment(text: str) -> dt.datetime:
    """Such as 2026-03-14T15:09:26Z, or the beginning of a day; without an offset, in TIME_ZONE."""
    try:
        found = parse_datetime(text) or dt.datetime.strptime(text, "%Y-%m-%d")
    except ValueError as error:
        raise ArgumentTypeError(f"{text} is not a date such as 2026-03-14 or 2026-03-14T15:09") from error
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def age(text: str) -> dt.timedelta:
    """Such as 90d, 12h or 8w."""
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if not found:
        raise ArgumentTypeError(f"{text} is not an age such as 90d, 12h or 8w")
    return dt.timedelta(**{UNITS[found[2]]: int(found[1])})


def at_least_one(text: str) -> int:
    """A whole number from 1 on."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return int(text)


def rate(text: str) -> float:
    """Such as 1/s, 0.5/s or 30/min, in a second."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,4})?)(?:/(s|min|h))?", text, re.ASCII)
    per_second = float(found[1]) / {"s": 1, "min": 60, "h": 3600}[found[2] or "s"] if found else 0.0
    if per_second <= 0:
        raise ArgumentTypeError(f"{text} is not a rate such as 1/s or 30/min")
    return per_second


def milliseconds(text: str) -> int:
    """Such as 200ms, 1.5s or 0."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|)", text)
    if not found or (not found[2] and float(found[1])):
        raise ArgumentTypeError(f"{text} is not a time such as 200ms or 1.5s")
    return round(float(found[1]) * (1000 if found[2] == "s" else 1))
