"""`export_call` writes what is needed to look at a call on another machine."""

import hashlib
import json
import subprocess
import zipfile
from base64 import b64decode
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from calls.models import RecordingAccess, Tag
from calls.recordings.rendering import Recording
from tests.support.factories import (
    make_call,
    make_chunk,
    make_digit,
    make_event,
    make_gap,
    make_mark,
    make_recording,
    make_stream,
    make_turn,
)


pytestmark = pytest.mark.django_db


def export(*sids, to, **options):
    out = StringIO()
    call_command("export_call", *sids, to=str(to), stdout=out, **options)
    return out.getvalue()


def test_a_call_becomes_three_files_and_their_checksums(tmp_path):
    call = make_recording()
    out = export(call.sid, to=tmp_path)
    names = [f"{call.sid}{end}" for end in (".frames.jsonl", ".json", ".sha256", ".wav")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all(name in out for name in names)


def test_the_checksums_are_what_sha256sum_says(tmp_path):
    call = make_recording()
    export(call.sid, to=tmp_path)
    checked = subprocess.run(["sha256sum", "-c", f"{call.sid}.sha256"], cwd=tmp_path, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout.count(": OK")) == (0, 3)


def test_a_zip_has_the_same_files(tmp_path):
    call = make_recording()
    export(call.sid, to=tmp_path)
    out = export(call.sid, to=tmp_path, zip=True)
    with zipfile.ZipFile(tmp_path / f"{call.sid}.zip") as archive:
        assert archive.testzip() is None
        assert archive.read(f"{call.sid}.wav") == (tmp_path / f"{call.sid}.wav").read_bytes()
        assert len(archive.namelist()) == 4
    assert f"{call.sid}.zip" in out
    assert (tmp_path / f"{call.sid}.zip").stat().st_mode & 0o777 == 0o600


def test_the_sound_is_what_the_admin_plays(tmp_path):
    call = make_recording()
    export(call.sid, to=tmp_path)
    wav = Recording.of(call).wav()
    assert (tmp_path / f"{call.sid}.wav").read_bytes() == b"".join(wav.pieces(0, wav.size - 1))


def test_a_call_without_audio_has_an_empty_sound(tmp_path):
    call = make_call()
    export(call.sid, to=tmp_path)
    assert len((tmp_path / f"{call.sid}.wav").read_bytes()) == 44
    assert (tmp_path / f"{call.sid}.frames.jsonl").read_bytes() == b""


def test_the_facts_are_all_there(tmp_path):
    call = make_call(caller_name="Zoë", notes="call back", data={"order": "A-17"})
    call.tags.add(Tag.objects.create(name="sales"))
    stream = make_stream(call)
    make_gap(stream, start=160)
    make_mark(stream)
    make_digit(stream, "5")
    make_turn(stream)
    make_event(call, kind="ringing")
    export(call.sid, to=tmp_path)
    facts = json.loads((tmp_path / f"{call.sid}.json").read_text())
    (stored,) = facts["streams"]
    assert (facts["sid"], facts["caller_name"], facts["tags"]) == (call.sid, "Zoë", ["sales"])
    assert facts["data"] == {"order": "A-17"}
    assert facts["created_at"] == "2026-03-14T15:09:26Z"
    assert (stored["sid"], stored["gaps"][0]["start"]) == (stream.sid, 160)
    assert (stored["marks"][0]["name"], stored["dtmf"][0]["digit"]) == ("greeting", "5")
    assert facts["events"][0]["kind"] == "ringing"
    assert stored["turns"][0]["speaker"] == "us"
    assert (facts["format"]["version"], facts["format"]["from"]) == (2, "voice.example.org")


def test_who_waits_for_a_caller_is_not_exported(tmp_path):
    stream = make_stream(dial={"order": {}, "ticket": ["CA1", "the key of an outing", "10.0.0.3:8000", None]})
    export(stream.call.sid, to=tmp_path)
    assert "the key of an outing" not in (tmp_path / f"{stream.call.sid}.json").read_text()


def test_a_tokens_nonce_is_not_exported(tmp_path):
    stream = make_stream(nonce="a nonce of a token")
    export(stream.call.sid, to=tmp_path)
    assert "a nonce of a token" not in (tmp_path / f"{stream.call.sid}.json").read_text()


def test_the_frames_are_the_stored_audio_with_its_place_and_checksum(tmp_path):
    stream = make_stream()
    make_chunk(stream, b"\x00\xff" * 80, start=160)
    make_chunk(stream, b"\x7f" * 160, track="outbound")
    export(stream.call.sid, to=tmp_path)
    lines = (tmp_path / f"{stream.call.sid}.frames.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert (first["stream"], first["track"], first["start"], first["length"]) == (stream.sid, "inbound", 160, 160)
    assert b64decode(first["payload"]) == b"\x00\xff" * 80
    assert first["sha256"] == hashlib.sha256(b"\x00\xff" * 80).hexdigest()
    assert second["track"] == "outbound"


def test_several_calls_may_be_named(tmp_path):
    first, second = make_call(), make_call()
    export(first.sid, second.sid, to=tmp_path)
    assert len(list(tmp_path.iterdir())) == 8


def test_the_folder_is_made(tmp_path):
    call = make_call()
    export(call.sid, to=tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / f"{call.sid}.json").exists()


def test_only_the_owner_can_read_the_files(tmp_path):
    call = make_call()
    export(call.sid, to=tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_export_is_on_record(tmp_path):
    call = make_call()
    export(call.sid, to=tmp_path)
    access = RecordingAccess.objects.get()
    assert (access.call, access.kind, access.user, access.detail) == (call, "export", None, "export_call")


def test_nothing_is_overwritten(tmp_path):
    call = make_call()
    (tmp_path / f"{call.sid}.json").write_text("mine")
    with pytest.raises(CommandError, match="--force"):
        export(call.sid, to=tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert not RecordingAccess.objects.exists()


def test_force_overwrites(tmp_path):
    call = make_call()
    (tmp_path / f"{call.sid}.json").write_text("mine")
    export(call.sid, to=tmp_path, force=True)
    assert json.loads((tmp_path / f"{call.sid}.json").read_text())["sid"] == call.sid


def test_an_unknown_call_is_named_and_nothing_written(tmp_path):
    call = make_call()
    with pytest.raises(CommandError, match="No such call: CA404"):
        export(call.sid, "CA404", to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="Cannot write to"):
        export(make_call().sid, to=tmp_path / "file")
