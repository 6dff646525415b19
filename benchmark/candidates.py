"""What is compared: ours in several forms, and what others would build on."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


PEERS = Path(__file__).with_name("peers")

# As in the Dockerfile, and the same for everything that runs on uvicorn but for its --ws.
UVICORN = "uvicorn --host 127.0.0.1 --port {port} --loop uvloop --http httptools --no-access-log --log-level warning"
UVICORN += " --ws-max-size 1048576 --ws-per-message-deflate false --ws "
DAPHNE = "daphne --bind 127.0.0.1 --port {port} --no-server-name --verbosity 0 "
OURS = "calls.sockets.uvicorn:MediaWebSocket "
ITS_OWN = "websockets-sansio "
APPLICATION = "config.asgi:application"

#: The handlers of benchmark/talking.py.
TALKERS = ("frames", "turns", "conversation")


@dataclass(frozen=True)
class Checkout:
    """Where code of ours lies, and the programs of the venv that it runs in."""

    home: Path
    bin: Path


HERE = Checkout(Path(__file__).parent.parent, Path(sys.executable).parent)


@dataclass(frozen=True)
class Candidate:
    """A server to be measured. `records` says that it is ours, and has to keep every byte of both lanes."""

    name: str
    title: str
    command: str
    records: bool = False
    #: From the peers' venv; the others run in their checkout's.
    is_peer: bool = False
    is_sqlite: bool = True
    checkout: Checkout = HERE
    #: What it runs with, beside what all of ours do.
    environment: Mapping[str, str] = field(default_factory=dict)


def _ours(name: str, title: str, command: str, *, is_sqlite: bool = True, **environment: str) -> Candidate:
    return Candidate(name, title, command + APPLICATION, True, is_sqlite=is_sqlite, environment=environment)


CANDIDATES = {
    candidate.name: candidate
    for candidate in [
        _ours("callstream", "Callstream, uvicorn, SQLite", UVICORN + OURS),
        _ours("callstream-python", "Callstream in Python alone, uvicorn, SQLite", UVICORN + OURS, QUICK="off"),
        _ours("callstream-postgres", "Callstream, uvicorn, PostgreSQL", UVICORN + OURS, is_sqlite=False),
        _ours("callstream-daphne", "Callstream, daphne, SQLite", DAPHNE),
        Candidate("bare", "bare ASGI echo, uvicorn", UVICORN + OURS + "bare_asgi:application"),
        Candidate("fastapi", "FastAPI echo, uvicorn", UVICORN + ITS_OWN + "fastapi_echo:app", is_peer=True),
        Candidate("channels", "stock Channels echo, daphne", DAPHNE + "stock_channels:application", is_peer=True),
        Candidate("picows", "picows echo: the limit", "python picows_echo.py {port}", is_peer=True),
    ]
}
