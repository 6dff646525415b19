"""Who reviewed what, and how it went: a list, a table to take away, and the means of both."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from calls.admin.base import FactsAdmin, staff
from calls.admin.cells import moment, time_tag
from calls.admin.filters import Choice, When
from calls.admin.review_exports import csv_response
from calls.admin.review_form import Shown
from calls.admin.reviewing import may_review
from calls.files.accesses import record_access
from calls.models import RecordingAccess, Review, ReviewQueue, Scorecard
from calls.reviews.results import by_question, by_reviewer


# Of each filter.
MOST_CHOICES = 50
FILTERS = {"when", "since", "until", "state", "queue", "scorecard", "reviewer", "score"}


class Submitted(When):
    title = "time of submission"
    field = "submitted_at"


class State(Choice):
    """Drafts are not results: they are shown when somebody asks for them."""

    title = "state"
    parameter_name = "state"
    conditions: ClassVar = {"out": ("Being reviewed", Q(submitted_at=None, returned_at=None))}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        condition = self.conditions.get(self.value() or "")
        return queryset.filter(condition[1] if condition else Q(submitted_at__isnull=False))

    def choices(self, changelist: Any) -> Any:
        everything, *others = super().choices(changelist)
        return [{**everything, "display": "Submitted"}, *others]


class Score(Choice):
    title = "score"
    parameter_name = "score"
    conditions: ClassVar = {
        "low": ("Below 50 %", Q(score__lt=50)),
        "middle": ("50 to 79 %", Q(score__gte=50, score__lt=80)),
        "high": ("80 % and more", Q(score__gte=80)),
        "none": ("Without a score", Q(score=None)),
    }


class _One(admin.SimpleListFilter):
    """One of the rows that reviews point at."""

    field: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        if value == "none":
            return queryset.filter(**{self.field: None})
        return queryset.filter(**{self.field: int(value)}) if value.isascii() and value.isdigit() else queryset


class Queue(_One):
    title = "queue"
    parameter_name = field = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        queues = ReviewQueue.objects.values_list("pk", "name")[:MOST_CHOICES]
        return [*((str(pk), name) for pk, name in queues), ("none", "Without a queue")]


class OfScorecard(_One):
    title = "scorecard"
    parameter_name, field = "scorecard", "version__scorecard"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Scorecard.objects.values_list("pk", "name")[:MOST_CHOICES]]


class Reviewer(_One):
    title = "reviewer"
    parameter_name = field = "reviewer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if not request.user.has_perm("calls.view_review"):
            return []
        users = User.objects.filter(pk__in=Review.objects.done().order_by().values("reviewer")).order_by("username")
        return [(str(pk), name) for pk, name in users.values_list("pk", "username")[:MOST_CHOICES]]


@admin.register(Review)
class ReviewAdmin(FactsAdmin[Review]):
    list_display = ("moment", "score_in_words", "whose", "who", "from_queue", "scorecard")
    list_display_links = ("moment",)
    list_filter = (Submitted, State, Queue, OfScorecard, Reviewer, Score)
    list_select_related = ("reviewer", "queue", "version__scorecard", "call")
    list_per_page = 100
    fields = ("whose", "who", "from_queue", "scorecard", "began", "moment", "score_in_words", "answers")
    sortable_by = ("moment",)
    change_list_template = "admin/calls/review/change_list.html"

    def has_view_permission(self, request: HttpRequest, obj: Review | None = None) -> bool:
        """Reviewers see their own."""
        if super().has_view_permission(request, obj):
            return True
        return may_review(request) and (obj is None or obj.reviewer_id == request.user.pk)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_review(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Review]:
        reviews = super().get_queryset(request).filter(returned_at=None)
        return reviews if request.user.has_perm("calls.view_review") else reviews.filter(reviewer=staff(request))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in FILTERS

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        export = path("export.csv", wrap(self.export, cacheable=True), name="calls_review_export")
        return [export, path("summary/", wrap(self.summary), name="calls_review_summary"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        facts = {"may_export": request.user.has_perm("calls.export_call")}
        return super().changelist_view(request, {**facts, **(extra_context or {})})

    @method_decorator(require_safe)
    def export(self, request: HttpRequest) -> HttpResponseBase:
        """What was submitted, as the list is filtered, as CSV; who took it is on record."""
        if not (self.has_view_permission(request) and request.user.has_perm("calls.export_call")):
            raise PermissionDenied
        if (reviews := self._filtered(request)) is None:
            return HttpResponseRedirect(f"{reverse('admin:calls_review_changelist')}?e=1")
        chosen = [f"{name}={value}" for name, value in sorted(request.GET.items()) if name in FILTERS]
        record_access(request, RecordingAccess.Kind.EXPORT, f"CSV of reviews: {', '.join(chosen) or 'all'}")
        return csv_response(request, reviews)

    @method_decorator(require_safe)
    def summary(self, request: HttpRequest) -> HttpResponseBase:
        """The means of what was submitted, as the list is filtered."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if (reviews := self._filtered(request)) is None:
            return HttpResponseRedirect(f"{reverse('admin:calls_review_changelist')}?e=1")
        query = request.GET.urlencode()
        facts = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Summary of reviews"}
        facts |= {"reviewers": _reviewers(reviews), "questions": by_question(reviews)}
        facts["list_url"] = f"{reverse('admin:calls_review_changelist')}{'?' if query else ''}{query}"
        facts["chosen"] = self._chosen(request)
        return TemplateResponse(request, "admin/calls/review/summary.html", facts)

    def _filtered(self, request: HttpRequest) -> QuerySet[Review] | None:
        """None if the address has a filter that is none."""
        try:
            reviews: QuerySet[Review] = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return None
        return reviews.filter(submitted_at__isnull=False)

    def _chosen(self, request: HttpRequest) -> list[str]:
        """The filters in words."""
        pages = self.get_changelist_instance(request)
        found = []
        for spec in pages.filter_specs:
            _, *others = spec.choices(pages)
            found += [f"{spec.title}: {choice['display']}" for choice in others if choice["selected"]]
        return found

    @admin.display(description="Submitted", ordering="submitted_at")
    def moment(self, review: Review) -> str | SafeString:
        return time_tag(review.submitted_at) if review.submitted_at else "not yet"

    @admin.display(description="Begun")
    def began(self, review: Review) -> str | SafeString:
        return time_tag(review.dealt_at)

    @admin.display(description="Score")
    def score_in_words(self, review: Review) -> str:
        return "–" if review.score is None else f"{review.score} %"

    @admin.display(description="Reviewer")
    def who(self, review: Review) -> str:
        return str(review.reviewer or "a deleted user")

    @admin.display(description="Queue")
    def from_queue(self, review: Review) -> str:
        return str(review.queue or "–")

    @admin.display(description="Scorecard")
    def scorecard(self, review: Review) -> str:
        return str(review.version)

    @admin.display(description="Call")
    def whose(self, review: Review) -> SafeString:
        url = reverse("admin:calls_call_change", args=[review.call_id])
        return format_html('<a href="{}">Call of {}</a>', url, moment(review.call.created_at, inside=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Review | None = None) -> Any:
        return self.fields

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if review := kwargs.get("obj"):
            began = moment(review.call.created_at, inside=True)
            context |= {"title": f"Review of the call of {began}", "subtitle": None}
            review.shown = Shown.of(review, request, review.call)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Answers")
    def answers(self, review: Review) -> SafeString | str:
        """A draft is nobody's business but its writer's."""
        return "not submitted yet" if review.is_draft else answers_list(vars(review)["shown"])


def answers_list(shown: Shown) -> SafeString | str:
    if not shown.answers:
        return "none"
    line = "<dt>{}</dt><dd>{}</dd>"
    return format_html('<dl class="review-answers">{}</dl>', format_html_join("", line, _lines(shown)))


def _lines(shown: Shown) -> list[tuple[str, str]]:
    return [(question.text, answer) for question, answer in shown.answers]


def _reviewers(reviews: QuerySet[Review]) -> list[dict[str, Any]]:
    return [
        {
            "name": row.reviewer,
            "reviews": row.reviews,
            "average": "–" if row.average is None else f"{row.average:.0f} %",
            "latest": time_tag(row.latest),
        }
        for row in by_reviewer(reviews)
    ]
