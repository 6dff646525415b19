"""The project as a newcomer and a packager find it: settings that are explained, pins, sounds, `make run`.

The tests of `make run` place its call, or start it anew several times: 10 s and more.
"""

import ast
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField, CreateModel
from packaging.requirements import Requirement

from calls.management import serving
from calls.management.commands import rundemo
from calls.media import audio
from scripts.dotenv import write_dotenv
from tests.support.factories import make_call, make_stream
from tests.support.servers import DEADLINE, free_port, until


ROOT = Path(__file__).resolve().parent.parent
SOUNDS = ROOT / "calls" / "sounds"


def names_in_settings() -> set[str]:
    """Of the calls `env.str("NAME", …)` and `read(env.str, "NAME", …)`."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "config" / "settings.py").read_text())) if is_read(node)]
    constants = [[argument.value for argument in call.args if isinstance(argument, ast.Constant)] for call in calls]
    # What follows the name is its default.
    return {values[0] for values in constants if values and re.fullmatch(r"[A-Z_]{4,}", str(values[0]))}


def is_read(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in ("env", "read")


def names_in_example(*, for_compose: bool) -> set[str]:
    settings, _, compose = (ROOT / ".env.example").read_text().partition("# --- compose.yaml only")
    return set(re.findall(r"^#?([A-Z_]+)=", compose if for_compose else settings, re.MULTILINE))


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith(("#", "-r ")))


def test_every_setting_is_explained_and_every_explained_one_is_read():
    assert names_in_settings() == names_in_example(for_compose=False)


SHOW = """
from config import settings
print(settings.RECORDING_RETENTION_DAYS, settings.MAX_STREAMS, settings.DRAIN_SECONDS, settings.SPOOL_MAX_MB)
print(settings.LOGGING["root"]["level"], settings.TIME_ZONE, settings.DEFAULT_STREAM_HANDLER, settings.TWILIO_API_URL)
print(settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS, settings.SPOOL_DIR.name, settings.MASK_DTMF, sep="\\n")
"""


def test_a_setting_that_is_set_to_nothing_has_its_default():
    given = dict.fromkeys(names_in_settings(), "") | {"SECRET_KEY": "some", "PUBLIC_URL": "https://voice.example.org"}
    shown = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, env=given, capture_output=True, text=True)
    assert shown.stdout.splitlines() == [
        "None 200 20.0 1024",
        "INFO UTC voicemail https://api.twilio.com",
        "['voice.example.org', '127.0.0.1', 'localhost', '[::1]']",
        "['https://voice.example.org']",
        "spool",
        "False",
    ], shown.stderr


def test_what_compose_alone_reads_is_explained_too():
    compose = (ROOT / "compose.yaml").read_text()
    read = set(re.findall(r"\$\{([A-Z_]+)", compose)) | set(re.findall(r"^ +([A-Z_]+):$", compose, re.MULTILINE))
    # What Compose sets itself, and what it shares with settings.py.
    elsewhere = {"COMPOSE_PROJECT_NAME"} | names_in_settings()
    # Which services there are is for Compose itself to read.
    assert names_in_example(for_compose=True) - {"COMPOSE_PROFILES"} == read - elsewhere


@pytest.mark.django_db
def test_no_migration_is_missing():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def columns_since(number: int) -> dict[str, models.Field]:
    """What the migrations from that one on add to tables that there were before, by name."""
    loader = MigrationLoader(None)
    later = [
        loader.get_migration(*key) for key in loader.disk_migrations if key[0] == "calls" and key[1] >= f"{number:04}"
    ]
    operations = [operation for migration in later for operation in migration.operations]
    new = {operation.name_lower for operation in operations if isinstance(operation, CreateModel)}
    added = [
        operation for operation in operations if isinstance(operation, AddField) and operation.model_name not in new
    ]
    return {f"{operation.model_name}.{operation.name}": operation.field for operation in added}


def test_workers_from_before_a_rollout_can_write_to_the_new_tables():
    columns = columns_since(21)
    assert {"call.price_unit", "call.told", "recordingaccess.client_name"} <= columns.keys()
    assert not [name for name, field in columns.items() if not field.null and not field.has_db_default()]


@pytest.mark.parametrize(("file", "group"), [("requirements.txt", "runtime"), ("requirements-dev.txt", "dev")])
def test_pins_are_plain_and_lie_within_the_ranges(file, group):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ranges = project["project"]["dependencies"] if group == "runtime" else project["dependency-groups"]["dev"]
    pinned = pins(file)
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in pinned)
    for requirement in map(Requirement, ranges):
        # What production needs too is pinned there.
        version = {**pins("requirements.txt"), **pinned}[requirement.name.lower()]
        assert requirement.specifier.contains(version)


def test_a_new_dotenv_has_secrets_of_its_own_that_only_its_owner_reads(tmp_path):
    assert write_dotenv(tmp_path / "one") is True
    assert write_dotenv(tmp_path / "two") is True
    one, two = (tmp_path / "one").read_text(), (tmp_path / "two").read_text()
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    for name in ("SECRET_KEY", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        found = [re.search(rf"^{name}=(.{{32,}})$", text, re.MULTILINE) for text in (one, two)]
        assert all(found)
        assert found[0][1] != found[1][1]


def test_a_dotenv_that_is_there_is_left_alone(tmp_path):
    (tmp_path / ".env").write_text("SECRET_KEY=mine\n")
    assert write_dotenv(tmp_path / ".env") is False
    assert (tmp_path / ".env").read_text() == "SECRET_KEY=mine\n"


@pytest.mark.parametrize("name", ["greeting", "beep", "thanks", "apology", "caller"])
def test_a_sound_is_loud_enough_not_clipped_and_has_no_long_silence_at_its_ends(name):
    samples = audio.read_wav((SOUNDS / f"{name}.wav").read_bytes())
    loud = audio.peaks(samples)
    assert 30 < max(loud) < 124  # of 127
    speaks = [at for at, peak in enumerate(loud) if peak > 4]
    assert speaks[0] < 25
    assert len(loud) - speaks[-1] < 25


def test_the_greeting_takes_three_to_six_seconds():
    assert 3 <= len(audio.read_wav((SOUNDS / "greeting.wav").read_bytes())) / audio.SAMPLE_RATE <= 6


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_alone_says_what_there_is_to_make():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in said.splitlines()} >= {"install", "run", "test", "check", "requirements"}


def test_a_taken_port_is_named_with_another_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=rf"^Port {port} is taken\. .*make run PORT={port + 1}$"):
            rundemo.refuse_taken(port)


@pytest.mark.django_db
def test_the_development_admin_is_made_once(settings):
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert rundemo.development_admin() is True
    assert rundemo.development_admin() is True
    assert get_user_model().objects.get(username="admin").is_superuser


@pytest.mark.django_db
@pytest.mark.parametrize("exists", [False, True])
def test_an_address_that_others_reach_is_refused_while_the_password_is_admin(settings, exists):
    settings.PUBLIC_URL = "https://voice.example.org"
    if exists:
        get_user_model().objects.create_superuser("admin", "", "admin")
    with pytest.raises(CommandError, match=r"voice\.example\.org.*admin's password is 'admin'"):
        rundemo.development_admin()
    assert get_user_model().objects.exists() is exists


@pytest.mark.django_db
def test_an_admin_with_a_password_of_its_own_may_serve_any_address(settings):
    settings.PUBLIC_URL = "https://voice.example.org"
    get_user_model().objects.create_superuser("admin", "", "a password of its own")
    assert rundemo.development_admin() is False


def test_links_and_signatures_follow_the_port_on_loopback_only(settings, monkeypatch):
    monkeypatch.setenv("PUBLIC_URL", "http://localhost:8000")
    settings.PUBLIC_URL = "http://localhost:8000"
    assert serving.environment(8001)["PUBLIC_URL"] == serving.origin(8001) == "http://127.0.0.1:8001"
    settings.PUBLIC_URL = "https://voice.example.org"
    assert serving.origin(8001) == "https://voice.example.org"
    assert serving.environment(8001)["PUBLIC_URL"] == "http://localhost:8000"


@pytest.mark.process
def test_make_run_serves_a_call_that_can_be_listened_to_until_ctrl_c(tmp_path):
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY": "for this test only, and therefore as long as a real one has to be",
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "TWILIO_ACCOUNT_SID": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
        "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
        "DATABASE_URL": f"sqlite:///{tmp_path}/demo.sqlite3",
        "REDIS_URL": "",
        "SPOOL_DIR": str(tmp_path / "spool"),
    }
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [sys.executable, "manage.py", "rundemo", "--port", str(port)]
        demo = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until(lambda: "Stop with:" in log.read_text() or demo.poll() is not None, "the call to be placed", 60)
        address = re.search(rf"http://127\.0\.0\.1:{port}/admin/calls/call/\d+/change/", log.read_text())
        assert address, log.read_text()
        # As a terminal does: to the whole group.
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=5) == 0
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    assert log.read_text().rstrip().endswith("Stopped.")
    assert "Traceback" not in log.read_text()


class Demo:
    """`make run` in a copy of the project, with one call from before."""

    def __init__(self, folder: Path) -> None:
        without = shutil.ignore_patterns(".*", "var", "docs", "tests")
        self.project = shutil.copytree(ROOT, folder / "project", ignore=without)
        self.dotenv = self.project / ".env"
        write_dotenv(self.dotenv)
        self.manage("migrate")
        self.manage("seed_calls", "1", "--audio", "1", "--live", "0", "--seed", "2")
        self.log = folder / "log"
        command = [sys.executable, "manage.py", "rundemo", "--port", str(free_port())]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=self.project, env=self.environment, stdout=output, stderr=output, process_group=0
            )

    environment = {"PATH": os.environ["PATH"]}

    def manage(self, *words: str) -> None:
        command = [sys.executable, "manage.py", *words]
        subprocess.run(command, cwd=self.project, env=self.environment, check=True, capture_output=True)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "manage.py", *words], cwd=self.project, env=self.environment)

    def write_handler(self, text: str) -> None:
        (self.project / "handlers" / "mine.py").write_text(text)

    def name_handler(self) -> None:
        with self.dotenv.open("a") as dotenv:
            dotenv.write("STREAM_HANDLERS=mine=handlers.mine.mine\n")
        self.says("One call is here", times=2)

    def says(self, text: str, times: int = 1) -> None:
        until(lambda: self.log.read_text().count(text) >= times or self.process.poll() is not None, text, 60)
        assert self.log.read_text().count(text) == times, self.log.read_text()

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(timeout=DEADLINE)


@pytest.fixture
def demo(tmp_path):
    demo = Demo(tmp_path)
    try:
        demo.says("One call is here from before")
        yield demo
    finally:
        if demo.process.poll() is None:
            os.killpg(demo.process.pid, signal.SIGKILL)
            demo.process.wait()


@pytest.mark.process
@pytest.mark.sqlite
def test_make_run_takes_new_code_and_settings_and_places_no_further_call(demo):
    (demo.project / "templates" / "new.html").touch()
    demo.says("has restarted")
    demo.write_handler("from calls.handlers import echo as mine\n")
    demo.name_handler()
    # Neither the port nor what is signed has to be said again.
    demo.manage("simulate_call", "--handler", "mine", "--hang-up-after", "1")
    assert demo.stop() == 0, demo.log.read_text()


# Says once that it has begun, and goes on until a file is there.
WAITS = """
import asyncio
from pathlib import Path

