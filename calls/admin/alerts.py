"""Alert rules, which staff write, and the alerts that they have led to, which are looked at."""

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Prefetch, QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from calls import handlers
from calls.admin.base import FactsAdmin, ModelAdmin
from calls.admin.cells import moment, time_tag
from calls.admin.paging import Pages
from calls.alerts import telling, wording
from calls.alerts.figures import figure
from calls.alerts.mailing import UNSET
from calls.alerts.watching import says_something
from calls.models import Alert, AlertMail, AlertRule, Receiver
from calls.models.alerts import MAIL_PATIENCE
from calls.notices.outbox import wanting


# A rule that nobody has looked at for so long is not watched.
UNWATCHED = dt.timedelta(minutes=5)
MOST_ALERTS = 20
DAYS = [(str(number), name) for number, name in enumerate(wording.DAYS, 1)]


if TYPE_CHECKING:
    RuleForm = forms.ModelForm[AlertRule]
else:
    RuleForm = forms.ModelForm


class AlertRuleForm(RuleForm):
    handler = forms.ChoiceField(required=False, help_text="Only calls of this handler.")
    weekdays = forms.MultipleChoiceField(
        label="On",
        choices=DAYS,
        initial=[day for day, _ in DAYS],
        widget=forms.CheckboxSelectMultiple,
        help_text="The days on which these hours begin.",
        error_messages={"required": "On no day at all? Switch the rule off instead."},
    )

    class Meta:
        model = AlertRule
        fields: ClassVar = [
            *("name", "metric", "handler", "percentile", "threshold", "window_minutes", "least"),
            *("from_time", "until_time", "weekdays", "mail_to", "by_webhook", "is_active"),
        ]
        widgets: ClassVar = {"mail_to": forms.Textarea(attrs={"rows": 3, "cols": 40})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = [*handlers.names(), *filter(None, [self.instance.handler])]
        choices = [("", "All handlers"), *((name, name) for name in dict.fromkeys(known))]
        cast(forms.ChoiceField, self.fields["handler"]).choices = choices
        if self.instance.pk:
            self.initial["weekdays"] = list(self.instance.weekdays)
            self.initial["threshold"] = f"{self.instance.threshold.normalize():f}"
        if "mail_to" in self.fields and not settings.EMAIL_URL:
            self.fields["mail_to"].help_text += f" {UNSET}: no mail can be sent at the moment."

    def clean_weekdays(self) -> str:
        return "".join(sorted(self.cleaned_data["weekdays"]))


@admin.register(AlertRule)
class AlertRuleAdmin(ModelAdmin[AlertRule]):
    form = AlertRuleForm
    fieldsets = (
        (None, {"fields": ("name", "is_active", "reads", "now")}),
        ("What must not be", {"fields": ("metric", "percentile", "threshold", "window_minutes", "handler", "least")}),
        (
            "When",
            {
                "fields": (("from_time", "until_time"), "weekdays"),
                "description": f"By the clock of {settings.TIME_ZONE} (TIME_ZONE).",
            },
        ),
        ("Who is told", {"fields": ("mail_to", "by_webhook")}),
        ("Its alerts", {"fields": ("past",)}),
    )
    readonly_fields = ("reads", "now", "past")
    list_display = ("name", "state", "reads", "was")
    # A rule that alerts is switched off first: whoever was told is told of the end then.
    actions = None

    class Media:
        js = (Script("calls/alerts.js", defer=True),)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        alerting = Prefetch("alerts", Alert.objects.open(), to_attr="alerting")
        return super().get_queryset(request).prefetch_related(alerting)

    def get_fieldsets(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        """A new rule has no figure and no past yet."""
        if obj is not None:
            return self.fieldsets
        return [(None, {"fields": ("name", "is_active")}), *self.fieldsets[1:-1]]

    def has_delete_permission(self, request: HttpRequest, obj: AlertRule | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.alerts.open().exists())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its alerts go with it, though nobody may delete one of them."""
        found, counts, _, protected = super().get_deleted_objects(objs, request)
        return found, counts, set(), protected

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        # Not what the watch has written meanwhile.
        names = form.changed_data if change else None
        obj.save(update_fields=[*names, "percentile"] if names is not None else None)
        if obj.mail_to and not settings.EMAIL_URL:
            self.message_user(request, f"{UNSET}: this rule's mails wait for it, for a day.", messages.WARNING)
        if obj.by_webhook and not wanting("alert.fired", Receiver.objects.active()):
            self.message_user(request, "No webhook receiver wants alert.fired: none is told.", messages.WARNING)

    @admin.display(description="State")
    def state(self, rule: AlertRule) -> SafeString:
        return state_tag(rule)

    @admin.display(description="In words")
    def reads(self, rule: AlertRule) -> str:
        return wording.sentence(rule)

    @admin.display(description="Last look")
    def was(self, rule: AlertRule) -> str | SafeString:
        """As the watch has found it, which costs nothing here."""
        if rule.counted is None:
            return "–"
        return wording.of_figure(rule.metric, rule.value, rule.counted)

    @admin.display(description="At the moment")
    def now(self, rule: AlertRule) -> SafeString:
        at = timezone.now()
        found = figure(rule, at - rule.window, at)
        asleep = "" if rule.is_awake(at - rule.window, at) else ". Outside of its hours: asleep"
        few = "" if says_something(rule, found) else ". Too few to say anything"
        said = wording.of_figure(rule.metric, found.value, found.counted)
        return format_html("{}{}{}<br>{}", said, few, asleep, state_tag(rule))

    @admin.display(description="The latest")
    def past(self, rule: AlertRule) -> str | SafeString:
        alerts = list(rule.alerts.all()[:MOST_ALERTS])
        if not alerts:
            return "None yet."
        rows = ((alert_link(alert), telling.calls_path(alert)) for alert in alerts)
        return format_html(
            '<ul class="alert-past">{}</ul>',
            format_html_join("", '<li>{} · <a href="{}">its calls</a></li>', rows),
        )


@admin.register(Alert)
class AlertAdmin(FactsAdmin[Alert]):
    list_display = ("when", "rule", "figure", "state", "calls")
    list_filter = ("rule",)
    list_select_related = ("rule",)
    list_per_page = 50
    fields = ("rule", "state", "when", "figure", "ended", "said", "calls", "told")

    @admin.display(description="Began", ordering="began_at")
    def when(self, alert: Alert) -> str | SafeString:
        return time_tag(alert.began_at)

    @admin.display(description="With")
    def figure(self, alert: Alert) -> str:
        return wording.of_figure(alert.rule.metric, alert.value, alert.counted)

    @admin.display(description="State")
    def state(self, alert: Alert) -> SafeString:
        if alert.over_at is None:
            return format_html('<span class="call-status call-bad">Alerting for {}</span>', lasted(alert))
        return format_html('<span class="call-status call-quiet">Over after {}</span>', lasted(alert))

    @admin.display(description="Over")
    def ended(self, alert: Alert) -> str | SafeString:
        if alert.over_at is None:
            return "not yet"
        return format_html("{}: {}", time_tag(alert.over_at), telling.over(alert))

    @admin.display(description="Calls")
    def calls(self, alert: Alert) -> SafeString:
        began = moment(alert.began_at, inside=True)
        return format_html(
            '<a href="{}" aria-label="The calls of the alert of {}">its calls</a>', telling.calls_path(alert), began
        )

    @admin.display(description="Who was told")
    def told(self, alert: Alert) -> str | SafeString:
        mails = [(mail.address, mail.get_event_display(), mail_tag(mail)) for mail in alert.mails.all()]
        if not mails:
            return "The webhooks." if alert.by_webhook else "Nobody by mail."
        rows = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", mails)
        head = "<thead><tr><th>Address</th><th>Of what</th><th>Sent</th></tr></thead>"
        return format_html('<table class="alert-mails">{}<tbody>{}</tbody></table>', SafeString(head), rows)


def state_tag(rule: AlertRule) -> SafeString:
    """From the rule's open alert (`alerting`), which the list has read for all of them."""
    alerts: list[Alert] = getattr(rule, "alerting", [])
    if alerts:
        since = moment(alerts[0].began_at, inside=True)
        return format_html('<span class="call-status call-bad">Alerting since {}</span>', since)
    tone, word = "good", "Quiet"
    if not rule.is_active:
        tone, word = "quiet", "Off"
    elif rule.checked_at is None or timezone.now() - rule.checked_at > UNWATCHED:
        tone, word = "warn", "Not watched: do the chores run?"
    elif rule.counted is None:
        tone, word = "quiet", "Asleep"
    return format_html('<span class="call-status call-{}">{}</span>', tone, word)


def alert_link(alert: Alert) -> SafeString:
    url = telling.alert_path(alert)
    figures = wording.of_figure(alert.rule.metric, alert.value, alert.counted)
    end = f"over after {lasted(alert)}" if alert.over_at else f"for {lasted(alert)}, not over"
    return format_html('<a href="{}">{}</a>: {}, {}', url, moment(alert.began_at), figures, end)


def lasted(alert: Alert) -> str:
    seconds = int(((alert.over_at or timezone.now()) - alert.began_at).total_seconds())
    minutes = seconds // 60
    if minutes < 1:
        return f"{seconds} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def mail_tag(mail: AlertMail) -> SafeString:
    if mail.sent_at:
        return format_html('<span class="call-status call-good">{}</span>', time_tag(mail.sent_at))
    if not mail.tries:
        return format_html('<span class="call-status call-live">{}</span>', "On its way")
    given_up = timezone.now() - mail.created_at >= MAIL_PATIENCE
    tone, word = ("bad", "Given up") if given_up else ("warn", f"Again at {timezone.localtime(mail.due_at):%H:%M:%S}")
    return format_html(
        '<span class="call-status call-{}">{}</span> <span class="call-none">after {} tries: {}</span>',
        *(tone, word, mail.tries, mail.error or "no answer yet"),
    )
