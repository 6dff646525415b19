"""The list of calls at any size: no COUNT, and a search that decides by what was typed."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import Prefetch, Q, QuerySet, TextField
from django.db.models.functions import Cast, Upper
from django.http import HttpRequest

from calls.models import Call, Stream, Tag

from .numbers import may_see
from .pages import Pages


if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Base = ModelAdmin[Call]
else:
    Base = object

# Words are looked for until so many calls are found that hold them, newest first: "order" may be in every one.
MOST_FOUND = 1000
# All that a line of the list tells about a call's streams.
_HEALTH = ("call", "end_reason", "frames_missing", "frames_rejected", "handler_failed", "handler_overruns")
FILTERS = {"status", "direction", "recording", "flag", "reviewed", "handler", "tag", "when", "since", "until"}
_SID = re.compile(r"(CA|MZ)[0-9a-f]{32}", re.IGNORECASE)
_NUMBER = re.compile(r"\+?[\d\s()./-]*\d[\d\s()./-]*")


class CallPages(Pages):
    """With what a line shows of a call's streams and tags, in two queries for the whole page."""

    def rows(self) -> QuerySet[Call]:
        streams = Prefetch("streams", Stream.objects.only(*_HEALTH))
        return super().rows().defer("parameters").prefetch_related(streams, "tags")


class Search(Base):
    """A SID is looked up, digits are looked for in numbers, words in notes, tags and custom parameters."""

    # Makes Django show the field; `get_search_results` decides what it means.
    search_fields = ("sid",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Call], search_term: str
    ) -> tuple[QuerySet[Call], bool]:
        term = search_term.strip().replace("\0", "")
        if not term:
            return queryset, False
        if _SID.fullmatch(term):
            return queryset.filter(by_sid(term[:2].upper() + term[2:].lower())), False
        if _NUMBER.fullmatch(term) and sum(map(str.isdigit, term)) > 2:
            return queryset.filter(by_number(re.sub(r"\D", "", term), whole=not may_see(request))), False
        return queryset.filter(pk__in=set(with_words(queryset, term))), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Our filters and nothing else: Django would take any lookup on any field, `from_number__startswith` too."""
        return lookup in FILTERS


def by_sid(sid: str) -> Q:
    return Q(sid=sid) if sid.startswith("CA") else Q(pk__in=Stream.objects.filter(sid=sid).values("call"))


def by_number(digits: str, *, whole: bool) -> Q:
    """Any part of a number; only a whole one for those who may not see it, lest they find it out digit by digit."""
    fields = ("from_number", "to_number")
    if whole:
        return Q(*((f"{field}__in", [digits, f"+{digits}"]) for field in fields), _connector=Q.OR)
    return Q(*((f"{field}__contains", digits) for field in fields), _connector=Q.OR)


def with_words(queryset: QuerySet[Call], term: str) -> Iterator[int]:
    """The newest calls of a list with these words in notes, tags or custom parameters.

    Three small queries, each on its own index: as one with OR, PostgreSQL would walk the whole table.
    """
    newest = queryset.order_by("-pk").values_list("pk", flat=True)
    yield from newest.filter(notes__gt="", notes__icontains=term)[:MOST_FOUND]
    yield from newest.filter(tags__in=list(Tag.objects.filter(name__icontains=term)[:50]))[:MOST_FOUND]
    said = Stream.objects.alias(said=Upper(Cast("custom_parameters", TextField())))
    yield from newest.filter(streams__in=said.filter(said__contains=_as_json(term).upper()))[:MOST_FOUND]


def _as_json(term: str) -> str:
    """As it stands inside of stored JSON, which SQLite keeps as Python wrote it."""
    return json.dumps(term, ensure_ascii=connection.vendor == "sqlite")[1:-1]
