"""Alert rules are looked at by whoever is first; whoever is to know is told once that one is broken, and once that it
is over."""

import datetime as dt
import json
import os
import re
import subprocess
import sys
import threading
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, close_old_connections, connection, transaction
from django.utils import timezone

from calls.alerts import watching, wording
from calls.alerts.mailing import Post
from calls.alerts.watching import CALM, end, look, watch
from calls.chores.board import CHORES
from calls.models import Alert, AlertMail, AlertRule, Notice
from tests.support.factories import make_call, make_receiver, make_rule, make_stream, make_turn
from tests.support.mailboxes import mail_server
from tests.support.servers import ROOT, database_url, free_port


pytestmark = pytest.mark.django_db

MINUTE = dt.timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


def answer(ms, at=None):
    """A call that has just ended, with one answer."""
    at = at or timezone.now() - dt.timedelta(seconds=1)
    make_turn(make_stream(make_call(ended_at=at)), response_ms=ms)


def again(rule):
    """A look at a rule that nobody has looked at for a while."""
    AlertRule.objects.update(checked_at=None)
    watch()


def told():
    return [(mail.event, mail.address) for mail in AlertMail.objects.all()]


# --- broken and over -------------------------------------------------------------------------------------------------


def test_a_rule_that_is_broken_opens_one_alert_and_tells_each_address_once():
    rule = make_rule(mail_to="ops@example.org\nvoice@example.org")
    answer(2500)
    for _ in range(3):
        again(rule)
    alert = Alert.objects.get()
    assert (alert.rule, alert.value, alert.counted, alert.over_at) == (rule, 2.5, 1, None)
    assert alert.began_at - alert.since == rule.window
    assert told() == [("fired", "ops@example.org"), ("fired", "voice@example.org")]


@pytest.mark.parametrize(("ms", "alerts"), [(2000, 0), (2001, 1)])
def test_the_threshold_itself_is_allowed(ms, alerts):
    make_rule()
    answer(ms)
    watch()
    assert Alert.objects.count() == alerts


def test_it_is_over_once_it_has_been_calm_for_five_minutes_and_that_is_told_once():
    rule, now = make_rule(), timezone.now()
    answer(2500)
    look(rule, now)
    answer(100, now + 16 * MINUTE)
    for minute in range(20, 30):
        look(rule, now + minute * MINUTE)
    alert = Alert.objects.get()
    assert (alert.over_at, alert.over_value, alert.ending) == (now + 20 * MINUTE + CALM, 0.1, "back")
    assert told() == [("fired", "ops@example.org"), ("over", "ops@example.org")]


def test_what_wavers_about_the_threshold_is_one_alert():
    rule, now = make_rule(window_minutes=1), timezone.now()
    for minute in range(30):
        answer(2500 if minute % 4 == 0 else 100, now + minute * MINUTE - dt.timedelta(seconds=1))
        look(rule, now + minute * MINUTE)
    assert told() == [("fired", "ops@example.org")]


def test_the_next_time_is_another_alert():
    rule, now = make_rule(window_minutes=1), timezone.now()
    for minute in range(30):
        answer(2500 if minute in (0, 20) else 100, now + minute * MINUTE - dt.timedelta(seconds=1))
        look(rule, now + minute * MINUTE)
    assert [event for event, _ in told()] == ["fired", "over", "fired", "over"]


def test_with_few_calls_nothing_is_said_and_nothing_is_over():
    rule, now = make_rule(least=2), timezone.now()
    answer(9000)
    look(rule, now)
    assert told() == []
    answer(9000)
    look(rule, timezone.now())
    for minute in range(16, 60):
        look(rule, now + minute * MINUTE)
    assert Alert.objects.get().over_at is None
    assert [event for event, _ in told()] == ["fired"]


def test_no_calls_at_all_breaks_the_rule_that_is_about_them():
    rule, now = make_rule("calls", least=50), timezone.now()
    look(rule, now)
    assert Alert.objects.get().value == 0
    make_call(created_at=now)
    for minute in range(1, 10):
        look(rule, now + minute * MINUTE)
    assert Alert.objects.get().over_value == 1


