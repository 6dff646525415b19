"""Scorecards: their questions are edited as if there were one set of them, and old reviews keep the one they had."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from calls.admin.base import ModelAdmin, staff
from calls.admin.cells import time_tag
from calls.admin.paging import Pages
from calls.admin.review_form import ReviewForm
from calls.models import Question, Scorecard, ScorecardVersion


if TYPE_CHECKING:
    FormSet = BaseInlineFormSet[Question, ScorecardVersion, forms.ModelForm[Question]]
    StackedInline = admin.StackedInline[Question, ScorecardVersion]
    Form = forms.ModelForm[Question]
else:
    FormSet, StackedInline, Form = BaseInlineFormSet, admin.StackedInline, forms.ModelForm


# Older ones are behind the reviews that were made with them.
MOST_VERSIONS = 20


class QuestionForm(Form):
    position = forms.IntegerField(label="Place", required=False, min_value=0, max_value=999)

    def clean_position(self) -> int:
        """One without a place comes last."""
        place = self.cleaned_data["position"]
        return 1000 if place is None else int(place)

    def _get_validation_exclusions(self) -> set[str]:
        """Places are numbered anew when they are saved: the same one twice, while rows move, is no error."""
        return {*super()._get_validation_exclusions(), "position"}  # type: ignore[misc]

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("kind") != Question.Kind.SCALE and "lowest" not in self.errors and "highest" not in self.errors:
            given["lowest"], given["highest"] = 1, 5
        return given


class QuestionFormSet(FormSet):
    """The questions of a scorecard's latest version; `instance` is the scorecard, or none yet."""

    def __init__(self, *, instance: Any = None, **kwargs: Any) -> None:
        current = instance.current() if instance and instance.pk else None
        super().__init__(instance=current or ScorecardVersion(), **kwargs)

    def validate_unique(self) -> None:
        """Places may swap: they are numbered anew."""

    def kept(self) -> "list[forms.ModelForm[Question]]":
        """In the order of their places; those with the same one as they stand on the page."""
        kept = [
            form for form in self.forms if form not in self.deleted_forms and (form.instance.pk or form.has_changed())
        ]
        return sorted(kept, key=lambda form: cast(int, form.cleaned_data["position"]))

    def save_for(self, scorecard: Scorecard, user_id: int | None) -> None:
        """What has changed is also left for the scorecard's history."""
        changed = [form for form in self.kept() if form.has_changed()]
        self.deleted_objects = [form.instance for form in self.deleted_forms if form.instance.pk]
        self.new_objects = [form.instance for form in changed if not form.instance.pk]
        self.changed_objects = [(form.instance, form.changed_data) for form in changed if form.instance.pk]
        if changed or self.deleted_objects:
            scorecard.ask([form.instance for form in self.kept()], user_id)


class QuestionInline(StackedInline):
    model = Question
    form = QuestionForm
    formset = QuestionFormSet
    fields = ("text", "help_text", ("kind", "lowest", "highest"), ("counts", "required", "position"))
    extra = 1
    min_num = 1
    validate_min = True
    verbose_name_plural = "Questions"

    def __init__(self, parent_model: Any, admin_site: admin.AdminSite) -> None:
        # Questions belong to a version, which nobody sees here: the formset finds the one to be shown.
        super().__init__(ScorecardVersion, admin_site)

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 2

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_formset(request, obj, validate_min=True, **kwargs)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("calls.view_scorecard") or self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("calls.change_scorecard")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request) or (obj is None and request.user.has_perm("calls.add_scorecard"))

    has_delete_permission = has_change_permission


@admin.register(Scorecard)
class ScorecardAdmin(ModelAdmin[Scorecard]):
    list_display = ("name", "description", "questions", "version", "is_active")
    fields = ("name", "description", "is_active", "made")
    readonly_fields = ("made",)
    inlines = (QuestionInline,)
    list_per_page = 50
    sortable_by = ()
    actions = None
    show_full_result_count = False
    save_on_top = False
    change_form_template = "admin/calls/scorecard/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scorecard]:
        latest = ScorecardVersion.objects.filter(scorecard=OuterRef("pk")).order_by("-number")
        asked = latest.annotate(asked=Count("questions")).values("asked")[:1]
        return super().get_queryset(request).annotate(number=latest.values("number")[:1], asked=Subquery(asked))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_fields(self, request: HttpRequest, obj: Scorecard | None = None) -> Any:
        return self.fields if obj else ("name", "description", "is_active")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [path("<int:pk>/preview/", wrap(self.preview), name="calls_scorecard_preview"), *super().get_urls()]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save_for(form.instance, staff(request).pk)

    @method_decorator(require_safe)
    def preview(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """As reviewers see it: the latest version, or the one that the query names."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        scorecard = get_object_or_404(Scorecard, pk=pk)
        number = request.GET.get("version", "")
        versions = scorecard.versions.order_by("-number")
        if number.isascii() and number.isdigit() and len(number) < 10:
            versions = versions.filter(number=int(number))
        version = versions.first()
        questions = version.questions.all() if version else Question.objects.none()
        facts = {**self.admin_site.each_context(request), "opts": self.opts, "scorecard": scorecard}
        facts |= {"version": version, "review_rows": ReviewForm(questions).rows(), "title": f"{scorecard}: preview"}
        return TemplateResponse(request, "admin/calls/scorecard/preview.html", facts)

    @admin.display(description="Questions")
    def questions(self, scorecard: Scorecard) -> int:
        return int(vars(scorecard)["asked"] or 0)

    @admin.display(description="Version")
    def version(self, scorecard: Scorecard) -> int | None:
        number: int | None = vars(scorecard)["number"]
        return number

    @admin.display(description="Versions")
    def made(self, scorecard: Scorecard) -> SafeString:
        """Each as its reviewers saw it, with how many there are."""
        url = reverse("admin:calls_scorecard_preview", args=[scorecard.pk])
        versions = scorecard.versions.annotate(used=Count("reviews")).select_related("made_by").order_by("-number")
        lines = [
            (url, version.number, version.number, time_tag(version.made_at), version.made_by or "–", _times(version))
            for version in versions[:MOST_VERSIONS]
        ]
        line = '<li><a href="{}?version={}">Version {}</a>, {}, {}, {}</li>'
        return format_html('<ul class="review-versions">{}</ul>', format_html_join("", line, lines))


def _times(version: ScorecardVersion) -> str:
    used = int(vars(version)["used"])
    return "1 review" if used == 1 else f"{used} reviews"
