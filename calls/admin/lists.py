"""The list of calls at any size: no COUNT, and a search that decides by what was typed."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection
from django.db.models import Model, Prefetch, Q, QuerySet, TextField, prefetch_related_objects
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Upper
from django.http import HttpRequest

from calls.access.numbers import mask_all, may_see
from calls.admin import spoken
from calls.admin.base import CallMixin
from calls.admin.comment_rows import count_open, with_comments
from calls.admin.filters import UNMEASURED
from calls.admin.paging import Pages
from calls.admin.sorting import may_lack, window
from calls.media.sids import is_sid
from calls.models import Call, CallEvent, Stream, Tag
from calls.summaries.problems import KINDS, STREAM_FIELDS


# Words are looked for until this many calls are found that hold them, newest first: "order" may be in every one.
MOST_FOUND = 1000
# Trigrams find nothing shorter inside of a text: every row would be read, for each page opened from such a list again.
SHORT = 3
# With fewer digits than these, a number without its first 0 is in too many others.
NATIONAL_DIGITS = 6
FILTERS = {"status", "direction", "recording", "flag", "reviewed", "handler", "tag", "when", "since", "until"}
FILTERS |= {"ended", "response", "median", "first_audio", "dead_air", "comments", "held"}
# A name that a handler has set, and a part of its value.
_NAMED = re.compile(r"([^\W\d]\w*):\s*(\S.*)")
# Staff copy the beginning of a SID, with its two letters or without.
_SID_BEGINS = re.compile(r"(CA|MZ)?([0-9a-f]{4,32})", re.IGNORECASE)
_NUMBER = re.compile(r"[+\d\s()./-]+")


class CallPages(Pages):
    """With each call's tags and what went wrong with it, in three queries for the whole page."""

    search_placeholder = "Number, name, SID, notes, tags, data, said:refund…"

    def rows(self) -> QuerySet[Call]:
        return super().rows().defer("parameters", "data", "data_at")

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Call]) -> list[Any]:
        """What was not measured has nothing to be sorted by, and would be looked for in the whole of an index."""
        ordering = super().get_ordering(request, queryset)
        is_unmeasured = request.GET.get("response") == UNMEASURED and may_lack(str(ordering[0]))
        return ["-created_at", "-pk"] if is_unmeasured else ordering

    def window(self, start: int, stop: int) -> list[Call]:
        ordering = str(self.rows().query.order_by[0])
        calls = window(self.rows(), ordering, start, stop) if may_lack(ordering) else super().window(start, stop)
        streams = Prefetch("streams", Stream.objects.only(*STREAM_FIELDS))
        events = Prefetch("events", CallEvent.objects.filter(kind__in=KINDS))
        prefetch_related_objects(calls, streams, events, "tags")
        return calls

    def get_results(self, request: HttpRequest) -> None:
        help_texts = []
        if not may_see(request):
            self.search_placeholder = "Whole number, SID, notes, tags, data, said:refund…"
            help_texts.append("Numbers are hidden from you. Only whole numbers are found, with their country code.")
        if 0 < len(self.query.strip()) < SHORT:
            names = "names that begin or end like this, " if may_see(request) else ""
            rest = "notes, data and parameters that say nothing else."
            help_texts.append(f"With so few characters: {names}tags, and {rest}")
        words = spoken.wanted(self.query)
        self.search_help_text = " ".join(help_texts) if words is None else spoken.help_text(request, words)
        super().get_results(request)
        count_open(request, self.result_list)
        if words:
            spoken.quote(request, self.result_list, words)

    def url_for_result(self, result: Model) -> str:
        """To where in the call that was said."""
        url, hit = str(super().url_for_result(result)), spoken.hit_of(result)
        return f"{url}#t={hit.seconds}" if hit else url