def test_a_rule_that_is_switched_off_says_that_its_alert_is_over():
    rule = make_rule()
    answer(2500)
    watch()
    AlertRule.objects.update(is_active=False)
    for _ in range(2):
        again(rule)
    assert Alert.objects.get().ending == "off"
    assert [event for event, _ in told()] == ["fired", "over"]


def test_a_rule_that_is_off_is_not_looked_at():
    make_rule(is_active=False)
    answer(2500)
    watch()
    assert not Alert.objects.exists()
    assert AlertRule.objects.get().checked_at is None


def test_whoever_heard_of_the_beginning_hears_of_the_end_and_nobody_else():
    rule = make_rule()
    answer(2500)
    watch()
    AlertRule.objects.update(mail_to="new@example.org", is_active=False)
    again(rule)
    assert told() == [("fired", "ops@example.org"), ("over", "ops@example.org")]


def test_a_rule_that_is_changed_while_it_alerts_is_over_by_what_it_says_then():
    rule, now = make_rule(), timezone.now()
    answer(2500)
    look(rule, now)
    rule.threshold = 3
    rule.save()
    look(rule, now + MINUTE)
    look(rule, now + MINUTE + CALM)
    alert = Alert.objects.get()
    assert (alert.ending, alert.over_value) == ("back", 2.5)
    assert "longer than 2 s" in alert.said


def test_the_rule_keeps_what_was_found_for_the_list():
    rule = make_rule()
    answer(700)
    watch()
    rule.refresh_from_db()
    assert (rule.value, rule.counted) == (0.7, 1)


# --- hours -----------------------------------------------------------------------------------------------------------


