"""Production's files: read by the programs that they are for, and run as local processes.

There is no Docker engine where this runs. Docker Compose itself reads compose.yaml (Debian's docker-compose); the rest
is Dockerfile's own command, twice, on PostgreSQL and Redis, behind Caddy with the Caddyfile, and calls over real wss.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import psycopg
import pytest
import redis
import yaml
from psycopg import sql

from tests.test_project import free_port, names_in_settings, wait_for


ROOT = Path(__file__).resolve().parent.parent
DATABASE_URL = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/test")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
Process = subprocess.Popen[bytes]


def missing(what: str) -> NoReturn:
    """Skips the test; in CI nothing may be missing."""
    pytest.fail(what) if os.environ.get("REQUIRE_SERVICES") == "1" else pytest.skip(what)


def needs(program: str) -> None:
    if not shutil.which(program):
        missing(f"{program} is not installed")


def dockerfile() -> str:
    return re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())


def web_command() -> list[str]:
    """The last stage's CMD, as Docker runs it."""
    [command] = re.findall(r"^CMD (\[.*\])$", dockerfile(), re.MULTILINE)
    return json.loads(command)


def flag(name: str) -> str:
    command = web_command()
    return command[command.index(name) + 1]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def service(name: str) -> dict[str, Any]:
    return compose()["services"][name]


def seconds(duration: str) -> int:
    return int(re.fullmatch(r"(\d+)s", duration)[1])


def test_docker_compose_accepts_the_file():
    needs("docker-compose")
    environment = {**os.environ, "PUBLIC_URL": "https://voice.example.org", "POSTGRES_PASSWORD": "secret"}
    command = ["docker-compose", "--file", "compose.yaml", "config", "--quiet"]
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_only_the_proxy_is_reached_from_outside():
    assert [name for name, service in compose()["services"].items() if "ports" in service] == ["proxy"]


def test_workers_start_after_the_migration_and_the_proxy_after_the_workers():
    assert service("migrate")["depends_on"]["db"]["condition"] == "service_healthy"
    assert service("migrate")["restart"] == "no"
    assert service("web")["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "db": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
    }
    assert service("proxy")["depends_on"] == {"web": {"condition": "service_healthy"}}


def test_a_worker_can_write_to_the_spool_and_to_tmp_and_to_nothing_else():
    web = service("web")
    assert web["read_only"] is True
    assert web["tmpfs"] == ["/tmp"]
    assert [volume for volume in web["volumes"] if not volume.endswith(":ro")] == ["spool:/var/lib/callstream/spool"]
    assert "SPOOL_DIR=/var/lib/callstream/spool" in dockerfile()
    assert re.search(r"^USER callstream$", dockerfile(), re.MULTILINE)


def test_what_must_outlive_a_container_lies_on_a_named_volume():
    kept = {volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", [])}
    assert set(compose()["volumes"]) == {"db", "spool", "caddy"} == {name for name in kept if name.isalpha()}


def test_every_setting_reaches_the_workers():
    # Production has no DEBUG, and the image says where its spool is.
    assert names_in_settings() - {"DEBUG", "SPOOL_DIR"} <= set(service("web")["environment"])


def test_a_call_has_time_to_be_handed_on_before_anything_stronger_than_sigterm(settings):
    drain = int(settings.DRAIN_SECONDS)
    assert service("web")["environment"]["DRAIN_SECONDS"] == f"${{DRAIN_SECONDS:-{drain}}}"
    assert drain < int(flag("--timeout-graceful-shutdown")) < seconds(service("web")["stop_grace_period"])


def test_nothing_secret_stands_in_the_files():
    for name in ("compose.yaml", ".env.example", "Dockerfile", "Caddyfile"):
        text = (ROOT / name).read_text()
        assert not re.search(r"(TOKEN|KEY|PASSWORD)(=|: ?)(?!build\b)\w{4,}", text), name


@pytest.mark.parametrize("tls", ["", "tls internal"])
def test_caddy_accepts_its_file(tls, tmp_path):
    needs("caddy")
    command = ["caddy", "validate", "--config", "Caddyfile", "--adapter", "caddyfile"]
    environment = proxy_environment(tmp_path, 443, ["web-1:8000", "web-2:8000"]) | {"CADDY_TLS": tls}
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def proxy_environment(folder: Path, port: int, upstreams: list[str]) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PUBLIC_URL": f"https://localhost:{port}",
        "CADDY_TLS": "tls internal",
        "HTTP_PORT": str(free_port()),
        "HTTPS_PORT": str(port),
        "WEB_UPSTREAMS": " ".join(upstreams),
    }


# --- The services of compose.yaml as processes of this machine


