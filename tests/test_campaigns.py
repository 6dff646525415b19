"""Campaigns against the simulator's REST API: no row is called twice, whatever fails, and no limit is exceeded."""

import datetime as dt
import os
import signal
import threading

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.utils import timezone

from calls.campaigns import running
from calls.campaigns.claiming import Claim, Why, claim
from calls.campaigns.running import Ending, Runner
from calls.campaigns.starting import go_on
from calls.models import Call, Campaign, CampaignCall
from calls.recordings.retention import erase
from simulator import ApiError
from tests.support.campaigns import called, end_calls, make_campaign, number, start, write_numbers
from tests.support.factories import make_call, make_staff, sid
from tests.support.servers import DEADLINE, until
from tests.support.tls import breaking, certificate


pytestmark = pytest.mark.django_db(transaction=True)
Status = CampaignCall.Status


class Told(list):
    """Whoever is told how it goes."""

    def tell(self, line, *, routine=False):
        self.append(line)

    def show(self, campaign):
        pass


@pytest.fixture
def told():
    return Told()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits for Twilio to have had enough of a pause."""
    monkeypatch.setattr(running, "BACK_OFF", 0.01)


def run(campaign, told, **how):
    return Runner(campaign, told, **{"waits": False, **how}).run()


def states(campaign):
    return [row.status for row in campaign.rows.order_by("line")]


def errors(campaign):
    return [row.error for row in campaign.rows.order_by("line")]


# --- all is well


def test_every_row_is_called_once_and_the_handler_is_told_its_columns(api, told):
    campaign = make_campaign(3)
    assert run(campaign, told) is Ending.FINISHED
    assert called(api) == [number(0), number(1), number(2)]
    calls = Call.objects.order_by("pk")
    assert [call.events.get(kind="place").data for call in calls] == [
        {"parameters": {"order": str(n)}} for n in range(3)
    ]
    assert {(call.handler, call.from_number) for call in calls} == {("echo", "+14155550199")}


def test_it_is_finished_when_nobody_is_left_and_waits_for_those_on_the_line(api, told):
    campaign = make_campaign(2)
    runner = Runner(campaign, told)
    thread = threading.Thread(target=lambda: told.append(runner.run()) or connections.close_all())
    thread.start()
    until(lambda: Campaign.objects.get().finished_at, "all to be called")
    assert Ending.FINISHED not in told
    until(lambda: len(api.calls) == 2 and not Call.objects.filter(sid=None).exists(), "Twilio's answers")
    end_calls()
    thread.join(DEADLINE)
    assert told[-1] is Ending.FINISHED
    assert states(campaign) == [Status.OVER, Status.OVER]


def test_no_more_run_at_once_than_may(api, told):
    campaign = make_campaign(4, at_once=3)
    now = timezone.now()
    found = [claim(campaign.pk, now + dt.timedelta(seconds=n)) for n in range(4)]
    assert [isinstance(one, Claim) for one in found] == [True, True, True, False]
    assert found[3].why is Why.FULL
    call = found[0].call
    Call.objects.claim(call.pk, sid("CA"))
    Call.objects.filter(pk=call.pk).update(ended_at=now)
    assert isinstance(claim(campaign.pk, now + dt.timedelta(seconds=5)), Claim)


def test_the_rate_is_the_campaigns_and_not_a_processs(told):
    campaign, now = make_campaign(3, rate=2), timezone.now()
    assert isinstance(claim(campaign.pk, now), Claim)
    pause = claim(campaign.pk, now + dt.timedelta(seconds=0.4))
    assert (pause.why, pause.until) == (Why.RATE, now + dt.timedelta(seconds=0.5))
    assert isinstance(claim(campaign.pk, now + dt.timedelta(seconds=0.5)), Claim)


def test_calls_of_which_no_callback_tells_are_asked_about(api, told, monkeypatch, settings):
    monkeypatch.setattr(running, "PATIENCE", -1.0)
    campaign = make_campaign(1)
    runner = Runner(campaign, told)
    thread = threading.Thread(target=lambda: told.append(runner.run()) or connections.close_all())
    thread.start()
    until(lambda: api.calls, "it to be placed")
    next(iter(api.calls.values())).status = "busy"
    thread.join(DEADLINE)
    assert told[-1] is Ending.FINISHED
    assert any(
        str(line).endswith(f"busy, says Twilio; its callbacks do not reach us at {settings.PUBLIC_URL}.")
        for line in told
    )


# --- quiet hours


def night_in(zone_hour_offset):
    """Quiet hours that hold now for somebody whose clock is so many hours off UTC, and end in an hour."""
    there = timezone.now().astimezone(dt.timezone(dt.timedelta(hours=zone_hour_offset)))
    return {
        "quiet_from": (there - dt.timedelta(hours=1)).time(),
        "quiet_to": (there + dt.timedelta(hours=1)).time(),
    }


def test_whoever_has_quiet_hours_now_is_called_later_in_the_same_run(api, told):
    campaign = make_campaign(2, **night_in(9))
    # In Japan the clocks never change.
    campaign.rows.filter(line=2).update(number="+81312345678")
    runner = Runner(campaign, told)
    thread = threading.Thread(target=lambda: told.append(runner.run()) or connections.close_all())
    thread.start()
    until(lambda: any("quiet now" in str(line) for line in told), "it to say that it waits")
    until(lambda: called(api) == [number(1)], "the one whom it is day for to be called")
    Campaign.objects.update(quiet_from=None, quiet_to=None)
    campaign.rows.update(not_before=timezone.now())
    until(lambda: len(called(api)) == 2, "the other one to be called")
    runner.interrupted.set()
    thread.join(DEADLINE)


def test_who_does_not_want_to_wait_is_told_so(api, told):
    campaign = make_campaign(1, **night_in(9))
    campaign.rows.update(number="+81312345678")
    assert run(campaign, told) is Ending.QUIET
    assert (called(api), states(campaign)) == ([], [Status.WAITING])
    row = campaign.rows.get()
    assert dt.timedelta(minutes=59) < row.not_before - timezone.now() <= dt.timedelta(hours=1)


def test_many_rows_that_are_quiet_do_not_hide_one_that_is_not(api, told, monkeypatch):
    monkeypatch.setattr("calls.campaigns.claiming.LOOKED_AT", 2)
    campaign = make_campaign(6, **night_in(9))
    campaign.rows.exclude(line=7).update(number="+81312345678")
    assert run(campaign, told) is Ending.QUIET
    assert called(api) == [number(5)]


# --- what goes wrong


@pytest.mark.parametrize("mishap", ["break", "garbage"])
def test_a_row_whose_answer_is_lost_is_unknown_and_never_called_again(api, told, mishap):
    campaign = make_campaign(2)
    api.mishaps = [mishap]
    run(campaign, told)
    assert states(campaign) == [Status.UNKNOWN, Status.PLACED]
    assert run(campaign, told) is Ending.FINISHED
    assert called(api) == [number(0), number(1)]


def test_tls_that_breaks_instead_of_the_answer_has_it_lost_too(told, settings, tmp_path, monkeypatch):
    campaign = make_campaign(1)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with breaking(certificate("localhost", tmp_path)) as (port, heard):
        settings.TWILIO_API_URL = f"https://localhost:{port}"
        run(campaign, told)
    assert (states(campaign), heard) == ([Status.UNKNOWN], [b"POST"])


def test_a_certificate_that_is_not_trusted_calls_nobody_and_the_row_waits(told, settings, tmp_path, monkeypatch):
    campaign = make_campaign(1)
    monkeypatch.setattr(running, "MOST_PUT_OFF", 1)
    with breaking(certificate("localhost", tmp_path)) as (port, heard):
        settings.TWILIO_API_URL = f"https://localhost:{port}"
        run(campaign, told)
    assert (states(campaign), heard) == ([Status.WAITING], [])


def test_an_answer_that_does_not_come_is_lost_as_well(api, told, monkeypatch):
    monkeypatch.setattr("calls.rest.client.TIMEOUT", 0.2)
    campaign = make_campaign(1)
    api.mishaps = ["silence"]
    run(campaign, told)
    assert states(campaign) == [Status.UNKNOWN]
    assert errors(campaign)[0].endswith("may have done it all the same: look before trying again.")


def test_a_callback_tells_what_has_become_of_a_lost_answer(api, told):
    campaign = make_campaign(1)
    api.mishaps = ["break"]
    run(campaign, told)
    Call.objects.claim(Call.objects.get().pk, next(iter(api.calls)))
    assert (states(campaign), errors(campaign)) == ([Status.PLACED], [""])


def test_a_callback_whose_row_was_made_without_a_reference_tells_it_too(api, told):
    campaign = make_campaign(1)
    api.mishaps = ["break"]
    run(campaign, told)
    known = make_call(sid=next(iter(api.calls)))
    Call.objects.claim(Call.objects.get(sid=None).pk, known.sid)
    row = campaign.rows.get()
    assert (row.status, row.call) == (Status.PLACED, known)


def test_when_nobody_knows_of_several_in_a_row_it_stops(api, told):
    campaign = make_campaign(30)
    api.mishaps = ["break"] * 30
    assert run(campaign, told) is Ending.STOPPED
    assert states(campaign).count(Status.UNKNOWN) <= running.MOST_UNKNOWN + running.ASKED_AT_ONCE
    assert "nobody knows whether they were placed" in Campaign.objects.get().stop_reason


def test_a_number_that_twilio_does_not_call_is_refused_and_the_next_one_called(api, told):
    campaign = make_campaign(2)
    api.refusals = [ApiError(400, 21211, "The 'To' number is not a valid phone number.")]
    assert run(campaign, told) is Ending.FINISHED
    assert sorted(states(campaign)) == [Status.FAILED, Status.PLACED]
    assert Call.objects.count() == 1


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, 20003, "Twilio does not accept our credentials"),
        (400, 21210, "We may not call from that number"),
        (400, 21212, "The number to call from is not one"),
    ],
)
def test_what_no_row_would_survive_stops_it_and_leaves_all_of_them(api, told, status, code, said):
    campaign = make_campaign(2)
    api.refusals = [ApiError(status, code, "No")] * 9
    assert run(campaign, told) is Ending.STOPPED
    assert states(campaign) == [Status.WAITING, Status.WAITING]
    assert Campaign.objects.get().stop_reason.startswith(said)
    assert not Call.objects.exists()


def test_too_many_requests_were_never_processed_and_are_made_again(api, told):
    campaign = make_campaign(1)
    api.refusals = [ApiError(429, 20429, "Too Many Requests")] * 2
    assert run(campaign, told) is Ending.FINISHED
    assert called(api) == [number(0)] * 3
    assert (len(api.calls), Call.objects.count()) == (1, 1)


def test_it_does_not_ask_forever(api, told, monkeypatch):
    monkeypatch.setattr(running, "LONGEST_BACK_OFF", 0.01)
    campaign = make_campaign(1)
    api.refusals = [ApiError(429, 20429, "Too Many Requests")] * 99
    assert run(campaign, told) is Ending.STOPPED
    assert (states(campaign), len(api.requests)) == ([Status.WAITING], running.MOST_PUT_OFF)


def test_a_twilio_that_cannot_be_reached_is_tried_again(api, told, settings, monkeypatch):
    monkeypatch.setattr(running, "LONGEST_BACK_OFF", 0.01)
    settings.TWILIO_API_URL = "http://127.0.0.1:9"
    campaign = make_campaign(1)
    assert run(campaign, told) is Ending.STOPPED
    assert states(campaign) == [Status.WAITING]
    assert "cannot be reached" in told[0]


def test_a_refusal_that_we_do_not_know_stops_it_when_it_comes_again_and_again(api, told):
    campaign = make_campaign(30)
    api.refusals = [ApiError(400, 29999, "Whatever")] * 30
    assert run(campaign, told) is Ending.STOPPED
    assert states(campaign).count(Status.FAILED) <= running.MOST_REFUSED + running.ASKED_AT_ONCE


# --- several at it, and none


def claim_long_ago(campaign):
    """As a process has that died, or was held up, before it had Twilio's answer."""
    claimed = claim(campaign.pk, timezone.now())
    campaign.rows.update(claimed_at=timezone.now() - dt.timedelta(minutes=1))
    claimed.row.refresh_from_db(fields=["claimed_at"])
    return claimed


