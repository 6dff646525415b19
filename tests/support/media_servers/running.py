"""Servers of this folder as processes."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.media_servers.aiohttp_server import TOKEN
from tests.support.servers import ROOT, free_port, until


HERE = Path(__file__).parent
# Where Debian's node-ws puts it.
NODE_PATH = "/usr/share/nodejs"
COMMANDS = {
    "flask": [sys.executable, HERE / "flask_server.py"],
    "fastapi": [sys.executable, HERE / "fastapi_server.py"],
    "node": ["node", HERE / "node_server.js"],
    "aiohttp": [sys.executable, "-m", "tests.support.media_servers.aiohttp_server"],
}


def needs_node() -> None:
    if shutil.which("node") and Path(NODE_PATH, "ws").exists():
        return
    missing = "needs Debian's nodejs and node-ws"
    (pytest.fail if os.environ.get("REQUIRE_NODE") else pytest.skip)(missing)


@contextlib.contextmanager
def running(kind: str, folder: Path, *wrong: str) -> Iterator[str]:
    """The address of its voice webhook, once it listens; its log is in `folder`."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    log = folder / f"{kind}-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMANDS[kind], str(port), TOKEN, *wrong],
            cwd=ROOT,
            env={**environment, "NODE_PATH": NODE_PATH},
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: _listens(port) or process.poll() is not None, f"{kind} to listen")
        assert process.poll() is None, f"{kind} did not start:\n{log.read_text()}"
        yield f"http://127.0.0.1:{port}/voice"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