def at(text):
    """A moment by the clocks of Berlin."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def hours(begin="09:00", end="17:00", days="12345", minutes=60):
    return AlertRule(
        from_time=dt.time.fromisoformat(begin),
        until_time=dt.time.fromisoformat(end),
        weekdays=days,
        window_minutes=minutes,
    )


@pytest.mark.parametrize(
    ("rule", "moment", "awake"),
    [
        (hours(), "2026-03-13T09:59:59", False),  # a Friday
        (hours(), "2026-03-13T10:00", True),
        (hours(), "2026-03-13T17:00", True),
        (hours(), "2026-03-13T17:00:01", False),
        (hours(), "2026-03-14T12:00", False),
        (hours("22:00", "06:00", "5"), "2026-03-13T22:30", False),
        (hours("22:00", "06:00", "5"), "2026-03-13T23:00", True),
        (hours("22:00", "06:00", "5"), "2026-03-14T05:00", True),
        (hours("22:00", "06:00", "5"), "2026-03-14T23:30", False),
        (hours("18:00", "00:00", "5"), "2026-03-14T00:00", True),
        # Two spans that touch are one.
        (hours("18:00", "00:00", "5", 600), "2026-03-14T00:00", False),
        (hours("00:00", "23:59", "56"), "2026-03-14T00:30", False),
        # In Berlin the clock goes from 2 to 3 on 29 March and from 3 to 2 on 25 October.
        (hours("01:00", "04:00", "7", 60), "2026-03-29T03:00", True),
        (hours("01:00", "04:00", "7", 120), "2026-03-29T04:00", True),
        (hours("01:00", "04:00", "7", 180), "2026-03-29T04:00", False),
        (hours("01:00", "04:00", "7", 240), "2026-10-25T04:00", True),
        (hours("02:30", "04:00", "7", 30), "2026-03-29T04:00", True),
    ],
)
def test_a_rule_is_awake_once_its_window_lies_within_its_hours(rule, moment, awake, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    now = at(moment).astimezone(dt.UTC)
    assert rule.is_awake(now - rule.window, now) is awake


def test_days_without_hours_are_awake_from_midnight_to_midnight(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    rule = AlertRule(weekdays="56", window_minutes=48 * 60)
    assert rule.is_awake(at("2026-03-13T00:00"), at("2026-03-15T00:00"))
    assert not rule.is_awake(at("2026-03-13T00:00"), at("2026-03-15T00:01"))
    assert not rule.is_awake(at("2026-03-12T23:59"), at("2026-03-14T00:00"))


def test_a_rule_without_hours_is_always_awake():
    assert AlertRule(window_minutes=7 * 24 * 60).is_awake(timezone.now() - dt.timedelta(days=7), timezone.now())


def test_outside_of_its_hours_a_rule_begins_no_alert_and_ends_none():
    rule = make_rule("calls", from_time=dt.time(9), until_time=dt.time(17), weekdays="1234567")
    noon, night = (dt.datetime(2026, 3, 13, hour, tzinfo=dt.UTC) for hour in (12, 22))
    look(rule, night)
    assert not Alert.objects.exists()
    look(rule, noon)
    make_call(created_at=night)
    for minute in range(20):
        look(rule, night + minute * MINUTE)
    assert Alert.objects.get().over_at is None
    rule.refresh_from_db()
    assert rule.counted is None


# --- what a rule may be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"percentile": None}, "percentile"),
        ({"percentile": 100}, "percentile"),
        ({"threshold": -1}, "threshold"),
        ({"metric": "failures", "threshold": 100}, "threshold"),
        ({"metric": "calls", "threshold": "0.5"}, "threshold"),
        ({"metric": "calls", "threshold": 0}, "threshold"),
        ({"window_minutes": 0}, "window_minutes"),
        ({"window_minutes": 24 * 60 + 1}, "window_minutes"),
        ({"from_time": dt.time(9)}, "until_time"),
        ({"until_time": dt.time(9)}, "from_time"),
        ({"from_time": dt.time(9), "until_time": dt.time(9)}, "until_time"),
        ({"from_time": dt.time(9), "until_time": dt.time(10), "window_minutes": 61}, "window_minutes"),
        ({"from_time": dt.time(22), "until_time": dt.time(6), "window_minutes": 481}, "window_minutes"),
        ({"weekdays": "21"}, "weekdays"),
        ({"weekdays": ""}, "weekdays"),
        ({"mail_to": ""}, "mail_to"),
        ({"mail_to": "ops"}, "mail_to"),
        ({"mail_to": "ops@example.org, Ops <ops@example.org>"}, "mail_to"),
        ({"mail_to": " ".join(f"ops{number}@example.org" for number in range(21))}, "mail_to"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_where_the_mistake_is(facts, field):
    own = {"name": "x", "metric": "response", "threshold": 2, "mail_to": "ops@example.org"}
    with pytest.raises(ValidationError) as caught:
        AlertRule(**{**own, **facts}).full_clean()
    assert [*caught.value.message_dict] == [field]


@pytest.mark.parametrize(
    "facts",
    [
        {"from_time": dt.time(22), "until_time": dt.time(6), "window_minutes": 480},
        {"weekdays": "1", "window_minutes": 24 * 60},
        {"mail_to": "", "by_webhook": True},
        {"metric": "calls", "threshold": 1, "percentile": 95},
    ],
)
def test_a_rule_that_makes_sense_is_taken(facts):
    own = {"name": "x", "metric": "response", "threshold": 2, "mail_to": "ops@example.org"}
    rule = AlertRule(**{**own, **facts})
    rule.full_clean()
    rule.save()


def test_addresses_are_kept_one_a_line_and_each_once():
    rule = AlertRule(
        name="x", metric="response", threshold=2, mail_to="a@example.org; b@example.org,\r\n a@example.org"
    )
    rule.full_clean()
    assert rule.mail_to == "a@example.org\nb@example.org"


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "mood"},
        {"percentile": None},
        {"percentile": 0},
        {"metric": "failures", "percentile": 95},
        {"threshold": -1},
        {"window_minutes": 0},
        {"window_minutes": 100_000},
        {"from_time": dt.time(9)},
        {"from_time": dt.time(9), "until_time": dt.time(9)},
        {"weekdays": ""},
    ],
)
def test_the_database_keeps_what_makes_no_sense_out(wrong):
    rule = make_rule()
    with pytest.raises(IntegrityError), transaction.atomic():
        AlertRule.objects.filter(pk=rule.pk).update(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"ending": "back"}, {"over_at": timezone.now()}, {"over_at": timezone.now(), "ending": "odd"}]
)
def test_an_alert_has_an_end_and_a_reason_or_neither(wrong):
    make_rule("calls")
    watch()
    with pytest.raises(IntegrityError), transaction.atomic():
        Alert.objects.update(**wrong)


def test_a_rule_has_one_open_alert_and_an_address_is_told_once():
    make_rule("calls")
    watch()
    alert, mail = Alert.objects.get(), AlertMail.objects.get()
    for row in (alert, mail):
        row.pk = None
        with pytest.raises(IntegrityError), transaction.atomic():
            row.save(force_insert=True)


# --- in words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "Tells ops@example.org when more than 5 % of the answers take longer than 2 s, over 15 minutes."),
        (
            {"least": 10, "handler": "pizza", "threshold": "1.50", "by_webhook": True, "window_minutes": 60},
            "Tells ops@example.org and the webhooks when more than 5 % of the answers of pizza take longer than 1.5 s, "
            "over 1 hour, if there are at least 10 answers.",
        ),
        (
            {"metric": "calls", "from_time": dt.time(9), "until_time": dt.time(17), "weekdays": "12345"},
            "Tells ops@example.org when there are no calls, over 15 minutes, Monday to Friday from 09:00 to 17:00.",
        ),
        (
            {"metric": "failures", "weekdays": "1467", "window_minutes": 1440},
            "Tells ops@example.org when the handler fails in more than 2 % of the calls, over 1 day, Monday, Thursday "
            "and Saturday and Sunday.",
        ),
    ],
)
def test_a_rule_reads_like_a_sentence(facts, words):
    assert wording.sentence(make_rule(**facts)) == words


@pytest.mark.parametrize("metric", [*AlertRule.Metric])
def test_each_metric_has_words_for_what_it_finds(metric):
    rule = make_rule(metric)
    assert len(wording.condition(rule)) < 200
    assert wording.of_figure(metric, 2.0, 34).startswith("2")


# --- by several machines, and by ones that die -----------------------------------------------------------------------


def at_once(function, times=4):
    barrier, errors = threading.Barrier(times), []

    def run():
        try:
            barrier.wait(10)
            function()
        except Exception as error:
            errors.append(error)
        finally:
            close_old_connections()
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.django_db(transaction=True)
def test_of_several_machines_that_see_a_rule_broken_one_tells():
    rule = make_rule("calls")
    at_once(lambda: look(AlertRule.objects.get(pk=rule.pk), timezone.now()))
    assert told() == [("fired", "ops@example.org")]


@pytest.mark.django_db(transaction=True)
def test_of_several_machines_that_see_an_alert_over_one_tells():
    rule = make_rule("calls")
    watch()
    make_call(created_at=timezone.now())
    Alert.objects.update(calm_since=timezone.now() - CALM)
    at_once(lambda: look(AlertRule.objects.get(pk=rule.pk), timezone.now()))
    assert [event for event, _ in told()] == ["fired", "over"]


@pytest.mark.django_db(transaction=True)
def test_each_rule_is_looked_at_by_one_machine_of_a_round(monkeypatch):
    for _ in range(3):
        make_rule("calls")
    looked = []
    monkeypatch.setattr(watching, "look", lambda rule, now: looked.append(rule.pk))
    at_once(watch)
    assert sorted(looked) == sorted(rule.pk for rule in AlertRule.objects.all())


def test_an_alert_and_who_is_to_hear_of_it_are_there_together_or_not_at_all(monkeypatch):
    make_rule("calls")
    monkeypatch.setattr(AlertMail.objects, "bulk_create", die)
    monkeypatch.setattr(watching, "tell", die)
    with pytest.raises(Died):
        watch()
    assert not Alert.objects.exists()
    monkeypatch.undo()
    again(None)
    assert told() == [("fired", "ops@example.org")]


class Died(BaseException):
    """As `kill -9` does, it leaves nobody the time to tidy up."""


def die(*args, **kwargs):
    raise Died


# --- by mail ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def box(settings):
    with mail_server() as (box, port):
        use(settings, port)
        yield box


def use(settings, port):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_URL, settings.EMAIL_HOST, settings.EMAIL_PORT = "smtp://set", "127.0.0.1", port
    settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""


def fired(**facts):
    make_rule("calls", name="Nobody calls", **facts)
    watch()


def due_now():
    AlertMail.objects.update(due_at=timezone.now())


def test_a_mail_says_what_is_wrong_by_which_rule_and_where_the_calls_are(box):
    make_rule(name="Slow answers", handler="voicemail")
    answer(2500)
    watch()
    Post().send()
    (mail,) = box.messages
    assert (mail["Subject"], mail["To"], mail["From"]) == (
        "Alert: Slow answers",
        *box.recipients,
        "callstream@voice.example.org",
    )
    text = mail.get_payload(decode=True).decode()
    alert = Alert.objects.get()
    assert f"Since {wording.moment(alert.began_at)}: 2.50 s, 1 answer." in text
    assert "The rule: more than 5 % of the answers of voicemail take longer than 2 s, over 15 minutes." in text
    assert "https://voice.example.org/admin/calls/call/?ended=" in text
    assert f"https://voice.example.org/admin/calls/alert/{alert.pk}/change/" in text


def test_the_second_mail_says_that_it_is_over(box):
    rule, now = make_rule("calls", name="Nobody calls"), timezone.now()
    look(rule, now)
    make_call(created_at=now)
    look(rule, now + MINUTE)
    look(rule, now + MINUTE + CALM)
    due_now()
    Post().send()
    assert box.subjects() == ["Alert: Nobody calls", "Over: Nobody calls"]
    for mail in box.messages:
        assert "Over since" in mail.get_payload(decode=True).decode()


def test_a_mail_is_sent_once(box):
    fired()
    for _ in range(3):
        Post().send()
    assert len(box.messages) == 1
    assert AlertMail.objects.get().sent_at is not None


def test_each_address_has_a_mail_of_its_own_over_one_connection(box):
    fired(mail_to="a@example.org\nb@example.org")
    Post().send()
    assert [mail["To"] for mail in box.messages] == box.recipients == ["a@example.org", "b@example.org"]
    assert box.sessions == 1


def test_a_name_with_a_line_break_forges_no_header(box):
    fired()
    AlertRule.objects.update(name="Nobody\r\nBcc: eve@example.org")
    Post().send()
    assert box.messages[0]["Bcc"] is None
    assert box.recipients == ["ops@example.org"]


def test_a_server_that_is_away_is_tried_again_later_and_named_once(settings, caplog):
    use(settings, port := free_port())
    fired(mail_to="a@example.org\nb@example.org")
    post = Post()
    for _ in range(3):
        post.send()
        due_now()
    mail = AlertMail.objects.first()
    assert (mail.sent_at, mail.tries) == (None, 3)
    assert "refused" in mail.error
    with mail_server(port) as (box, _):
        post.send()
    assert len(box.messages) == 2
    said = [message.split()[0].strip(":") for message in caplog.messages if "mail" in message]
    assert said == ["mail_away", "mail_back"]
    assert set(AlertMail.objects.values_list("error", flat=True)) == {""}


def test_the_time_between_two_tries_grows_to_an_hour(settings):
    use(settings, free_port())
    fired()
    waits = []
    for _ in range(8):
        Post().send()
        mail = AlertMail.objects.get()
        waits.append(round((mail.due_at - timezone.now()) / MINUTE))
        due_now()
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_mail_that_nobody_takes_for_a_day_is_given_up(settings):
    use(settings, free_port())
    fired()
    AlertMail.objects.update(created_at=timezone.now() - dt.timedelta(days=1))
    Post().send()
    assert AlertMail.objects.get().tries == 0


@pytest.mark.parametrize(
    ("verb", "answer"), [("RCPT", "550 5.1.1 no such user"), ("MAIL", "553 no"), ("DATA", "554 spam")]
)
def test_an_address_that_is_refused_keeps_no_other_from_its_mail(box, caplog, verb, answer):
    fired(mail_to="a@example.org\nb@example.org")
    box.refusals[verb] = answer
    post = Post()
    post.send()
    box.refusals.clear()
    AlertMail.objects.filter(address="b@example.org").update(due_at=timezone.now())
    post.send()
    assert [mail["To"] for mail in box.messages] == ["b@example.org"]
    assert AlertMail.objects.get(address="a@example.org").error == answer
    assert [message.split()[0] for message in caplog.messages if "mail" in message] == ["alert_mail_refused"] * 2


@pytest.mark.parametrize(("refusals", "dies_after"), [({}, "DATA"), ({"QUIT": "2" * 9000}, "")])
def test_a_server_that_does_not_say_goodbye_has_taken_the_mail_all_the_same(box, refusals, dies_after):
    fired()
    box.refusals, box.dies_after = refusals, dies_after
    Post().send()
    due_now()
    Post().send()
    assert len(box.messages) == 1


def test_without_a_mail_server_the_mail_waits_and_says_why(settings, caplog):
    settings.EMAIL_URL = ""
    fired()
    Post().send()
    assert AlertMail.objects.get().error == "EMAIL_URL is not set"
    assert any(message.startswith("mail_away") for message in caplog.messages)


@pytest.mark.django_db(transaction=True)
def test_of_several_machines_one_sends_a_mail(box):
    fired(mail_to="a@example.org\nb@example.org\nc@example.org")
    at_once(lambda: Post().send())
    assert sorted(box.recipients) == ["a@example.org", "b@example.org", "c@example.org"]


SEND_AND_DIE = """
import django, os, signal
django.setup()
from calls.alerts import mailing
from calls.models import AlertMail
AlertMail.objects.filter().first()
open = mailing.message
def message(mail, connection):
    made = open(mail, connection)
    send = made.send
    made.send = lambda: (send(), os.kill(os.getpid(), signal.SIGKILL))
    return made
