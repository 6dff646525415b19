"""Recordings with RECORDING_KEYS: nothing of them is in plain on disk, and all that reads them goes on as before."""

import datetime as dt
import os
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from calls import store, vault
from calls.management.diagnosis.work import check_keys
from calls.models import AudioChunk, Call, Erasure, QuarantinedRow, Stream
from calls.recorder import packing
from calls.recorder.committer import Committer
from calls.recorder.patience import Patience
from calls.recorder.queue import Recorder
from calls.recorder.spool import Spool, fingerprint
from calls.recorder.writer import Writer
from calls.recordings.rendering import Recording
from calls.recordings.retention import erase
from calls.recordings.verification import problems
from tests.support.batches import chunk, ended, stream_row
from tests.support.factories import make_client, make_staff
from tests.support.sealed import KEY, OLD_KEY, files_of, frames_in


pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "recorder"])
NOISE = os.urandom(8000)


@pytest.fixture(autouse=True)
def keys(settings, tmp_path):
    settings.RECORDING_KEYS = [KEY]
    settings.SPOOL_DIR = tmp_path / "spool"
    settings.SPOOL_DIR.mkdir()


@pytest.fixture
def recorder():
    recorder = Recorder(threaded=False)
    yield recorder
    recorder.close()


def record(recorder, audio=NOISE, key=None):
    """A call of a second, by the recorder; its stream is MZ1."""
    key = vault.new_key("MZ1") if key is None else key
    recorder.submit([stream_row(sealing_key=key), chunk(payload=audio[:4000]), chunk(1, payload=audio[4000:])])
    recorder.submit([ended(length=8000)])
    assert recorder.step()
    Call.objects.update(ended_at=dt.datetime(2026, 3, 14, 16, tzinfo=dt.UTC), status="completed", audio_samples=8000)
    return Call.objects.get()


def heard(call):
    return Recording.of(call).read(0, 8000)[0]


def leave_spool(settings, *batches):
    """What a process left that is dead."""
    spool = Spool(settings.SPOOL_DIR / f"{fingerprint(settings.DATABASES['default'])}-dead.spool", 2**30)
    for rows in batches:
        spool.append(packing.pack(rows))
    spool.close()
    return spool.path


def take_over(recorder):
    recorder._housekeeping._next_turn = 0
    assert recorder.step()


def test_audio_is_read_back_as_it_was_and_is_nowhere_on_disk(recorder, settings):
    call = record(recorder)
    connection.cursor().execute("SELECT 1")
    assert heard(call) == NOISE
    assert list(problems(Stream.objects.get())) == []
    assert frames_in(files_of(settings.SPOOL_DIR), NOISE) == set()


def test_a_spool_has_nothing_in_plain_and_another_process_writes_it(recorder, settings):
    rows = [stream_row(sealing_key=vault.new_key("MZ1")), chunk(payload=NOISE[:4000]), chunk(1, payload=NOISE[4000:])]
    path = leave_spool(settings, rows)
    assert frames_in(files_of(settings.SPOOL_DIR), NOISE) == set()
    take_over(recorder)
    assert not path.exists()
    assert b"".join(piece.audio for piece in store.pieces(AudioChunk.objects.order_by("start"))) == NOISE
    assert frames_in(files_of(settings.SPOOL_DIR), NOISE) == set()


@pytest.mark.parametrize("what", ["the spool's", "the stream's", "another of its name"])
def test_a_spool_waits_for_a_key_that_is_missing_and_says_which(recorder, settings, caplog, what):
    settings.RECORDING_KEYS = [OLD_KEY]
    row = stream_row(sealing_key=vault.new_key("MZ1"))
    settings.RECORDING_KEYS = [] if what == "the stream's" else [OLD_KEY]
    path = leave_spool(settings, [row], [chunk(payload=NOISE)])
    settings.RECORDING_KEYS = [KEY.replace("2026", "2025") if what == "another of its name" else KEY]
    for _ in range(2):
        take_over(recorder)
    assert path.exists()
    assert not AudioChunk.objects.exists()
    assert not QuarantinedRow.objects.exists()
    assert [r.getMessage().split()[:2] for r in caplog.records if "spool_key" in r.getMessage()] == [
        ["spool_key_missing", "key=2025"]
    ]
    settings.RECORDING_KEYS = [KEY, OLD_KEY]
    take_over(recorder)
    assert not path.exists()
    assert b"".join(piece.audio for piece in store.pieces(AudioChunk.objects.all())) == NOISE


