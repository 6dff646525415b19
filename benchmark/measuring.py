"""What it costs to measure conversations: an hour of one, and measuring on and on beside calls that are live."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from benchmark import talking
from benchmark.load import BenchmarkError
from benchmark.playing import MULTIPLY
from benchmark.servers import Server, cursor
from calls.measuring.courtesy import give_way
from calls.media.audio import SAMPLE_RATE


# Seconds of a conversation that are repeated until they are the call that is measured.
REPEATED = 24
MINUTES = 60


@dataclass
class Cost:
    """Of one run of `manage.py measure_calls`, with the start of Python and Django: seconds of CPU, and MB."""

    cpu: float
    memory: float


def make_conversation(folder: Path, server: Server, core: int) -> None:
    """A call of an hour, that is over: somebody says a sentence of 8 s, and is answered for 1.6 s, again and again."""
    with talking.talkers(folder, server, core, 1, "conversation") as load:
        load.measure(REPEATED + 2)
        load.close()
    samples, wanted = REPEATED * SAMPLE_RATE, MINUTES * 60 * SAMPLE_RATE
    with cursor(server.database_url) as rows:
        rows.execute("SELECT id FROM calls_stream ORDER BY id DESC LIMIT 1")
        [[stream]] = rows.fetchall()
        rows.execute(f"DELETE FROM calls_audiochunk WHERE stream_id = {stream} AND start + length > {samples}")
        rows.execute(f"DELETE FROM calls_gap WHERE stream_id = {stream}")
        times = wanted // samples - 1
        rows.execute(MULTIPLY.format(times=times, rows=10_000, samples=samples, stream=stream))
        rows.execute(f"UPDATE calls_stream SET length = {wanted} WHERE id = {stream}")
        rows.execute(
            f"UPDATE calls_call SET audio_samples = {wanted}, status = 'completed', measured_at = NULL, ended_at = "
            f"COALESCE(ended_at, created_at) WHERE id = (SELECT call_id FROM calls_stream WHERE id = {stream})"
        )


def measure(server: Server) -> Cost:
    """Measures all there is to be measured, on the core of the server, and what that took."""
    process = _start(server)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"measure_calls ended with {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@contextmanager
def measuring(server: Server) -> Iterator[list[Cost]]:
    """Measures the same again and again meanwhile, on the core of the server; what each time took."""
    found: list[Cost] = []
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.is_set():
            found.append(measure(server))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def _start(server: Server) -> "subprocess.Popen[bytes]":
    command = ["taskset", "--cpu-list", str(server.core), sys.executable, "manage.py", "measure_calls", "--again"]
    environment = {**server.environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command += ["--verbosity", "0"]
    # From its first moment: the process of the chores is there already when a call ends.
    return subprocess.Popen(
        command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL, preexec_fn=give_way
    )
