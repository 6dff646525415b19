"""The pages of alert rules and alerts: who may do what there, what a form refuses, and what is shown."""

import datetime as dt

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from calls.alerts import telling, wording
from calls.alerts.watching import watch
from calls.models import Alert, AlertMail, AlertRule, Call
from tests.support.factories import make_call, make_receiver, make_rule, make_staff, make_stream, make_turn


pytestmark = pytest.mark.django_db

RULES, ALERTS = "/admin/calls/alertrule/", "/admin/calls/alert/"
FORM = {
    "name": "Slow answers",
    "is_active": "on",
    "metric": "response",
    "percentile": "95",
    "threshold": "2",
    "window_minutes": "15",
    "handler": "",
    "least": "10",
    "from_time": "",
    "until_time": "",
    "weekdays": list("1234567"),
    "mail_to": "ops@example.org",
}
WRITE = ("view_alertrule", "add_alertrule", "change_alertrule", "delete_alertrule", "view_alert")


@pytest.fixture
def editor(client):
    client.force_login(user := make_staff(*WRITE))
    return user


def alerting(**facts):
    rule = make_rule("calls", name="Nobody calls", **facts)
    watch()
    return rule, Alert.objects.get(rule=rule)


def text(client, url):
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


# --- the form --------------------------------------------------------------------------------------------------------


def test_a_rule_is_made_and_reads_itself_back(client, editor):
    response = client.post(f"{RULES}add/", {**FORM, "weekdays": ["5", "1"], "_continue": ""}, follow=True)
    rule = AlertRule.objects.get()
    assert (rule.weekdays, rule.addresses, rule.percentile) == ("15", ["ops@example.org"], 95)
    assert escape(wording.sentence(rule)) in response.content.decode()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"threshold": "-1"}, "greater than or equal to 0"),
        ({"threshold": "two"}, "Enter a number"),
        ({"percentile": ""}, "Which one?"),
        ({"metric": "mood"}, "not one of the available choices"),
        ({"handler": "nobody"}, "not one of the available choices"),
        ({"metric": "failures", "threshold": "150"}, "No share is above 100 %"),
        ({"metric": "calls", "threshold": "0"}, "A whole number of calls"),
        ({"from_time": "9:00", "until_time": "9:30", "window_minutes": "60"}, "the rule would never speak"),
        ({"from_time": "9:00"}, "both times, or neither"),
        ({"weekdays": []}, "On no day at all?"),
        ({"mail_to": "ops"}, "is not a mail address"),
        ({"mail_to": ""}, "Whom does it tell?"),
        ({"mail_to": "a@b.c\0"}, "Null characters are not allowed"),
        ({"window_minutes": "999999999999999999999"}, "less than or equal to"),
        ({"least": "999999999999999999999"}, "less than or equal to"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(client, editor, wrong, words):
    response = client.post(f"{RULES}add/", {**FORM, **wrong})
    assert words in response.content.decode()
    assert not AlertRule.objects.exists()


def test_a_share_needs_no_percentile(client, editor):
    client.post(f"{RULES}add/", {**FORM, "metric": "failures"})
    assert AlertRule.objects.get().percentile is None


def test_a_rule_may_become_one_of_another_kind_and_back(client, editor):
    rule = make_rule()
    url = f"{RULES}{rule.pk}/change/"
    for metric, percentile in (("failures", None), ("response", 95)):
        assert client.post(url, {**FORM, "metric": metric}).status_code == 302
        rule.refresh_from_db()
        assert (rule.metric, rule.percentile) == (metric, percentile)


def test_who_saves_a_rule_leaves_alone_what_the_watch_has_noted_meanwhile(client, editor, monkeypatch):
    rule = make_rule("calls")
    form_of = client.post

    def meanwhile(*args, **kwargs):
        AlertRule.objects.update(value=7, counted=7, checked_at=timezone.now())
        return real(*args, **kwargs)

    real = AlertRule.full_clean
    monkeypatch.setattr(AlertRule, "full_clean", meanwhile)
    form_of(f"{RULES}{rule.pk}/change/", {**FORM, "metric": "calls", "threshold": "1", "name": "New"})
    rule.refresh_from_db()
    assert (rule.name, rule.value, rule.counted) == ("New", 7, 7)


def test_without_a_mail_server_the_form_says_so_before_and_after(client, editor, settings):
    settings.EMAIL_URL = ""
    assert "EMAIL_URL is not set" in text(client, f"{RULES}add/")
    response = client.post(f"{RULES}add/", FORM, follow=True)
    assert "EMAIL_URL is not set: this rule&#x27;s mails wait" in response.content.decode()
    settings.EMAIL_URL = "smtp://127.0.0.1"
    assert "EMAIL_URL" not in text(client, f"{RULES}add/")


def test_a_rule_that_tells_webhooks_says_so_if_nobody_wants_them(client, editor):
    for kinds, said in (([], True), (["alert.fired"], False)):
        make_receiver(kinds=kinds)
        response = client.post(f"{RULES}add/", {**FORM, "by_webhook": "on"}, follow=True)
        assert ("No webhook receiver wants alert.fired" in response.content.decode()) is said


def test_the_form_says_how_it_is_at_the_moment(client, editor):
    rule = make_rule(least=10)
    at = timezone.now() - dt.timedelta(seconds=5)
    make_turn(make_stream(make_call(ended_at=at)), response_ms=900)
    page = text(client, f"{RULES}{rule.pk}/change/")
    assert "0.90 s, 1 answer. Too few to say anything" in page


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({}, "Quiet"),
        ({"is_active": False}, "Off"),
        ({"counted": None}, "Asleep"),
        ({"checked_at": None}, "Not watched: do the chores run?"),
        ({"checked_at": timezone.now() - dt.timedelta(minutes=6)}, "Not watched: do the chores run?"),
    ],
)
def test_the_list_says_in_which_state_a_rule_is(client, editor, facts, word):
    rule = make_rule(counted=3, value=1.5)
    AlertRule.objects.filter(pk=rule.pk).update(**{"checked_at": timezone.now(), **facts})
    assert f">{word}<" in text(client, RULES)