mailing.message = message
mailing.post.send()
"""


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_before_it_notes_a_mail_as_sent_has_it_sent_again_under_the_same_id(box, settings):
    fired()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database_url(),
        "EMAIL_URL": f"smtp://127.0.0.1:{settings.EMAIL_PORT}",
    }
    killed = subprocess.run([sys.executable, "-c", SEND_AND_DIE], cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -9
    mail = AlertMail.objects.get()
    assert (mail.sent_at, mail.tries) == (None, 1)
    Post().send()
    assert len(box.messages) == 1
    due_now()
    Post().send()
    assert len(box.messages) == 2
    assert len({message["Message-ID"] for message in box.messages}) == 1
    assert AlertMail.objects.get().sent_at is not None


# --- by webhook ------------------------------------------------------------------------------------------------------


def notices():
    return [(notice.kind, notice.data["alert"]) for notice in Notice.objects.order_by("pk")]


def test_the_webhooks_are_told_of_both_ends_once():
    make_receiver(kinds=["alert.fired", "alert.over"])
    rule = make_rule("calls", mail_to="", by_webhook=True)
    for _ in range(2):
        again(rule)
    AlertRule.objects.update(is_active=False)
    for _ in range(2):
        again(rule)
    (fired, began), (over, ended) = notices()
    assert (fired, over) == ("alert.fired", "alert.over")
    assert (began["value"], began["over_at"], ended["ending"]) == (0.0, None, "off")
    assert began["calls_url"].startswith("https://voice.example.org/admin/calls/call/?since=")


def test_whoever_was_told_by_a_webhook_is_told_of_the_end_too_whatever_the_rule_says_by_then():
    make_receiver(kinds=["alert.fired", "alert.over"])
    rules = [make_rule("calls", by_webhook=by_webhook) for by_webhook in (True, False)]
    watch()
    for rule in rules:
        AlertRule.objects.filter(pk=rule.pk).update(by_webhook=not rule.by_webhook, is_active=False)
    again(None)
    assert [kind for kind, _ in notices()] == ["alert.fired", "alert.over"]


def test_without_the_box_ticked_no_webhook_is_told():
    make_receiver(kinds=["alert.fired"])
    make_rule("calls")
    watch()
    assert notices() == []


def test_the_example_of_an_alert_in_the_document_is_what_is_sent():
    make_receiver(kinds=["alert.over"])
    rule = make_rule(least=10, handler="voicemail", by_webhook=True)
    began = dt.datetime(2026, 3, 14, 15, tzinfo=dt.UTC)
    alert = Alert.objects.create(
        rule=rule, said=wording.condition(rule), since=began - rule.window, began_at=began, value=2.41, counted=34
    )
    alert.by_webhook = True
    end(alert, began + 40 * MINUTE, Alert.Ending.BACK, 1.2)
    text = (ROOT / "docs/webhooks.md").read_text()
    examples = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    (example,) = (each["data"]["alert"] for each in examples if each["type"] == "alert.over")
    (_, told), number = notices()[0], str(alert.pk)
    assert {**told, "id": 1, "url": told["url"].replace(f"/{number}/", "/1/")} == example


def test_the_watch_and_the_mail_are_chores_of_their_own():
    assert {"watch", "mail"} <= {chore.name for chore in CHORES}
