"""`replay_spool` writes the spools of a database that was moved or renamed, when told that they belong here."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from calls.media.rows import encode
from calls.models import AudioChunk, Call, Erasure, Stream
from calls.recorder.spool import Spool, fingerprint
from calls.recorder.writer import Writer
from tests.support.batches import SECOND, chunk, ended, stream_row


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path
    yield tmp_path
    connections["recorder"].close()


def spooled(path, *batches):
    spool = Spool(path, 2**20)
    for rows in batches:
        spool.append(encode(rows))
    spool.close()
    return path


@pytest.fixture
def file(folder):
    """Of a database that was called otherwise."""
    return spooled(folder / "00000000-dead.spool", [stream_row(), chunk(0, SECOND)], [chunk(1, SECOND), ended()])


def replay(*args, **options):
    out = io.StringIO()
    call_command("replay_spool", *args, stdout=out, **{"interactive": False, **options})
    return out.getvalue()


def test_without_a_choice_it_only_says_what_there_is(file):
    said = replay()
    assert f"{file} (of another database" in said
    assert "2 s of audio of 1 streams; from 2026-03-14 15:09:26" in said
    assert not Call.objects.exists()
    assert file.exists()


def test_a_dry_run_writes_nothing(file):
    assert "Nothing was written" in replay("--all", "--dry-run")
    assert not Call.objects.exists()


@pytest.mark.parametrize("choice", ["--from", "--all"])
def test_what_was_chosen_is_written_and_gone(file, choice):
    assert "was written, and is gone" in replay(*([choice, str(file)] if choice == "--from" else [choice]))
    assert AudioChunk.objects.count() == 2
    assert Stream.objects.get().end_reason == "stop"
    assert list(file.parent.iterdir()) == []


def test_it_asks_first(file, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    with pytest.raises(CommandError, match="Nothing was written"):
        replay("--all", interactive=True)
    assert "Write 1 files into " in asked[0]
    assert not Call.objects.exists()


def test_a_file_that_a_process_holds_is_not_touched(file):
    held = Spool(file, 2**20)
    assert "a running process holds it" in replay()
    with pytest.raises(CommandError, match="held by a running process"):
        replay("--from", str(file))
    held.close()
    assert not Call.objects.exists()


def test_streams_that_nobody_knows_are_not_dropped_in_silence(folder):
    file = spooled(folder / "00000000-dead.spool", [chunk(0)], [stream_row("MZ2"), chunk(0, stream="MZ2")])
    with pytest.raises(CommandError, match="does not know"):
        replay("--all")
    assert file.exists()
    replay("--all", "--skip-unknown")
    assert AudioChunk.objects.get().stream.sid == "MZ2"


def test_streams_that_the_database_knows_need_not_begin_in_the_file(folder):
    Writer().write([stream_row()])
    spooled(folder / "00000000-dead.spool", [chunk(0)])
    replay("--all")
    assert AudioChunk.objects.count() == 1


def test_what_was_erased_stays_so(file):
    Erasure.objects.create(call_sid="CA1", reason="asked for")
    assert "1 calls of it are erased" in replay()
    replay("--all")
    assert not Call.objects.exists()


def test_a_damaged_file_is_written_as_far_as_it_goes(folder):
    file = spooled(folder / "00000000-dead.spool", [stream_row()], *([chunk(n, b"\x2a" * 3000)] for n in range(40)))
    data = file.read_bytes()
    (folder / "00000000-dead.damaged").write_bytes(data[:-40960] + b"\xee" * 40960)
    file.unlink()
    said = replay("--from", str(folder / "00000000-dead.damaged"))
    assert "as far as it can be read" in said
    assert 10 < AudioChunk.objects.count() < 40


def test_a_file_that_is_not_a_spool_is_refused(folder):
    for name in ("notes.txt", "notes.spool"):
        (folder / name).write_text("this is no spool" * 100)
    with pytest.raises(CommandError, match="cannot be opened"):
        replay("--from", str(folder / "notes.spool"))
    for name in ("notes.txt", "nothing.spool"):
        with pytest.raises(CommandError, match="is not a spool file"):
            replay("--from", str(folder / name))


def test_an_empty_folder_has_nothing_to_say(folder):
    assert "There are no spool files" in replay()


def test_a_file_of_this_database_is_shown_as_such(folder, settings):
    spooled(folder / f"{fingerprint(settings.DATABASES['default'])}-dead.spool", [stream_row()])
    assert "(of this database)" in replay()
