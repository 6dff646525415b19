"""Calls: the list that ops staff find them in, and the page that they hear and annotate them on."""

from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, TextField
from django.forms import ModelChoiceField
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from calls import vault
from calls.access.numbers import may_see, shown
from calls.admin import call_page, cells, wording
from calls.admin.base import FactsAdmin, private_json, staff
from calls.admin.comment_rows import chip
from calls.admin.comments import Comments
from calls.admin.ended import Ended
from calls.admin.erasing import Erasing
from calls.admin.exports import chosen, csv_response, zip_response
from calls.admin.figures import Figures
from calls.admin.filters import (
    Commented,
    DeadAir,
    FirstAudio,
    Flags,
    Handler,
    Held,
    Median,
    Recorded,
    Response,
    Reviewed,
    State,
    Tagged,
    Way,
    When,
)
from calls.admin.holding import Holding
from calls.admin.lists import CallPages, Search
from calls.admin.live import Live, Running
from calls.admin.neighbours import Filtered, Neighbours
from calls.admin.notes import Notes
from calls.admin.outbound import Outbound
from calls.admin.pointing import Pointing
from calls.admin.reviewing import Reviewing
from calls.admin.saved_views import SavedViews
from calls.admin.simulating import Simulating
from calls.admin.spoken import hit_of
from calls.admin.stepping_in import SteppingIn
from calls.admin.turns import turns_response
from calls.admin.words import text_response, words_response
from calls.files.accesses import note_access, played_response, record_access
from calls.files.names import file_name
from calls.files.ranges import peaks_response, recording_response, unreadable_response
from calls.media.audio import SAMPLE_RATE
from calls.models import Call, RecordingAccess, Tag
from calls.recordings.rendering import Recording
from calls.store import ArchiveError, check
from calls.summaries.problems import Problem


class TagForm(ActionForm):
    tag = ModelChoiceField(Tag.objects.all(), required=False, label="Tag:", empty_label="–")