def test_the_list_says_since_when_a_rule_alerts_and_what_was_found_last(client, editor):
    alerting()
    page = text(client, RULES)
    assert "Alerting since today" in page
    assert "0 calls" in page


def test_the_lists_cost_the_same_for_one_row_and_for_many(client, editor, django_assert_num_queries):
    for count in (1, 4):
        for _ in range(count):
            make_rule("calls")
        watch()
        # The session and who it is of, their permissions (2), the rules, their open alerts.
        with django_assert_num_queries(6):
            client.get(RULES)
        # The same, and the filter's rules; without the others.
        with django_assert_num_queries(6):
            client.get(ALERTS)


# --- alerts ----------------------------------------------------------------------------------------------------------


def test_an_alert_shows_who_was_told_of_what_and_what_went_wrong(client, editor):
    _, alert = alerting(mail_to="a@example.org\nb@example.org\nc@example.org\nd@example.org")
    now = timezone.now()
    mails = AlertMail.objects.order_by("address")
    for mail, facts in zip(
        mails,
        (
            {"sent_at": now, "tries": 1},
            {"tries": 2, "error": "550 <b>no</b>"},
            {"tries": 9, "error": "away", "created_at": now - dt.timedelta(days=2)},
            {},
        ),
        strict=True,
    ):
        AlertMail.objects.filter(pk=mail.pk).update(**facts)
    page = text(client, f"{ALERTS}{alert.pk}/change/")
    assert "after 2 tries: 550 &lt;b&gt;no&lt;/b&gt;" in page
    assert "Given up</span>" in page
    assert "On its way" in page


