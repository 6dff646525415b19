"""The image's HEALTHCHECK against a real server: it says whether that answers, and ends one that hangs."""

import signal
import subprocess
import sys

import pytest

from tests.servers import ROOT, Server, free_port, until


pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def server(tmp_path_factory, django_db_setup):
    with Server("uvicorn", tmp_path_factory.mktemp("alive")) as server:
        yield server


@pytest.fixture
def is_alive(server, tmp_path):
    """Runs the check as Docker does; what it remembers lies in a folder of this test's."""

    def check(port=server.port):
        command = [sys.executable, "config/alive.py", str(port)]
        return subprocess.run(command, cwd=ROOT, env={"TMPDIR": str(tmp_path)}, capture_output=True).returncode == 0

    return check


def test_a_server_that_answers_is_alive(is_alive):
    assert is_alive()


def test_a_port_without_a_server_is_not_alive_and_nobody_is_killed(is_alive):
    port = free_port()
    assert [is_alive(port) for _ in range(4)] == [False] * 4


def test_a_server_that_freezes_for_a_moment_is_left_alone(server, is_alive):
    assert is_alive()
    server.send(signal.SIGSTOP)
    assert [is_alive(), is_alive()] == [False, False]
    server.send(signal.SIGCONT)
    until(is_alive, "the server to answer again")
    assert server.process.poll() is None


def test_a_server_that_has_never_answered_is_still_starting(server, is_alive):
    server.send(signal.SIGSTOP)
    assert [is_alive() for _ in range(4)] == [False] * 4
    server.send(signal.SIGCONT)
    until(is_alive, "the server to answer again")


def test_a_server_that_hangs_is_killed_at_the_third_failure(tmp_path, is_alive, django_db_setup):
    with Server("uvicorn", tmp_path) as server:
        assert is_alive(server.port)
        server.send(signal.SIGSTOP)
        assert [is_alive(server.port) for _ in range(3)] == [False] * 3
        assert server.wait() == -signal.SIGKILL