class Search(CallMixin):
    """A SID is looked up, and `said:` looks into what was said; the rest is looked for in whatever is written of calls.

    That is numbers, names, notes, comments, tags, data and custom parameters.
    """

    # Makes Django show the field; `get_search_results` decides what it means.
    search_fields = ("sid",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Call], search_term: str
    ) -> tuple[QuerySet[Call], bool]:
        term, whole = search_term.strip().replace("\0", ""), may_see(request)
        if not term:
            return queryset, False
        if (words := spoken.wanted(term)) is not None:
            return queryset.filter(pk__in=set(spoken.calls(request, queryset, words))), False
        if is_whole_sid(term):
            return queryset.filter(pk__in=set(by_sid(queryset, term))), False
        written = with_comments(request, queryset, term)
        wanted = Q(pk__in={*by_sid(queryset, term), *with_words(queryset, term, whole=whole), *written})
        if _NUMBER.fullmatch(term) and sum(map(str.isdigit, term)) > 2:
            wanted |= by_number(term, part=whole)
        return queryset.filter(wanted), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Our filters and nothing else: Django would take any lookup on any field, `from_number__startswith` too."""
        return lookup in FILTERS


def is_whole_sid(term: str) -> bool:
    """Whether it is one of a call or of a stream, in whatever case somebody typed it."""
    return is_sid(term.upper(), "CA", "MZ")


def by_sid(queryset: QuerySet[Call], term: str) -> Iterator[int]:
    """The newest calls whose SID, or a stream's, begins like this; none if no SID can begin with the term."""
    begins = _SID_BEGINS.fullmatch(term)
    kind, digits = begins.groups() if begins else ("", "")
    newest = queryset.order_by("-pk").values_list("pk", flat=True)
    if digits and (kind or "CA").upper() == "CA":
        yield from newest.filter(_begins("CA" + digits.lower()))[:MOST_FOUND]
    if digits and (kind or "MZ").upper() == "MZ":
        yield from newest.filter(streams__in=Stream.objects.filter(_begins("MZ" + digits.lower())))[:MOST_FOUND]


def _begins(start: str) -> Q:
    """As a range, which both databases look up in the unique index: no digit of a SID comes after f."""
    return Q(sid__gte=start, sid__lt=f"{start}g")


def by_number(term: str, *, part: bool) -> Q:
    """Any part of a number; only a whole one for those who may not see it, lest they find it out digit by digit."""
    fields, forms = ("from_number", "to_number"), number_forms(term)
    if part:
        forms = [form for form in forms if not any(other in form for other in forms if other != form)]
        return Q(*((f"{field}__contains", form) for field in fields for form in forms), _connector=Q.OR)
    known = [prefix + form for form in forms for prefix in ("", "+")]
    return Q(*((f"{field}__in", known) for field in fields), _connector=Q.OR)


def number_forms(term: str) -> list[str]:
    """What was typed as it may stand in E.164: also without "(0)", the 00 for abroad, or the first 0 at home."""
    digits = re.sub(r"\D", "", term)
    forms = {digits, re.sub(r"\D", "", term.replace("(0)", ""))}
    bare = digits.lstrip("0")
    if len(bare) >= NATIONAL_DIGITS:
        forms.add(bare)
    return sorted(form for form in forms if form)


def with_words(queryset: QuerySet[Call], term: str, *, whole: bool) -> Iterator[int]:
    """The newest calls of a list with these words in notes, tags, data, the caller's name or custom parameters.

    Small queries, each on its own index: as one with OR, PostgreSQL would walk the whole table. Nobody finds what is
    hidden from them on the call's page (`whole` numbers and names).
    """
    newest = queryset.order_by("-pk").values_list("pk", flat=True)
    yield from newest.filter(noted(term), notes__gt="")[:MOST_FOUND]
    yield from newest.filter(tags__in=list(Tag.objects.filter(name__icontains=term)[:50]))[:MOST_FOUND]
    said = Stream.objects.alias(said=Upper(Cast("custom_parameters", TextField())))
    said = said.filter(said__contains=_needle(term, ascii_only=connection.vendor == "sqlite"))
    known, told = with_data(queryset, term), with_notes(term)
    if whole:
        yield from newest.filter(named(term), caller_name__gt="")[:MOST_FOUND]
        yield from newest.filter(streams__in=said)[:MOST_FOUND]
        yield from known.order_by("-pk").values_list("pk", flat=True)[:MOST_FOUND]
        yield from newest.filter(events__in=told)[:MOST_FOUND]
    else:
        yield from _openly(said.filter(call__in=queryset), term, lambda stream: stream.custom_parameters)
        yield from _openly(told.filter(call__in=queryset), term, lambda event: event.data)
        yield from _known_openly(known, term)


