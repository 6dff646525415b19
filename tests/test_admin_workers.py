"""The page of the person on call: whether all is well, who may see it, and draining a worker there."""

import datetime as dt

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from calls.admin.workers import verdict
from calls.models import Worker
from tests.support.factories import make_call, make_staff, make_stream, make_worker


PAGE = "/admin/calls/worker/"
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def ops(client, db):
    user = make_staff("view_call", "view_worker", "drain_worker")
    client.force_login(user)
    return user


def text(client, path=PAGE):
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def bad_call(**facts):
    now = timezone.now()
    call = make_call(created_at=now - 3 * MINUTE, ended_at=now - MINUTE, has_warning=True, **facts)
    make_stream(call, started_at=now - 2 * MINUTE, ended_at=now - MINUTE, end_reason="interrupted", lease_owner="dead")
    return call


def problem(call=""):
    at = timezone.now().timestamp()
    told = {"at": at, "level": "error", "event": "handler_failed", "call": call, "stream": "", "times": 2}
    return {**told, "text": f"handler_failed handler=pizza call={call}"}


def worker(**facts):
    """One that is not in the database."""
    now = timezone.now()
    found = Worker(**{"host": "web-1", "pid": 7, "seen_at": now, "does_chores": True, **facts})
    found.is_silent = found.seen_at < now - MINUTE / 2
    return found


DEAD = {"host": "web-2", "seen_at": timezone.now() - MINUTE}


@pytest.mark.parametrize(
    ("tone", "workers", "sentence"),
    [
        ("good", [{"streams": 3}], "All is well: 1 worker, 3 calls running, recording keeps up."),
        ("bad", [], "No worker runs: nobody answers calls."),
        ("bad", [{"reasons": ["full"]}], "No worker takes new calls."),
        ("bad", [{"drain_asked_at": timezone.now()}], "No worker takes new calls."),
        ("bad", [{"dropped_bytes": 8000}], "Audio is being lost on web-1:7: there is no room left to keep it."),
        ("warn", [{"lag": 3.5}], "Recording lags on web-1:7: the database is slow, or was away."),
        ("warn", [{}, DEAD], "A worker has died: web-2:7, last heard of "),
        ("warn", [{"does_chores": False}], "None of these workers does the chores"),
    ],
)
def test_it_begins_with_what_matters_most(settings, tone, workers, sentence):
    settings.CHORES = True
    found = [worker(**facts) for facts in workers]
    alive, died = ([one for one in found if one.is_gone is gone] for gone in (False, True))
    told = verdict(alive, died, [], timezone.now())
    assert told[0] == tone
    assert told[1][0].startswith(sentence)


def test_a_version_that_others_do_not_have_stands_out(client, ops):
    for host, version in (("web-1", "0.1.0"), ("web-2", "0.1.0"), ("web-3", "0.2.0")):
        make_worker(host, version=version)
    assert text(client).count("another one than most") == 1


def test_a_call_that_ended_badly_is_there_with_its_reason(client, ops):
    make_worker("web-9", owner="dead", seen_at=timezone.now() - 2 * MINUTE, streams=1)
    call = bad_call()
    page = text(client)
    assert f'href="/admin/calls/call/{call.pk}/change/"' in page
    assert "Worker web-9:7 died" in page
    assert "Worker web-9:7 died" in text(client, f"/admin/calls/call/{call.pk}/change/")


def test_what_a_dead_worker_said_last_is_explained_and_leads_to_the_call(client, ops):
    call = make_call()
    make_worker(problems=[problem(call.sid)], seen_at=timezone.now() - MINUTE)
    page = text(client)
    assert f'href="/admin/calls/call/{call.pk}/change/"' in page
    assert "What it means" in page
    assert "the handler raised; the traceback follows" in page


@pytest.mark.parametrize("count", [1, 12])
def test_it_takes_as_many_queries_however_much_there_is(client, ops, django_assert_num_queries, count):
    for number in range(count):
        make_worker(f"web-{number}", problems=[problem(bad_call().sid)])
    # Session, user, permissions twice; workers, the problems' calls, the two lists of bad calls, and these with their
    # streams, events and workers.
    with django_assert_num_queries(12):
        client.get(f"{PAGE}now.json")


@pytest.mark.parametrize("path", ["", "now.json", "1/drain/"])
def test_only_who_may_see_workers_does(client, db, path):
    client.force_login(make_staff("view_call"))
    assert client.get(PAGE + path).status_code == 403


def test_who_may_not_see_calls_sees_none_here(client, db):
    client.force_login(make_staff("view_worker"))
    make_worker(problems=[problem(bad_call().sid)])
    assert "/admin/calls/call/" not in text(client)


def test_only_who_may_drain_does(client, db):
    client.force_login(make_staff("view_worker"))
    worker = make_worker()
    assert "Drain" not in text(client).partition("<tbody")[2]
    assert client.post(f"{PAGE}{worker.pk}/drain/").status_code == 403


@pytest.mark.parametrize(("calls", "seconds"), [("let-end", None), ("hand-on", 0)])
def test_a_worker_is_drained_after_a_question_and_that_is_on_record(client, ops, calls, seconds):
    worker, _ = make_worker("web-1"), make_worker("web-2")
    assert "Goes on until it ends by itself" in text(client, f"{PAGE}{worker.pk}/drain/")
    client.post(f"{PAGE}{worker.pk}/drain/", {"calls": calls})
    worker.refresh_from_db()
    assert (worker.drain_asked_by, worker.drain_seconds) == (ops.username, seconds)
    assert LogEntry.objects.get().get_change_message().startswith("Asked to take no new calls")
    client.post(f"{PAGE}{worker.pk}/drain/", {"what": "back"})
    assert not Worker.objects.exclude(drain_asked_at=None).exists()


def test_the_last_worker_is_not_drained_here(client, ops):
    worker = make_worker()
    assert "nobody would answer any more" in text(client, f"{PAGE}{worker.pk}/drain/")
    client.post(f"{PAGE}{worker.pk}/drain/")
    assert not Worker.objects.exclude(drain_asked_at=None).exists()
    assert not LogEntry.objects.exists()
