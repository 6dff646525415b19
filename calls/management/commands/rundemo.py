"""`make run`: the server with a database, an admin and a first call, for somebody who has none of these yet.

It serves until Ctrl-C. New code of handlers is taken for the next call, by the server itself. When other code or
templates have changed, the server is restarted, once no call is running; when .env has changed, all of this is. What
cannot start waits for the next change.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from calls.addresses import is_loopback
from calls.management.reloading import Reloader
from calls.management.serving import Server, announced, environment, origin, serving
from calls.media import audio
from calls.models import Call, Dtmf, Stream
from calls.process.oversights import remember_origins
from calls.sounds import sound


WRITE_SECONDS = 5
# Seconds between two looks at the files.
LOOK = 1.0
WATCHED = ("calls", "config", "handlers", "templates")
# The caller listens to the greeting and the beep, speaks, and presses # a moment later.
LISTENS = ("greeting", "beep")
PAUSE_MS = 600


class Command(BaseCommand):
    help = "Serves for development: migrates, makes the admin, places one simulated call, and says where to find it."
    # The server's own process runs them, once, and prints what they say.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--prepare", action="store_true", help="Do what comes before serving, check, and end.")
        parser.add_argument("--serve", action="store_true", help="Only serve, with new code of handlers for new calls.")

    def handle(self, *args: Any, port: int, prepare: bool, serve: bool, **options: Any) -> None:
        if serve:
            Reloader().start()
            remember_origins()
            # Django's own reloader replaces the process at once, in the middle of a call.
            call_command("runserver", f"127.0.0.1:{port}", use_reloader=False)
            return
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            refuse_taken(port)
            # WhiteNoise complains if it is missing, though it needs nothing in it.
            Path(settings.STATIC_ROOT).mkdir(exist_ok=True)
            call_command("migrate", verbosity=0)
            password = development_admin()
            if prepare:
                self.check()
                return
            with announced(port):
                self.serve(port, password)
        except KeyboardInterrupt:
            self.say("Stopped.")

    def serve(self, port: int, password: bool) -> None:
        files = snapshot()
        with serving(port) as server:
            if (call := newest()) is None:
                self.say("Placing a simulated call, which takes about 15 seconds")
                self.say(report(place_call(port), origin(port), password))
            else:
                self.say(found(call, origin(port), password))
            changed = self.watch(files, server)
        renewed = False
        while True:
            files = snapshot()
            renewed = renewed or changed == ".env"
            try:
                # .env decides on everything here, from the database to the port's address.
                if renewed:
                    self.start_over(port)
                with serving(port) as server:
                    self.say("The server has restarted.")
                    changed = self.watch(files, server)
            except CommandError as error:
                self.say(f"{error} It starts again when a file has changed.")
                changed = self.watch(files, None)

    def start_over(self, port: int) -> None:
        """Replaces this process by `make run` with the new .env; CommandError if that cannot start."""
        command = [sys.executable, "manage.py", "rundemo", "--port", str(port), "--prepare"]
        if subprocess.run(command, cwd=settings.BASE_DIR, env=settings.STARTED_WITH).returncode:
            raise CommandError("The new .env cannot be used; the lines above say why.")
        os.execve(sys.executable, [sys.executable, *sys.argv], settings.STARTED_WITH)

    def watch(self, files: dict[str, float], server: Server | None) -> str:
        """Waits until a file has changed and no call is running; the file's name. CommandError if the server ends."""
        said = ""
        while True:
            time.sleep(LOOK)
            if server is not None and server.poll() is not None:
                raise CommandError("The server has stopped; its last lines say why.")
            changed = min((name for name in changes(files) if server is None or not is_reloaded(name)), default="")
            # The calls of a server that has died are ended by the next one.
            running = bool(changed) and server is not None and Stream.objects.live().exists()
            if changed and not running:
                self.say(f"{changed} has changed.")
                return changed
            if running and changed != said:
                self.say(f"{changed} has changed: the server restarts when the running call is over.")
                said = changed

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def changes(files: dict[str, float]) -> set[str]:
    """Which files are not as they were."""
    return {name for name, _ in files.items() ^ snapshot().items()}


def is_reloaded(name: str) -> bool:
    """Whether a server that runs takes new code of this file by itself."""
    return name.startswith("handlers/") and name.endswith(".py")


