"""What PostgreSQL uses for one of its databases, told from its processes on this machine."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.servers import cpu_seconds


PROC = Path("/proc")
# Processes that work for all databases, by what stands last in their titles.
SHARED = ("checkpointer", "background writer", "walwriter")
# Seconds between two looks: what a backend uses after the last look before its end is missed.
EVERY = 0.5


@dataclass
class Used:
    """Seconds of CPU since the first look, by process; `seconds` is None where there is no such database here."""

    ours: dict[int, float] = field(default_factory=dict)
    others: dict[int, float] = field(default_factory=dict)
    shared: dict[int, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Of our backends, and of what works for all as large a share as they have of all backends."""
        if not self.ours:
            return None
        ours, others = sum(self.ours.values()), sum(self.others.values())
        share = ours / (ours + others) if ours else 0.0
        return ours + share * sum(self.shared.values())


class Watch:
    """Looks at the processes again and again, since backends come and go."""

    def __init__(self, database: str, proc: Path = PROC) -> None:
        self._database, self._proc = database, proc
        self._began: dict[int, float] = {}
        self.used = Used()

    def begin(self) -> None:
        self._began = {pid: cpu for pid, _, _, cpu in self._processes()}

    def look(self) -> None:
        """Counts anew; a process that is gone keeps what it had at the last look."""
        found = self._processes()
        # Several servers may run on one machine: ours is the one whose backends name the database.
        postmasters = {parent for _, parent, title, _ in found if self._is_ours(title)}
        for pid, parent, title, cpu in found:
            if parent in postmasters:
                self._part(title)[pid] = cpu - self._began.get(pid, 0.0)

    def _part(self, title: str) -> dict[int, float]:
        if self._is_ours(title):
            return self.used.ours
        return self.used.shared if title.endswith(SHARED) else self.used.others

    def _is_ours(self, title: str) -> bool:
        return self._database in title.split()

    def _processes(self) -> list[tuple[int, int, str, float]]:
        """Key, parent, title and CPU of each process of a PostgreSQL."""
        found = []
        for pid in filter(str.isdecimal, os.listdir(self._proc)):
            process = self._proc / pid
            try:
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if not title.startswith("postgres: "):
                    continue
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                found.append((int(pid), parent, title, cpu_seconds(process)))
            except OSError:
                continue
        return found


@contextmanager
def watched(database: str) -> Iterator[Used]:
    """What the database uses meanwhile."""
    watch, is_over = Watch(database), threading.Event()
    watch.begin()

    def go_on() -> None:
        while not is_over.wait(EVERY):
            watch.look()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield watch.used
    finally:
        is_over.set()
        thread.join()
        watch.look()