def test_a_refused_row_is_sealed_kept_once_and_goes_with_its_call(recorder, settings):
    bad = chunk(payload=NOISE, track="neither")
    for _ in range(2):
        Committer(Patience(lambda: 0.0)).write([stream_row(sealing_key=vault.new_key("MZ1")), bad])
    kept = QuarantinedRow.objects.get(kind="ChunkRow")
    assert packing.unpack(bytes(kept.data)) == [bad]
    assert frames_in(files_of(settings.SPOOL_DIR), NOISE) == set()
    Call.objects.update(ended_at=dt.datetime(2026, 3, 14, 16, tzinfo=dt.UTC))
    erase(Call.objects.get(), "asked for")
    assert not QuarantinedRow.objects.filter(kind="ChunkRow").exists()


def test_a_late_row_is_sealed_with_the_key_that_its_stream_has_by_now(recorder, settings):
    record(recorder, NOISE[:8000])
    settings.RECORDING_KEYS = [OLD_KEY, KEY]
    call_command("rotate_keys", verbosity=0, stdout=StringIO())
    recorder.submit([chunk(2, payload=NOISE[:4000])])
    assert recorder.step()
    settings.RECORDING_KEYS = [OLD_KEY]
    assert b"".join(piece.audio for piece in store.pieces(AudioChunk.objects.order_by("start"))) == NOISE + NOISE[:4000]


# --- what cannot be opened -------------------------------------------------------------------------------------------


def tamper():
    last = AudioChunk.objects.order_by("start").first()
    AudioChunk.objects.filter(pk=last.pk).update(payload=bytes(last.payload)[:-1] + b"\0")


@pytest.mark.parametrize(("fault", "status", "words"), [("key", 503, "“2026” is not in"), ("row", 409, "not what was")])
def test_what_cannot_be_read_is_an_answer_in_words_and_never_silence(
    client, recorder, settings, tmp_path, fault, status, words
):
    call = record(recorder)
    if fault == "key":
        settings.RECORDING_KEYS = [OLD_KEY]
    else:
        tamper()
    client.force_login(make_staff("view_call", "listen_call", "download_call"))
    response = client.get(f"/admin/calls/call/{call.pk}/recording.wav")
    assert (response.status_code, words in response.content.decode()) == (status, True)
    assert client.get(f"/admin/calls/call/{call.pk}/peaks.json?until=8000").status_code == 200
    Call.objects.update(sid="CA" + "0" * 32)
    _, token = make_client("download_call")
    answer = client.get(f"/api/v1/calls/CA{'0' * 32}/recording.wav", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True)
    with pytest.raises(CommandError, match=words):
        call_command("export_call", "CA" + "0" * 32, to=tmp_path / "out", stdout=StringIO())
    assert not list((tmp_path / "out").iterdir())
    assert any(words in problem for problem in problems(Stream.objects.get()))


def test_the_page_says_that_a_key_is_missing_and_a_zip_is_not_begun(client, recorder, settings):
    call = record(recorder)
    settings.RECORDING_KEYS = []
    client.force_login(make_staff("view_call", "listen_call", "download_call"))
    page = client.get(f"/admin/calls/call/{call.pk}/change/").content.decode()
    assert "The recording cannot be played: it is sealed, and the key “2026” is not in RECORDING_KEYS" in page
    action = {"action": "download", "_selected_action": [call.pk]}
    listed = client.post("/admin/calls/call/", action, follow=True).content.decode()
    assert "Nothing was downloaded." in listed


