"""Comments on moments of a call: written, resolved and taken back by whoever may listen to it, and by nobody else."""

import re
from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods

from calls.access import numbers
from calls.admin import wording
from calls.admin.base import CallMixin, is_script, keep_filters, own_page, private_json, staff
from calls.admin.cells import precise
from calls.admin.comment_rows import Shown, may_comment, panel
from calls.media.audio import SAMPLE_RATE
from calls.media.storable import storable
from calls.models import Call, Comment


# Characters of a comment.
LONGEST = 10_000
_MOMENT = re.compile(r"(?:(?:(\d{1,2}):)?(\d{1,4}):)?(\d{1,6}(?:[.,]\d{1,3})?)", re.ASCII)
RESOLVED = "Somebody has resolved this comment meanwhile: reopen it first."


class MomentField(forms.CharField):
    """A moment of a call as the player shows it, in samples; None if it is left empty."""

    def clean(self, value: Any) -> int | None:
        text = str(value or "").strip()
        if not text:
            return None
        if not (found := _MOMENT.fullmatch(text)):
            raise forms.ValidationError("Write the moment like 1:23.4, or leave it empty for the whole call.")
        hours, minutes, seconds = found.groups(default="0")
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))) * SAMPLE_RATE)


class TextField(forms.CharField):
    def to_python(self, value: Any) -> str:
        return _plain(str(value or ""))


class TextForm(forms.Form):
    text = TextField(
        label="Comment",
        max_length=LONGEST,
        widget=AdminTextareaWidget(attrs={"rows": 6}),
        error_messages={"required": "Write something first."},
    )


