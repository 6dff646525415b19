"""The load generator: load.c, compiled once, and what it answers."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec


SOURCE = Path(__file__).with_name("load.c")
# Frames that leave this late (ms, 99th percentile), or this share of a core, and the generator is what is measured.
LATE_MS = 5.0
BUSY = 0.9


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text is the one line that says why."""


@dataclass(frozen=True)
class Call:
    """A call to be: its SIDs, and what opens its stream."""

    call_sid: str
    stream_sid: str
    account_sid: str
    handshake: bytes
    start: bytes


class Window(msgspec.Struct):
    """What the generator counted in some seconds. Latencies are from a frame's leaving to its echo's arrival."""

    seconds: float
    streams: int
    sent: int
    echoed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    #: Frames of the slowest stream that have not come back.
    behind: int
    garbled: int
    refused: int
    dropped: int
    late_p99_ms: float
    cpu: float
    #: Frames of all streams since they began.
    sent_ever: int

    @property
    def is_held(self) -> bool:
        """As docs/performance.md has it: p99 below 20 ms, and nothing lost, refused, garbled or dropped."""
        complete = self.echoed >= 0.985 * self.sent and self.behind <= 50
        return self.p99_ms < 20 and complete and not (self.garbled or self.refused or self.dropped)

    @property
    def is_generators(self) -> bool:
        """The generator could not keep up: the server may hold more than this shows."""
        return self.late_p99_ms > LATE_MS or self.cpu > BUSY


class Ended(msgspec.Struct):
    """Every stream as (StreamSid, frames sent, echoed, garbled)."""

    streams: list[tuple[str, int, int, int]]
    refused: int
    dropped: int


def build(folder: Path) -> Path:
    """The compiled generator; BenchmarkError without a C compiler."""
    program = folder / "load"
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        try:
            subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise BenchmarkError("The load generator is written in C: install a compiler (Debian: gcc).") from error
        except subprocess.CalledProcessError as error:
            raise BenchmarkError(f"{SOURCE.name} does not compile here: {error.stderr.strip()}") from error
    return program


class Load:
    """`with Load(program, port, core) as load`: a running generator.

    `speech` is what its callers say, as load.c has it, instead of frames whose echoes can be told apart.
    """

    def __init__(self, program: Path, port: int, core: int, speech: Path | None = None) -> None:
        said = [str(speech)] if speech else []
        self._command = ["taskset", "--cpu-list", str(core), str(program), str(port), *said]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()

    def open(self, call: Call, connected: bytes) -> None:
        sizes = f"{len(call.handshake)} {len(connected)} {len(call.start)}"
        line = f"open {sizes} {call.stream_sid} {call.account_sid} {call.call_sid}\n"
        self._in.write(line.encode() + call.handshake + connected + call.start)
        self._in.flush()

    def measure(self, seconds: float) -> Window:
        return msgspec.convert(self._ask(f"measure {seconds}"), Window)

    def close(self) -> Ended:
        """Ends every call, and says what became of it."""
        return msgspec.convert(self._ask("close"), Ended)

    def _ask(self, line: str) -> Any:
        self._in.write(line.encode() + b"\n")
        self._in.flush()
        answer = self._out.readline()
        if not answer:
            raise BenchmarkError("The load generator has ended.")
        return json.loads(answer)
