"""The services of compose.yaml as processes of this machine: Dockerfile's own command, and Caddy with the Caddyfile.

with Production(tmp_path, database_url) as production:
    production.call("thanks.wav")
"""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
import pytest
import redis
import yaml
from psycopg import sql
from twilio.request_validator import RequestValidator

from simulator import Scenario
from tests.support.servers import BIN, SPEECH, free_port, until


ROOT = Path(__file__).resolve().parent.parent.parent
DATABASE_URL = os.environ.get("TEST_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/test")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
# Caddy is the one of requirements-dev.txt, as compose.yaml has it, wherever another one is installed too.
PATH = f"{BIN}:{os.environ['PATH']}"
Process = subprocess.Popen[bytes]


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


def missing(what: str) -> NoReturn:
    """Skips the test; in CI nothing may be missing."""
    pytest.fail(what) if os.environ.get("REQUIRE_SERVICES") == "1" else pytest.skip(what)


def needs(program: str) -> None:
    if not shutil.which(program, path=PATH):
        missing(f"{program} is not installed")


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """A new PostgreSQL database; dropped whoever is still connected. ConnectionError if it or Redis does not answer."""
    name = f"callstream_{uuid4().hex[:12]}"
    try:
        redis.Redis.from_url(REDIS_URL, socket_connect_timeout=3).ping()
        server = psycopg.connect(server_url, autocommit=True, connect_timeout=3)
    except (psycopg.Error, redis.RedisError) as error:
        raise ConnectionError(f"PostgreSQL and Redis do not both answer: {error}") from error
    with contextlib.closing(server):
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield f"{server_url.rpartition('/')[0]}/{name}"
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# Caddy itself, where Docker's names lead to ports of this machine.
CADDY = """#!/bin/sh
WEB_UPSTREAMS=$(echo "$WEB_UPSTREAMS" | sed {names})
exec {caddy} "$@"
"""


def proxy_environment(folder: Path, public_url: str) -> dict[str, str]:
    """What compose.yaml tells Caddy: on https with a certificate of its own, on http without any."""
    scheme, _, address = public_url.partition("://")
    ports = {scheme: address.partition(":")[2] or "443"}
    return {
        "PATH": PATH,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PUBLIC_URL": public_url,
        "CADDY_TLS": "tls internal" if scheme == "https" else "",
        "HTTP_PORT": ports.get("http") or str(free_port()),
        "HTTPS_PORT": ports.get("https") or str(free_port()),
        "ADMIN_SOCKET": str(folder / "caddy.sock"),
        "WEB_REPLICAS": "2",
    }


# Answers for Docker: hands what it is asked to the test, and says what the test says.
DOCKER = """#!{python}
import json, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    line.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    code, said = json.loads(line.makefile().readline())
print(said, end="")
sys.exit(code)
"""


