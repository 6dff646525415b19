"""A simulated call, placed at this very server: `manage.py simulate_call` as a process of its own, for developers.

`calls/` knows nothing of the simulator; whoever wants a call from it asks here.
"""

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, NoReturn

from django.conf import settings
from django.db import connections
from django.utils import timezone

from calls.media import audio
from calls.media.storable import storable
from calls.models import Call, CallEvent
from calls.server.hints import hints


# A process takes a second or two until it calls, on a busy machine more.
START_SECONDS = 30.0
LOOK_SECONDS = 0.1
# Of one process: a thread waits for each of them.
MOST = 10
# Bytes of what it printed that are looked at for a reason.
_MOST_SAID = 4000
# After Ctrl-C.
_INTERRUPTED = 130

_running = threading.BoundedSemaphore(MOST)


class NotStarted(Exception):
    """No call has come in; the text is for whoever asked for it."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """What somebody does on the phone: says a sentence, or this µ-law, or else the sample that ships; keys (seconds,
    key); and how many seconds they stay, or until all is said."""

    handler: str
    says: str = ""
    audio: bytes = b""
    keys: tuple[tuple[float, str], ...] = ()
    duration: float | None = None

    def arguments(self) -> list[str]:
        """Nothing of it is ever read by a shell, or taken for another option."""
        says = [f"--say={self.says}"] if self.says else []
        # The file has no name: it is handed over open.
        says += ["--audio=/dev/stdin"] if self.audio else []
        keys = [f"--dtmf={seconds:g}:{key}" for seconds, key in self.keys]
        stays = [] if self.duration is None else [f"--duration={self.duration:g}"]
        return [f"--handler={self.handler}", *says, *keys, *stays]


def call_in(caller: Caller, port: int) -> Call:
    """Has somebody call the server at this port of this machine, and waits until their call is there.

    Raises NotStarted if it is not within START_SECONDS. What goes wrong later is an event of the call.
    """
    if not _running.acquire(blocking=False):
        raise NotStarted(f"{MOST} simulated calls run already. Wait until one is over.")
    simulation = _Simulation(caller, port)
    simulation.start()
    return simulation.await_call()


class _Simulation(threading.Thread):
    """The process, and who waits for its end, so that it leaves neither a zombie nor an open file behind."""

    def __init__(self, caller: Caller, port: int) -> None:
        # A server that stops waits for no simulated call: who calls notices that it is gone.
        super().__init__(name="simulation", daemon=True)
        self._caller, self._port = caller, port
        self._sid = f"CA{secrets.token_hex(16)}"
        self._process: subprocess.Popen[bytes] | None = None
        #: Why it failed, in its own last line.
        self._fault = ""

    def await_call(self) -> Call:
        give_up = time.monotonic() + START_SECONDS
        while True:
            # In this order: one that is over at once may have called all the same.
            is_over = not self.is_alive()
            if call := Call.objects.filter(sid=self._sid).first():
                return call
            if is_over and self._fault:
                raise NotStarted(self._fault)
            if time.monotonic() > give_up:
                self._give_up()
            time.sleep(LOOK_SECONDS)

    def _give_up(self) -> NoReturn:
        if self._process:
            self._process.kill()
        raise NotStarted(f"No call has come in within {START_SECONDS:g} seconds.")

    def run(self) -> None:
        try:
            with TemporaryFile() as said:
                status = self._play(said)
                if status not in (0, _INTERRUPTED):
                    self._fault = _last_line(said) or f"It ended with {status}."
            self._note()
        except OSError as error:
            self._fault = f"No process could be started: {error}"
        finally:
            _running.release()
            connections.close_all()

    def _play(self, said: IO[bytes]) -> int:
        """The process's exit status, once it is over."""
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "simulate_call", f"--call-sid={self._sid}"]
        where = [f"--server=http://127.0.0.1:{self._port}", f"--public-url={settings.PUBLIC_URL}"]
        with TemporaryFile() as sound:
            sound.write(audio.wav_header(len(self._caller.audio), 1, "mulaw") + self._caller.audio)
            sound.seek(0)
            self._process = subprocess.Popen(
                # Some handlers say nothing; whoever looks at the page sees that.
                [*command, *where, "--silence-timeout=0", *self._caller.arguments()],
                cwd=settings.BASE_DIR,
                stdin=sound if self._caller.audio else subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        return self._process.wait()

    def _note(self) -> None:
        """Tells the call's page of a fault, if there is a call."""
        if self._fault and (call := Call.objects.filter(sid=self._sid).first()):
            CallEvent.objects.create(
                call=call,
                source=CallEvent.Source.SYSTEM,
                kind="simulation-failed",
                key="simulation-failed",
                occurred_at=timezone.now(),
                data={"reason": self._fault},
            )
            hints.add(self._sid)


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _MOST_SAID))
    lines = said.read().decode(errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "")
    return storable(re.sub(r"^(CommandError|manage.py simulate_call: error): ", "", last.strip()), 1000)
