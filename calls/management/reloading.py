"""New code of handlers for the next call, while the running one goes on by the old: what `make run` serves with.

When a file of handlers/ has changed, or one that STREAM_HANDLERS names, all of these modules are imported anew, in a
thread of its own. Coroutines that run keep the functions and modules that they have. What cannot be imported, or is no
handler, is told with its line, and the next calls go on by the last code that worked.
"""

import importlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from calls import handlers
from calls.handlers import Talk
from calls.server.live_stream import handled
from calls.server.mistakes import advice
from calls.server.stalls import sentence_with_line
from calls.streams import MediaStream


logger = logging.getLogger(__name__)

# Seconds between two looks at the files. A file is read once it has stayed as it is for one of them.
LOOK = 0.3
# Ours: when these change, the server is restarted.
_RESTARTED = ("calls.", "config.")

Snapshot = dict[str, tuple[int, int]]


class Reloader:
    """Where the handlers of STREAM_HANDLERS come from in development: the last code of each that worked."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(settings.BASE_DIR) / "handlers"
        self._talks: dict[str, Talk] = {}
        #: Why the code that is on disk is not what runs, or "".
        self.objection = ""

    def start(self) -> None:
        """From now on handlers are found here, and their files are looked at."""
        handlers.load = self.load
        threading.Thread(target=self._watch, name="reloading", daemon=True).start()

    def load(self, path: str) -> Any:
        """What STREAM_HANDLERS names by that path, by the last code that worked."""
        if path not in self._talks:
            self._talks[path] = import_string(path)
        talk = self._talks[path]
        return _old(talk, self.objection) if self.objection else talk

    def reload(self, changed: str) -> None:
        """Imports everything anew for the next calls; or leaves everything as it was, and says why."""
        before = {module.__name__: module for module in self._modules()}
        _forget(before)
        try:
            self._talks = {path: _usable(path) for path in settings.STREAM_HANDLERS.values()}
        except (Exception, SystemExit) as error:
            _forget({module.__name__: module for module in self._modules()})
            _put_back(before)
            self.objection = " ".join(filter(None, [f"{sentence_with_line(error)}.", advice(error)]))
            logger.error("handlers_kept %s has changed and cannot be used: %s", changed, self.objection)
        else:
            self.objection = ""
            logger.warning("handlers_reloaded %s has changed; the next call takes it", changed)

    def _modules(self) -> Iterator[ModuleType]:
        """Those that are loaded of the folder, and those that STREAM_HANDLERS names."""
        named = {path.rpartition(".")[0] for path in settings.STREAM_HANDLERS.values()}
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name.startswith(_RESTARTED) or not file:
                continue
            if name in named or Path(file).is_relative_to(self._folder):
                yield module

    def _snapshot(self) -> Snapshot:
        """When each file was changed, and how long it is."""
        named = (Path(str(module.__file__)) for module in self._modules())
        return {str(path): found for path in {*self._folder.rglob("*.py"), *named} if (found := _state(path))}

    def _watch(self) -> None:
        known = seen = self._snapshot()
        while True:
            time.sleep(LOOK)
            now = self._snapshot()
            if now == seen and now != known:
                changed = min(name for name, _ in known.items() ^ now.items())
                known = now
                self.reload(changed.removeprefix(f"{settings.BASE_DIR}/"))
            seen = now


def _state(path: Path) -> tuple[int, int] | None:
    """None while an editor puts another file in its place."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _usable(path: str) -> Talk:
    talk: Talk = import_string(path)
    if objection := handlers.objection_to(talk):
        raise handlers.NotAHandler(f"{path} is not a handler: {objection}")
    return talk


def _forget(modules: dict[str, ModuleType]) -> None:
    """Has them imported anew, from their files as they are now."""
    importlib.invalidate_caches()
    for name, module in modules.items():
        del sys.modules[name]
        # It is good for a source of the same second and the same size, which a file that was saved twice may be.
        if compiled := getattr(module, "__cached__", None):
            Path(compiled).unlink(missing_ok=True)


def _put_back(modules: dict[str, ModuleType]) -> None:
    sys.modules.update(modules)
    for name, module in modules.items():
        package, _, leaf = name.rpartition(".")
        if package in sys.modules:
            setattr(sys.modules[package], leaf, module)


def _old(talk: Talk, objection: str) -> Talk:
    """The same handler; each of its calls says that it is not what is on disk."""

    @wraps(talk)
    async def old(stream: MediaStream) -> None:
        logger.error("old_code_used call=%s: it goes by the last code that worked: %s", stream.call_sid, objection)
        if live := handled.get():
            live.tape.event("handlers-kept", timezone.now(), error=objection)
        await talk(stream)

    return old
