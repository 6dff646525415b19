"""Prepared sounds in the admin, and the process that converts them. What it converts is in tests/test_decoder.py."""

import io
import subprocess

import numpy as np
import pytest
import soundfile
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction

from calls.media.audio import mulaw_to_pcm16, tone, wav_header
from calls.models import Sound
from calls.sounds import PLAYABLE, conversion, sound
from calls.sounds.conversion import MOST_BYTES, convert
from tests.support.factories import make_staff


LIST = "/admin/calls/sound/"
TONE = tone(440, 1000)
WAV = wav_header(8000, 1) + mulaw_to_pcm16(TONE)


@pytest.fixture
def editor(client, db):
    user = make_staff("view_sound", "add_sound", "change_sound", "delete_sound", username="ada")
    client.force_login(user)
    return user


@pytest.fixture
def supervisor(client, db):
    client.force_login(make_staff("view_call", "supervise_call"))


def make_sound(name="Hold the line", payload=TONE, **facts):
    return Sound.objects.create(**{"name": name, "payload": payload, "samples": len(payload), **facts})


def upload(client, data=WAV, name="Hold the line", file="hold.wav"):
    return client.post(f"{LIST}add/", {"name": name, "file": SimpleUploadedFile(file, data)})


def text(response):
    return response.content.decode()


def mp3():
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(48_000) / 10) / 3, 48_000, format="MP3")
    return file.getvalue()


# --- conversion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [WAV, mp3()], ids=["WAV", "MP3"])
def test_a_file_is_converted_by_a_process_of_its_own(data):
    assert len(convert(data)) == pytest.approx(8000, abs=1200)


def test_why_a_file_cannot_be_played_comes_back_in_words():
    with pytest.raises(ValueError, match=r"^This MP3 file cannot be read: [^.]+\.$"):
        convert(b"ID3\x04\0\0" + bytes(200))


def test_a_file_that_kills_the_decoder_is_refused_and_a_line_of_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(conversion.sys, "executable", "false")
    with pytest.raises(ValueError, match="what it holds breaks the decoder"):
        convert(WAV)
    assert "sound_unreadable bytes=16044: the decoder ended with 1" in caplog.text


def test_a_file_that_takes_too_long_is_given_up(monkeypatch, tmp_path):
    endless = tmp_path / "endless"
    endless.write_text("#!/bin/sh\nexec sleep 60\n")
    endless.chmod(0o755)
    monkeypatch.setattr(conversion.sys, "executable", str(endless))
    monkeypatch.setattr(conversion, "PATIENCE", 0.1)
    with pytest.raises(ValueError, match=r"This file could not be read within 0\.1 seconds"):
        convert(WAV)


def test_the_decoder_has_no_secret_of_ours_and_little_memory(monkeypatch):
    started = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *facts, **more: started.append(more) or run(*facts, **more))
    convert(WAV)
    assert set(started[0]["env"]) == {"OPENBLAS_NUM_THREADS"}
    monkeypatch.setattr(subprocess, "run", run)
    print_limits = (
        "import resource; from calls.sounds import conversion as c; c.main(); print(resource.getrlimit(9)[0])"
    )
    done = run([conversion.sys.executable, "-c", print_limits], input=b"", capture_output=True, cwd=conversion._ROOT)
    assert done.stdout == f"This file is empty.{conversion.MEMORY}\n".encode()


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_database_takes_a_name_once_whatever_its_capitals():
    make_sound("Hold")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_sound("hold")


@pytest.mark.django_db
def test_the_database_takes_no_empty_sound():
    with pytest.raises(IntegrityError), transaction.atomic():
        make_sound(payload=b"")


@pytest.mark.django_db
def test_supervisors_see_sounds_and_admins_change_them():
    found = {
        name: {codename for codename in codenames if codename.endswith("_sound")}
        for name in ("Ops listener", "Ops supervisor", "Ops admin")
        for codenames in [Group.objects.get(name=name).permissions.values_list("codename", flat=True)]
    }
    assert found == {
        "Ops listener": set(),
        "Ops supervisor": {"view_sound"},
        "Ops admin": {"view_sound", "add_sound", "change_sound", "delete_sound"},
    }


# --- the admin --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "file"), [(WAV, "hold.wav"), (mp3(), "hold.mp3")], ids=["WAV", "MP3"])
def test_a_file_becomes_a_sound(client, editor, data, file):
    assert upload(client, data, file=file).headers["Location"] == LIST
    made = Sound.objects.get()
    assert (made.name, made.uploaded_by, made.samples) == ("Hold the line", editor, len(bytes(made.payload)))
    assert made.samples == pytest.approx(8000, abs=1200)
    html = text(client.get(LIST))
    assert "by ada" in html
    assert f'href="{LIST}{made.pk}/sound.wav"' in html


def test_what_is_wrong_with_a_file_is_said_beside_it(client, editor):
    assert "This is a sound file of another kind, FLAC: it has to be WAV or MP3." in text(upload(client, b"fLaC----"))
    assert "The submitted file is empty." in text(upload(client, b""))
    assert not Sound.objects.exists()


def test_a_file_that_is_too_large_is_not_converted(client, editor, monkeypatch):
    monkeypatch.setattr("calls.admin.sounds.convert", None)
    assert "This file is too large: it may have 10 MB." in text(upload(client, bytes(MOST_BYTES + 1)))


def test_a_name_that_is_taken_is_refused(client, editor):
    make_sound("Hold the line")
    assert "There is a sound of this name already." in text(upload(client, name="hold the LINE"))


def test_a_sound_is_renamed_and_stays_the_same(client, editor):
    made = make_sound()
    client.post(f"{LIST}{made.pk}/change/", {"name": "Please wait", "payload": "x", "samples": "1"})
    made.refresh_from_db()
    assert (made.name, bytes(made.payload), made.samples) == ("Please wait", TONE, 8000)


def test_a_sound_is_deleted(client, editor):
    client.post(f"{LIST}{make_sound().pk}/delete/", {"post": "yes"})
    assert not Sound.objects.exists()


def test_the_list_reads_no_audio(client, editor, django_assert_num_queries):
    make_sound()
    with django_assert_num_queries(5) as queries:
        html = text(client.get(LIST))
    assert not any('"payload"' in query["sql"] for query in queries)
    for name in PLAYABLE:
        assert f'href="{LIST}shipped/{name}.wav"' in html


def test_a_sound_is_listened_to_as_wav(client, editor):
    response = client.get(f"{LIST}{make_sound().pk}/sound.wav")
    assert response.content == WAV
    assert (response["Content-Type"], response["Cache-Control"]) == ("audio/wav", "no-store, private")


def test_who_may_step_in_listens_to_a_sound_first(client, supervisor):
    assert client.get(f"{LIST}{make_sound().pk}/sound.wav").status_code == 200
    greeting = client.get(f"{LIST}shipped/greeting.wav").content
    assert greeting[44:] == mulaw_to_pcm16(sound("greeting"))
    assert client.get(f"{LIST}shipped/caller.wav").status_code == 404


@pytest.mark.parametrize("path", ["", "add/", "%d/change/", "%d/sound.wav", "shipped/greeting.wav"])
def test_sounds_are_kept_from_others(client, db, path):
    client.force_login(make_staff("view_call", "listen_call"))
    made = make_sound()
    assert client.get(LIST + (path % made.pk if "%d" in path else path)).status_code == 403
