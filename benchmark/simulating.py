"""How many calls the simulator plays from one core against a bare echo on another, until it is the bottleneck."""

import asyncio
import json
import subprocess
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

from simulator.audio import tone
from simulator.caller import Caller
from simulator.documents import StreamNoun
from simulator.pacer import Lateness
from simulator.report import Report
from simulator.scenario import Scenario
from simulator.stream import Stream
from simulator.tcp import Tcp
from simulator.wellformed import NO_ACCOUNT


if TYPE_CHECKING:
    from benchmark.lab import Lab

# Seconds in which the calls begin, one after the other; they are not measured.
RAMP = 3.0
STEPS = (1, 2, 4, 6, 8, 10)


def simulate(lab: "Lab", calls: int) -> dict[str, Any]:
    """Tenths of the calls, up to all of them: how late the simulator's frames leave, and what a frame costs it."""
    from benchmark.candidates import CANDIDATES
    from benchmark.servers import install_peers, running

    steps = []
    peers = install_peers(lab.folder, lab.say)
    for tenths in STEPS:
        with running(CANDIDATES["picows"], lab.folder, lab.cores[0], peers, "") as server:
            command = [sys.executable, "-m", "benchmark.simulating", str(server.port), str(calls * tenths // 10)]
            pinned = ["taskset", "--cpu-list", str(lab.cores[1]), *command, str(lab.seconds)]
            before = server.usage().cpu
            step = json.loads(subprocess.run(pinned, check=True, capture_output=True, text=True).stdout)
            step["server_cpu"] = round((server.usage().cpu - before) / step["elapsed"], 2)
        steps.append(step)
        lab.say(
            f"  {step['calls']:5} calls  {step['cpu']:5.0%} CPU  {step['frame_us']:6.1f} µs a frame and its echo  "
            f"late p50 {step['p50_ms']:.1f}  p99 {step['p99_ms']:.1f}  worst {step['worst_ms']:.1f} ms  "
            f"{step['echoed']:.1%} echoed, by {step['server_cpu']:.0%} of the other core"
        )
    held = [step["calls"] for step in steps if step["p99_ms"] < 20]
    return {"simulator": {"held": max(held, default=0), "steps": steps}}


async def _play(port: int, calls: int, seconds: float) -> dict[str, Any]:
    """All of them at once, each on a stream of its own, without webhooks."""
    late: array[float] = array("f")
    cpu, began = time.process_time(), time.monotonic()
    reports = await asyncio.gather(*(_call(port, RAMP * n / calls, RAMP + seconds, late) for n in range(calls)))
    elapsed, used = time.monotonic() - began, time.process_time() - cpu
    sent, echoed = sum(report.frames_sent for report in reports), sum(report.frames_received for report in reports)
    lateness = vars(Lateness.of(late))
    figures = {"elapsed": elapsed, "cpu": used / elapsed, "frame_us": 1e6 * used / sent, "echoed": echoed / sent}
    return {"calls": calls, **figures, **lateness}


async def _call(port: int, begins: float, seconds: float, late: "array[float]") -> Any:
    """From its place in the ramp until the end of all; only what comes after the ramp is late."""
    await asyncio.sleep(begins)
    server = f"http://127.0.0.1:{port}"
    audio, account = tone(440, 8), NO_ACCOUNT
    scenario = Scenario(
        public_url=server, server=server, auth_token="-", account_sid=account, audio=audio, duration=seconds - begins
    )
    caller = Caller(scenario, Report(scenario.call_sid), lambda line: None)
    async with Tcp(server) as carrier:
        noun = StreamNoun(f"ws://127.0.0.1:{port}/connection", "", ["inbound"], {}, "", "POST", ())
        stream = Stream(noun, scenario)
        stream.open(await carrier.upgrade(noun.url, {}, stream, None))
        caller.streams.append(stream)
        await caller.talk(stream.over.is_set)
        await stream.close()
    late.extend(caller.lateness[round(50 * (RAMP - begins)) :])
    return stream.finish()


if __name__ == "__main__":
    where, how_many, how_long = sys.argv[1:]
    print(json.dumps(asyncio.run(_play(int(where), int(how_many), float(how_long)))))