class Production:
    """What compose.yaml starts: `migrate`, two `web` and `proxy`, each with its log in a file."""

    def __init__(self, folder: Path, database: str, scheme: str = "https", **environment: str) -> None:
        self.folder = folder
        self.processes: list[Process] = []
        self.port, self.web_ports, self.stand_in_ports = (
            free_port(),
            [free_port(), free_port()],
            [free_port(), free_port()],
        )
        self.running: dict[str, list[Process]] = {"web": [], "stand-in": []}
        self.url = f"https://localhost:{self.port}" if scheme == "https" else f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": PATH,
            "SECRET_KEY": "for this test only, and therefore as long as a real one has to be",
            "PUBLIC_URL": self.url,
            "TWILIO_ACCOUNT_SID": "AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
            "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
            "DATABASE_URL": database,
            "REDIS_URL": REDIS_URL,
            "SPOOL_DIR": str(folder / "spool"),
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "CSRF_TRUSTED_ORIGINS": self.url,
            "DEBUG": "false",
            "DRAIN_SECONDS": "2",
            **environment,
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        migrated = self.task("migrate")
        assert migrated.returncode == 0, migrated.stderr
        self.up("web")
        self.proxy = self.start_proxy()

    @property
    def web(self) -> list[Process]:
        return self.running["web"]

    def up(self, service: str) -> None:
        """As `docker compose up --wait` does it: all containers of the service at once, and only then the new ones."""
        self.down(service)
        ports = self.web_ports if service == "web" else self.stand_in_ports
        self.running[service] = [self.spawn(f"web-{port}", self.web_on(port), self.environment) for port in ports]
        for port in ports:
            until(lambda port=port: self.healthy(port), f"port {port} to be healthy")

    def down(self, service: str) -> None:
        for process in self.running[service]:
            process.terminate()
        for process in self.running[service]:
            process.wait(timeout=45)
        self.running[service] = []

    def docker(self, words: list[str]) -> tuple[int, str]:
        """What Docker Compose does when deploy/rollout asks for it: its exit code, and what it prints."""
        match words:
            case ["compose", "ps", "--quiet", "web"]:
                return 0, "".join(f"{process.pid}\n" for process in self.web)
            case ["compose", "config", "web"]:
                return 0, "services:\n  web:\n    deploy:\n      replicas: 2\n"
            case ["compose", "exec", "-T", "proxy", "/etc/caddy/proxy", "reload", "2"]:
                return self.reload_proxy().returncode, ""
            case ["compose", "run", "--rm", "--no-deps", "migrate"]:
                return self.task("migrate").returncode, ""
            case ["compose", "up", "--detach", "--no-deps", "--wait", "--scale", scale, ("web" | "stand-in") as name]:
                assert scale == f"{name}=2"
                self.up(name)
            case ["compose", "rm", "--stop", "--force", "stand-in"]:
                self.down("stand-in")
            case ["compose", "up", "--detach", "--no-deps", "archive"]:
                pass  # Nothing of these calls is old enough for it.
            case _:
                return 1, f"Nobody expected: docker {' '.join(words)}\n"
        return 0, ""

    def roll_out(self) -> subprocess.CompletedProcess[str]:
        """deploy/rollout, where `docker` is what is above."""
        (self.folder / "bin").mkdir()
        program, address = self.folder / "bin" / "docker", str(self.folder / "docker.socket")
        program.write_text(DOCKER.format(python=sys.executable, address=address))
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            threading.Thread(target=self._be_docker, args=(listener,), daemon=True).start()
            command, environment = [ROOT / "deploy" / "rollout"], {**os.environ, "PATH": path}
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)

    def _be_docker(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                with line:
                    answer = self.docker(json.loads(line.makefile().readline()))
                    line.sendall(json.dumps(answer).encode() + b"\n")

    def start_proxy(self) -> Process:
        shutil.copytree(ROOT / "deploy", self.folder / "etc", dirs_exist_ok=True)
        proxy = self.spawn("proxy", [str(self.folder / "etc" / "proxy"), "run"], self.proxy_environment)
        if self.url.startswith("https"):
            until(self.certificate.exists, "Caddy to make a certificate")
        until(self.answers, "Caddy to find a worker")
        return proxy

    def reload_proxy(self) -> subprocess.CompletedProcess[str]:
        """Has Caddy take the Caddyfile as it is now in `etc` of this one's folder."""
        command = [self.folder / "etc" / "proxy", "reload", "2"]
        return subprocess.run(command, env=self.proxy_environment, capture_output=True, text=True, timeout=60)

    @property
    def proxy_environment(self) -> dict[str, str]:
        """Docker's, and its DNS."""
        program, caddy = self.folder / "dns" / "caddy", shutil.which("caddy", path=PATH)
        program.parent.mkdir(exist_ok=True)
        ports = {"web": self.web_ports, "stand-in": self.stand_in_ports}
        names = [(f"{name}-{number}", port) for name, ports in ports.items() for number, port in enumerate(ports, 1)]
        names = " ".join(f"-e 's/callstream-{name}:8000/127.0.0.1:{port}/'" for name, port in names)
        program.write_text(CADDY.format(names=names, caddy=caddy))
        program.chmod(0o755)
        return {**proxy_environment(self.folder, self.url), "PATH": f"{program.parent}:{PATH}"}

    def answers(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def web_on(self, port: int) -> list[str]:
        """The image's command, on this machine's loopback."""
        replaced = {flag("--host"): "127.0.0.1", flag("--port"): str(port)}
        return [replaced.get(word, word) for word in web_command()]

    def healthy(self, port: int) -> bool:
        """The image's own HEALTHCHECK."""
        [command] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile(), re.MULTILINE)
        program, *arguments = [word.replace("8000", str(port)) for word in json.loads(command)]
        return subprocess.run([program, *arguments], env=self.environment, capture_output=True).returncode == 0

    @property
    def certificate(self) -> Path:
        """Of the authority that Caddy made for itself."""
        return self.folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def spawn(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def task(self, name: str) -> subprocess.CompletedProcess[str]:
        """A service that only works on the database, with nothing but what compose.yaml tells it."""
        told = ["PATH", *service(name)["environment"]]
        environment = {name: self.environment[name] for name in told if name in self.environment}
        return subprocess.run(
            service(name)["command"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "SSL_CERT_FILE": str(self.certificate)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    def call(self, sound: str) -> dict[str, Any]:
        """One simulated call to `echo` through the proxy; the simulator's report."""
        audio = str(ROOT / "calls" / "sounds" / sound)
        server = ["--server", self.url, "--handler", "echo", "--audio", audio]
        placed = self.run("python", "manage.py", "simulate_call", *server, "--json")
        assert placed.returncode == 0, placed.stderr + self.logs()
        return json.loads(placed.stdout)[0]

    def scenario(self, **facts: Any) -> Scenario:
        account, token = self.environment["TWILIO_ACCOUNT_SID"], self.environment["TWILIO_AUTH_TOKEN"]
        ours = {"public_url": self.url, "server": self.url, "account_sid": account, "auth_token": token}
        return Scenario(**{**ours, "audio": SPEECH, **facts})

    def sockets(self) -> list[int]:
        """How many each worker has accepted."""
        return [(self.folder / f"web-{port}.log").read_text().count("[accepted]") for port in self.web_ports]

    def logs(self) -> str:
        return "".join(f"\n--- {path.name}\n{path.read_text()[-4000:]}" for path in self.folder.glob("*.log"))

    def get(self, path: str) -> tuple[int, str]:
        with urllib.request.urlopen(self.url + path, context=self.context, timeout=10) as answer:
            return answer.status, answer.headers.get("Strict-Transport-Security", "")

    def post(self, path: str, **form: str) -> int:
        """The status of a webhook, signed as Twilio does; 0 if there is none."""
        signature = RequestValidator(self.environment["TWILIO_AUTH_TOKEN"]).compute_signature(self.url + path, form)
        headers = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(self.url + path, urlencode(form).encode(), headers)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=15) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    @property
    def context(self) -> ssl.SSLContext | None:
        is_https = self.url.startswith("https")
        return ssl.create_default_context(cafile=self.certificate) if is_https else None

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(timeout=20)
