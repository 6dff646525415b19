"""When a call ended, as a filter of the list that links bring along: an alert's, mostly."""

import datetime as dt
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format

from calls.models import Call


if TYPE_CHECKING:
    from calls.admin.base import ModelAdmin


class Ended(admin.SimpleListFilter):
    """Two moments in ISO 8601, with a slash between; there to be seen, and to be taken off, once it is chosen."""

    title = "when it ended"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        if not (value := self.value()):
            return []
        since, until = (timezone.localtime(at) for at in _span(value))
        return [(value, f"{date_format(since, 'j M Y, H:i')} to {date_format(until, 'j M Y, H:i')}")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        if not (value := self.value()):
            return queryset
        since, until = _span(value)
        return queryset.filter(ended_at__gte=since, ended_at__lt=until)


def _span(value: str) -> tuple[dt.datetime, dt.datetime]:
    since, _, until = value.partition("/")
    try:
        moments = [parse_datetime(text) for text in (since, until)]
        first, last = (at if at and timezone.is_aware(at) else None for at in moments)
        if first is None or last is None:
            raise IncorrectLookupParameters(f"{value!r} is no span of time")
        # Year 1 or 9999 of another zone may not exist in ours.
        return first.astimezone(dt.UTC), last.astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters(str(error)) from error
