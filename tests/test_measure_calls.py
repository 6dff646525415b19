"""`measure_calls` measures recordings, as often as it is started, and gives way to everything else."""

import datetime as dt
import os
import signal
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from calls.management.commands import measure_calls
from calls.measuring.measurement import measure
from calls.media.audio import tone
from calls.models import Call, Turn
from tests.support.factories import START, make_call, make_chunk, make_recording, make_stream
from tests.support.servers import ROOT, database_url, until


pytestmark = pytest.mark.django_db(transaction=True)
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def nice(monkeypatch):
    """How nice the process was asked to be: this one stays as it is."""
    asked = []
    monkeypatch.setattr(os, "nice", asked.append)
    return asked


def run(*arguments, **options):
    out = StringIO()
    call_command("measure_calls", *arguments, stdout=out, verbosity=0, **options)
    return out.getvalue()


def beep(**facts):
    """A call that is over, in which we were heard for half a second."""
    call = make_call(**{"audio_samples": 8000, **facts})
    stream = make_stream(call, length=8000, ended_at=call.ended_at)
    make_chunk(stream, tone(440, 500), track="outbound", start=1600)
    return call


def measured():
    return set(Call.objects.exclude(measured_at=None))


def test_all_that_is_over_and_recorded_is_measured_however_long_ago_it_was():
    call = beep(created_at=START - 400 * DAY)
    make_recording(ended_at=None, status="in-progress")
    make_call()
    assert run() == "Measured 1 call.\n"
    assert measured() == {call}
    assert Turn.objects.get().start == 1600


def test_what_is_measured_is_measured_again_only_if_that_is_asked():
    beep()
    run()
    assert run() == "Measured 0 calls.\n"
    assert run("--again") == "Measured 1 call.\n"
    assert Turn.objects.count() == 1


def test_calls_are_chosen_by_their_sids():
    first, _ = beep(), beep()
    assert run(first.sid) == "Measured 1 call.\n"
    assert measured() == {first}


def test_calls_are_chosen_by_day_and_by_handler():
    beep(created_at=START - DAY)
    beep(handler="echo")
    chosen = beep()
    run("--since", f"{START:%Y-%m-%d}", "--handler", "voicemail")
    assert measured() == {chosen}


def test_a_call_that_does_not_exist_is_an_error():
    with pytest.raises(CommandError, match=r"There is no call CAx\."):
        run("CAx")


def test_a_day_that_is_none_is_an_error():
    with pytest.raises(CommandError, match="yesterday is not a day such as 2026-03-14"):
        run("--since", "yesterday")


def test_it_gives_way_to_everything_else(nice):
    run()
    assert nice == [19]


def test_many_calls_are_looked_up_a_page_at_a_time(monkeypatch):
    monkeypatch.setattr(measure_calls, "BATCH", 2)
    calls = {beep() for _ in range(5)}
    assert run() == "Measured 5 calls.\n"
    assert measured() == calls


def test_a_call_that_fails_is_named_and_keeps_no_other_from_being_measured(monkeypatch):
    bad, good = beep(), beep()
    monkeypatch.setattr(measure_calls, "measure", lambda call, **how: 1 / 0 if call == bad else measure(call))
    with pytest.raises(CommandError, match=f"(?s)1 call could not be measured:.*{bad.sid}: ZeroDivisionError"):
        run()
    assert measured() == {good}


def test_a_call_that_changes_meanwhile_is_left_out(monkeypatch):
    beep()
    monkeypatch.setattr(measure_calls, "measure", lambda call, **how: False)
    assert run() == "Measured 0 calls. Left out, since it was changing: 1 call.\n"


def test_a_database_that_fails_ends_it(monkeypatch):
    beep()

    def away(call, **how):
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(measure_calls, "measure", away)
    with pytest.raises(CommandError, match=r"Measured 0 calls. Then the database failed: the connection is lost"):
        run()


def test_it_can_be_interrupted_and_goes_on_where_it_stopped(monkeypatch):
    first, second = beep(), beep()

    def interrupted(call, **how):
        if call == second:
            raise KeyboardInterrupt
        return measure(call)

    monkeypatch.setattr(measure_calls, "measure", interrupted)
    with pytest.raises(CommandError, match=r"Interrupted\. Measured 1 call\. The rest is as it was\.") as error:
        run()
    assert (error.value.returncode, measured()) == (130, {first})
    monkeypatch.undo()
    monkeypatch.setattr(os, "nice", lambda _: 0)
    assert run() == "Measured 1 call.\n"


@pytest.mark.process
def test_what_is_killed_in_the_middle_goes_on_with_the_next_run():
    calls = {beep() for _ in range(150)}
    environment = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    child = subprocess.Popen([sys.executable, "manage.py", "measure_calls"], cwd=ROOT, env=environment)
    until(measured, "a call to be measured")
    child.send_signal(signal.SIGKILL)
    child.wait()
    run()
    assert measured() == calls
    assert Turn.objects.count() == 150
