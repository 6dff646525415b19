"""Another revision is taken from git, and served with what it requires."""

import shutil
import subprocess

import pytest
from django.core.management import CommandError, call_command

from benchmark.against import _candidate
from benchmark.candidates import HERE, Checkout
from benchmark.lab import Lab
from benchmark.load import BenchmarkError
from benchmark.revisions import BUILD, REQUIREMENTS, prepare, resolve


@pytest.fixture
def project(tmp_path):
    """A repository of one commit, with a tag: it requires what this one does."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    home = tmp_path / "project"
    for name in REQUIREMENTS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE.home / name, home / name)
    (home / "manage.py").write_text("print('as committed')")
    commit(home, "init", "--quiet")
    return home


def commit(home, *first):
    me = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost"]
    for command in (first, ["add", "."], [*me, "commit", "--quiet", "--message", "one"]):
        if command:
            subprocess.run(["git", *command], cwd=home, check=True)


def prepared(home, said=print, revision="HEAD"):
    return prepare(home, revision, resolve(home, revision), home.parent / "bench", said)


def test_a_revision_is_a_tag_a_branch_or_a_commit(project):
    subprocess.run(["git", "tag", "v1"], cwd=project, check=True)
    assert resolve(project, "v1") == resolve(project, "HEAD") == resolve(project, resolve(project, "v1")[:8])


def test_a_revision_that_git_does_not_know_is_named(project):
    with pytest.raises(BenchmarkError, match="git knows no revision v9 here"):
        resolve(project, "v9")


def test_without_git_there_is_no_other_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(BenchmarkError, match="git"):
        resolve(tmp_path, "v1")


def test_its_files_are_as_they_were_then(project):
    (project / "manage.py").write_text("print('committed since')")
    commit(project)
    (project / "manage.py").write_text("print('not committed')")
    assert (prepared(project, revision="HEAD~1").home / "manage.py").read_text() == "print('as committed')"


def test_what_was_taken_once_is_not_taken_again(project):
    said = []
    assert prepared(project, said.append) == prepared(project, said.append)
    assert len(said) == 1


def test_a_revision_that_requires_the_same_runs_in_the_venv_in_use(project):
    assert prepared(project).bin == HERE.bin


@pytest.mark.process  # it makes a venv
def test_a_revision_that_requires_something_else_has_a_venv_of_its_own(project):
    for name in REQUIREMENTS:
        (project / name).write_text("# nothing\n")
    commit(project)
    programs = prepared(project).bin
    assert programs.parent.parent == project.parent / "bench"
    assert (programs / "python").exists()


def test_its_extension_is_built_where_it_has_one(project):
    (project / BUILD).parent.mkdir()
    (project / BUILD).write_text("open('built', 'w').close()")
    commit(project)
    assert (prepared(project).home / "built").exists()


def test_an_extension_that_cannot_be_built_is_quoted(project):
    (project / BUILD).parent.mkdir()
    (project / BUILD).write_text("raise SystemExit('no compiler')")
    commit(project)
    with pytest.raises(BenchmarkError, match="no compiler"):
        prepared(project)


def test_what_is_no_django_project_cannot_be_served(project):
    (project / "manage.py").unlink()
    commit(project)
    with pytest.raises(BenchmarkError, match=r"HEAD has no manage\.py"):
        prepared(project)


def test_its_image_says_what_carries_the_media(project):
    (project / "Dockerfile").write_text('CMD ["uvicorn", "--ws", "websockets-sansio", "--port", "8000"]')
    lab = Lab(project, "", (0, 1), 1.0, 1, print)
    assert " --ws websockets-sansio config" in _candidate(lab, "v1", Checkout(project, HERE.bin)).command


def test_only_against_takes_a_revision():
    with pytest.raises(CommandError, match="gate takes no revision"):
        call_command("bench_streams", "gate", "v1", "--cores", "0", "1", "--rounds", "1", "--calls", "1")


def test_against_wants_a_revision():
    with pytest.raises(CommandError, match="Against which revision"):
        call_command("bench_streams", "against", "--cores", "0", "1")