async def mine(stream):
    print("old: begun", flush=True)
    while not Path("go").exists():
        await asyncio.sleep(0.05)
    print("old: ended", flush=True)
"""


@pytest.mark.process
@pytest.mark.sqlite
def test_make_run_takes_new_code_for_the_next_call_while_one_runs_by_the_old(demo):
    demo.write_handler(WAITS)
    demo.name_handler()
    running = demo.begin("simulate_call", "--handler", "mine", "--hang-up-after", "60", "--silence-timeout", "0")
    demo.says("old: begun")
    demo.write_handler("async def mine(stream):\n    print('new: begun', flush=True)\n")
    demo.says("handlers_reloaded handlers/mine.py has changed")
    demo.manage("simulate_call", "--handler", "mine")
    demo.says("new: begun")
    (demo.project / "go").touch()
    demo.says("old: ended")
    assert running.wait(timeout=DEADLINE) == 0
    assert "has restarted" not in demo.log.read_text()


@pytest.mark.process
@pytest.mark.sqlite
def test_make_run_tells_of_a_syntax_error_with_its_line_and_goes_on_by_what_worked(demo):
    demo.write_handler("async def mine(stream):\n    print('old', flush=True)\n")
    demo.name_handler()
    demo.write_handler("async def mine(stream):\n    print('new', flush=True\n")
    demo.says(
        "handlers_kept handlers/mine.py has changed and cannot be used: "
        "SyntaxError: '(' was never closed (mine.py, line 2)"
    )
    demo.manage("simulate_call", "--handler", "mine")
    demo.says("goes by the last code that worked: SyntaxError")


@pytest.mark.process
@pytest.mark.sqlite
def test_make_run_waits_for_wrong_settings_to_be_put_right(demo):
    right = demo.dotenv.read_text()
    wrong = ["MAX_STREAMS=many", "STREAM_HANDLERS=mine=nowhere.mine", "PUBLIC_URL=https://voice.example.org"]
    for times, line in enumerate(wrong, 1):
        demo.dotenv.write_text(f"{right}{line}\n")
        demo.says("It starts again when a file has changed.", times)
    demo.dotenv.write_text(right)
    demo.says("One call is here", times=2)


@pytest.mark.django_db
def test_a_call_that_a_dead_server_had_holds_up_no_restart(monkeypatch):
    make_stream(make_call())
    looks = iter([None])
    monkeypatch.setattr(rundemo, "time", SimpleNamespace(sleep=lambda seconds: next(looks)))
    assert rundemo.Command(stdout=StringIO()).watch({}, None)


def test_every_rule_of_the_style_sheet_is_closed():
    """An open one takes all that follows into a screen of its size, and a browser says nothing."""
    style = (ROOT / "calls" / "static" / "calls" / "calls.css").read_text()
    assert style.count("{") == style.count("}")
