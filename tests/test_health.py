"""Health: answered before any redirect, host check, session or query, and true while the database is away."""

import asyncio
import time
import tomllib
from pathlib import Path

import pytest
from django.test import AsyncClient, Client

from calls.recorder import recorder
from calls.server.switchboard import switchboard
from calls.version import version


PYPROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
pytestmark = pytest.mark.usefixtures("process")


def ready(**headers):
    response = Client().get("/healthz/ready", headers=headers)
    return response.status_code, response.json()


# No test here has the database: a query would raise.
def test_a_process_that_answers_is_alive():
    response = Client().get("/healthz")
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain")


def test_who_asks_directly_from_nearby_hears_which_version_it_is_and_a_stranger_does_not(monkeypatch):
    monkeypatch.setenv("CALLSTREAM_VERSION", "7.7")
    version.cache_clear()
    assert Client().get("/healthz").content == b"ok 7.7\n"
    assert Client().get("/healthz", REMOTE_ADDR="93.184.215.14").content == b"ok\n"
    monkeypatch.delenv("CALLSTREAM_VERSION")
    version.cache_clear()
    assert Client().get("/healthz").content.decode() == f"ok {PYPROJECT['project']['version']}\n"


def test_an_idle_process_is_ready():
    assert ready() == (200, {"ready": True, "reasons": [], "streams": 0, "waiting": 0, "carried": 0})


def test_health_knows_no_hosts_and_no_redirects():
    assert ready(host="10.0.0.7:8000", **{"X-Forwarded-Proto": "http"})[0] == 200
    assert Client().get("/healthz", headers={"host": "kube-probe"}).status_code == 200


def test_a_draining_process_is_alive_and_not_ready():
    switchboard.draining = True
    assert ready() == (503, {"ready": False, "reasons": ["draining"], "streams": 0, "waiting": 0, "carried": 0})
    assert Client().get("/healthz").status_code == 200


def test_a_process_that_is_about_to_drain_is_not_ready():
    switchboard.leaving = True
    assert ready() == (503, {"ready": False, "reasons": ["draining"], "streams": 0, "waiting": 0, "carried": 0})


async def test_a_process_that_leaves_says_so_before_it_refuses_anybody():
    skip = asyncio.Event()
    draining = asyncio.create_task(switchboard.drain(60, skip))
    await asyncio.sleep(0)
    assert (switchboard.leaving, switchboard.draining) == (True, False)
    assert (await AsyncClient().get("/healthz/ready")).status_code == 503
    skip.set()
    assert await draining == 0
    assert switchboard.draining


@pytest.mark.parametrize(
    "asked", [{"REMOTE_ADDR": "93.184.215.14"}, {"REMOTE_ADDR": ""}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}]
)
def test_a_stranger_hears_whether_it_is_ready_and_nothing_more(asked):
    assert Client().get("/healthz/ready", **asked).json() == {"ready": True}


def test_a_full_process_is_not_ready(settings):
    settings.MAX_STREAMS = 0
    assert ready() == (503, {"ready": False, "reasons": ["full"], "streams": 0, "waiting": 0, "carried": 0})


@pytest.fixture
def away(monkeypatch):
    monkeypatch.setattr(recorder, "away_since", time.monotonic())


def test_a_process_whose_database_is_away_takes_calls(away):
    assert ready()[0] == 200


def test_a_process_that_has_no_room_takes_no_more_calls(away, monkeypatch):
    monkeypatch.setattr(recorder.backlog, "has_no_room", True)
    assert ready() == (503, {"ready": False, "reasons": ["storage full"], "streams": 0, "waiting": 0, "carried": 0})


def test_a_process_that_dropped_audio_and_has_room_again_takes_calls(away, monkeypatch):
    monkeypatch.setattr(recorder.backlog, "dropped_bytes", 160)
    assert ready()[0] == 200


def test_a_process_that_is_not_ready_says_so_once(settings, caplog):
    ready()  # whatever other tests have left
    caplog.clear()
    settings.MAX_STREAMS = 0
    for _ in range(3):
        ready()
    settings.MAX_STREAMS = 1
    ready()
    assert [record.getMessage() for record in caplog.records] == [
        "not_ready: full; new calls go elsewhere",
        "ready_again",
    ]


async def test_health_is_answered_under_asgi():
    assert (await AsyncClient().get("/healthz")).status_code == 200
    assert (await AsyncClient().get("/healthz/ready")).json()["ready"]


@pytest.mark.parametrize("path", ["/healthz/", "/healthz/ready/", "/healthzz"])
def test_paths_are_exact(client, path):
    assert client.get(path).status_code == 404
