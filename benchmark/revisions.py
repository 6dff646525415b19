"""Another revision of ours: its files from git, and a venv with what it requires."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmark.candidates import HERE, Checkout
from benchmark.load import BenchmarkError


# What is installed for a server, in files of the same names in every revision.
REQUIREMENTS = ("requirements.txt", "handlers/requirements.txt")
# The program that builds the C extension, where a revision has one.
BUILD = Path("scripts", "quick.py")

Say = Callable[[str], None]


def resolve(home: Path, revision: str) -> str:
    """The commit that a tag, a branch or a hash names; BenchmarkError if it names none, or there is no git here."""
    if not _git(home, "rev-parse", "--is-inside-work-tree"):
        raise BenchmarkError("This is no checkout of git, so there is no other revision to measure.")
    commit = _git(home, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        raise BenchmarkError(f"git knows no revision {revision} here: name a tag, a branch or a commit.")
    return commit.decode().strip()


def prepare(home: Path, revision: str, commit: str, folder: Path, say: Say) -> Checkout:
    """That commit, ready to serve. What is made for it stays in the folder for the next time."""
    files = _files(home, revision, commit, folder, say)
    if not (files / "manage.py").exists():
        raise BenchmarkError(f"{revision} has no manage.py: there is nothing to serve.")
    checkout = Checkout(files, _programs(files, folder, say))
    _build(checkout, say)
    return checkout


def in_a_path(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)


def _files(home: Path, revision: str, commit: str, folder: Path, say: Say) -> Path:
    place = folder / f"{in_a_path(revision)}-{commit[:12]}"
    if not place.exists():
        say(f"Taking {revision} ({commit[:12]}) from git")
        unfinished = folder / f"{place.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        packed = _git(home, "archive", "--format=tar", commit)
        subprocess.run(["tar", "--extract", "--directory", unfinished], input=packed, check=True)
        unfinished.rename(place)
    return place


def _programs(home: Path, folder: Path, say: Say) -> Path:
    """Those of the venv that this runs in, if that revision requires the same."""
    wanted = _requirements(home)
    if wanted == _requirements(HERE.home):
        return HERE.bin
    venv = folder / f"venv-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if not (venv / ".installed").exists():
        say("It requires other packages: installing them into a venv of its own (once, about a minute)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        files = [part for name in REQUIREMENTS if (home / name).exists() for part in ("-r", str(home / name))]
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, *files]).returncode:
            raise BenchmarkError(f"pip could not install what {home.name} requires.")
        (venv / ".installed").touch()
    return venv / "bin"


def _requirements(home: Path) -> list[str]:
    texts = [(home / name).read_text() for name in REQUIREMENTS if (home / name).exists()]
    lines = (line.partition("#")[0].strip() for text in texts for line in text.splitlines())
    return sorted(line for line in lines if line)


def _build(checkout: Checkout, say: Say) -> None:
    if not (checkout.home / BUILD).exists():
        return
    say("Building its C extension")
    command = [str(checkout.bin / "python"), str(BUILD)]
    done = subprocess.run(command, cwd=checkout.home, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{BUILD} of {checkout.home.name}: {(done.stdout + done.stderr).strip()[-2000:]}")


def _git(home: Path, *arguments: str) -> bytes:
    """What it prints; nothing if it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=home, capture_output=True).stdout
    except FileNotFoundError as error:
        raise BenchmarkError("Another revision is taken from git: install it.") from error
