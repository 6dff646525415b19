"""What several commands take."""

import datetime as dt
from argparse import ArgumentTypeError

from django.utils import timezone


def day(text: str) -> dt.datetime:
    """The beginning of a day such as 2026-03-14, in TIME_ZONE."""
    try:
        return timezone.make_aware(dt.datetime.strptime(text, "%Y-%m-%d"))
    except ValueError as error:
        raise ArgumentTypeError(f"{text} is not a day such as 2026-03-14") from error
