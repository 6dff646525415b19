"""Chores are done beside the calls: by one niced process a machine, which ends with its server."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from calls.chores import office
from calls.chores.board import CHORES
from calls.chores.chore import Chore, Chores
from calls.chores.office import take_lock
from calls.media.audio import tone
from calls.models import Call
from tests.support.factories import make_call, make_chunk, make_stream
from tests.support.servers import Server, until


PATIENCE = 60


def done_together(*chores):
    """Runs them until each one that counts has been done; they end by `stop`."""
    stop = threading.Event()
    thread = threading.Thread(target=Chores(chores, stop).run)
    thread.start()
    return stop, thread


@pytest.mark.django_db
def test_every_chore_has_a_name_of_its_own():
    assert len({chore.name for chore in CHORES}) == len(CHORES)


def test_a_chore_that_fails_keeps_no_other_from_going_on(caplog):
    rounds = threading.Semaphore(0)

    def counts():
        rounds.release()
        return False

    stop, thread = done_together(Chore("fails", 0.01, lambda: 1 / 0), Chore("counts", 0.01, counts))
    assert all(rounds.acquire(timeout=PATIENCE) for _ in range(3))
    stop.set()
    thread.join(PATIENCE)
    assert [record.message for record in caplog.records] == ["chore_failed fails; going on"]


def test_a_chore_that_waits_keeps_no_other_waiting():
    is_over, done = threading.Event(), threading.Event()
    stop, thread = done_together(Chore("waits", 0.01, is_over.wait), Chore("goes on", 0.01, done.set))
    assert done.wait(PATIENCE)
    is_over.set()
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_database_that_is_away_is_told_once_until_it_is_back(caplog, monkeypatch):
    monkeypatch.setattr("calls.chores.chore.AFTER_FAILURE", 0.01)
    rounds = iter(["away", "away", "there", "away"])
    over = threading.Event()

    def asks():
        state = next(rounds, None)
        if state == "away":
            raise OperationalError("the connection is lost")
        if state is None:
            over.set()
        return False

    stop, thread = done_together(Chore("asks", 0.01, asks))
    assert over.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert [record.message for record in caplog.records] == 2 * [
        "chore_waits asks: the database: the connection is lost"
    ]


def test_done_once_each_chore_is_done_until_nothing_is_left(monkeypatch):
    left, nice = [3, 2, 1], []
    chore = Chore("counts down", 60, lambda: bool(left and left.pop()))
    monkeypatch.setattr("calls.management.commands.do_chores.CHORES", [chore])
    monkeypatch.setattr(os, "nice", nice.append)
    call_command("do_chores", once=True)
    assert (left, nice) == ([], [19])


def test_a_lock_is_held_by_one_process_of_a_machine(tmp_path, settings):
    settings.SPOOL_DIR = tmp_path / "spool"
    lock = take_lock()
    assert take_lock() is None
    lock.close()
    again = take_lock()
    assert again
    again.close()


def test_a_lock_that_cannot_be_made_is_told_once(tmp_path, caplog, monkeypatch, settings):
    settings.SPOOL_DIR = tmp_path / "spool"
    settings.SPOOL_DIR.write_text("no folder")
    mine = office.Office()
    assert (mine._take_lock(), mine._take_lock()) == (None, None)
    assert [record.message.split(":")[0] for record in caplog.records] == ["chores_wait"]


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch):
    monkeypatch.setattr(office, "COMMAND", ["/nowhere"])
    assert office._staff().startswith("before they began: ")


def test_a_process_that_ends_leaves_nothing_open(monkeypatch):
    monkeypatch.setattr(office, "COMMAND", [sys.executable, "-c", "raise SystemExit(3)"])
    before = os.listdir("/proc/self/fd")
    assert [office._staff() for _ in range(3)] == 3 * ["with 3"]
    assert os.listdir("/proc/self/fd") == before


def test_a_round_that_does_not_end_keeps_no_process_from_ending(monkeypatch):
    monkeypatch.setattr("calls.chores.chore.LAST_SECONDS", 0.01)
    has_begun, is_over = threading.Event(), threading.Event()
    stop, thread = done_together(Chore("hangs", 0.01, lambda: has_begun.set() or is_over.wait()))
    assert has_begun.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    is_over.set()


def test_nobody_is_hired_where_there_are_to_be_no_chores(settings):
    settings.CHORES = False
    mine = office.Office()
    mine.start()
    assert mine._thread is None


# --- processes --------------------------------------------------------------------------------------------------------


def children(folder):
    """The processes that do chores for a server of that folder: their ids, and how nice they are."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
            if b"do_chores" in command and str(folder).encode() in environment:
                found[int(path.name)] = os.getpriority(os.PRIO_PROCESS, int(path.name))
        except OSError:
            continue
    return found


def niced(folder):
    found = children(folder)
    return found if list(found.values()) == [19] else None


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_two_servers_of_a_machine_have_one_niced_process_for_their_chores(tmp_path):
    with Server("uvicorn", tmp_path, CHORES="true"), Server("uvicorn", tmp_path, CHORES="true") as second:
        until(lambda: niced(tmp_path), "the chores to be done")
        assert second.get("/healthz") == 200
        assert len(children(tmp_path)) == 1
    until(lambda: not children(tmp_path), "the chores to end with their servers")


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_the_chores_end_with_a_server_that_is_killed(tmp_path):
    with Server("uvicorn", tmp_path, CHORES="true") as server:
        until(lambda: niced(tmp_path), "the chores to be done")
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: not children(tmp_path), "the chores to end")


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_call_is_measured_while_the_server_goes_on(tmp_path):
    with Server("uvicorn", tmp_path, CHORES="true"):
        call = make_call(audio_samples=8000, ended_at=None)
        make_chunk(make_stream(call, length=8000, ended_at=call.answered_at), tone(440, 500), track="outbound")
        Call.objects.update(ended_at=timezone.now())
        until(lambda: Call.objects.exclude(measured_at=None).exists(), "the call to be measured")
