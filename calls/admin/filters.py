"""The list's filters. Each one is an equality or a range on an index, whose name is in calls/models/calls.py."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.formats import date_format

from calls.admin.comment_rows import may_comment
from calls.admin.sorting import FEW
from calls.models import Call, Comment, LegalHold, Tag


if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

# A filter that is closed until it is asked for.
SELDOM = "admin/calls/call/seldom_filter.html"
# Of the filter by response: what is still to be measured.
UNMEASURED = "none"
# Seconds to the millisecond, the least and the most. \d would take digits of any script.
_RANGE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)?(?:-([0-9]{1,6}(?:\.[0-9]{1,3})?)?)?")
# SELECT DISTINCT reads every row; this jumps from one value of call_by_handler to the next.
_HANDLERS = """
WITH RECURSIVE found(handler) AS (
    SELECT MIN(handler) FROM calls_call WHERE handler > ''
    UNION ALL
    SELECT (SELECT MIN(handler) FROM calls_call WHERE handler > found.handler)
    FROM found WHERE found.handler IS NOT NULL
) SELECT handler FROM found WHERE handler IS NOT NULL LIMIT 50
"""


def handlers_of_calls() -> list[str]:
    """The names that calls have; not all of them need be in STREAM_HANDLERS any more."""
    with connection.cursor() as cursor:
        cursor.execute(_HANDLERS)
        return [name for (name,) in cursor.fetchall()]


class Choice(admin.SimpleListFilter):
    """A few named conditions, one of which may be chosen."""

    conditions: ClassVar[dict[str, tuple[str, Q]]]

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, str]]:
        return [(value, word) for value, (word, _) in self.conditions.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        condition = self.conditions.get(self.value() or "")
        return queryset.filter(condition[1]) if condition else queryset


class State(Choice):
    title = "status"
    parameter_name = "status"
    conditions = {
        "live": ("Live now", Q(ended_at__isnull=True)),
        **{str(status): (str(status.label).capitalize().replace("-", " "), Q(status=status)) for status in Call.Status},
    }


class Way(Choice):
    title = "direction"
    parameter_name = "direction"
    template = SELDOM
    conditions = {
        "inbound": ("Inbound", Q(direction="inbound")),
        "outbound": ("Outbound", Q(direction__in=["outbound-api", "outbound-dial"])),
    }


class Recorded(Choice):
    title = "recording"
    parameter_name = "recording"
    template = SELDOM
    conditions = {
        "yes": ("With a recording", Q(audio_samples__gt=0)),
        "no": ("Without one", Q(audio_samples=0)),
    }


class Flags(Choice):
    title = "what happened"
    parameter_name = "flag"
    conditions = {
        "warning": ("Has warnings", Q(has_warning=True)),
        "interrupted": ("Interrupted us", Q(was_interrupted=True)),
    }


class Reviewed(Choice):
    title = "review"
    parameter_name = "reviewed"
    template = SELDOM
    conditions = {"no": ("To be reviewed", Q(reviewed=False)), "yes": ("Reviewed", Q(reviewed=True))}


class Commented(Choice):
    title = "comments"
    parameter_name = "comments"
    template = SELDOM
    conditions = {"open": ("With open comments", Q(pk__in=Comment.objects.open().order_by().values("call")))}

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, str]]:
        return super().lookups(request, model_admin) if may_comment(request) else []


class Held(Choice):
    title = "legal hold"
    parameter_name = "held"
    template = SELDOM
    # The few that are held first, and by their keys: an OR or a join would read all calls.
    conditions = {"yes": ("Under legal hold", Q(pk__in=LegalHold.objects.standing().order_by().values("call")))}


class Waited(admin.SimpleListFilter):
    """How long something took: one of a few limits, or any seconds in the address ("2.5", "2.5-4", "-1").

    Both ends belong to it, to the millisecond.
    """

    field: ClassVar[str]
    named: ClassVar[dict[str, str]]

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> Iterable[tuple[str, str]]:
        typed = self.used_parameters.get(str(self.parameter_name))
        others = {typed: _limits(typed)} if typed and typed not in self.named else {}
        return (self.named | others).items()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        if not self.value():
            return queryset
        least, most = _bounds(str(self.value()))
        ends = {} if least is None else {"gte": least}
        ends |= {} if most is None else {"lte": most}
        if self.is_usual(ends):
            return queryset.alias(figure=F(self.field) + 0).filter(**{f"figure__{end}": ends[end] for end in ends})
        return queryset.filter(**{f"{self.field}__{end}": ends[end] for end in ends})

    def is_usual(self, ends: dict[str, int]) -> bool:
        """Whether many calls match, which are soon met from the newest on.

        SQLite keeps no account of that: it would take the figure's index, and sort half of all calls by their time.
        """
        if connection.vendor != "sqlite":
            return False
        matching = Call.objects.order_by().filter(**{f"{self.field}__{end}": ends[end] for end in ends})
        return matching[: FEW + 1].count() > FEW


class Response(Waited):
    """By the longest wait for an answer; and what has not been measured."""

    title = "response"
    parameter_name = "response"
    field = "response_ms_max"
    named = {
        **{seconds: f"Worst {seconds} s or more" for seconds in ("1", "2", "3", "5", "10")},
        UNMEASURED: "Not measured yet",
    }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        if self.value() == UNMEASURED:
            return queryset.filter(measured_at=None, ended_at__isnull=False, audio_samples__gt=0)
        return super().queryset(request, queryset)


class Median(Waited):
    """For links from the overview: shown while it is in the address."""

    title = "median response"
    parameter_name = "median"
    field = "response_ms"
    named = {}


class FirstAudio(Waited):
    title = "first audio"
    parameter_name = "first_audio"
    template = SELDOM
    field = "first_audio_ms"
    named = {seconds: f"After {seconds} s or more" for seconds in ("1", "2", "5")}


class DeadAir(Waited):
    title = "dead air"
    parameter_name = "dead_air"
    template = SELDOM
    field = "dead_air_ms"
    named = {"0.001": "Any", **{seconds: f"{seconds} s or more" for seconds in ("5", "15", "30")}}


class Handler(admin.SimpleListFilter):
    title = "handler"
    parameter_name = "handler"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in handlers_of_calls()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        return queryset.filter(handler=self.value()) if self.value() else queryset


class Tagged(admin.SimpleListFilter):
    title = "tag"
    parameter_name = "tag"
    template = SELDOM

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Tag.objects.values_list("pk", "name")[:50]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        value = self.value() or ""
        return queryset.filter(tags=int(value)) if value.isascii() and value.isdigit() else queryset


class When(admin.SimpleListFilter):
    """Some days by name, or any two moments; always two bounds on a field, never a function of it."""

    title = "when"
    field = "created_at"
    parameter_name = "when"
    template = "admin/calls/call/when_filter.html"

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Call], model_admin: "ModelAdmin[Any]"
    ) -> None:
        self.typed = {name: (params.pop(name, None) or [""])[-1] for name in ("since", "until")}
        # A field for minutes shows no day; a link has days.
        ends = {"since": "T00:00", "until": "T23:59"}
        self.shown = {name: value + ends[name] * (len(value) == 10) for name, value in self.typed.items()}
        super().__init__(request, params, model, model_admin)
        mine = {*self.expected_parameters(), "p", "e"}
        self.others = [(name, value) for name, values in request.GET.lists() for value in values if name not in mine]

    def expected_parameters(self) -> list[str | None]:
        return ["when", "since", "until"]

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [("today", "Today"), ("yesterday", "Yesterday"), ("7d", "Last 7 days"), ("30d", "Last 30 days")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """A named time takes the place of typed ones."""
        none = ["since", "until"]
        yield {
            "selected": not self.value() and not any(self.typed.values()),
            "query_string": changelist.get_query_string(remove=[*none, "when"]),
            "display": "Any time",
        }
        if any(self.typed.values()):
            yield {"selected": True, "query_string": changelist.get_query_string(), "display": self.span()}
        for value, word in self.lookup_choices:
            query = changelist.get_query_string({"when": value}, none)
            yield {"selected": self.value() == value, "query_string": query, "display": word}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Call]) -> QuerySet[Call]:
        since, until = self.bounds()
        if since and until and since >= until:
            messages.error(request, f"This time ends before it begins: {self.span()}. Swap the two to see its calls.")
            return queryset.none()
        if since:
            queryset = queryset.filter(**{f"{self.field}__gte": since})
        return queryset.filter(**{f"{self.field}__lt": until}) if until else queryset

    def span(self) -> str:
        """The typed times in words, as they were meant: the end includes what it names."""
        since, until = (_words(self.typed[name]) for name in ("since", "until"))
        if since and until:
            return f"{since} to {until}"
        return f"Since {since}" if since else f"Until {until}"

    def bounds(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        named = {
            "today": (midnight(0), None),
            "yesterday": (midnight(-1), midnight(0)),
            "7d": (midnight(-6), None),
            "30d": (midnight(-29), None),
        }
        if self.value() in named:
            return named[str(self.value())]
        return _typed(self.typed["since"], end=False), _typed(self.typed["until"], end=True)


def midnight(days: int) -> dt.datetime:
    """The midnight that many days from today's, by the calendar: even where a day has 23 hours."""
    day = timezone.localdate() + dt.timedelta(days=days)
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))