class CommentForm(TextForm):
    at = MomentField(
        label="At",
        required=False,
        help_text="The moment of the recording, like 1:23.4. Empty: the whole call.",
        widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    field_order = ["at", "text"]

    def __init__(self, call: Call, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.call = call

    def clean_at(self) -> int | None:
        at: int | None = self.cleaned_data["at"]
        # Of one that still runs nobody knows how long it will be.
        length = self.call.audio_samples if self.call.ended_at else 0
        if at is not None and 0 < length < at - SAMPLE_RATE:
            raise forms.ValidationError(f"The recording is only {precise(length)} long.")
        return at


class Comments(CallMixin):
    """Adds this to the admin of calls."""

    def get_urls(self) -> list[URLPattern]:
        wrap = partial(self.admin_site.admin_view, cacheable=True)
        own = [
            path("<int:pk>/comments/", wrap(self.comments), name="calls_call_comments"),
            path("<int:pk>/comments/<int:number>/", wrap(self.comment), name="calls_call_comment"),
        ]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        call = kwargs.get("obj")
        if call and may_comment(request):
            context["comments"] = self._panel(request, call)
        return super().render_change_form(request, context, *args, **kwargs)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def comments(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Those of a call, for its page to take anew; and a new one."""
        call = self._commented(request, pk)
        if request.method != "POST":
            return self._refreshed(request, call) if is_script(request) else self._to(request, call)
        form = CommentForm(call, request.POST)
        if not form.is_valid():
            return self._wrong(request, call, form, "Comment")
        user = staff(request)
        with transaction.atomic():
            # Nobody erases it meanwhile.
            get_object_or_404(Call.objects.select_for_update(no_key=True).only("pk"), pk=pk)
            comment = Comment.objects.create(
                **{"call": call, "user": user, "name": user.get_username()},
                **{"text": form.cleaned_data["text"], "at_samples": form.cleaned_data["at"]},
            )
        return self._to(request, call, comment)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def comment(self, request: HttpRequest, pk: int, number: int) -> HttpResponseBase:
        """What is done with one: `do` says what. Whoever had to log in first, or follows a link, is led to it."""
        call = self._commented(request, pk)
        comment = get_object_or_404(Comment, pk=number, call=call)
        match request.POST.get("do"):
            case "resolve":
                comment.resolve(staff(request), timezone.now())
            case "reopen":
                comment.reopen()
            case "change":
                return self._change(request, call, comment)
            case "delete":
                return self._delete(request, call, comment)
        return self._to(request, call, comment)

    def _change(self, request: HttpRequest, call: Call, comment: Comment) -> HttpResponseBase:
        """One's own, as long as nobody has resolved it."""
        if comment.user_id != staff(request).pk or Shown.to(request, call, comment).text != comment.text:
            raise PermissionDenied
        form = TextForm(request.POST)
        if form.is_valid():
            if comment.change(form.cleaned_data["text"], _plain(request.POST.get("was", "")), timezone.now()):
                return self._to(request, call, comment)
            now = Comment.objects.filter(pk=comment.pk).first()
            form.add_error("text", _conflict(now))
            # Whoever has read the other text may overwrite it.
            comment = now or comment
        return self._wrong(request, call, form, "Edit a comment", was=comment.text)

    def _delete(self, request: HttpRequest, call: Call, comment: Comment) -> HttpResponseBase:
        """One's own until somebody has resolved it; with the permission any, and a line says whose it was."""
        is_own = comment.user_id == staff(request).pk
        if request.user.has_perm("calls.delete_comment"):
            self._take_down(request, call, comment, is_own=is_own)
        elif not is_own:
            raise PermissionDenied
        elif not comment.withdraw():
            return self._refuse(request, call, RESOLVED)
        return self._to(request, call)

    def _take_down(self, request: HttpRequest, call: Call, comment: Comment, *, is_own: bool) -> None:
        whose = comment.name
        with transaction.atomic():
            if comment.delete()[0] and not is_own:
                what = f"Deleted a comment of {whose}."
                LogEntry.objects.log_actions(staff(request).pk, [call], CHANGE, change_message=what)

    def _commented(self, request: HttpRequest, pk: int) -> Call:
        if not (self.has_view_permission(request) and may_comment(request)):
            raise PermissionDenied
        return get_object_or_404(Call.objects.defer("parameters", "data", "data_at"), pk=pk)

    def _panel(self, request: HttpRequest, call: Call) -> dict[str, Any]:
        url = keep_filters(self, request, reverse("admin:calls_call_comments", args=[call.pk]))
        kept = self.get_preserved_filters(request)
        return {
            **panel(request, call),
            "call": call,
            "url": url,
            "kept": f"?{kept}" if kept else "",
            "longest": LONGEST,
        }

    def _refreshed(self, request: HttpRequest, call: Call) -> HttpResponseBase:
        panel = self._panel(request, call)
        same = request.GET.get("version") == panel["version"]
        html = "" if same else render_to_string("admin/calls/call/comment_list.html", {"comments": panel}, request)
        return private_json({"version": panel["version"], "html": html})

    def _to(self, request: HttpRequest, call: Call, comment: Comment | None = None) -> HttpResponseBase:
        """It is done: to the call's page, and there to the comment."""
        if is_script(request):
            return private_json({"comment": comment.pk if comment else None})
        anchor = f"comment-{comment.pk}" if comment else "call-comments"
        return HttpResponseRedirect(f"{self._page(request, call)}#{anchor}")

    def _wrong(
        self, request: HttpRequest, call: Call, form: TextForm, title: str, was: str | None = None
    ) -> HttpResponseBase:
        """What was written comes back with what is wrong about it."""
        if is_script(request):
            error = " ".join(str(error) for errors in form.errors.values() for error in errors)
            return private_json({"error": error, "was": was}, status=400)
        context = {
            "form": form,
            "title": title,
            "was": was,
            "back_url": self._page(request, call),
            "call_title": wording.of_call(call, numbers.may_see(request)),
        }
        return own_page(self, request, "comment", context)

    def _refuse(self, request: HttpRequest, call: Call, error: str) -> HttpResponseBase:
        if is_script(request):
            return private_json({"error": error}, status=400)
        self.message_user(request, error, messages.ERROR)
        return self._to(request, call)

    def _page(self, request: HttpRequest, call: Call) -> str:
        return keep_filters(self, request, reverse("admin:calls_call_change", args=[call.pk]))


def _plain(text: str) -> str:
    """As it is stored and compared: a browser ends lines with CR LF."""
    text = storable(text, len(text))
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _conflict(now: Comment | None) -> str:
    if now is None:
        return "This comment was deleted meanwhile."
    return (
        RESOLVED if now.resolved_at else f"You have changed this comment elsewhere meanwhile. It says now: “{now.text}”"
    )
