"""Audio in the archive: on a real disk, and in a bucket of a server that is not ours."""

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from calls import archive_url, checks
from calls.management.diagnosis import machine
from calls.models import AudioChunk, Call, Erasure, Stream
from calls.recordings import export
from calls.recordings.rendering import Recording
from calls.recordings.retention import erasable, erase
from calls.store import archive, moving
from tests.support.buckets import bucket_server
from tests.support.factories import (
    make_chunk,
    make_client,
    make_live_call,
    make_recording,
    make_staff,
    make_stream,
    recording_url,
)
from tests.support.servers import ROOT, database_url


pytestmark = pytest.mark.django_db
LONG_AGO = dt.timedelta(days=400)
STEPS = ["claimed", "announced", "written", "verified", "adopted", "emptied some"]


class Killed(BaseException):
    """What no `except` of ours takes."""


def use(settings, url):
    settings.ARCHIVE_URL = url
    settings.STORAGES = {**settings.STORAGES, **archive_url.storages(url)}


@pytest.fixture
def folder(settings, tmp_path):
    path = tmp_path / "archive"
    path.mkdir()
    use(settings, f"file://{path}")
    return path


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with bucket_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def anywhere(request, settings, monkeypatch):
    """Either kind of archive."""
    if request.param == "folder":
        return request.getfixturevalue("folder")
    server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    use(settings, server.url)
    return server


@pytest.fixture
def small(monkeypatch):
    """Transactions of two rows."""
    monkeypatch.setattr(moving, "ROWS", 2)


def spoken(seconds=2, **facts):
    """A call of both lanes, none of whose bytes are like others; not as long as each other, as merged rows are not."""
    call = make_recording(0, audio_samples=seconds * 8000, **facts)
    stream = call.streams.get()
    Stream.objects.filter(pk=stream.pk).update(length=seconds * 8000, heard=seconds * 8000)
    for track in ("inbound", "outbound"):
        for number, start in enumerate(range(0, seconds * 8000, 1600)):
            sound = hashlib.shake_128(f"{stream.sid}{track}{start}".encode()).digest(1600)
            make_chunk(stream, sound, start=start, track=track, index=number)
    return call


def heard(call):
    return Recording.of(Call.objects.get(pk=call.pk)).read(0, 80_000)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def in_database():
    return AudioChunk.objects.exclude(payload=b"").count()


def abandon():
    """As if whoever moves audio had died long ago."""
    Stream.objects.filter(archiving_at__isnull=False).update(archiving_at=timezone.now() - LONG_AGO)


def run(*args, **options):
    out = StringIO()
    call_command("archive_calls", *args, stdout=out, **{"verbosity": 0, **options})
    return out.getvalue()


def test_what_is_in_the_archive_is_byte_for_byte_what_it_was(anywhere):
    call = spoken()
    before, frames = heard(call), list(export.frames(call))
    assert moving.store(call.streams.get()) == 32_000
    assert in_database() == 0
    assert (heard(call), list(export.frames(call))) == (before, frames)
    assert Recording.of(call).read(3_000, 3_010)[1] == before[1][3_000:3_010]
    call_command("verify_calls", call.sid, "--audio", verbosity=0)


def test_it_comes_back_and_leaves_nothing_there(anywhere, small):
    call = spoken()
    before, stream = heard(call), call.streams.get()
    moving.store(stream)
    name = call.streams.get().archive
    run(call.sid, back=True)
    assert (heard(call), in_database()) == (before, 20)
    assert Stream.objects.values_list("archive", "archive_spare", "archiving_at").get() == ("", "", None)
    with pytest.raises(archive.Missing):
        archive.size(name)


def test_a_row_that_comes_late_plays_and_is_taken_along(anywhere):
    call = spoken()
    stream = call.streams.get()
    moving.store(stream)
    make_chunk(stream, b"late" * 400, start=16_000)
    before = heard(call)
    assert before[0][16_000:17_600] == b"late" * 400
    run(call.sid)
    assert (heard(call), in_database()) == (before, 0)


def test_two_sides_are_read_at_once(folder, monkeypatch):
    call = spoken()
    moving.store(call.streams.get())
    asked, read = [], archive.read
    monkeypatch.setattr(archive, "read", lambda *span: asked.append(span) or read(*span))
    Recording.of(call).read(4_000, 9_000)
    assert len(asked) == 1


@pytest.mark.parametrize("step", STEPS)
def test_whoever_dies_on_the_way_leaves_nothing_to_mend(folder, small, step):
    call = spoken()

    def die(at):
        if at == step:
            raise Killed

    before = heard(call)
    with pytest.raises(Killed):
        moving.store(call.streams.get(), told=die)
    assert heard(call) == before
    abandon()
    run()
    assert (heard(call), in_database(), len(files(folder))) == (before, 0, 1)
    assert Stream.objects.values_list("archive_spare", "archiving_at").get() == ("", None)


