"""Review queues: what waits, what is out, what is done, and the button that deals the next call."""

from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from calls import handlers
from calls.admin.base import ModelAdmin, staff
from calls.admin.filters import handlers_of_calls
from calls.admin.paging import Pages
from calls.admin.reviewing import deal_response, may_review
from calls.models import Review, ReviewQueue, Scorecard
from calls.reviews.rules import waiting


if TYPE_CHECKING:
    Form = forms.ModelForm[ReviewQueue]
else:
    Form = forms.ModelForm

# More waiting calls than these are not counted.
MOST_COUNTED = 1000
# With one of these, what was settled may not be any more.
DECIDING = {"rule", "nth", "threshold_ms", "handler", "since"}


class QueueForm(Form):
    handler = forms.ChoiceField(required=False, help_text="Only calls of this handler.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "handler" in self.fields:
            names = {*handlers.names(), *handlers_of_calls()} | ({self.instance.handler} - {""})
            cast(forms.ChoiceField, self.fields["handler"]).choices = [
                ("", "Any handler"),
                *((name, name) for name in sorted(names)),
            ]
        if "reviewers" in self.fields:
            cast("forms.ModelChoiceField[Any]", self.fields["reviewers"]).empty_label = "Everybody who may review"

    def clean_scorecard(self) -> Scorecard:
        scorecard: Scorecard = self.cleaned_data["scorecard"]
        if scorecard.current() is None:
            raise ValidationError("This scorecard has no questions yet.")
        return scorecard

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        scorecard = given.get("scorecard")
        if scorecard and given.get("is_active") and not scorecard.is_active:
            self.add_error("scorecard", "This scorecard is not in use: the queue would deal out nothing.")
        return given


@admin.register(ReviewQueue)
class ReviewQueueAdmin(ModelAdmin[ReviewQueue]):
    """A few queries for each queue beside the list's own: each has a rule to itself, and there are few of them."""

    form = QueueForm
    list_display = ("name", "next", "waits", "out", "done", "rule_in_words", "scorecard", "whose")
    sortable_by = ()
    actions = None
    list_select_related = ("scorecard", "reviewers")
    list_per_page = 20
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("name", "scorecard", "is_active")}),
        ("What it deals out", {"fields": ("rule", "nth", "threshold_ms", "handler", "since")}),
        ("Who reviews them", {"fields": ("reviewers", "hours")}),
    )

    def has_view_permission(self, request: HttpRequest, obj: ReviewQueue | None = None) -> bool:
        """Reviewers see what there is to do."""
        return super().has_view_permission(request, obj) or may_review(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_review(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewQueue]:
        own = Review.objects.filter(queue=OuterRef("pk")).order_by().values("queue")
        counts = {name: own.filter(**facts).annotate(n=Count("pk")).values("n") for name, facts in _STATES.items()}
        zero = {name: Coalesce(Subquery(count), 0) for name, count in counts.items()}
        return super().get_queryset(request).annotate(**zero)

    def get_list_display(self, request: HttpRequest) -> Any:
        hidden = set() if may_review(request) else {"next"}
        return [name for name in self.list_display if name not in hidden]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        groups = set(staff(request).groups.values_list("pk", flat=True))
        for queue in found.result_list:
            queue.is_mine = staff(request).is_superuser or queue.reviewers_id in {None, *groups}
        return found

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("<int:pk>/deal/", wrap(self.deal), name="calls_reviewqueue_deal"), *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: ReviewQueue, form: Any, change: bool) -> None:
        if DECIDING & set(form.changed_data):
            obj.settled_until = None
        super().save_model(request, obj, form, change)

    @method_decorator(require_POST)
    def deal(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return deal_response(request, get_object_or_404(ReviewQueue.objects.select_related("scorecard"), pk=pk))

    @admin.display(description="Which calls")
    def rule_in_words(self, queue: ReviewQueue) -> str:
        return queue.rule_in_words

    @admin.display(description="Reviewers")
    def whose(self, queue: ReviewQueue) -> str:
        return str(queue.reviewers or "everybody")

    @admin.display(description="Waiting")
    def waits(self, queue: ReviewQueue) -> str:
        found = sum(1 for _ in islice(waiting(queue), MOST_COUNTED + 1))
        return f"{MOST_COUNTED}+" if found > MOST_COUNTED else str(found)

    @admin.display(description="Out")
    def out(self, queue: ReviewQueue) -> int:
        return int(vars(queue)["are_out"])

    @admin.display(description="Done")
    def done(self, queue: ReviewQueue) -> SafeString:
        url = f"{reverse('admin:calls_review_changelist')}?queue={queue.pk}"
        return format_html('<a href="{}">{}</a>', url, vars(queue)["are_done"])

    @admin.display(description="Your next")
    def next(self, queue: ReviewQueue) -> SafeString | str:
        if not queue.deals:
            return "deals out nothing now"
        if not vars(queue).get("is_mine"):
            return "for others"
        button = (
            '<button type="submit" class="call-button" formmethod="post" formaction="{}" formnovalidate'
            ' aria-label="Review the next call of {}">Review next call</button>'
        )
        return format_html(button, reverse("admin:calls_reviewqueue_deal", args=[queue.pk]), queue.name)


_STATES: dict[str, dict[str, Any]] = {
    "are_out": {"submitted_at": None, "returned_at": None},
    "are_done": {"submitted_at__isnull": False},
}