def test_a_row_that_was_claimed_is_nobody_elses():
    campaign = make_campaign(1)
    assert isinstance(claim(campaign.pk, timezone.now()), Claim)
    assert claim(campaign.pk, timezone.now() + dt.timedelta(seconds=1)).why is Why.ASKING
    assert states(campaign) == [Status.CALLING]


def test_a_row_whose_process_has_died_is_unknown_after_a_while(api, told):
    campaign = make_campaign(1)
    claim_long_ago(campaign)
    assert run(campaign, told) is Ending.FINISHED
    assert (states(campaign), called(api)) == ([Status.UNKNOWN], [])


def test_a_process_that_was_held_up_can_still_say_how_it_went(api, told):
    campaign = make_campaign(1)
    claimed = claim_long_ago(campaign)
    campaign.rows.note_unanswered(timezone.now())
    running._carry_out(claimed)
    assert (states(campaign), len(api.calls)) == ([Status.PLACED], 1)


def test_a_refusal_that_comes_too_late_gives_nothing_back():
    campaign = make_campaign(1)
    row = claim_long_ago(campaign).row
    campaign.rows.note_unanswered(timezone.now())
    row.give_back("Too Many Requests")
    assert (states(campaign), errors(campaign)) == ([Status.FAILED], ["Too Many Requests"])