def test_an_alert_leads_to_the_calls_that_ended_in_its_window(client):
    client.force_login(User.objects.create_superuser("ada"))
    now = timezone.now()
    ours = make_call(ended_at=now - dt.timedelta(minutes=1), created_at=now - dt.timedelta(hours=2))
    turn = make_turn(make_stream(ours), response_ms=9000)
    others = [
        make_call(ended_at=now - dt.timedelta(minutes=20)),
        make_call(ended_at=now - dt.timedelta(minutes=1), handler="echo"),
        make_call(ended_at=None),
    ]
    rule = make_rule(handler="voicemail")
    watch()
    page = client.get(telling.calls_path(Alert.objects.get(rule=rule)))
    assert [call.pk for call in page.context["cl"].result_list] == [turn.stream.call_id]
    assert len(others) == 3
    assert "By when it ended" in page.content.decode()


def test_an_alert_about_too_few_calls_leads_to_those_that_began(client):
    client.force_login(User.objects.create_superuser("ada"))
    call = make_call(created_at=timezone.now() - dt.timedelta(minutes=1), ended_at=None)
    _, alert = alerting(threshold=5)
    page = client.get(telling.calls_path(alert))
    assert [found.pk for found in page.context["cl"].result_list] == [call.pk]


@pytest.mark.parametrize(
    "value", ["", "x", "/", "2026-03-14/2026-03-15", "9999-12-31T23:59-23:59/0001-01-01T00:00+23:59"]
)
def test_a_span_that_is_none_is_no_error_of_ours(client, value):
    client.force_login(User.objects.create_superuser("ada"))
    make_call()
    assert client.get("/admin/calls/call/", {"ended": value}, follow=True).status_code == 200


def test_the_list_of_a_window_is_found_by_an_index():
    calls = Call.objects.filter(ended_at__gte=timezone.now(), ended_at__lt=timezone.now())
    Call.objects.bulk_create(
        Call(sid=f"CAff{n:030x}", ended_at=timezone.now() - dt.timedelta(days=9)) for n in range(2000)
    )
    assert "call_ended" in calls.order_by("-created_at", "-pk")[:50].explain()


# --- who may ---------------------------------------------------------------------------------------------------------


def test_the_groups_see_alerts_and_ops_admins_write_rules():
    def may(name):
        codes = Group.objects.get(name=name).permissions.values_list("codename", flat=True)
        return {code for code in codes if "alert" in code}

    assert may("Ops viewer") == may("Ops listener") == {"view_alert", "view_alertrule"}
    assert may("Ops admin") == {"view_alert", "view_alertrule", "add_alertrule", "change_alertrule", "delete_alertrule"}


def test_who_may_only_look_changes_nothing(client):
    rule, alert = alerting()
    client.force_login(make_staff("view_alertrule", "view_alert"))
    assert wording.condition(rule) in text(client, f"{RULES}{rule.pk}/change/")
    assert client.post(f"{RULES}{rule.pk}/change/", FORM).status_code == 403
    assert client.get(f"{RULES}add/").status_code == 403
    assert client.get(f"{RULES}{rule.pk}/delete/").status_code == 403
    assert client.get(f"{ALERTS}{alert.pk}/change/").status_code == 200
    assert client.get(f"{ALERTS}{alert.pk}/delete/").status_code == 403


def test_who_may_not_look_sees_nothing(client):
    rule, alert = alerting()
    client.force_login(make_staff("view_call"))
    for url in (RULES, ALERTS, f"{RULES}{rule.pk}/change/", f"{ALERTS}{alert.pk}/change/"):
        assert client.get(url).status_code == 403


def test_a_rule_goes_with_its_past_but_not_while_it_alerts(client, editor):
    rule, _ = alerting()
    url = reverse("admin:calls_alertrule_delete", args=[rule.pk])
    assert client.post(url, {"post": "yes"}).status_code == 403
    Alert.objects.update(over_at=timezone.now(), ending="off")
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert [model.objects.count() for model in (AlertRule, Alert, AlertMail)] == [0, 0, 0]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "‮evil", "x" * 100])
def test_hostile_names_are_text(client, editor, name):
    rule, alert = alerting()
    AlertRule.objects.update(name=name, handler=name)
    for url in (RULES, ALERTS, f"{RULES}{rule.pk}/change/", f"{ALERTS}{alert.pk}/change/"):
        assert "<script>alert" not in text(client, url)
