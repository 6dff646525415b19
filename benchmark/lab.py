"""Where everything is measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.candidates import CANDIDATES, Candidate
from benchmark.load import Load, build
from benchmark.ramp import Bench, Step
from benchmark.servers import install_peers, running


@dataclass
class Lab:
    """Where servers and load run: two cores, a folder for everything, and somebody who is told what happens."""

    folder: Path
    postgres: str
    cores: tuple[int, int]
    seconds: float
    rounds: int
    say: Callable[[str], None]

    @contextmanager
    def bench(self, server: str | Candidate, redis_url: str = "") -> Iterator[Bench]:
        """A fresh server, one of CANDIDATES or another, under a load generator of its own."""
        candidate = CANDIDATES[server] if isinstance(server, str) else server
        program = build(self.folder)
        peers = install_peers(self.folder, self.say) if candidate.is_peer else None
        with (
            running(candidate, self.folder, self.cores[0], peers, self.postgres, redis_url) as process,
            Load(program, process.port, self.cores[1]) as load,
        ):
            yield Bench(process, load)

    def tell(self, step: Step) -> None:
        window = step.window
        lag = "" if step.lag is None else f"  {step.lag:.2f} s behind"
        slow = "  THE GENERATOR IS TOO SLOW" if window.is_generators else ""
        core = f"{step.cpu:5.0%} CPU, {step.loop:.0%} in the loop  {step.frame_us:6.1f} µs a frame"
        late = f"p50 {window.p50_ms:5.1f}  p99 {window.p99_ms:5.1f}  max {window.max_ms:5.1f} ms"
        self.say(f"  {step.calls:5} calls  {core}  {late}{lag}{slow}")
