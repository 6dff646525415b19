"""`prune_calls` erases what is old enough: the audit row stays, and nothing of the content."""

import datetime as dt
import subprocess
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from calls.media.rows import UtteranceRow, encode
from calls.models import AudioChunk, Call, Dtmf, Erasure, QuarantinedRow, RecordingAccess, Utterance
from calls.recordings import pruning, retention
from calls.recordings.pruning import LOCK, Pruning
from calls.recordings.retention import erase
from tests.support.batches import chunk
from tests.support.factories import (
    make_call,
    make_chunk,
    make_digit,
    make_event,
    make_live_call,
    make_mark,
    make_staff,
    make_stream,
    make_utterance,
)


pytestmark = pytest.mark.django_db(transaction=True)


def old_call(days=100, **facts):
    """A call that ended that many days ago, with 1600 bytes of audio."""
    end = timezone.now() - dt.timedelta(days=days)
    call = make_call(**{"created_at": end, "ended_at": end, "audio_samples": 1600, **facts})
    stream = make_stream(call, ended_at=end, length=1600)
    make_chunk(stream, b"spoken words".ljust(1600, b"\xff"))
    make_digit(stream, "7")
    return call


def prune(*args, **options):
    out = StringIO()
    call_command("prune_calls", *args, stdout=out, **options)
    return out.getvalue()


def left():
    return set(Call.objects.values_list("sid", flat=True))


def test_old_calls_are_erased_and_young_ones_kept():
    old_call(days=91)
    young = old_call(days=89)
    assert prune("--older-than", "90d") == "Erased 1 calls, 1600 bytes of audio.\n"
    assert left() == {young.sid}


@pytest.mark.parametrize(("age", "erased"), [("50h", 1), ("47h", 2), ("2d", 2), ("1w", 0)])
def test_an_age_is_in_hours_days_or_weeks(age, erased):
    old_call(days=2.04)
    old_call(days=2.9)
    prune("--older-than", age)
    assert Erasure.objects.count() == erased


def test_an_audit_row_stays():
    call = old_call()
    prune("--older-than", "90d")
    erasure = Erasure.objects.get()
    assert (erasure.call_sid, erasure.bytes, erasure.audio_only) == (call.sid, 1600, False)
    assert erasure.reason == "prune_calls"


def test_nothing_of_the_content_stays_in_any_table():
    call = old_call(from_number="+15550109999", notes="a secret")
    make_mark(call.streams.get())
    make_event(call, data={"said": "a secret"})
    QuarantinedRow.objects.create(kind="ChunkRow", data=encode([chunk(stream=call.streams.get().sid)]))
    prune("--older-than", "90d")
    rows = {model.__name__: model.objects.count() for model in apps.get_app_config("calls").get_models()}
    assert {name for name, count in rows.items() if count} == {"Erasure"}


def test_what_the_admin_has_written_down_of_a_call_goes_with_it():
    calls, user = [old_call(), old_call(days=1)], make_staff()
    LogEntry.objects.log_actions(user.pk, calls, CHANGE, change_message="Call from +15550109999: notes changed")
    prune("--older-than", "90d")
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(calls[1].pk)]


@pytest.mark.parametrize("audio_only", [False, True])
def test_who_heard_a_call_is_known_when_it_is_erased(audio_only):
    call, user = old_call(), make_staff()
    RecordingAccess.objects.create(call=call, user=user, kind="listen", ranges=[[0, 2]], address="203.0.113.7")
    sid = call.sid
    erase(call, "asked for", audio_only=audio_only)
    access = RecordingAccess.objects.get()
    assert (access.user, access.call_sid, access.ranges) == (user, sid, [[0, 2]])
    assert (access.call is None) == (not audio_only)