@pytest.mark.parametrize("late", ["give_back", "refuse", "lose"])
def test_an_answer_that_comes_too_late_says_nothing_of_a_row_that_was_claimed_again(late):
    campaign = make_campaign(1)
    row = claim_long_ago(campaign).row
    campaign.rows.note_unanswered(timezone.now())
    go_on(campaign, {}, [row.line])
    claim(campaign.pk, timezone.now())
    getattr(row, late)("Too Many Requests")
    assert (states(campaign), errors(campaign)) == ([Status.CALLING], [""])


def test_a_stopped_campaign_calls_nobody(api, told):
    campaign = make_campaign(2)
    assert campaign.stop(by=make_staff())
    assert not campaign.stop(by=make_staff())
    assert run(campaign, told) is Ending.STOPPED
    assert called(api) == []


def test_a_stop_is_obeyed_between_two_rows(api, told):
    campaign = make_campaign(50, rate=20)
    runner = Runner(campaign, told)
    thread = threading.Thread(target=lambda: told.append(runner.run()) or connections.close_all())
    thread.start()
    until(lambda: called(api), "the first to be called")
    campaign.stop(by=make_staff())
    many = len(api.calls)
    thread.join(DEADLINE)
    assert told[-1] is Ending.STOPPED
    # One may have been claimed, and not asked for, when it was stopped.
    assert len(api.calls) <= many + running.ASKED_AT_ONCE