def _bounds(value: str) -> tuple[int | None, int | None]:
    """Seconds as in an address, in ms."""
    found = _RANGE.fullmatch(value)
    if found is None or not any(found.groups()):
        raise IncorrectLookupParameters(f"{value!r} is no time in seconds, and no two of them")
    least, most = (round(float(end) * 1000) if end else None for end in found.groups())
    return least, most


def _limits(value: str) -> str:
    least, _, most = value.partition("-")
    if least and most:
        return f"{least} to {most} s"
    return f"At most {most} s" if most else f"{least} s or more"


def _words(value: str) -> str:
    """A day, or a minute of it, as it was typed: midnight is not the whole day."""
    at = _typed(value, end=False)
    return date_format(timezone.localtime(at), "j M Y" if parse_date(value) else "j M Y, H:i") if at else ""


def _typed(value: str, *, end: bool) -> dt.datetime | None:
    """A day or a minute, with or without a zone, as a link or the form has it; an end includes what it names."""
    if not value:
        return None
    try:
        day, moment = parse_date(value), parse_datetime(value)
    except ValueError as error:
        raise IncorrectLookupParameters(str(error)) from error
    if moment is None and day is None:
        raise IncorrectLookupParameters(f"{value!r} is not a time")
    if day is not None:
        moment = dt.datetime.combine(day + dt.timedelta(days=end), dt.time())
    elif moment is not None and end and not moment.second and moment.tzinfo is None:
        moment += dt.timedelta(minutes=1)
    assert moment is not None, "one of the two was found"
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
