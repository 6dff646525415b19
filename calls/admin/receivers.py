"""Whom others' webhooks go to: made, tried and switched on and off by those who may."""

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_POST

from calls.access.numbers import may_see
from calls.admin.base import ModelAdmin, asks_twilio, own_page, staff
from calls.admin.cells import state_cell, time_tag
from calls.admin.paging import Pages
from calls.models import Delivery, Notice, Receiver
from calls.notices.delivery import ping
from calls.notices.destinations import Refused, parse
from calls.notices.keeping import forget_receiver


if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Receiver]
else:
    # Which Django's type stubs know as generic and Python does not.
    ModelForm = forms.ModelForm


class ReceiverForm(ModelForm):
    kinds = forms.MultipleChoiceField(
        label="Tell it when",
        choices=[(kind.value, f"{kind.label} ({kind.value})") for kind in Notice.Kind],
        widget=forms.CheckboxSelectMultiple,
        help_text="docs/webhooks.md says what is in each of them.",
    )

    class Meta:
        model = Receiver
        fields: ClassVar = ["name", "url", "kinds", "with_numbers", "is_active"]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        try:
            parse(url)
        except Refused as refusal:
            raise ValidationError(str(refusal)) from refusal
        return url


@admin.register(Receiver)
class ReceiverAdmin(ModelAdmin[Receiver]):
    form = ReceiverForm
    list_display = ("name", "where", "told", "state", "waiting")
    readonly_fields = ("where", "told", "state", "waiting", "numbers")
    show_full_result_count = False
    actions = None
    change_form_template = "admin/calls/receiver/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_queryset(self, request: HttpRequest) -> QuerySet[Receiver]:
        """A join would read all that was ever delivered."""
        waiting = Delivery.objects.waiting().filter(receiver=OuterRef("pk")).order_by().values("receiver")
        return (
            super().get_queryset(request).annotate(waiting_count=Subquery(waiting.annotate(n=Count("pk")).values("n")))
        )

    def has_change_permission(self, request: HttpRequest, obj: Receiver | None = None) -> bool:
        """Who may not see numbers must not lead them to an address of their own."""
        return super().has_change_permission(request, obj) and (obj is None or not obj.with_numbers or may_see(request))

    def get_fields(self, request: HttpRequest, obj: Receiver | None = None) -> Any:
        if obj is not None and not self.has_change_permission(request, obj):
            # An address may have a key of its own in it.
            return ["name", "where", "told", "numbers", "state", "waiting"]
        own = ["name", "url", "kinds", *(["with_numbers"] if may_see(request) else ["numbers"]), "is_active"]
        return [*own, "state", "waiting"] if obj else own

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<int:pk>/test/", wrap(self.test), name="calls_receiver_test"),
            path("<int:pk>/secret/", wrap(self.secret), name="calls_receiver_secret"),
        ]
        return [*own, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Receiver, form: ModelForm, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        # Not what its webhooks have led to meanwhile: it may have been switched off just now.
        changed = list(form.changed_data)
        if "is_active" in changed and obj.is_active:
            obj.since, obj.switched_off = timezone.now(), ""
            changed += ["since", "switched_off"]
        if {"is_active", "url"}.intersection(changed):
            # Somebody has done something about it: it is tried at once.
            changed += obj.wake()
        obj.save(update_fields=changed)

    def response_add(self, request: HttpRequest, obj: Receiver, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, f"{obj} will be told. Now give it the secret, and send a test.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:calls_receiver_secret", args=[obj.pk]))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Counted and not named: there may be very many."""
        count = sum(receiver.deliveries.count() for receiver in objs)
        named = [f"{receiver}, and what it was told" for receiver in objs]
        return named, {"webhooks": count}, set(), []

    def delete_model(self, request: HttpRequest, obj: Receiver) -> None:
        forget_receiver(obj)

    @asks_twilio("POST")
    @method_decorator(require_POST)
    def test(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Sends a ping now, and says what came of it. It may take as long as a slow Twilio."""
        receiver = self._own(request, pk)
        answer = ping(receiver)
        self._note(request, receiver, "Sent a test.")
        if answer.is_good:
            if receiver.failures:
                receiver.save(update_fields=receiver.wake())
            words, level = f"The test arrived: {receiver} answered {answer.status}", messages.SUCCESS
        else:
            words, level = f"The test was not taken. {answer.error.rstrip('.')}", messages.ERROR
        said = f" It said: {answer.body}" if answer.body.strip() else ""
        self.message_user(request, f"{words}, after {answer.seconds:.2f} s.{said}", level)
        return HttpResponseRedirect(reverse("admin:calls_receiver_change", args=[pk]))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def secret(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """Shows what webhooks are signed with, or makes another one. Both are on record."""
        receiver = self._own(request, pk)
        if request.method == "POST":
            receiver.change_secret()
            self._note(request, receiver, "Made a new secret.")
            self.message_user(request, "There is a new secret. The old one signs as well for a day.")
            return HttpResponseRedirect(request.path)
        self._note(request, receiver, "Looked at the secret.")
        now = timezone.now()
        until = receiver.old_secret_until if len(receiver.secrets(now)) > 1 else None
        context = {"title": f"The secret of {receiver}", "receiver": receiver, "old_until": time_tag(until)}
        context["is_rotating"] = until is not None
        return own_page(self, request, "secret", context)

    def _own(self, request: HttpRequest, pk: int) -> Receiver:
        receiver = get_object_or_404(Receiver, pk=pk)
        if not self.has_change_permission(request, receiver):
            raise PermissionDenied
        return receiver

    def _note(self, request: HttpRequest, receiver: Receiver, what: str) -> None:
        LogEntry.objects.log_actions(staff(request).pk, [receiver], CHANGE, change_message=what, single_object=True)

    @admin.display(description="Where")
    def where(self, receiver: Receiver) -> SafeString:
        """Without the query, in which a key may stand."""
        shown = urlsplit(receiver.url)._replace(query="").geturl() + ("?…" if "?" in receiver.url else "")
        return format_html('<span class="call-address">{}</span>', shown)

    @admin.display(description="Told when")
    def told(self, receiver: Receiver) -> str:
        return ", ".join(receiver.kinds) or "–"

    @admin.display(description="Phone numbers")
    def numbers(self, receiver: Receiver) -> str:
        return "whole" if receiver.with_numbers else "hidden"

    @admin.display(description="State")
    def state(self, receiver: Receiver) -> SafeString:
        if not receiver.is_active:
            return state_cell("quiet", "Off", receiver.switched_off or "Switched off by staff.")
        if not receiver.failing_since:
            return state_cell("good", "Active", "")
        note = format_html(
            "Since {}. Next try: {}.",
            *(time_tag(at, inside=True) for at in (receiver.failing_since, receiver.rests_until)),
        )
        return state_cell("bad", "Away", note)

    @admin.display(description="Waiting")
    def waiting(self, receiver: Receiver) -> SafeString:
        count = getattr(receiver, "waiting_count", None) or 0
        url = reverse("admin:calls_delivery_changelist")
        return format_html('<a href="{}?receiver={}&status=waiting">{}</a>', url, receiver.pk, count)