@pytest.mark.postgres
def test_connections_that_break_call_nobody_twice(api, told):
    campaign = make_campaign(12, rate=20)
    runner = Runner(campaign, told, waits=False)
    thread = threading.Thread(target=lambda: told.append(runner.run()) or connections.close_all())
    thread.start()
    until(lambda: len(api.calls) > 2, "some to be called")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    thread.join(DEADLINE)
    assert told[-1] is Ending.FINISHED
    assert called(api) == sorted(set(called(api)))
    assert Status.WAITING not in states(campaign)


@pytest.mark.process
@pytest.mark.once
def test_of_a_process_that_is_killed_before_the_answer_the_row_is_not_called_again(api, tmp_path):
    file = write_numbers(tmp_path, 3)
    how = (file, "--handler", "echo", "--quiet", "none", "--rate", "50/s", "--no-wait")
    api.mishaps = ["silence"] * 3
    killed = start(*how, api=api.url, log=tmp_path / "first.log")
    try:
        until(lambda: api.calls, "Twilio to be asked")
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(DEADLINE)
    asked = called(api)
    campaign = Campaign.objects.get()
    assert states(campaign).count(Status.CALLING) >= len(asked)
    CampaignCall.objects.filter(status=Status.CALLING).update(claimed_at=timezone.now() - dt.timedelta(minutes=1))
    api.mishaps = []
    again = start(*how, api=api.url, log=tmp_path / "second.log")
    assert again.wait(DEADLINE) == 0, (tmp_path / "second.log").read_text()
    assert len(set(called(api))) == len(called(api))
    assert set(called(api)) >= set(asked)
    assert set(states(campaign)) <= {Status.UNKNOWN, Status.PLACED}
    assert "is not known; nobody calls" in (tmp_path / "second.log").read_text()


