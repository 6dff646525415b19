"""Those who listen: a member of staff over HTTP, and a recording that is long enough to be heavy."""

import http.client
import random
import re
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from urllib.parse import urlencode

from benchmark.load import BenchmarkError
from benchmark.ramp import Bench
from benchmark.servers import Server, cursor, manage
from calls.media.audio import SAMPLE_RATE, WAV_HEADER_SIZE


NAME, PASSWORD = "bench", "bench-bench-bench"
# Minutes of the recordings that are played; the longest is made, and the others are its beginning.
LENGTHS = [1, 10, 120]
RANGE = 256 * 1024
# Both lanes of a call, row by row as the recorder writes them, again and again.
MULTIPLY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {times})
INSERT INTO calls_audiochunk (stream_id, track, "index", start, length, payload, peaks)
SELECT stream_id, track, "index" + n.i * {rows}, start + n.i * {samples}, length, payload, peaks
FROM calls_audiochunk, n WHERE stream_id = {stream} AND start + length <= {samples}
"""


def make_long_call(bench: Bench) -> int:
    """The key of a call of two hours: one of 4 s, whose first 2 s are repeated."""
    bench.grow(1)
    bench.load.measure(4)
    bench.end()
    samples, wanted = 2 * SAMPLE_RATE, LENGTHS[-1] * 60 * SAMPLE_RATE
    with cursor(bench.server.database_url) as rows:
        rows.execute("SELECT id, call_id FROM calls_stream")
        [[stream, call]] = rows.fetchall()
        rows.execute(f"DELETE FROM calls_audiochunk WHERE start + length > {samples}")
        rows.execute(MULTIPLY.format(times=wanted // samples - 1, rows=100, samples=samples, stream=stream))
        rows.execute(f"UPDATE calls_stream SET length = {wanted}, heard = {wanted}")
        rows.execute(f"UPDATE calls_call SET audio_samples = {wanted}, status = 'completed'")
    return int(call)


class Staff:
    """Somebody who is logged in."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._url = server.database_url

    def __enter__(self) -> Self:
        command = ["createsuperuser", "--noinput", "--username", NAME, "--email", "bench@localhost"]
        manage(*command, database_url=self._url, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
        line = self._line()
        line.request("GET", "/admin/login/")
        answer = line.getresponse()
        page = answer.read().decode()
        [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[:1]
        self._cookies = _cookies(answer)
        form = urlencode({"username": NAME, "password": PASSWORD, "csrfmiddlewaretoken": token})
        line.request(
            "POST", "/admin/login/", form, {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}
        )
        answer = line.getresponse()
        answer.read()
        if answer.status != 302:
            raise BenchmarkError(f"Nobody can log in: HTTP {answer.status}")
        self._cookies |= _cookies(answer)
        line.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._cookies = {}

    @property
    def _headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}

    @property
    def cookie(self) -> str:
        """What their browser sends with every request."""
        return self._headers["Cookie"]

    def _line(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)

    def get(self, path: str, **headers: str) -> tuple[float, float, int]:
        """Seconds to the first byte and to the last, and how many bytes; BenchmarkError for an error."""
        line = self._line()
        began = time.monotonic()
        line.request("GET", path, headers={**self._headers, **headers})
        answer = line.getresponse()
        size = len(answer.read(1))
        first = time.monotonic() - began
        while piece := answer.read(1 << 20):
            size += len(piece)
        if answer.status not in (200, 206):
            raise BenchmarkError(f"{path}: HTTP {answer.status}")
        line.close()
        return first, time.monotonic() - began, size

    def ranges(self, pk: int, seconds: int) -> dict[str, str]:
        """A header for some piece of that many seconds from a recording's beginning."""
        start = random.randrange(WAV_HEADER_SIZE, max(seconds * SAMPLE_RATE * 4 - RANGE, WAV_HEADER_SIZE + 1))
        return {"Range": f"bytes={start}-{start + RANGE - 1}"}


def times(staff: Staff, pk: int, minutes: int) -> dict[str, float]:
    """Milliseconds, medians of what is asked more than once."""
    call, last = f"/admin/calls/call/{pk}/", WAV_HEADER_SIZE + minutes * 60 * SAMPLE_RATE * 4 - 1
    whole = {"Range": f"bytes=0-{last}"}
    first = [staff.get(f"{call}recording.wav", **whole)[0] for _ in range(3)]
    ranges = [staff.get(f"{call}recording.wav", **staff.ranges(pk, minutes * 60))[1] for _ in range(20)]
    peaks = f"{call}peaks.json?from=0&until={minutes * 60 * SAMPLE_RATE}"
    return {
        "page": 1000 * statistics.median(staff.get(f"{call}change/")[1] for _ in range(5)),
        "first byte": 1000 * statistics.median(first),
        "a range": 1000 * statistics.median(ranges),
        "peaks": 1000 * staff.get(peaks)[1],
        "download": 1000 * staff.get(f"{call}recording.wav", **whole)[1],
    }


@contextmanager
def listeners(staff: Staff, pk: int, count: int) -> Iterator[list[float]]:
    """That many at once, each in a loop of the page, its peaks and pieces of the recording; ms of each request."""
    answered: list[float] = []
    failed: list[BenchmarkError] = []
    is_over = threading.Event()

    def listen() -> None:
        call = f"/admin/calls/call/{pk}/"
        while not is_over.is_set():
            try:
                for path in (f"{call}change/", f"{call}peaks.json?from=0&until={15 * 60 * SAMPLE_RATE}"):
                    answered.append(1000 * staff.get(path)[1])
                for _ in range(10):
                    answered.append(1000 * staff.get(f"{call}recording.wav", **staff.ranges(pk, LENGTHS[-1] * 60))[1])
            except BenchmarkError as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=listen, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        is_over.set()
        for thread in threads:
            thread.join(60)
    if failed:
        raise failed[0]


def _cookies(answer: http.client.HTTPResponse) -> dict[str, str]:
    pairs = (header.partition(";")[0].partition("=") for header in answer.headers.get_all("Set-Cookie", []))
    return {name: value for name, _, value in pairs}