def with_data(calls: QuerySet[Call], term: str) -> QuerySet[Call]:
    """Calls of which a handler has set something with this in it; with `order:A-17`, what it set as `order`."""
    name, part = _name_and_value(term)
    ascii_only = connection.vendor == "sqlite"
    calls = calls.exclude(data={}).alias(said=Upper(Cast("data", TextField())))
    if len(part) < SHORT:
        return calls.filter(_any("said__contains", _whole_values(name, part, ascii_only=ascii_only)))
    calls = calls.filter(said__contains=_as_json(part, ascii_only=ascii_only))
    if not name:
        return calls
    return calls.alias(value=Cast(KeyTextTransform(name, "data"), TextField())).filter(value__icontains=part)


def _name_and_value(term: str) -> tuple[str, str]:
    found = _NAMED.fullmatch(term)
    return (found[1], found[2]) if found else ("", term)


def _whole_values(name: str, value: str, *, ascii_only: bool) -> list[str]:
    """A text or a number as it stands behind its name, between what makes it a word of its own to the index."""
    before = f'"{_as_json(name, ascii_only=ascii_only)}": ' if name else ": "
    word = _as_json(value, ascii_only=ascii_only)
    return [f'{before}"{word}"', f"{before}{word},", f"{before}{word}}}"]


def with_notes(term: str) -> QuerySet[CallEvent]:
    """What handlers have noted with these words."""
    notes = CallEvent.objects.filter(kind="note").alias(text=Cast(KeyTextTransform("text", "data"), TextField()))
    return notes.filter(text__icontains=term) if len(term) >= SHORT else notes.filter(text__iexact=term)


def _any(lookup: str, values: list[str]) -> Q:
    return Q(*((lookup, value) for value in values), _connector=Q.OR)


def noted(term: str) -> Q:
    return Q(notes__icontains=term) if len(term) >= SHORT else Q(notes__iexact=term)


def named(term: str) -> Q:
    """Two letters may be a whole name, or a Chinese given name: beginnings and ends are in the index."""
    if len(term) >= SHORT:
        return Q(caller_name__icontains=term)
    return Q(caller_name__istartswith=term) | Q(caller_name__iendswith=term)


def _openly(rows: QuerySet[Any], term: str, said: Callable[[Any], Any]) -> Iterator[int]:
    """The calls of those rows that still say so when their numbers are masked."""
    for row in rows.select_related("call").order_by("-pk")[:MOST_FOUND]:
        if _needle(term) in _as_json(mask_all(said(row), row.call)):
            yield row.call_id


def _known_openly(calls: QuerySet[Call], term: str) -> Iterator[int]:
    name, part = _name_and_value(term)
    for call in calls.order_by("-pk")[:MOST_FOUND]:
        data = mask_all(call.data, call)
        if _as_json(part) in _as_json([data.get(name) if name else data]):
            yield call.pk


def _needle(term: str, *, ascii_only: bool = False) -> str:
    """A part of a value; a short one is all of it."""
    part = _as_json(term, ascii_only=ascii_only)
    return part if len(term) >= SHORT else f'"{part}"'


def _as_json(value: Any, *, ascii_only: bool = False) -> str:
    """A value or a part of one as it stands inside of stored JSON (SQLite: as Python wrote it), in capitals."""
    return json.dumps(value, ensure_ascii=ascii_only)[1:-1].upper()
