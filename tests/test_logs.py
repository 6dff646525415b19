"""What servers and Python log: without queries, since staff search for numbers, and in the form that is asked for."""

import json
import logging
import signal
import threading

import pytest

from calls.process import logs
from tests.support.servers import COMMANDS, Server, until


QUERY = "?q=%2B14155550177"
CALL = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"


@pytest.mark.process
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
@pytest.mark.django_db(transaction=True)
def test_a_query_is_in_no_line_of_the_servers_log(kind, tmp_path, monkeypatch):
    # Also of those who let uvicorn write its access log.
    monkeypatch.setitem(COMMANDS, kind, COMMANDS[kind].replace(" --no-access-log", ""))
    with Server(kind, tmp_path) as server:
        server.get(f"/admin/login/{QUERY}")
        server.shake_hands(f"/connection{QUERY}")
        until(lambda: "/admin/login/" in server.log and "/connection" in server.log, "both lines of the log")
        assert "4155550177" not in server.log


def test_the_pool_of_connections_tells_nothing_of_each_try():
    assert not logging.getLogger("psycopg.pool").isEnabledFor(logging.WARNING)


@pytest.mark.process
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
@pytest.mark.django_db(transaction=True)
def test_each_line_of_a_server_is_an_object_without_a_number(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(COMMANDS, kind, COMMANDS[kind].replace(" --no-access-log", ""))
    with Server(kind, tmp_path, LOG_FORMAT="json", MASK_NUMBERS_IN_LOGS="true") as server:
        server.post("/incoming/nobody", CallSid=CALL)
        server.get("/healthz/+14155550177")
        until(lambda: "0177" in server.log, "the line of the server itself")
        server.send(signal.SIGTERM)
        server.wait()
    found = [json.loads(line) for line in server.log.splitlines()]
    assert "5550177" not in server.log
    events = {line.get("event"): line for line in found}
    assert {"worker_started", "handler_unknown", "webhook_answered", "drain_done"} <= events.keys()
    assert events["handler_unknown"]["call_sid"] == events["webhook_answered"]["call_sid"] == CALL
    assert events["drain_done"]["worker"] == events["worker_started"]["worker"]


def test_what_nobody_caught_is_a_line_of_the_log(caplog):
    logs._note_fatal(ValueError, ValueError("no port"), None)
    thread = threading.Thread(target=lambda: 1 / 0, name="chore")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", logs._note_thread)
        thread.start()
        thread.join()
    assert caplog.messages == ["process_failed", "thread_failed thread=chore"]
    assert "ZeroDivisionError" in caplog.text