def test_doctor_names_a_key_that_is_missing(recorder, settings):
    assert check_keys().level == "ok"
    record(recorder)
    settings.RECORDING_KEYS = [OLD_KEY]
    finding = check_keys()
    assert (finding.level, "2026" in finding.text) == ("FAIL", True)


# --- erasing, rotating, sealing later --------------------------------------------------------------------------------


def test_erasing_destroys_the_keys_before_anything_else_goes(recorder, monkeypatch):
    call = record(recorder)
    seen = []
    monkeypatch.setattr(
        "calls.recordings.retention.erase_damaged",
        lambda *_: seen.append((Erasure.objects.count(), Stream.objects.get().sealing_key)),
    )
    erase(call, "asked for", audio_only=True)
    assert seen == [(1, "")]


def test_keys_are_put_under_the_first_one_and_the_old_one_may_go(recorder, settings):
    call = record(recorder)
    settings.RECORDING_KEYS = [OLD_KEY, KEY]
    said = StringIO()
    call_command("rotate_keys", dry_run=True, stdout=said)
    assert "Would wrap the keys of 1 stream with “2025”" in said.getvalue()
    assert "Keep “2026”: recordings are sealed with it." in said.getvalue()
    call_command("rotate_keys", verbosity=0, stdout=said)
    assert "“2026” may be removed" in said.getvalue()
    settings.RECORDING_KEYS = [OLD_KEY]
    assert heard(call) == NOISE


def test_a_stream_that_runs_keeps_its_key_until_it_is_over(recorder, settings):
    recorder.submit([stream_row(sealing_key=vault.new_key("MZ1"))])
    recorder.step()
    settings.RECORDING_KEYS = [OLD_KEY, KEY]
    said = StringIO()
    call_command("rotate_keys", verbosity=0, stdout=said)
    assert "Keep “2026”: streams that run have it." in said.getvalue()
    assert Stream.objects.get().sealing_key.startswith("2026:")


def test_what_was_recorded_before_there_were_keys_is_sealed_and_goes_on_where_it_stopped(recorder, settings):
    # Other than in all other tests, of which SQLite's file must not have any left.
    audio = os.urandom(8000)
    call = record(recorder, audio, key="")
    stream = Stream.objects.get()
    Stream.objects.update(sealing_key=vault.begin_sealing("MZ1"))
    stream.refresh_from_db()
    first = AudioChunk.objects.order_by("start").first()
    AudioChunk.objects.filter(pk=first.pk).update(payload=store.packed(stream, "inbound", 0, audio[:4000]))
    assert heard(call) == audio
    said = StringIO()
    call_command("seal_calls", verbosity=0, stdout=said)
    assert "Sealed 1 streams, 1 rows." in said.getvalue()
    assert heard(call) == audio
    assert not vault.is_being_sealed(Stream.objects.get().sealing_key)
    assert frames_in(files_of(settings.SPOOL_DIR), audio) == set()


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(CommandError, match=f"{limit} is not a whole number from 1 on"):
        call_command("seal_calls", "--limit", limit)


def test_what_comes_late_is_sealed_if_its_stream_was_meanwhile(recorder):
    call, writer = record(recorder, NOISE[:4000], key=""), Writer()
    writer.write([chunk(2, payload=NOISE[:1600], start=8000)])
    call_command("seal_calls", verbosity=0, stdout=StringIO())
    writer.write([chunk(3, payload=NOISE[1600:3200], start=9600)])
    assert Recording.of(call).read(8000, 11_200)[0] == NOISE[:3200]


def test_nothing_comes_late_of_what_was_erased_meanwhile(recorder):
    call, writer = record(recorder), Writer()
    writer.write([chunk(2, payload=NOISE[:1600], start=8000)])
    erase(call, "asked for", audio_only=True)
    writer.write([chunk(3, payload=NOISE[1600:3200], start=9600)])
    assert not AudioChunk.objects.exists()