@pytest.mark.sqlite
def test_nothing_of_the_content_stays_in_sqlites_file():
    call = old_call(days=100)
    for start in range(1600, 400_000, 8000):
        make_chunk(call.streams.get(), b"spoken words" * 600, start=start)
    prune("--older-than", "90d")
    file = connection.settings_dict["NAME"]
    # Read by another process: to close the file in this one takes SQLite's locks away, and the next process that lets
    # go of the database then deletes the journal under us (https://sqlite.org/howtocorrupt.html, 2.2).
    search = ["grep", "--count", "--no-messages", "spoken words", file, f"{file}-wal"]
    found = subprocess.run(search, capture_output=True, text=True).stdout
    assert {line.rpartition(":")[2] for line in found.splitlines()} == {"0"}


def test_another_calls_refused_rows_stay():
    old_call()
    QuarantinedRow.objects.create(kind="ChunkRow", data=encode([chunk(stream="MZ-another")]))
    prune("--older-than", "90d")
    assert QuarantinedRow.objects.count() == 1


def test_only_the_audio_goes_if_that_is_wanted():
    call = old_call()
    prune("--older-than", "90d", "--audio-only")
    call.refresh_from_db()
    assert call.audio_samples == 0
    assert (AudioChunk.objects.count(), Dtmf.objects.count()) == (0, 1)
    assert Erasure.objects.get().audio_only


def test_with_the_audio_goes_what_was_said():
    utterance = make_utterance(old_call().streams.get())
    QuarantinedRow.objects.create(
        kind="UtteranceRow", data=encode([UtteranceRow(utterance.stream.sid, "inbound", 0, 1, "a")])
    )
    prune("--older-than", "90d", "--audio-only")
    assert not Utterance.objects.exists()
    assert not QuarantinedRow.objects.exists()


def test_audio_that_is_gone_is_not_erased_again():
    old_call()
    prune("--older-than", "90d", "--audio-only")
    assert prune("--older-than", "90d", "--audio-only").startswith("Erased the audio of 0 calls")


def test_numbers_choose_calls_from_and_to_them():
    old_call(from_number="+1", to_number="+2")
    old_call(from_number="+3", to_number="+1")
    other = old_call(from_number="+3", to_number="+4")
    prune("--older-than", "90d", "--number", "+1")
    assert left() == {other.sid}


def test_several_numbers_may_be_named():
    old_call(from_number="+1")
    old_call(to_number="+2")
    prune("--older-than", "90d", "--number", "+1", "--number", "+2")
    assert left() == set()


def test_a_dry_run_changes_nothing():
    call = old_call()
    out = prune("--older-than", "90d", "--dry-run")
    assert out == "Would erase 1 calls, 1600 bytes of audio. Nothing was changed.\n"
    assert left() == {call.sid}
    assert not Erasure.objects.exists()


def test_a_call_that_has_not_ended_is_kept_whatever_its_age():
    live = make_live_call()
    prune("--older-than", "0d")
    assert left() == {live.sid}


def test_a_call_whose_stream_still_runs_is_kept():
    call = old_call()
    make_stream(call)
    prune("--older-than", "90d")
    assert left() == {call.sid}


def test_the_age_is_by_default_what_the_settings_say(settings):
    settings.RECORDING_RETENTION_DAYS = 30
    old_call(days=31)
    young = old_call(days=29)
    prune()
    assert left() == {young.sid}


def test_without_any_age_nothing_is_erased(settings):
    settings.RECORDING_RETENTION_DAYS = None
    old_call()
    with pytest.raises(CommandError, match="RECORDING_RETENTION_DAYS"):
        prune()
    assert Call.objects.count() == 1


@pytest.mark.parametrize("age", ["90", "d", "-1d", "90 days", "ninety"])
def test_a_bad_age_is_explained(age):
    with pytest.raises(CommandError, match=r"is not an age|expected one argument"):
        prune("--older-than", age)


@pytest.mark.parametrize("bound", ["BATCH", "BATCH_SAMPLES", "SLICE_BYTES"])
def test_many_calls_go_in_batches(monkeypatch, bound):
    for _ in range(5):
        old_call()
    monkeypatch.setattr(retention, bound, 2)
    prune("--older-than", "90d")
    assert (Erasure.objects.count(), Call.objects.count()) == (5, 0)


