"""One candidate under a growing load: how many calls it holds, what a frame costs there, and what was recorded."""

import time
from collections.abc import Callable

import msgspec

from benchmark.callers import CONNECTED, place
from benchmark.load import Ended, Load, Window
from benchmark.servers import Server, cursor
from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE


# Seconds to settle after new calls, before anything counts.
SETTLE = 0.5
FIRST = 60
# Share of the core that is used, and how much larger the next load may be.
STEPS = ((0.4, 1.8), (0.65, 1.25), (0.8, 1.1), (9.0, 1.05))
# Seconds that the recorder may take to write what is left.
WRITE_SECONDS = 30

STORED = """
SELECT s.sid,
       (SELECT COALESCE(SUM(length), 0) FROM calls_audiochunk c WHERE c.stream_id = s.id AND c.track = 'inbound'),
       (SELECT COALESCE(SUM(length), 0) FROM calls_audiochunk c WHERE c.stream_id = s.id AND c.track = 'outbound'),
       (SELECT COALESCE(SUM(length), 0) FROM calls_gap g WHERE g.stream_id = s.id AND g.reason = 'cleared')
FROM calls_stream s
"""
STORED_OF_LIVE = """
SELECT COALESCE(SUM(c.length), 0) FROM calls_audiochunk c JOIN calls_stream s ON s.id = c.stream_id
WHERE c.track = 'inbound' AND s.ended_at IS NULL
"""


class Step(msgspec.Struct):
    """One load, and what the server needed for it."""

    calls: int
    window: Window
    #: Share of the core, and µs of CPU per frame that came in and went out again.
    cpu: float
    frame_us: float
    #: KB of memory for each call, on top of what the server had before the first.
    call_kb: float
    #: Seconds that the database is behind what was said; None where nothing is recorded.
    lag: float | None
    #: Share of the core that the event loop's thread had; the other threads had the rest of `cpu`.
    loop: float
    #: Share of the time in which the loop could run and somebody else had the core; None where it is not known.
    waited: float | None


class Result(msgspec.Struct):
    """A ramp: every step, and what became of the recording."""

    name: str
    steps: list[Step]
    bytes_lost: int | None = None

    @property
    def best(self) -> Step | None:
        """The largest load that was held."""
        return max((step for step in self.steps if step.window.is_held), key=lambda step: step.calls, default=None)

    @property
    def held(self) -> int:
        return self.best.calls if self.best else 0

    @property
    def beyond(self) -> Step | None:
        """The first load past the best, which was not held."""
        return next((step for step in self.steps if step.calls > self.held and not step.window.is_held), None)


class Bench:
    """A server and the calls on it."""

    def __init__(self, server: Server, load: Load) -> None:
        self.server = server
        self.load = load
        self.calls = 0
        #: Frames of the calls that have ended that never came back.
        self.unanswered = 0
        self._idle = server.usage().memory

    def grow(self, calls: int) -> None:
        """New calls, up to that many."""
        for call in place(self.server, calls - self.calls):
            self.load.open(call, CONNECTED)
        self.calls = max(calls, self.calls)
        self.load.measure(SETTLE)

    def measure(self, seconds: float) -> Step:
        before = self.server.usage()
        window = self.load.measure(seconds)
        after = self.server.usage()
        lag = self._lag(window) if self.server.candidate.records else None
        used = after.cpu - before.cpu
        memory = (after.memory - self._idle) / max(self.calls, 1)
        waited = None if after.waited is None or before.waited is None else after.waited - before.waited
        return Step(
            calls=self.calls,
            window=window,
            cpu=used / window.seconds,
            frame_us=1e6 * used / max(window.echoed, 1),
            call_kb=memory,
            lag=lag,
            loop=(after.loop - before.loop) / window.seconds,
            waited=None if waited is None else waited / window.seconds,
        )

    def _lag(self, window: Window) -> float:
        with cursor(self.server.database_url) as rows:
            rows.execute(STORED_OF_LIVE)
            [[stored]] = rows.fetchall()
        return (window.sent_ever * FRAME_SAMPLES - int(stored)) / SAMPLE_RATE / max(self.calls, 1)

    def hang_up(self) -> Ended:
        """Ends every call, and asks the database nothing."""
        ended = self.load.close()
        self.calls = 0
        self.unanswered = sum(sent - echoed for _, sent, echoed, _ in ended.streams)
        return ended

    def end(self, *, verify: bool = True) -> int | None:
        """Ends every call. How many bytes of both lanes the recording lacks; None where nothing is recorded.

        BenchmarkError if `verify_calls` finds a sample that is neither stored nor explained.
        """
        ended = self.hang_up()
        if not self.server.candidate.records:
            return None
        lost = lost_bytes(self.server, ended)
        if verify:
            self.server.manage("verify_calls", "--all", "--verbosity", "0")
        return lost


def ramp(bench: Bench, seconds: float, say: Callable[[Step], None]) -> Result:
    """More and more calls, until a load is not held twice in a row."""
    result = Result(bench.server.candidate.name, [])
    calls = FIRST
    while True:
        bench.grow(calls)
        step = bench.measure(seconds)
        if not step.window.is_held:
            # Perhaps it was the machine's other work.
            say(step)
            step = bench.measure(seconds)
        result.steps.append(step)
        say(step)
        if not step.window.is_held:
            break
        calls = round(calls * next(factor for share, factor in STEPS if step.cpu < share))
    result.bytes_lost = bench.end()
    return result


def lost_bytes(server: Server, ended: Ended) -> int:
    """What was said and is not stored, and what was sent back and is neither stored nor known to be unheard."""
    said = {sid: (sent * FRAME_SAMPLES, echoed * FRAME_SAMPLES) for sid, sent, echoed, _ in ended.streams if sent}
    give_up = time.monotonic() + WRITE_SECONDS
    while (lost := _lost(server, said)) and time.monotonic() < give_up:
        time.sleep(0.5)
    return lost


def _lost(server: Server, said: dict[str, tuple[int, int]]) -> int:
    with cursor(server.database_url) as rows:
        rows.execute(STORED)
        kept = {
            sid: (int(inbound), int(outbound) + int(cleared)) for sid, inbound, outbound, cleared in rows.fetchall()
        }
    lanes = [(said[sid], kept.get(sid, (0, 0))) for sid in said]
    return sum(max(0, lane[0][side] - lane[1][side]) for lane in lanes for side in (0, 1))
