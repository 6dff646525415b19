"""The image's HEALTHCHECK against a real server: it says whether that answers, and ends one that hangs.

Each check of a server that hangs waits for its 2 s: three or four of them are 6 to 9 s.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.production import missing
from tests.support.servers import BIN, COMMANDS, ROOT, Server, free_port, until


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


UNSHARE = "/usr/bin/unshare --pid --fork --kill-child --mount-proc"
# What docker-init is: process 1, with the server's command in its own, and over when the server is.
INIT = """#!/bin/sh
"$@" &
wait $!
"""


@pytest.fixture
def container(tmp_path, django_db_setup, monkeypatch):
    """A server below an init, in a namespace of their own: what `init: true` in compose.yaml makes of it."""
    if subprocess.run([*UNSHARE.split(), "true"], capture_output=True).returncode:
        missing("this machine does not let us make a PID namespace")
    init = tmp_path / "init"
    init.write_text(INIT)
    init.chmod(0o755)
    monkeypatch.setitem(COMMANDS, "container", f"{UNSHARE} {init} {BIN}/{COMMANDS['uvicorn']}")
    with Server("container", tmp_path) as container:
        yield container


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_a_server_that_hangs_below_an_init_is_killed_and_ends_its_container(container, tmp_path):
    init = child_of(container.process.pid)
    into = ["nsenter", f"--target={init}", "--pid", "--mount", "env", f"TMPDIR={tmp_path}"]
    check = [*into, sys.executable, ROOT / "config" / "alive.py", str(container.port)]
    assert subprocess.run(check).returncode == 0
    os.kill(child_of(init), signal.SIGSTOP)
    for _ in range(3):
        subprocess.run(check)
    assert container.wait() == 128 + signal.SIGKILL
