"""The figures of several processes as one answer, whichever of them is asked.

The workers of one server share its port, and its chores have none: each of these processes keeps a file of what it has
counted in a folder that they have in common, and whoever is asked adds them up. A file is replaced once a second, by a
thread: a page that is mapped, as prometheus_client's own multiprocess mode has it, may be held by the kernel while it
is written to disk, and the event loop with it. A process that is killed takes the last second of its counts along.

A process that lives holds a lock. What a dead one has counted is added to `past`, and its file goes: counters neither
fall nor count twice, gauges end with their process, and there are never more files than processes. Everything that is
told comes out of the files, so that no later answer, of whatever process, has less.

Containers, and servers of their own, have folders of their own: each is asked by itself.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import current_process, parent_process
from pathlib import Path
from typing import IO

import msgspec
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from calls import locks
from calls.metrics.definitions import registry


logger = logging.getLogger(__name__)

# Seconds between two writes of what a process has counted.
EVERY = 1.0
# The label of what is true of one process only: its number.
WORKER = "worker"
# What processes that have ended have counted; of one that lives its number and some random letters stand there.
PAST = "past.figures"
FIGURES, LOCK, NEW = ".figures", ".lock", ".new"

Sample = tuple[str, dict[str, str], float]


class Family(msgspec.Struct, array_like=True):
    """What prometheus_client calls a metric: all series of one name."""

    name: str
    text: str
    kind: str
    samples: list[Sample]


class Snapshot(msgspec.Struct, array_like=True):
    """What one process has counted; in `past`, all that have ended."""

    families: list[Family]
    #: Whose counts were added last: their file may still be there.
    added: str = ""


class Figures:
    """`join` once in a process that counts, `text` whenever somebody asks."""

    def __init__(self, source: CollectorRegistry = registry, process: int | None = None) -> None:
        self._source = source
        self._name = f"{process or os.getpid()}-{os.urandom(4).hex()}"
        #: Where this process and those beside it have their files, if it has joined any.
        self.folder: Path | None = None
        self._lock: IO[bytes] | None = None
        self._writing = threading.Lock()
        self._is_over = threading.Event()
        self._has_told = False

    def join(self, folder: Path | None = None) -> None:
        """From now on others can tell of this process. `folder` is that of the server that has started it, if one has.

        Where nothing can be written, a process tells of itself only, and the log says so.
        """
        is_read_by_others = folder is not None or parent_process() is not None
        folder = folder or _own_folder()
        try:
            self._lock = _enter(folder, self._name)
            self.folder = folder
            self._publish()
        except OSError as error:
            self._tell(error)
            return
        if is_read_by_others:
            threading.Thread(target=self._keep_publishing, name="metrics", daemon=True).start()

    def text(self) -> bytes:
        """All figures, in Prometheus's text format. Reads files: nothing for an event loop."""
        snapshots = {self._name: self._snapshot()}
        if self.folder is not None:
            try:
                self._publish()
                snapshots = _read(self.folder)
            except (OSError, ValueError) as error:
                self._tell(error)
        return generate_latest(_Sum(snapshots))

    def close(self) -> None:
        """The last counts of a process that ends."""
        self._is_over.set()
        if self.folder is not None:
            with suppress(OSError):
                self._publish()

    def _keep_publishing(self) -> None:
        while not self._is_over.wait(EVERY):
            # The disk is full, or somebody has tidied up there: whoever asks is told what there is.
            with suppress(OSError):
                self._publish()

    def _snapshot(self) -> Snapshot:
        return Snapshot(_families(self._source.collect()))

    def _publish(self) -> None:
        assert self.folder is not None
        with self._writing:
            _write(self.folder / f"{self._name}{FIGURES}", self._snapshot())

    def _tell(self, error: Exception) -> None:
        if not self._has_told:
            logger.warning("metrics_alone: %s; /metrics tells of the process that answers, and of no other", error)
        self._has_told = True


