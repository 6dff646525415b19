"""`make handler NAME=order_desk`: a handler to begin with, its test and a scenario, which all work as they are."""

import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from calls.management.commands.new_handler import objection_to
from scripts.dotenv import write_dotenv
from tests.support.servers import Server


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def project(tmp_path, settings):
    """An empty one."""
    (tmp_path / "handlers").mkdir()
    write_dotenv(tmp_path / ".env")
    settings.BASE_DIR, settings.STARTED_WITH = tmp_path, {}
    return tmp_path


def new_handler(name="order_desk"):
    out = StringIO()
    call_command("new_handler", name, stdout=out)
    return out.getvalue()


def test_three_files_are_written_and_the_handler_is_named(project):
    out = new_handler()
    assert {path.name for path in (project / "handlers").iterdir()} == {
        "order_desk.py",
        "order_desk.yaml",
        "test_order_desk.py",
    }
    assert "STREAM_HANDLERS=order_desk=handlers.order_desk.order_desk\n" in (project / ".env").read_text()
    assert "make scenario NAME=order_desk" in out


def test_nothing_of_yours_is_overwritten(project):
    mine = project / "handlers" / "test_order_desk.py"
    mine.write_text("mine")
    before = (project / ".env").read_text()
    with pytest.raises(CommandError, match=r"^handlers/test_order_desk.py is there already"):
        new_handler()
    assert [path.name for path in (project / "handlers").iterdir()] == ["test_order_desk.py"]
    assert (mine.read_text(), (project / ".env").read_text()) == ("mine", before)


def test_settings_that_are_not_in_dotenv_are_yours_to_change(project, settings):
    settings.STARTED_WITH = {"STREAM_HANDLERS": "a=b.c"}
    before = (project / ".env").read_text()
    assert "Add it to STREAM_HANDLERS yourself: order_desk=handlers.order_desk.order_desk" in new_handler()
    assert (project / ".env").read_text() == before


def test_without_a_dotenv_none_is_made(project):
    (project / ".env").unlink()
    assert "Add it to STREAM_HANDLERS yourself" in new_handler()
    assert not (project / ".env").exists()


def test_where_nobody_may_write_it_says_so(project):
    (project / "handlers").rmdir()
    with pytest.raises(CommandError, match=r"^Cannot write it: "):
        new_handler()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Order-Desk", "Try order_desk."),
        ("orderDesk", "Try order_desk."),
        ("2nd", "Try nd."),
        ("", "'' cannot be its name"),
        ("ä", "'ä' cannot be its name"),
        ("_x", "Try x."),
        ("x" * 41, "cannot be its name"),
        ("class", "'class' is a word of Python's own"),
        ("print", "'print' is a word of Python's own"),
        ("match", "'match' is a word of Python's own"),
        ("echo", "'echo' ships with Callstream"),
        ("realtime", "'realtime' ships with Callstream"),
        ("pizza", "'pizza' is in STREAM_HANDLERS already: handlers.pizza.pizza."),
        ("sound", "is what its own code, or its test, calls something else"),
        ("asyncio", "is what its own code, or its test, calls something else"),
        ("stream", "is what its own code, or its test, calls something else"),
        ("phone", "is what its own code, or its test, calls something else"),
        ("test_desk", "is what its own code, or its test, calls something else"),
    ],
)
def test_a_name_that_cannot_be_one_is_told_why(settings, name, said):
    settings.STREAM_HANDLERS = {"pizza": "handlers.pizza.pizza"}
    assert said in objection_to(name)


@pytest.mark.parametrize("name", ["order_desk", "survey2", "x", "handler_of_everything", "a" * 40])
def test_other_names_are_good(name):
    assert objection_to(name) == ""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A copy of the project with a handler of a long name in it."""
    without = shutil.ignore_patterns(".*", "var", "docs", "tests", "__pycache__")
    project = shutil.copytree(ROOT, tmp_path_factory.mktemp("written") / "project", ignore=without)
    # What pytest runs with.
    (project / "tests").mkdir()
    for name in ("__init__.py", "settings.py"):
        shutil.copy(ROOT / "tests" / name, project / "tests")
    write_dotenv(project / ".env")
    run(project, "manage.py", "new_handler", "the_order_desk_of_a_large_pizza_parlour")
    return project


def run(project, *words, **environment):
    """What a program says; it has to end well."""
    known = {"PATH": os.environ["PATH"], "HOME": str(project), "DATABASE_URL": "sqlite:///:memory:", **environment}
    done = subprocess.run([sys.executable, *words], cwd=project, env=known, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.process
def test_its_test_passes(written):
    assert "6 passed" in run(written, "-m", "pytest", "-q", "-p", "no:cacheprovider", "handlers", "-k", "order_desk")


@pytest.mark.process
def test_it_is_in_our_style(written):
    run(written, "-m", "ruff", "check", "--no-cache", "handlers")
    run(written, "-m", "ruff", "format", "--no-cache", "--check", "handlers")


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_its_scenario_passes(written, tmp_path):
    name = "the_order_desk_of_a_large_pizza_parlour"
    with Server("runserver", tmp_path, root=written, STREAM_HANDLERS=f"{name}=handlers.{name}.{name}") as server:
        said = run(
            written,
            *("-m", "simulator", "run", f"handlers/{name}.yaml"),
            *("--voice-url", f"{server.url}/incoming/{name}"),
            TWILIO_AUTH_TOKEN=os.environ["TWILIO_AUTH_TOKEN"],
        )
    assert "1 call" in said
