"""The simulator as a distribution of its own: what is in it, and that it works where there is no Django."""

import ast
import asyncio
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.support.servers import ROOT, free_port, until


SIMULATOR = ROOT / "simulator"
PROJECT = tomllib.loads((SIMULATOR / "pyproject.toml").read_text())
# What a distribution is called where that is not what is imported.
CALLED = {"yaml": "pyyaml"}
# What a machine lacks that has only the simulator and what it needs.
BLOCKER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "channels", "calls", "config", "benchmark", "handlers", "daphne"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def test_every_package_is_named():
    packages = {path.parent for path in SIMULATOR.rglob("__init__.py") if "build" not in path.parts}
    names = {".".join(("simulator", *path.relative_to(SIMULATOR).parts)) for path in packages}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names


def test_its_pytest_plugin_may_be_named_though_it_is_installed():
    # pytest looks for an installed plugin of that name, and registers any other beside it: an error.
    assert PROJECT["project"]["entry-points"]["pytest11"] == {"simulator.pytest_plugin": "simulator.pytest_plugin"}


def test_it_depends_on_everything_that_it_imports():
    dependencies = {re.split("[^a-z]", line)[0] for line in PROJECT["project"]["dependencies"]}
    # pytest brings its plugins itself, and yarl and multidict are aiohttp's.
    assert imported() - {"pytest", "pytest_asyncio", "yarl", "multidict"} <= dependencies


def imported():
    nodes = (node for path in SIMULATOR.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return {CALLED.get(name, name) for name in names - set(sys.stdlib_module_names) - {"simulator"}}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy, as a stranger has it: without what is around it here."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(SIMULATOR, folder / "simulator", ignore=shutil.ignore_patterns("__pycache__", "build"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, folder / "simulator"], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The program, in an environment that has the wheel, what it needs, and neither Django nor Callstream."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", folder / "bin/python"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(BLOCKER)
    return folder / "bin/twilio-media-streams-simulator"


@pytest.mark.process
def test_the_wheel_has_every_module_and_every_file_that_they_read(wheel):
    kinds = (".py", ".json", ".yaml", ".typed")
    wanted = {path for path in SIMULATOR.rglob("*") if path.suffix in kinds and "build" not in path.parts}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("simulator/")}
    assert packed == {f"simulator/{path.relative_to(SIMULATOR)}" for path in wanted}


@pytest.fixture
def server(tmp_path):
    """The address of the README's server."""
    (tmp_path / "server.py").write_text(fifteen_lines())
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "flask", "--app", "server", "run", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)
    try:
        until(lambda: "Running on" in log.read_text(), "the server to run")
        yield f"http://127.0.0.1:{port}/voice"
    finally:
        process.kill()
        process.wait()


@pytest.mark.process
@pytest.mark.clock
async def test_it_examines_a_server_of_fifteen_lines_where_there_is_no_django(installed, server, tmp_path):
    status, out, err = await examine(installed, server, tmp_path)
    assert status == 1, err
    found = re.findall(r"^(?:FAIL|WARN).*\((.*)\)$", out, re.M)
    assert found == ["unsigned-webhook", "extra-fields", "unsigned-socket"]


async def examine(program, url, folder):
    process = await asyncio.create_subprocess_exec(
        *(program, "examine", "--voice-url", url, "--auth-token", "any"),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.process
async def test_django_is_really_missing_there(installed):
    program = Path(installed).with_name("python")
    process = await asyncio.create_subprocess_exec(
        *(program, "-c", "import django"), cwd="/", stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert b"No module named 'django'" in err


def fifteen_lines():
    """The server of the README."""
    code = re.search(r"```python\n# server\.py\n(.*?)```", (SIMULATOR / "README.md").read_text(), re.S)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line]) <= 15
    return code[1]