def test_what_an_interruption_left_is_erased_by_the_next_run(monkeypatch):
    call = old_call()
    make_chunk(call.streams.get(), b"more" * 40, start=1600)
    monkeypatch.setattr(retention, "SLICE", 1)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_erase_quarantined", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prune("--older-than", "90d")
    assert left() == {call.sid}
    prune("--older-than", "90d")
    assert left() == set()
    assert Erasure.objects.get().bytes == 1760


def test_a_call_that_was_never_placed_leaves_a_row_too():
    end = timezone.now() - dt.timedelta(days=100)
    for _ in range(2):
        make_call(sid=None, created_at=end, ended_at=end)
    prune("--older-than", "90d")
    assert Erasure.objects.count() == 2


def test_a_damaged_spool_file_that_names_an_erased_call_goes_with_it(settings, tmp_path):
    settings.SPOOL_DIR = tmp_path
    stream = make_stream()
    (tmp_path / "db-1.damaged").write_bytes(b"torn" * 2000 + stream.sid.encode() + b"audio")
    (tmp_path / "db-1.damaged-wal").write_bytes(stream.call.sid.encode())
    (tmp_path / "db-2.damaged").write_bytes(b"somebody else's")
    (tmp_path / "db-3.damaged").write_bytes(b"")
    retention.erase(stream.call, "asked for", audio_only=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["db-2.damaged", "db-3.damaged"]


# --- by itself -------------------------------------------------------------------------------------------------------


def test_what_is_older_than_the_settings_say_goes_by_itself_and_the_log_says_so_once(settings, caplog):
    settings.RECORDING_RETENTION_DAYS = 30
    old_call(days=31)
    young = old_call(days=29)
    with caplog.at_level("INFO"):
        assert not Pruning().go_round()
    assert left() == {young.sid}
    assert Erasure.objects.get().reason == "RECORDING_RETENTION_DAYS"
    assert caplog.messages == ["pruned calls=1 bytes=1600 left=0 first=none"]


def test_nothing_goes_by_itself_while_that_is_not_set(settings):
    settings.RECORDING_RETENTION_DAYS = None
    old_call()
    assert not Pruning().go_round()
    assert Call.objects.exists()


def test_a_round_that_takes_long_leaves_the_rest_to_the_next_one(settings, monkeypatch):
    settings.RECORDING_RETENTION_DAYS = 30
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(pruning, "ROUND", -1.0)
    for _ in range(2):
        old_call()
    rounds = Pruning()
    assert rounds.go_round()
    assert Call.objects.count() == 1
    while rounds.go_round():
        continue
    assert not Call.objects.exists()


@pytest.mark.postgres
def test_two_machines_do_not_prune_at_once(settings):
    settings.RECORDING_RETENTION_DAYS = 30
    old_call()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert not Pruning().go_round()
        assert Call.objects.exists()
        # Not by closing alone: the server notices that a moment later, and the next test prunes before.
        cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    other.close()


def test_audit_rows_are_one_for_each_call_however_often_it_is_begun(monkeypatch):
    calls = [old_call() for _ in range(3)]
    erase(calls[0], "asked for", audio_only=True)
    retention.erase_all(calls, "twice")
    retention.erase_all(calls, "twice")
    assert (Erasure.objects.count(), Erasure.objects.filter(audio_only=False).count()) == (4, 3)


def test_words_go_before_the_last_of_the_audio_that_says_that_there_is_more_to_do(monkeypatch):
    make_utterance(old_call().streams.get())
    seen, erase_chunks = [], retention._erase_chunks
    look = lambda: (Utterance.objects.count(), AudioChunk.objects.count())  # noqa: E731
    monkeypatch.setattr(retention, "_erase_chunks", lambda streams: (seen.append(look()), erase_chunks(streams)))
    prune("--older-than", "90d", "--audio-only")
    assert [*seen, look()] == [(0, 1), (0, 0)]