def snapshot() -> dict[str, float]:
    """When each file was changed that the server is made of."""
    root = Path(settings.BASE_DIR)
    files = [path for name in WATCHED for path in (root / name).rglob("*") if path.suffix in (".py", ".html")]
    return {str(path.relative_to(root)): path.stat().st_mtime for path in [root / ".env", *files] if path.exists()}


def newest() -> Call | None:
    """The last call that can be listened to."""
    return Call.objects.ended().filter(audio_samples__gt=0).order_by("-created_at").first()


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        # As the server does: a port that is only waiting for old connections to die is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(f"Port {port} is taken. Choose another one: make run PORT={port + 1}") from error


def development_admin() -> bool:
    """Makes `admin` with the password `admin`, if there is no admin yet; whether that is the password.

    Never on an address that others reach: then admin has a password of its own, or nothing starts.
    """
    users = get_user_model().objects
    admin = users.filter(username="admin").first()
    weak = admin is None or admin.check_password("admin")
    if weak and not is_loopback(settings.PUBLIC_URL):
        raise CommandError(
            f"PUBLIC_URL is {settings.PUBLIC_URL!r}, which others may reach, and admin's password is 'admin'. "
            "Change it first (.venv/bin/python manage.py migrate, createsuperuser --username admin or "
            "changepassword admin), or set PUBLIC_URL=http://127.0.0.1:8000."
        )
    if admin is None:
        users.create_superuser("admin", "admin@localhost", "admin")
    return weak


def place_call(port: int) -> Call:
    """One simulated call over real HTTP and a real WebSocket."""
    with TemporaryDirectory() as folder:
        spoken = Path(folder) / "caller.wav"
        seconds = write_caller(spoken)
        command = [sys.executable, "manage.py", "simulate_call", "--server", f"http://127.0.0.1:{port}", "--json"]
        command += ["--handler", "voicemail", "--audio", str(spoken), "--dtmf", f"{seconds:.1f}:#"]
        call = subprocess.run(command, cwd=settings.BASE_DIR, env=environment(port), stdout=subprocess.PIPE)
    if call.returncode:
        raise CommandError("The simulated call failed; the line above says why.")
    [report] = json.loads(call.stdout)
    return written(report["call_sid"])


def written(sid: str) -> Call:
    """The call, once all of it is in the database: the recorder writes a little later."""
    for _ in range(WRITE_SECONDS * 10):
        call = Call.objects.filter(sid=sid, ended_at__isnull=False, audio_samples__gt=0).first()
        if call and not call.streams.live().exists():
            return call
        time.sleep(0.1)
    raise CommandError(f"The call was placed, but {sid} is not recorded after {WRITE_SECONDS} seconds.")


def write_caller(path: Path) -> float:
    """The shipped caller, silent while the greeting plays; returns after how many seconds everything is said."""
    waits = sum(len(sound(name)) for name in LISTENS) + PAUSE_MS * audio.SAMPLES_PER_MS
    spoken = audio.SILENCE * waits + sound("caller")
    path.write_bytes(audio.wav_header(len(spoken), 1, "mulaw") + spoken)
    return len(spoken) / audio.SAMPLE_RATE


def report(call: Call, address: str, password: bool) -> str:
    heard = sum(stream.heard for stream in call.streams.all()) / audio.SAMPLE_RATE
    keys = "".join(Dtmf.objects.filter(stream__call=call).values_list("digit", flat=True))
    said = [
        f"A simulated caller reached {call.handler} ({call.status}): heard {heard:.1f} s of it, left a message,",
        f"and pressed {keys or 'nothing'}. {call.audio_samples / audio.SAMPLE_RATE:.1f} s are recorded, both sides.",
    ]
    return invitation(said, call, address, password)


def found(call: Call, address: str, password: bool) -> str:
    """For somebody who has been here before."""
    calls = Call.objects.count()
    said = [
        f"{'One call is' if calls == 1 else f'{calls} calls are'} here from before, the newest with {call.handler}.",
        "Place another one:  .venv/bin/python manage.py simulate_call",
    ]
    return invitation(said, call, address, password)


def invitation(said: list[str], call: Call, address: str, password: bool) -> str:
    lines = [
        "",
        *said,
        "",
        f"  Listen to it:  {address}{reverse('admin:calls_call_change', args=[call.pk])}",
        *(["  Sign in with:  admin / admin"] if password else []),
        "  Stop with:     Ctrl-C",
        "",
    ]
    return "\n".join(lines)