@pytest.fixture
def database() -> Iterator[str]:
    """A new PostgreSQL database; dropped whoever is still connected."""
    name = f"callstream_{uuid4().hex[:12]}"
    try:
        redis.Redis.from_url(REDIS_URL, socket_connect_timeout=3).ping()
        server = psycopg.connect(DATABASE_URL, autocommit=True, connect_timeout=3)
    except (psycopg.Error, redis.RedisError) as error:
        missing(f"PostgreSQL and Redis do not both answer: {error}")
    with server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{DATABASE_URL.rpartition('/')[0]}/{name}"
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    server.close()


class Production:
    """What compose.yaml starts: `migrate`, two `web` and `proxy`, each with its log in a file."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self.port, self.web_ports = free_port(), [free_port(), free_port()]
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SECRET_KEY": "for this test only, and therefore as long as a real one has to be",
            "PUBLIC_URL": f"https://localhost:{self.port}",
            "TWILIO_ACCOUNT_SID": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
            "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
            "DATABASE_URL": database,
            "REDIS_URL": REDIS_URL,
            "SPOOL_DIR": str(folder / "spool"),
            "ALLOWED_HOSTS": "localhost",
            "CSRF_TRUSTED_ORIGINS": f"https://localhost:{self.port}",
            "DEBUG": "false",
            "DRAIN_SECONDS": "2",
        }

    def start(self) -> None:
        migrated = self.run(*service("migrate")["command"])
        assert migrated.returncode == 0, migrated.stderr
        self.web = [self.spawn(f"web-{port}", self.web_on(port), self.environment) for port in self.web_ports]
        upstreams = [f"127.0.0.1:{port}" for port in self.web_ports]
        caddy = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
        self.spawn("proxy", caddy, proxy_environment(self.folder, self.port, upstreams))
        wait_for(self.certificate.exists, seconds=15)
        for port in self.web_ports:
            wait_for(lambda port=port: self.healthy(port), seconds=30)

    def web_on(self, port: int) -> list[str]:
        """The image's command, on this machine's loopback."""
        replaced = {flag("--host"): "127.0.0.1", flag("--port"): str(port)}
        return [replaced.get(word, word) for word in web_command()]

    def healthy(self, port: int) -> bool:
        """The image's own HEALTHCHECK."""
        [command] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile(), re.MULTILINE)
        program, *arguments = [word.replace(":8000", f":{port}") for word in json.loads(command)]
        return subprocess.run([program, *arguments], env=self.environment, capture_output=True).returncode == 0

    @property
    def certificate(self) -> Path:
        """Of the authority that Caddy made for itself."""
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def spawn(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "SSL_CERT_FILE": str(self.certificate)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def call(self, sound: str) -> dict[str, Any]:
        """One simulated call to `echo` through the proxy; the simulator's report."""
        audio = str(ROOT / "calls" / "sounds" / sound)
        server = ["--server", f"https://localhost:{self.port}", "--handler", "echo", "--audio", audio]
        placed = self.run("python", "manage.py", "simulate_call", *server, "--json")
        assert placed.returncode == 0, placed.stderr + self.logs()
        return json.loads(placed.stdout)[0]

    def sockets(self) -> list[int]:
        """How many each worker has accepted."""
        return [(self.folder / f"web-{port}.log").read_text().count("[accepted]") for port in self.web_ports]

    def logs(self) -> str:
        return "".join(f"\n--- {path.name}\n{path.read_text()[-4000:]}" for path in self.folder.glob("*.log"))

    def get(self, path: str) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=self.certificate)
        with urllib.request.urlopen(f"https://localhost:{self.port}{path}", context=context, timeout=10) as answer:
            return answer.status, answer.headers.get("Strict-Transport-Security", "")

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=20)


@pytest.fixture
def production(tmp_path: Path, database: str) -> Iterator[Production]:
    needs("caddy")
    production = Production(tmp_path, database)
    try:
        production.start()
        yield production
    finally:
        production.stop()


def lanes(database: str, call_sid: str) -> dict[str, int]:
    """Samples stored of each lane."""
    query = """SELECT chunk.track, sum(chunk.length) FROM calls_audiochunk chunk
               JOIN calls_stream stream ON stream.id = chunk.stream_id
               JOIN calls_call call ON call.id = stream.call_id WHERE call.sid = %s GROUP BY chunk.track"""
    with psycopg.connect(database) as connection:
        return dict(connection.execute(query, [call_sid]).fetchall())


@pytest.mark.process
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
        wait_for(lambda: production.sockets() != before, seconds=20)
        stopped = production.web[production.sockets()[0] == before[0]]
        stopped.terminate()
        report = running.result()
    # The caller stayed on the line, and the other worker took over.
    assert len(report["streams"]) == 2
    assert lanes(database, report["call_sid"])["inbound"] > 8000 * 6
    # uvicorn ends by the signal that it was sent, once it has shut down.
    assert stopped.wait(timeout=20) in (0, -signal.SIGTERM), production.logs()

    assert lanes(database, production.call("thanks.wav")["call_sid"])["outbound"] > 8000