@pytest.mark.process
@pytest.mark.once
def test_two_processes_call_each_row_once_and_keep_to_one_number_of_calls(api, tmp_path):
    file, most = write_numbers(tmp_path, 16), 3
    how = (file, "--handler", "echo", "--quiet", "none", "--rate", "200/s", "--at-once", most)
    both = [start(*how, api=api.url, log=tmp_path / f"{name}.log") for name in ("one", "two")]
    seen = []

    def over():
        alive = Call.objects.filter(ended_at=None).count()
        seen.append(alive)
        if alive == most or Call.objects.count() == 16:
            end_calls()
        return all(process.poll() is not None for process in both)

    until(over, "both to end")
    logs = [(tmp_path / f"{name}.log").read_text() for name in ("one", "two")]
    assert [process.returncode for process in both] == [0, 0], logs
    assert called(api) == [number(index) for index in range(16)]
    assert max(seen) <= most
    assert Campaign.objects.count() == 1


@pytest.mark.process
@pytest.mark.once
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_asked_to_end_does_so_and_the_same_command_goes_on(api, tmp_path, sent):
    file = write_numbers(tmp_path, 6)
    how = (file, "--handler", "echo", "--quiet", "none", "--at-once", 2)
    process = start(*how, "--rate", "50/s", api=api.url, log=tmp_path / "first.log")
    until(lambda: len(api.calls) == 2, "two to be called")
    process.send_signal(sent)
    assert process.wait(DEADLINE) == 130
    said = (tmp_path / "first.log").read_text()
    assert "Interrupted; calls that run go on. 4 not called yet. Go on with: manage.py place_calls --resume" in said
    end_calls()
    again = start(*how, "--rate", "50/s", "--at-once", 9, "--no-wait", api=api.url, log=tmp_path / "second.log")
    assert again.wait(DEADLINE) == 0
    assert called(api) == [number(index) for index in range(6)]


# --- what the database keeps


def test_when_a_call_is_erased_its_row_knows_nothing_of_it_any_more(api, told):
    campaign = make_campaign(1)
    run(campaign, told)
    end_calls()
    erase(Call.objects.get(), "asked to")
    row = campaign.rows.get()
    assert (row.number, row.columns, row.call) == ("", {}, None)
    campaign.rows.note_over()
    assert states(campaign) == [Status.OVER]


@pytest.mark.parametrize(
    "facts",
    [{"rate": 0}, {"at_once": 0}, {"quiet_from": dt.time(21)}],
)
def test_a_campaign_that_makes_no_sense_is_refused(facts):
    with pytest.raises(IntegrityError), transaction.atomic():
        make_campaign(0, **facts)


def test_a_file_has_one_campaign_that_is_not_finished():
    make_campaign(0, digest="same", finished_at=timezone.now())
    make_campaign(0, digest="same")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_campaign(0, digest="same")


@pytest.mark.parametrize("facts", [{"status": "lost"}, {"status": "placed", "claimed_at": None}, {"line": 3}])
def test_a_row_that_makes_no_sense_is_refused(facts):
    campaign = make_campaign(2)
    with pytest.raises(IntegrityError), transaction.atomic():
        campaign.rows.filter(line=2).update(**facts)


def test_what_is_next_and_what_is_alive_is_found_by_an_index():
    campaign = make_campaign(300, rate=1)
    campaign.rows.filter(line__gt=9).update(status=Status.OVER, claimed_at=timezone.now())
    rows, now = campaign.rows, timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # So small a table it would read from end to end.
            cursor.execute("ANALYZE; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        assert "campaign_call_due" in rows.due(now).explain()
        assert "campaign_call_by_status" in rows.alive(now).order_by().explain()
