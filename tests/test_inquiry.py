"""Calls that have been quiet: Twilio is asked what became of them, by one process and now and then."""

import datetime as dt
import threading

import pytest
from django.db import close_old_connections
from django.utils import timezone

from calls import rest
from calls.models import Call
from calls.server import inquiry
from calls.server.inquiry import Inquiry
from simulator import ApiError
from tests.support.factories import make_event, make_live_call, make_stream


ACCOUNT = "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"
THEIRS = "+14155550100"

pytestmark = pytest.mark.django_db


def ago(minutes):
    return timezone.now() - dt.timedelta(minutes=minutes)


def quiet(api, truth="completed", **facts):
    """A call of which we have heard nothing for ten minutes, and what Twilio knows of it."""
    call = rest.place_call(THEIRS)
    api.calls[call.sid].status = truth
    call.events.all().delete()
    Call.objects.filter(pk=call.pk).update(**{"created_at": ago(10), **facts})
    api.requests.clear()
    return Call.objects.get(pk=call.pk)


def asked(api):
    return [path.rpartition("/")[2] for _, path, _ in api.requests]


@pytest.mark.parametrize("status", ["completed", "busy", "no-answer", "failed", "canceled"])
def test_a_call_whose_callbacks_were_lost_is_live_no_more(api, status):
    call = quiet(api, status)
    Inquiry().ask()
    call.refresh_from_db()
    assert (call.status, call.ended_at is None) == (status, False)
    event = call.events.get()
    assert (event.kind, event.data["answer"]) == ("looked-up", f"Twilio said when asked: {status}")


@pytest.mark.parametrize(
    "facts", [{"status": "queued"}, {"status": "ringing"}, {"status": "in-progress", "dialing": True}]
)
def test_whatever_it_was_last_it_is_asked_about(api, facts):
    call = quiet(api, **facts)
    Inquiry().ask()
    assert asked(api) == [f"{call.sid}.json"]


def test_a_call_ended_when_twilio_says_that_it_did(api):
    call = quiet(api)
    api.calls[call.sid].ended = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(minutes=4)
    Inquiry().ask()
    assert Call.objects.get().ended_at == api.calls[call.sid].ended


def test_a_call_that_goes_on_stays_live_and_is_not_asked_about_again_at_once(api):
    quiet(api, "in-progress", status="in-progress", dialing=True)
    for _ in range(3):
        Inquiry().ask()
    call = Call.objects.get()
    assert (call.ended_at, call.alive_at is None, len(api.requests)) == (None, False, 1)
    assert not call.events.exists()


def test_it_is_asked_about_again_after_some_minutes(api):
    quiet(api, "in-progress", asked_at=ago(6))
    Inquiry().ask()
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "heard",
    [
        lambda call: make_event(call),
        lambda call: make_stream(call, lease_at=timezone.now()),
        lambda call: make_stream(call, ended_at=timezone.now()),
        lambda call: Call.objects.update(ended_at=timezone.now(), status="completed"),
        lambda call: Call.objects.update(created_at=timezone.now()),
        lambda call: Call.objects.update(parameters={"Simulated": "yes"}),
    ],
    ids=["an event", "a stream", "a stream a moment ago", "its end", "just begun", "simulated"],
)
def test_a_call_that_is_not_quiet_or_not_twilios_is_not_asked_about(api, heard):
    heard(quiet(api))
    Inquiry().ask()
    assert api.requests == []


def test_a_round_is_bounded(api, monkeypatch):
    monkeypatch.setattr(inquiry, "ROUND", 2)
    for _ in range(3):
        quiet(api, "in-progress")
    Inquiry().ask()
    assert len(api.requests) == 2


def test_without_credentials_nobody_is_asked(settings):
    settings.TWILIO_ACCOUNT_SID = ""
    before = threading.active_count()
    Inquiry().start()
    assert threading.active_count() == before


def test_a_twilio_that_is_away_is_one_line_of_the_log_and_every_call_may_be_guessed(api, caplog):
    for _ in range(3):
        quiet(api)
    asker = Inquiry()
    for _ in range(2):
        api.refusals = [ApiError(503, 20503, "Service unavailable")]
        asker.ask()
        Call.objects.update(asked_at=ago(6))
    assert [message.split()[0] for message in caplog.messages if "twilio_" in message] == ["twilio_away:"]
    later = timezone.now()
    assert Call.objects.asked_in_vain(later, dt.timedelta(seconds=30), dt.timedelta(seconds=600)).count() == 3
    asker.ask()
    assert "twilio_back" in caplog.messages


def test_a_call_that_twilio_does_not_know_stays_and_does_not_keep_the_others(api):
    unknown = make_live_call(created_at=ago(20), account_sid=ACCOUNT)
    known = quiet(api)
    Inquiry().ask()
    assert Call.objects.get(pk=unknown.pk).ended_at is None
    assert Call.objects.get(pk=known.pk).ended_at is not None


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_several_processes_ask_about_each_call_once(api):
    for _ in range(5):
        quiet(api, "in-progress")

    def ask():
        Inquiry().ask()
        close_old_connections()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked(api)) == sorted({*asked(api)})
    assert len(api.requests) == 5