@admin.register(Call)
class CallAdmin(
    Live,
    Figures,
    Neighbours,
    Notes,
    Reviewing,
    Comments,
    SavedViews,
    Outbound,
    SteppingIn,
    Pointing,
    Simulating,
    Erasing,
    Holding,
    Search,
    FactsAdmin[Call],
):
    fieldsets = (("Our notes", {"fields": ("notes", "tags", "reviewed", "review")}),)
    readonly_fields = ("review",)
    formfield_overrides: ClassVar = {TextField: {"widget": AdminTextareaWidget(attrs={"rows": 4})}}
    list_filter = (
        *(When, Ended, State, Flags, Handler, Response, Median),
        *(FirstAudio, DeadAir, Way, Recorded, Reviewed, Commented, Tagged, Held),
    )
    autocomplete_fields = ("tags",)
    list_per_page = 50
    actions = ("mark_reviewed", "mark_unreviewed", "put_tag", "take_tag", "download", "hold_selected", "erase_selected")
    action_form = TagForm
    list_display_links = ("parties", "masked_parties")
    sortable_by = ("when", "length", *Figures.figures)
    change_form_template = "admin/calls/call/change_form.html"
    save_on_top = False

    def has_change_permission(self, request: HttpRequest, obj: Call | None = None) -> bool:
        """Staff may change notes, the review and tags: `fieldsets` names nothing else."""
        return request.user.has_perm("calls.change_call")

    def get_list_display(self, request: HttpRequest) -> Any:
        play = ["play"] if request.user.has_perm("calls.listen_call") else []
        return [*play, "parties" if may_see(request) else "masked_parties", "when", "state", "length", *self.figures]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        if hasattr(request, "running"):
            return Running
        return Filtered if hasattr(request, "reads_no_page") else CallPages

    def get_urls(self) -> list[URLPattern]:
        views = {"recording.wav": self.recording, "peaks.json": self.peaks, "follow.json": self.follow}
        views |= {"words.json": self.words, "words.txt": self.words_text, "turns.json": self.turns}
        # Not `never_cache`: these set stricter headers of their own.
        wrap = partial(self.admin_site.admin_view, cacheable=True)
        export = path("export.csv", wrap(self.export), name="calls_call_export")
        own = [path(f"<int:pk>/{name}", wrap(view), name=f"calls_call_{view.__name__}") for name, view in views.items()]
        played = path("<int:pk>/played/", wrap(self.played), name="calls_call_played")
        return [export, played, *own, *super().get_urls()]

    @method_decorator(require_safe)
    def recording(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        kind = RecordingAccess.Kind.DOWNLOAD if "download" in request.GET else RecordingAccess.Kind.LISTEN
        try:
            return recording_response(request, _call(pk), kind)
        except vault.Unreadable as error:
            return unreadable_response(error)
        except ArchiveError as error:
            headers = {"Cache-Control": "no-store, private", "Retry-After": "30"}
            return HttpResponse(error.said, status=503, content_type="text/plain; charset=utf-8", headers=headers)

    @method_decorator(require_safe)
    def peaks(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        try:
            return peaks_response(request, _call(pk))
        except vault.Unreadable as error:  # of rows that came without peaks
            return unreadable_response(error)

    @method_decorator(require_safe)
    def words(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return words_response(request, _call(pk))

    @method_decorator(require_safe)
    def words_text(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        call = _call(pk)
        return text_response(request, call, file_name(call, may_see(request)))

    @method_decorator(require_safe)
    def turns(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return turns_response(request, _call(pk))

    @method_decorator(require_POST)
    def played(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return played_response(request, _call(pk))

    @method_decorator(require_safe)
    def follow(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        call = get_object_or_404(Call, pk=pk)
        if request.user.has_perm("calls.listen_call"):  # turns lead into the recording
            call.note_follower()
        return private_json(call_page.fragments(request, call))

    @method_decorator(require_safe)
    def export(self, request: HttpRequest) -> HttpResponseBase:
        """The list as it is filtered, as CSV; who took it is on record."""
        if not (self.has_view_permission(request) and request.user.has_perm("calls.export_call")):
            raise PermissionDenied
        try:
            queryset = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:  # as the list itself does
            return HttpResponseRedirect(f"{reverse('admin:calls_call_changelist')}?e=1")
        record_access(request, RecordingAccess.Kind.EXPORT, f"CSV of {chosen(request.GET)}")
        return csv_response(request, queryset)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        facts = {"may_export": request.user.has_perm("calls.export_call")}
        return super().changelist_view(request, {**facts, **(extra_context or {})})

    def history_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        call = self.get_object(request, object_id)
        facts = {"call_title": wording.of_call(call, may_see(request)), "title": "Who changed what"} if call else {}
        facts["preserved_filters"] = self.get_preserved_filters(request)
        return super().history_view(request, object_id, {**facts, **(extra_context or {})})

    @admin.action(description="Mark as reviewed", permissions=["change"])
    def mark_reviewed(self, request: HttpRequest, queryset: QuerySet[Call]) -> None:
        calls = list(queryset.filter(reviewed=False))
        Call.objects.filter(pk__in=[call.pk for call in calls]).update(
            reviewed=True, reviewed_at=timezone.now(), reviewed_by=request.user.pk
        )
        self.did(request, calls, "Marked as reviewed")

    @admin.action(description="Mark as to be reviewed", permissions=["change"])
    def mark_unreviewed(self, request: HttpRequest, queryset: QuerySet[Call]) -> None:
        calls = list(queryset.filter(reviewed=True))
        Call.objects.filter(pk__in=[call.pk for call in calls]).update(
            reviewed=False, reviewed_at=None, reviewed_by=None
        )
        self.did(request, calls, "Marked as to be reviewed")

    @admin.action(description="Put the tag on", permissions=["change"])
    def put_tag(self, request: HttpRequest, queryset: QuerySet[Call]) -> None:
        if tag := self.chosen_tag(request):
            calls, through = list(queryset), Call.tags.through
            through.objects.bulk_create((through(call=call, tag=tag) for call in calls), ignore_conflicts=True)
            self.did(request, calls, f"Tagged as “{tag}”")

    @admin.action(description="Take the tag off", permissions=["change"])
    def take_tag(self, request: HttpRequest, queryset: QuerySet[Call]) -> None:
        if tag := self.chosen_tag(request):
            calls = list(queryset)
            Call.tags.through.objects.filter(call__in=calls, tag=tag).delete()
            self.did(request, calls, f"Tag “{tag}” taken off")

    def did(self, request: HttpRequest, calls: list[Call], what: str) -> None:
        """Says so, and leaves it in each call's history with who and when."""
        if calls:
            LogEntry.objects.log_actions(staff(request).pk, calls, CHANGE, change_message=what)
        self.message_user(request, f"{what}: {len(calls)} call{'' if len(calls) == 1 else 's'}.")

    def chosen_tag(self, request: HttpRequest) -> Tag | None:
        chosen = request.POST.get("tag", "")
        tag = Tag.objects.filter(pk=int(chosen)).first() if chosen.isascii() and chosen.isdigit() else None
        if tag is None:
            self.message_user(request, "Choose a tag beside the action.", messages.WARNING)
        return tag

    @admin.action(description="Download recordings (ZIP)", permissions=["download"])
    def download(self, request: HttpRequest, queryset: QuerySet[Call]) -> HttpResponseBase | None:
        calls = list(queryset.prefetch_related("tags"))
        try:
            check(calls)
            for call in calls:
                Recording.of(call).check_keys()
        except ArchiveError as error:
            self.message_user(request, f"Nothing was downloaded. {error.said}", messages.ERROR)
            return None
        except vault.Unreadable as error:
            self.message_user(
                request, f"Nothing was downloaded. {wording.of_call(call, may_see(request))}: {error}.", messages.ERROR
            )
            return None
        for call in calls:
            note_access(request, call, RecordingAccess.Kind.DOWNLOAD, "stereo pcm16 and words, ZIP")
        return zip_response(request, calls)

    def has_download_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("calls.download_call")

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if call := kwargs.get("obj"):
            context |= call_page.context(request, call)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="Reviewed by")
    def review(self, call: Call) -> str | SafeString:
        if not call.reviewed_at:
            return "nobody yet"
        return format_html("{}, {}", call.reviewed_by or "a deleted user", cells.time_tag(call.reviewed_at))

    def action_checkbox(self, obj: Call) -> SafeString:
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" {}>',
            *(ACTION_CHECKBOX_NAME, obj.pk, _named("Select", obj)),
        )

    @admin.display(description="Play", empty_value="")
    def play(self, call: Call) -> SafeString | None:
        seconds = call.audio_samples / SAMPLE_RATE or cells.recorded_so_far(call, call.streams.all())
        if not seconds:
            return None
        return format_html(
            '<button type="button" class="call-play" data-src="{}" data-seconds="{}" {}>▶</button>',
            *(reverse("admin:calls_call_recording", args=[call.pk]), seconds, _named("Play", call)),
        )

    @admin.display(description="Who called whom")
    def parties(self, call: Call) -> SafeString:
        return _parties(call, whole=True)

    @admin.display(description="Who called whom")
    def masked_parties(self, call: Call) -> SafeString:
        return _parties(call, whole=False)

    @admin.display(description="When", ordering="created_at")
    def when(self, call: Call) -> str | SafeString:
        return format_html('<span id="call-when-{}">{}</span>', call.pk, cells.time_tag(call.created_at))

    @admin.display(description="Status")
    def state(self, call: Call) -> SafeString:
        return cells.status_tag(call, _troubles(call))

    @admin.display(description="Length", ordering="audio_samples")
    def length(self, call: Call) -> SafeString:
        if call.ended_at is None:
            return cells.running_tag(call)
        lasted = "" if call.duration is None else f"; by Twilio's count the call lasted {call.duration} s"
        if call.audio_samples:
            recorded = cells.clock(call.audio_samples)
            return format_html('<span title="{} recorded{}">{}</span>', recorded, lasted, recorded)
        word = cells.clock(call.duration * SAMPLE_RATE) if call.duration else "–"
        return format_html('<span class="call-none" title="Nothing recorded{}">{}</span>', lasted, word)


def _call(pk: int) -> Call:
    return get_object_or_404(Call.objects.defer("parameters", "data", "data_at"), pk=pk)


def _named(word: str, call: Call) -> SafeString:
    """A control of a line says what it does, who called whom and when, as far as the user may know."""
    own = f"call-{word.lower()}-{call.pk}"
    others = f"call-parties-{call.pk} call-when-{call.pk}"
    return format_html('id="{}" aria-label="{}" aria-labelledby="{} {}"', own, word, own, others)


def _parties(call: Call, *, whole: bool) -> SafeString:
    """Each number in a <bdi>: whatever direction a caller's text claims, nothing outside of it is reversed."""
    names = [shown(number, whole) or "unknown" for number in (call.from_number, call.to_number)]
    caller = format_html('<bdi class="call-name">{}</bdi>', call.caller_name) if whole and call.caller_name else ""
    return format_html(
        '<span class="call-parties" id="call-parties-{}"><bdi title="{}">{}</bdi> '
        '<span class="call-arrow" role="img" aria-label="to">→</span> <bdi title="{}">{}</bdi></span>'
        '<span class="call-more">{} {} {} {}</span>{}',
        *(call.pk, names[0], names[0], names[1], names[1]),
        *(caller, cells.direction_tag(call), _handler(call), _chips(call, whole=whole), _quote(call)),
    )


def _quote(call: Call) -> str | SafeString:
    """What was looked for, as it was said."""
    if (hit := hit_of(call)) is None:
        return ""
    quote = '<span class="call-quote">{} <q><bdi>{}<mark>{}</mark>{}</bdi></q></span>'
    return format_html(quote, cells.clock(max(0, hit.at)), hit.before, hit.words, hit.after)


def _handler(call: Call) -> str | SafeString:
    return format_html('<span class="call-handler">{}</span>', call.handler) if call.handler else ""


def _troubles(call: Call, *, whole: bool = False) -> list[Problem]:
    """From what `CallPages` has read for the whole page."""
    return cells.troubles(call, call.streams.all(), call.events.all(), whole=whole)


def _chips(call: Call, *, whole: bool) -> SafeString:
    """What is worth a look, and what staff made of it."""
    problems = _troubles(call, whole=whole)
    if call.was_interrupted:
        problems.append(cells.INTERRUPTED)
    chips = [(f"call-chip call-{problem.tone}", problem.text, problem.word) for problem in problems]
    if call.reviewed:
        chips.append(("call-label call-reviewed", "Somebody has looked at this call", "✓ reviewed"))
    if call.notes:
        chips.append(("call-label call-note", "Somebody has written notes", "✎ notes"))
    chips += chip(call)
    chips += [("call-label call-tag", "Tag", tag.name) for tag in call.tags.all()]
    return format_html_join(" ", '<span class="{}" title="{}">{}</span>', chips)