CHILD = """
import os, signal, sys, django
django.setup()
from calls.models import Stream
from calls.store import moving
moving.ROWS = 2
moving.store(Stream.objects.get(), told=lambda step: step == sys.argv[1] and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.process
@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_kill_9_loses_nothing(folder):
    call = spoken()
    before = heard(call)
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": database_url()}
    environment["ARCHIVE_URL"] = f"file://{folder}"
    for step in ("written", "emptied some"):
        child = subprocess.run([sys.executable, "-c", CHILD, step], cwd=ROOT, env=environment, check=False)
        assert child.returncode == -9
        assert heard(call) == before
        abandon()
    assert 0 < in_database() < 20
    run()
    assert (heard(call), in_database(), len(files(folder))) == (before, 0, 1)


def test_nothing_is_emptied_of_what_reads_back_as_something_else(folder):
    call = spoken()

    def spoil(step):
        if step == "written":
            [file] = files(folder)
            file.write_bytes(file.read_bytes()[:-1] + b"?")

    with pytest.raises(archive.Corrupt):
        moving.store(call.streams.get(), told=spoil)
    assert (in_database(), files(folder)) == (20, [])


def test_no_row_is_emptied_whose_bytes_are_spoiled_after_they_were_verified(folder, small):
    call = spoken()
    before = heard(call)

    def spoil(step):
        if step == "adopted":
            [file] = files(folder)
            file.write_bytes(file.read_bytes()[:-1600] + b"?" * 1600)

    with pytest.raises(archive.Corrupt):
        moving.store(call.streams.get(), told=spoil)
    assert (heard(call), in_database()) == (before, 1)


def test_two_machines_never_move_the_same(folder):
    stream = spoken().streams.get()
    with moving.Move(stream), pytest.raises(archive.Busy):
        moving.store(stream)
    assert files(folder) == []


def test_what_failed_on_the_way_is_gone_on_with(folder, small):
    call = spoken()

    def fail(step):
        if step == "emptied some":
            raise ConnectionError

    with pytest.raises(ConnectionError):
        moving.store(call.streams.get(), told=fail)
    assert "Moved 28800 bytes" in run()
    assert in_database() == 0


def test_who_was_too_slow_leaves_it_to_the_other_one(folder):
    call = spoken()
    before, stream = heard(call), call.streams.get()

    def other(step):
        if step == "verified":
            abandon()
            moving.store(stream)

    with pytest.raises(archive.Busy):
        moving.store(stream, told=other)
    assert (heard(call), in_database(), len(files(folder))) == (before, 0, 1)


def test_only_calls_that_are_over_for_long_enough_are_moved(folder):
    old = spoken(ended_at=timezone.now() - dt.timedelta(days=8))
    young = spoken(ended_at=timezone.now() - dt.timedelta(days=6))
    running = spoken(ended_at=timezone.now() - dt.timedelta(days=8))
    make_stream(running)
    make_live_call()
    assert "Would move 32000 bytes of audio of 1 call" in run(dry_run=True)
    assert "Moved 32000 bytes of audio of 1 call into the archive." in run()
    assert "Moved 0 bytes of audio of 0 calls" in run()
    assert [Stream.objects.exclude(archive="").get().call, in_database()] == [old, 40]
    assert "Moved" in run(older_than=dt.timedelta(hours=1), number=[young.from_number])
    assert in_database() == 20


def test_names_of_objects_tell_no_number(folder):
    call = spoken()
    moving.store(call.streams.get())
    [file] = files(folder)
    assert call.streams.get().sid in file.name
    assert call.from_number.strip("+") not in str(file)
    assert file.stat().st_mode & 0o077 == 0


def test_without_an_archive_the_command_says_so():
    with pytest.raises(CommandError, match="ARCHIVE_URL is not set"):
        run()


@pytest.fixture
def away(folder):
    """A call whose audio is in an archive that is away, and its audio."""
    call = spoken()
    before = heard(call)
    moving.store(call.streams.get())
    folder.rename(folder.with_name("unplugged"))
    return call, before


def test_while_the_archive_is_away_the_recording_is_answered_in_words(away, client, listener):
    call, _ = away
    response = client.get(recording_url(call), headers={"Range": "bytes=0-99"})
    assert response.status_code == 503
    assert response.content == b"The archive, which has this recording, does not work. Try again later."
    peaks = client.get(reverse("admin:calls_call_peaks", args=[call.pk]) + "?until=8000").json()
    assert peaks["inbound"].strip("A")
    assert client.get(reverse("admin:calls_call_change", args=[call.pk])).status_code == 200


def test_while_the_archive_is_away_a_program_is_told_to_come_back(away, client):
    call, _ = away
    _, token = make_client("download_call")
    url = f"/api/v1/calls/{call.sid}/recording.wav"
    response = client.get(url, headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert json.loads(response.content)["error"]["code"] == "unavailable"


def test_while_the_archive_is_away_nothing_is_half_exported(away, client, tmp_path):
    call, _ = away
    with pytest.raises(CommandError, match="Not all was exported"):
        call_command("export_call", call.sid, to=tmp_path / "export")
    assert files(tmp_path / "export") == []
    client.force_login(make_staff("view_call", "listen_call", "download_call"))
    asked = {"action": "download", "_selected_action": [call.pk]}
    response = client.post(reverse("admin:calls_call_changelist"), asked, follow=True)
    assert "Nothing was downloaded. The archive" in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_while_the_archive_is_away_nothing_is_erased_nor_said_to_be(away, folder):
    call, before = away
    with pytest.raises(CommandError, match="Not all was erased"):
        call_command("erase_call", call.sid, reason="asked to", yes=True, stdout=StringIO())
    with pytest.raises(CommandError, match="1 calls were left"):
        call_command("prune_calls", older_than=dt.timedelta(days=1), verbosity=0, stdout=StringIO())
    assert not Erasure.objects.exists()
    folder.with_name("unplugged").rename(folder)
    assert heard(call) == before


def test_an_object_that_was_left_when_audio_was_erased_goes_the_next_time(folder):
    call = spoken()
    moving.store(call.streams.get())
    AudioChunk.objects.all().delete()
    erase(erasable(Call.objects.all(), audio_only=True).get(), "asked to", audio_only=True)
    assert files(folder) == []
    assert not erasable(Call.objects.all(), audio_only=True).exists()


@pytest.mark.parametrize("audio_only", [True, False])
def test_erasing_leaves_nothing_in_the_archive(anywhere, audio_only):
    call = spoken()
    moving.store(call.streams.get())
    name = call.streams.get().archive
    assert erase(call, "asked to", audio_only=audio_only) == 32_000
    with pytest.raises(archive.Missing):
        archive.size(name)
    assert not Stream.objects.exclude(archive="").exists()


def test_erasing_waits_for_whoever_moves_the_audio(folder):
    call = spoken()
    with moving.Move(call.streams.get()), pytest.raises(archive.Busy):
        erase(call, "asked to")
    assert in_database() == 20


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.unlink(), "is not in the archive"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "has 31999 bytes, and should have 32000"),
        (lambda file: file.write_bytes(b"?" + file.read_bytes()[1:]), "is not what was written"),
    ],
)
def test_verify_calls_finds_what_the_archive_has_lost(folder, harm, said):
    call = spoken()
    moving.store(call.streams.get())
    harm(files(folder)[0])
    out = StringIO()
    with pytest.raises(CommandError, match="problems in 1 streams"):
        call_command("verify_calls", call.sid, "--audio", stdout=out, verbosity=0)
    assert said in out.getvalue()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/x", "begins neither"),
        ("file://host/x", "whole path"),
        ("s3:///prefix", "names no bucket"),
        ("s3://calls?zone=1", "it has zone"),
        ("s3://calls?endpoint=minio:9000", "no http or https address"),
        ("s3://key:secret@calls", "belong in the AWS"),
    ],
)
def test_an_address_that_is_none_is_said_at_start(settings, url, why):
    settings.ARCHIVE_URL = url
    [error] = checks.check_archive()
    assert (error.id, why in error.msg) == ("calls.E040", True)


def test_a_folder_that_is_not_there_is_said_at_start(settings, tmp_path):
    settings.ARCHIVE_URL = f"file://{tmp_path}/none"
    assert [error.id for error in checks.check_archive()] == ["calls.W011"]


def test_a_missing_extra_is_said_at_start(settings, monkeypatch):
    settings.ARCHIVE_URL = "s3://calls"
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    [error] = checks.check_archive()
    assert (error.id, "callstream[archive]" in error.hint) == ("calls.E041", True)


def test_doctor_says_whether_the_archive_answers(anywhere, settings):
    assert [(found.level, found.text) for found in machine.check_archive()] == [("ok", "The archive answers.")]
    use(settings, "s3://calls?region=eu-central-1&endpoint=http://127.0.0.1:9")
    [found] = machine.check_archive()
    assert (found.level, "does not answer" in found.text) == ("FAIL", True)
