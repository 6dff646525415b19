"""What a server logs of a request has no query in it: staff search for numbers, and a reference tells of a call."""

import logging

import pytest

from tests.support.servers import COMMANDS, Server, until


QUERY = "?q=%2B14155550177"


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
