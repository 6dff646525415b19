"""What was measured, as a table and as plots."""

import datetime as dt
import os
import platform
import statistics
from pathlib import Path
from typing import Any

import msgspec

from benchmark.candidates import CANDIDATES
from benchmark.spread import Ratio


Servers = dict[str, dict[str, Any]]

COLUMNS = [
    "server",
    "calls held: median (rounds)",
    "× FastAPI",
    "× limit",
    "µs/frame",
    "KB/call",
    "lag s",
    "lost",
    "gave out",
]

STYLE = """<style>text{font:12px system-ui,sans-serif;fill:#57606a}.name{fill:#24292f}.axis{stroke:#d0d7de}
.bar{fill:#8c959f}.ours{fill:#1a7f5a}
@media(prefers-color-scheme:dark){text{fill:#8d96a0}.name{fill:#e6edf3}.axis{stroke:#3d444d}.ours{fill:#3fb68b}}</style>"""
COLOURS = ["#1a7f5a", "#57a98a", "#9a6700", "#0969da", "#8250df", "#cf222e", "#57606a"]


def machine() -> str:
    """One line about where this was measured, without the machine's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    versions = f"Python {platform.python_version()}, Linux {platform.release().split('-')[0]}"
    return f"{dt.date.today():%Y-%m-%d}, {os.cpu_count()} cores of {model}, {versions}"


def table(servers: Servers) -> str:
    """Markdown, the servers in the order of what they hold; ratios to FastAPI and to the limit, if they ran."""
    rows = [COLUMNS]
    for one in sorted(servers.values(), key=lambda one: -one["held_median"]):
        rounds = ", ".join(map(str, one["held"]))
        held = f"{one['held_median']} ({rounds})" + (" at least" if one["generator_was_slow"] else "")
        ratios = [_ratio(one["ratios"].get(name)) for name in ("fastapi", "picows")]
        kept = ["-", "-"] if one["lag_s"] is None else [f"{one['lag_s']:.2f}", str(one["bytes_lost"])]
        rows.append([one["title"], held, *ratios, str(one["frame_us"]), str(one["call_kb"]), *kept, _limit(one)])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _ratio(found: dict[str, float | None] | None) -> str:
    return str(msgspec.convert(found, Ratio)) if found else "-"


def _limit(one: dict[str, Any]) -> str:
    """What gave out in most rounds, and who had the core then."""
    if not one["limits"]:
        return "-"
    word = statistics.mode(one["limits"])
    times, of = one["limits"].count(word), len(one["limits"])
    often = "" if times == of else f" ({times} of {of})"
    return f"{word}{often}: loop {one['loop_share']:.0%}, threads {one['thread_share']:.0%}"


def held_plot(servers: Servers) -> str:
    """Bars: the calls that each server held."""
    ranked = sorted(servers.items(), key=lambda item: -item[1]["held_median"])
    widest = ranked[0][1]["held_median"]
    parts = []
    for row, (name, one) in enumerate(ranked):
        y, width = 10 + 30 * row, 380 * one["held_median"] / widest
        kind = "ours" if CANDIDATES[name].records else "bar"
        parts += [
            f'<text class="name" x="240" y="{y + 15}" text-anchor="end">{one["title"]}</text>',
            f'<rect class="{kind}" x="250" y="{y}" width="{width:.0f}" height="20" rx="2"/>',
            f'<text x="{256 + width:.0f}" y="{y + 15}">{one["held_median"]}</text>',
        ]
    return _svg(700, 20 + 30 * len(ranked), "Calls held on one core", parts)


def cost_plot(servers: Servers) -> str:
    """Lines: µs of CPU per frame over the number of calls."""
    lines = {name: one["steps"] for name, one in servers.items() if len(one["steps"]) > 1}
    most = max(step[0] for steps in lines.values() for step in steps)
    dearest = max(step[1] for steps in lines.values() for step in steps)
    parts = ['<path class="axis" d="M50 10V270H690" fill="none"/>']
    for label in range(0, int(dearest) + 1, 50):
        parts.append(f'<text x="44" y="{274 - 260 * label / dearest:.0f}" text-anchor="end">{label}</text>')
    for label in range(0, most + 1, 100):
        parts.append(f'<text x="{50 + 640 * label / most:.0f}" y="288" text-anchor="middle">{label}</text>')
    for number, (name, steps) in enumerate(lines.items()):
        points = " ".join(f"{50 + 640 * calls / most:.1f},{270 - 260 * cost / dearest:.1f}" for calls, cost, _ in steps)
        colour = COLOURS[number % len(COLOURS)]
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="470" y="{16 + 20 * number}" width="12" height="12" fill="{colour}"/>',
            f'<text class="name" x="488" y="{27 + 20 * number}">{servers[name]["title"]}</text>',
        ]
    return _svg(700, 310, "µs of CPU per echoed frame (up) over calls at once (right)", parts)


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    box = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
    return "\n".join([f"<svg {box}>", f"<title>{title}</title>", STYLE, *parts, "</svg>", ""])