def _families(metrics: Iterable[Metric]) -> list[Family]:
    """When a counter was made is left out: for Prometheus that would be one more series each."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(each.name, each.labels, each.value) for each in metric.samples if not each.name.endswith("_created")],
        )
        for metric in metrics
    ]


class _Sum(Collector):
    """The figures of several processes: counters added up, and gauges of each by its label."""

    def __init__(self, snapshots: dict[str, Snapshot]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        metrics: dict[str, Metric] = {}
        sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for name, snapshot in self._snapshots.items():
            for family in snapshot.families:
                metrics.setdefault(family.name, Metric(family.name, family.text, family.kind))
                known = sums.setdefault(family.name, {})
                own = {WORKER: name.partition("-")[0]} if family.kind == "gauge" else {}
                for sample, labels, value in family.samples:
                    key = sample, tuple((labels | own).items())
                    known[key] = known.get(key, 0.0) + value
        for family_name, metric in metrics.items():
            for (sample, pairs), value in sums[family_name].items():
                metric.add_sample(sample, dict(pairs), value)
            yield metric


def _own_folder() -> Path:
    """The same for all workers of one server, and for no other one's.

    multiprocessing makes a key at random in each process that it has not started itself, and hands it on to those that
    it starts (https://docs.python.org/3/library/multiprocessing.html#multiprocessing.Process.authkey), as `uvicorn
    --workers` does. In the container, the temporary folder is memory, and its own.
    """
    group = hashlib.sha256(b"calls.metrics" + bytes(current_process().authkey)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"callstream-metrics-{os.getuid()}" / group


def _enter(folder: Path, name: str) -> IO[bytes] | None:
    """Makes the folder, takes a lock of that name in it, and tidies up: what nobody asked for would stay."""
    root = folder.parent
    root.mkdir(mode=0o700, exist_ok=True)
    # Anybody may write where it lies.
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} is somebody else's")
    with _one_at_a_time(root):
        folder.mkdir(exist_ok=True)
        with _one_at_a_time(folder):
            lock = locks.take(folder / f"{name}{LOCK}")
            _bury(folder)
        _remove_dead(root)
    return lock


def _read(folder: Path) -> dict[str, Snapshot]:
    with _one_at_a_time(folder):
        _bury(folder)
        return {path.stem: _load(path) for path in folder.glob(f"*{FIGURES}")}


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """For milliseconds."""
    with (folder / "turn").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _load(path: Path) -> Snapshot:
    return msgspec.json.decode(path.read_bytes(), type=Snapshot)


def _write(path: Path, snapshot: Snapshot) -> None:
    """All or nothing, for whoever reads it meanwhile."""
    new = path.with_suffix(NEW)
    new.write_bytes(msgspec.json.encode(snapshot))
    new.replace(path)


def _bury(folder: Path) -> None:
    """Adds what dead processes have counted to the past, and removes their files."""
    for lock in folder.glob(f"*{LOCK}"):
        held = locks.take(lock)
        if held is None:
            continue
        with held:
            figures = lock.with_suffix(FIGURES)
            if figures.exists():
                _add_to_past(folder / PAST, figures)
            for suffix in (FIGURES, NEW, LOCK):
                lock.with_suffix(suffix).unlink(missing_ok=True)


def _add_to_past(past: Path, figures: Path) -> None:
    known = _load(past) if past.exists() else Snapshot([])
    # Whoever added it may have died before the file was gone.
    if known.added != figures.name:
        counted = [family for family in _load(figures).families if family.kind != "gauge"]
        both = _Sum({"past": known, "dead": Snapshot(counted)})
        _write(past, Snapshot(_families(both.collect()), added=figures.name))


def _remove_dead(root: Path) -> None:
    """The folders of servers of which no process lives."""
    for folder in root.iterdir():
        if folder.is_dir() and not any(map(_is_held, folder.glob(f"*{LOCK}"))):
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(lock: Path) -> bool:
    file = locks.take(lock)
    if file is None:
        return True
    file.close()
    return False


# The ones of this process.
figures = Figures()
