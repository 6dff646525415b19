"""`manage.py new_handler order_desk`: writes a handler, its test and a scenario, and names it in `.env`."""

import ast
import builtins
import keyword
import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template import Context, Engine

from calls import handlers
from calls.management.dotenv import SETTING, add_handler


# Django's way to say "a template of code", so that nobody takes it for code.
TEMPLATES = Path(__file__).resolve().parent.parent / "handler"
FILES = {"handler.py-tpl": "{}.py", "test_handler.py-tpl": "test_{}.py", "handler.yaml-tpl": "{}.yaml"}
NEXT = """
What next:
  .venv/bin/pytest handlers                 runs its test: no phone, no server, no waiting
  make run                                  serves it; one that runs takes it up by itself
  make scenario NAME={name}
                                            calls it while that runs, presses keys, and judges what it hears
  .venv/bin/python manage.py configure_number +14155550199 --handler {name}
                                            and for real: it answers that number of yours"""


class Command(BaseCommand):
    help = "Writes handlers/NAME.py, a test of it and a scenario, and adds it to STREAM_HANDLERS in .env."
    # It mends what they would complain of: a handler that is named and not there yet.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="of the coroutine, its module and its voice URL: small_letters_like_this")

    def handle(self, *args: Any, **options: Any) -> None:
        name, root = options["name"], Path(settings.BASE_DIR)
        if objection := objection_to(name):
            raise CommandError(objection)
        folder = root / "handlers"
        files = {folder / pattern.format(name): _rendered(template, name) for template, pattern in FILES.items()}
        if there := [path for path in files if path.exists()]:
            raise CommandError(f"{there[0].relative_to(root)} is there already, and nothing of yours is overwritten.")
        try:
            _write(files)
            is_named = self.is_named(root / ".env", name)
        except OSError as error:
            raise CommandError(f"Cannot write it: {error}") from error
        self.tell([str(path.relative_to(root)) for path in files], name, is_named)

    def is_named(self, dotenv: Path, name: str) -> bool:
        """Whether the settings find it by its name from the next start on."""
        if SETTING in settings.STARTED_WITH or not dotenv.exists():
            return False
        return add_handler(dotenv, name, _where(name))

    def tell(self, files: list[str], name: str, is_named: bool) -> None:
        code, test, scenario = files
        self.stdout.write(self.style.SUCCESS(f"Wrote {code}, {test} and {scenario}."))
        if is_named:
            self.stdout.write(f"{SETTING} in .env has {name}={_where(name)} now.")
        else:
            self.stdout.write(self.style.WARNING(f"Add it to {SETTING} yourself: {name}={_where(name)}"))
        self.stdout.write(NEXT.format(name=name))


def objection_to(name: str) -> str:
    """Why a handler cannot be called that, or ""."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        return (
            f"{name!r} cannot be its name: small letters, digits and _ are, a letter first. {_suggestion(name)}".strip()
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        return f"{name!r} is a word of Python's own. Call it {name}_desk, say."
    if name in handlers.SHIPPED or name in handlers.APART:
        return f"{name!r} ships with Callstream; with that name in {SETTING} yours would take its place everywhere."
    if name in settings.STREAM_HANDLERS:
        return f"{name!r} is in {SETTING} already: {settings.STREAM_HANDLERS[name]}."
    if name in _used() or name.startswith("test_"):
        return f"{name!r} is what its own code, or its test, calls something else. Call it {name}_desk, say."
    return ""


def _suggestion(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_0123456789")
    return f"Try {plain[:40]}." if plain else ""


def _used() -> set[str]:
    """The names that the code uses itself."""
    trees = [ast.parse(_rendered(template, "x")) for template in FILES if ".py-" in template]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    }
    named = {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.arg for node in nodes if isinstance(node, ast.arg)
    }
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return (imported | named | defined) - {"x"}


def _where(name: str) -> str:
    return f"handlers.{name}.{name}"


def _rendered(template: str, name: str) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return Engine(autoescape=False).from_string(text).render(Context({"name": name}, autoescape=False))


def _write(files: dict[Path, str]) -> None:
    for path, content in files.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
