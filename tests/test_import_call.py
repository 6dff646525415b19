"""`import_call` brings back exactly what `export_call` wrote, and nothing at all of what is not whole."""

import datetime as dt
import hashlib
import io
import json
import os
import re
import shutil
import sys
import zipfile
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from calls.admin import wording
from calls.models import AudioChunk, Call, CallEvent, Dtmf, Erasure, RecordingAccess, Stream, Tag, Turn, Utterance
from calls.recordings.imports import shape, sources
from calls.recordings.rendering import Recording
from calls.recordings.retention import erase
from calls.recordings.verification import problems
from tests.support.factories import (
    START,
    make_call,
    make_chunk,
    make_comment,
    make_digit,
    make_event,
    make_gap,
    make_live_call,
    make_mark,
    make_recording,
    make_stream,
    make_turn,
    make_utterance,
)
from tests.support.sealed import KEY
from tests.support.sounds import CALLER


pytestmark = pytest.mark.django_db
EXACTLY = START.replace(microsecond=123456)


@pytest.fixture
def call():
    """One that has something of everything."""
    call = make_call(
        **{"caller_name": "Zoë 🙂", "notes": "call back\nsoon", "created_at": EXACTLY, "price": Decimal("-0.0085")},
        **{
            "price_unit": "USD",
            "data": {"order": "A-17", "lines": [1, 2.5, None]},
            "data_at": {"order": 7, "lines": 8},
        },
        **{"parameters": {"CallerCity": "Zürich"}, "audio_samples": 24_000, "measured_at": EXACTLY, "response_ms": 480},
        **{"reviewed": True, "reviewed_at": EXACTLY, "reviewed_by": User.objects.create(username="ada")},
    )
    call.tags.add(*[Tag.objects.create(name=name) for name in ("sales", "urgent")])
    first = make_stream(call, length=16_000, ended_at=EXACTLY, end_reason="disconnect", jitter_ms=1.25, heard=400)
    second = make_stream(call, after=2, length=8000, ended_at=EXACTLY, custom_parameters={"tenant": "7"})
    for at in range(0, 15_840, 1980):
        make_chunk(first, CALLER[at : at + 1980], start=at)
    make_gap(first, start=15_840, reason="sequence")
    make_gap(first, start=300, track="outbound", reason="cleared")
    make_chunk(first, b"\x11" * 400, track="outbound", start=777)
    make_chunk(second, CALLER[8000:16_000])
    make_mark(first, outcome="played", returned_at=EXACTLY, position=400)
    make_digit(second, "#", timestamp_ms=420)
    make_utterance(first, "I want a refund")
    make_turn(first, "caller")
    make_turn(first, start=9000, response_ms=480, interrupted=True, talked_on_ms=60)
    make_event(call, kind="ringing", sequence_number=1, data={"a": {"b": [True]}}, user=call.reviewed_by)
    make_event(call, kind="start", source="stream", stream=second, occurred_at=EXACTLY)
    make_comment(call, resolved_at=EXACTLY, resolved_by=call.reviewed_by, user=call.reviewed_by, at_samples=80)
    return call


def export(*calls, to, **options):
    call_command("export_call", *[call.sid for call in calls], to=str(to), stdout=StringIO(), **options)


def bring(*sources, **options):
    out = StringIO()
    call_command("import_call", *map(str, sources), stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def refused(*sources):
    """Why nothing of it was imported."""
    with pytest.raises(CommandError) as error:
        bring(*sources)
    assert not AudioChunk.objects.exists()
    assert not Stream.objects.exists()
    assert not Call.objects.exists()
    return str(error.value)


@pytest.fixture
def exported(call, tmp_path):
    """The folder with the call's files, which is all that there is of it."""
    export(call, to=tmp_path)
    Call.objects.all().delete()
    return tmp_path


def rewrite(folder, change, *, also_sums=True):
    """Changes the facts, and their checksum too: as somebody does who wants to deceive us."""
    (path,) = folder.glob("*.json")
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    if also_sums:
        sign(folder)


def sign(folder):
    (sums,) = folder.glob("*.sha256")
    names = [path for path in folder.iterdir() if path != sums]
    sums.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in names))


def zipped(folder, **members):
    """A ZIP of a folder, beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def told(folder):
    """What a call's facts say, but for what belongs to an installation."""
    (path,) = folder.glob("*.json")
    facts = json.loads(path.read_text())
    sids = {stream.pop("id"): stream["sid"] for stream in facts["streams"]}
    for name in ("format", "id", "reviewed_by_id", "told", "accesses"):
        facts.pop(name)
    facts["events"] = [event for event in facts["events"] if event["kind"] != "import"]
    for event in facts["events"]:
        event["stream_id"] = sids.get(event["stream_id"])
    rows = [
        row
        for stream in facts["streams"]
        for name in ("gaps", "marks", "dtmf", "utterances", "turns")
        for row in stream[name]
    ]
    for row in [*rows, *facts["events"], *facts["comments"]]:
        for name in ("id", "call_id", "user_id", "resolved_by_id"):
            row.pop(name, None)
    return facts


# --- What comes back


def test_a_call_comes_back_as_it_was_exported(exported, tmp_path):
    out = bring(exported)
    again = tmp_path / "again"
    export(Call.objects.get(), to=again)
    for ending in ("wav", "frames.jsonl"):
        (one,), (other,) = exported.glob(f"*.{ending}"), again.glob(f"*.{ending}")
        assert one.read_bytes() == other.read_bytes()
    assert told(again) == told(exported)
    assert "Imported 1 call, 3 s of audio." in out


def test_moments_are_exact_to_the_microsecond(exported):
    bring(exported)
    assert Call.objects.get().created_at == EXACTLY
    assert Call.objects.get().measured_at == EXACTLY


def test_what_is_there_afterwards_is_whole(exported):
    bring(exported)
    assert not [line for stream in Stream.objects.all() for line in problems(stream) if "stored or explained" in line]
    assert [chunk.length for chunk in AudioChunk.objects.filter(stream__started_at=START)] == [15_840, 400]
    assert Recording.of(Call.objects.get()).peaks(0, 24_000, 1)[0][:99] == bytes(
        b for c in AudioChunk.objects.filter(stream__started_at=START, track="inbound") for b in bytes(c.peaks)[:99]
    )


def test_it_says_where_it_comes_from_and_who_did_something_is_nobody_here(exported, settings):
    User.objects.all().delete()
    User.objects.create(username="somebody else")
    settings.PUBLIC_URL = "https://here.example.org"
    bring(exported)
    event = CallEvent.objects.get(kind="import")
    assert (event.source, event.data["from"]) == ("system", "voice.example.org")
    assert wording.of_event(event, event.call) == "Imported from another installation"
    assert wording.about_event(event, event.data) == "from voice.example.org"
    assert not CallEvent.objects.exclude(user=None).exists()
    assert Call.objects.get().comments.get().name == "ada"
    assert not RecordingAccess.objects.filter(call__isnull=False).exists()


def test_nobody_is_told_of_it_and_nobody_is_at_work_on_it(call, tmp_path):
    Call.objects.update(told=0, measuring_since=EXACTLY, followed_at=EXACTLY, turns_at=EXACTLY)
    export(call, to=tmp_path)
    Call.objects.all().delete()
    bring(tmp_path)
    call = Call.objects.get()
    assert (call.told, call.measuring_since, call.followed_at, call.turns_at) == (2, None, None, None)


def test_an_imported_call_can_be_exported_and_imported_again(exported, tmp_path):
    bring(exported)
    export(Call.objects.get(), to=tmp_path / "again")
    Call.objects.all().delete()
    bring(tmp_path / "again")
    assert CallEvent.objects.filter(kind="import").count() == 2


def test_a_call_without_a_stream_comes_back(tmp_path):
    export(make_call(status="busy", answered_at=None), to=tmp_path)
    Call.objects.all().delete()
    bring(tmp_path)
    assert Call.objects.get().status == "busy"


def test_audio_is_sealed_where_the_installation_seals(exported, settings):
    settings.RECORDING_KEYS = [KEY]
    bring(exported)
    stored = AudioChunk.objects.filter(stream__started_at=START, track="inbound").get()
    assert CALLER[:1000] not in bytes(stored.payload)
    assert Recording.of(Call.objects.get()).read(0, 15_840)[0] == CALLER[:15_840]


def test_what_was_sealed_elsewhere_is_imported_in_plain_where_nothing_is(exported, tmp_path, settings):
    settings.RECORDING_KEYS = [KEY]
    bring(exported)
    export(Call.objects.get(), to=tmp_path / "again")
    Call.objects.all().delete()
    settings.RECORDING_KEYS = []
    bring(tmp_path / "again")
    assert set(Stream.objects.values_list("sealing_key", flat=True)) == {""}
    assert Recording.of(Call.objects.get()).read(0, 15_840)[0] == CALLER[:15_840]


def test_keys_are_masked_where_the_installation_masks_them(exported, settings):
    settings.MASK_DTMF = True
    bring(exported)
    assert Dtmf.objects.get().digit == "•"


def test_who_keeps_calls_for_a_time_is_told_that_an_older_one_goes(exported, settings, capsys):
    settings.RECORDING_RETENTION_DAYS = 30
    err = StringIO()
    call_command("import_call", str(exported), stdout=StringIO(), stderr=err)
    assert "older than RECORDING_RETENTION_DAYS (30)" in err.getvalue()


# --- From where


def test_a_zip_of_each_call_comes_back(call, tmp_path):
    other = make_recording()
    export(call, other, to=tmp_path, zip=True)
    Call.objects.all().delete()
    assert "Imported 2 calls, 5 s of audio." in bring(*tmp_path.glob("*.zip"))
    assert set(Call.objects.values_list("sid", flat=True)) == {call.sid, other.sid}


def test_a_folder_that_was_zipped_by_hand_comes_back(exported, tmp_path):
    path = shutil.make_archive(str(tmp_path.parent / "by-hand"), "zip", tmp_path.parent, tmp_path.name)
    bring(path)
    assert Call.objects.exists()


def test_all_files_of_a_folder_may_be_named(exported):
    assert "Imported 1 call," in bring(*exported.iterdir())


def test_a_call_goes_through_a_pipe(call, tmp_path, monkeypatch):
    class Pipe:
        buffer = io.BytesIO()

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdout", Pipe())
    export(call, to="-")
    Call.objects.all().delete()
    Pipe.buffer.seek(0)
    monkeypatch.setattr(sys, "stdin", Pipe())
    bring("-")
    assert Call.objects.get().sid == call.sid


def test_a_folder_whose_name_is_no_utf_8_is_taken(exported):
    bring(exported.rename(exported.with_name(os.fsdecode(b"k\xfcnde"))))
    assert CallEvent.objects.get(kind="import").data["file"].endswith("nde")


def test_one_that_fails_keeps_no_other_from_coming_in(call, tmp_path):
    other = make_recording()
    export(call, other, to=tmp_path, zip=True)
    Call.objects.all().delete()
    torn = tmp_path / f"{call.sid}.zip"
    torn.write_bytes(torn.read_bytes()[:-400])
    with pytest.raises(CommandError, match=r"Imported 1 call, 2 s of audio. 2 could not be imported:") as error:
        bring(*sorted(tmp_path.glob("*.zip")), tmp_path / "nowhere.zip")
    assert f"{call.sid}.zip" in str(error.value)
    assert "nowhere.zip" in str(error.value)
    assert Call.objects.get().sid == other.sid


# --- What is here already


def test_a_call_that_is_here_already_is_left_as_it_is(call, tmp_path):
    export(call, to=tmp_path)
    Call.objects.update(notes="changed since")
    with pytest.raises(CommandError, match="this call is here already"):
        bring(tmp_path)
    assert Call.objects.get().notes == "changed since"


def test_a_stream_that_another_call_has_is_named(exported):
    sid = json.loads(next(exported.glob("*.json")).read_text())["streams"][1]["sid"]
    other = make_stream(sid=sid).call
    with pytest.raises(CommandError, match=f"its stream {sid} is here already, as one of {other}"):
        bring(exported)
    assert Call.objects.get() == other


def test_what_was_erased_stays_so(call, tmp_path):
    export(call, to=tmp_path)
    erase(call, "asked for it")
    assert "it was erased here on" in refused(tmp_path)


def test_a_call_that_ran_is_not_taken(tmp_path):
    call = make_live_call()
    err = StringIO()
    call_command("export_call", call.sid, to=str(tmp_path), stdout=StringIO(), stderr=err)
    Call.objects.all().delete()
    assert "still runs" in err.getvalue()
    assert "it was still running when it was exported" in refused(tmp_path)


# --- What is not whole


@pytest.mark.parametrize("ending", ["json", "frames.jsonl", "sha256"])
def test_a_file_that_is_missing_is_named(exported, ending):
    (path,) = exported.glob(f"*.{ending}")
    path.unlink()
    assert "there is no exported call in this folder" in (why := refused(exported)) or f"no {path.name}" in why


@pytest.mark.parametrize(
    ("ending", "why"), [("json", "its facts are not those"), ("frames.jsonl", "does not hold the audio")]
)
def test_a_byte_that_has_changed_is_noticed(exported, ending, why):
    (path,) = exported.glob(f"*.{ending}")
    data = bytearray(path.read_bytes())
    at = data.index(b'"payload": "') + 50 if ending == "frames.jsonl" else data.index(b"call back")
    data[at] = ord("A") if data[at] != ord("A") else ord("B")
    path.write_bytes(data)
    assert why in refused(exported)


@pytest.mark.parametrize("whole_lines", [True, False])
def test_frames_that_end_too_soon_are_noticed(exported, whole_lines):
    (path,) = exported.glob("*.frames.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) if whole_lines else path.read_bytes()[:-20])
    assert ("their checksum is another one" if whole_lines else "cut short") in refused(exported)


def test_frames_that_changed_places_are_noticed(exported):
    (path,) = exported.glob("*.frames.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    line = json.loads(lines[0])
    path.write_text("".join([lines[0], json.dumps({**line, "index": 1}) + "\n", *lines[1:]]))
    sign(exported)
    assert "line 2 of its frames is not the one that follows" in refused(exported)


def test_frames_of_a_stream_that_is_not_there_are_refused(exported):
    (path,) = exported.glob("*.frames.jsonl")
    path.write_text(re.sub(r'"MZ[0-9a-f]{32}"', f'"MZ{"f" * 32}"', path.read_text()))
    sign(exported)
    assert "of a stream that it does not have" in refused(exported)


def test_what_the_database_refuses_leaves_nothing_behind(exported):
    rewrite(exported, lambda facts: facts["events"].append(facts["events"][0]))
    assert "the database refuses it" in refused(exported)
    assert not Tag.objects.filter(name="nothing").exists()


def spoilt(name, value, *, of=lambda facts: facts):
    def change(facts):
        of(facts)[name] = value

    return change


def stream(facts):
    return facts["streams"][0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (spoilt("status", "dead"), "Invalid enum value 'dead' - at `$.status`"),
        (spoilt("status", 7), "Expected `str`, got `int` - at `$.status`"),
        (spoilt("caller_name", "a" * 256), "length <= 255 - at `$.caller_name`"),
        (spoilt("caller_name", "a\x00b"), "NUL character at $.caller_name"),
        (spoilt("parameters", {"a": [{"b\x00": 1}]}), r"NUL character at $.parameters.a[0], in a name"),
        (spoilt("data", []), "Expected `object`, got `array` - at `$.data`"),
        (spoilt("duration", 2**31), "<= 2147483647 - at `$.duration`"),
        (spoilt("duration", -1), ">= 0 - at `$.duration`"),
        (spoilt("audio_samples", 2**60), "- at `$.audio_samples`"),
        (spoilt("created_at", "yesterday"), "Invalid RFC3339 encoded datetime - at `$.created_at`"),
        (spoilt("created_at", "2026-03-14T15:09:26"), "timezone component - at `$.created_at`"),
        (spoilt("created_at", "0001-01-01T00:00:00+14:00"), "its created_at is 0001-01-01"),
        (spoilt("price", "1e999"), "its price is 1E+999, which cannot be"),
        (spoilt("price", "NaN"), "its price is NaN, which cannot be"),
        (spoilt("sid", "CA" + "f" * 32), "hold another call"),
        (spoilt("ended_at", None), "still running when it was exported"),
        (spoilt("from_the_future", 1), "unknown field `from_the_future`"),
        (spoilt("tags", [7]), "Expected `str`, got `int` - at `$.tags[0]`"),
        (spoilt("tracks", [{"a": 1}], of=stream), "- at `$.streams[0].tracks[0]`"),
        (spoilt("sid", "../../etc", of=stream), "'../../etc' is no StreamSid"),
        (spoilt("streams", None), "Expected `array`, got `null` - at `$.streams`"),
        (spoilt("started_at", "2027-01-01T00:00:00Z", of=stream), "further apart than a call can last"),
        (spoilt("data", json.loads("[" * 60 + "]" * 60)), "its facts are nested too deeply, at $.data[0]"),
        (lambda facts: facts["streams"].append(facts["streams"][0]), "two of its streams are the same"),
        (lambda facts: facts["events"][0].update(stream_id=10**9), "one of its events is of a stream that"),
        (lambda facts: stream(facts)["gaps"][0].update(reason="bored"), "'bored' - at `$.streams[0].gaps[0].reason"),
        (lambda facts: stream(facts)["utterances"][0].update(words=[["a"]]), "- at `$.streams[0].utterances[0].words"),
        (lambda facts: facts.pop("created_at"), "missing required field `created_at`"),
        (lambda facts: facts.pop("sid"), "not those of an exported call"),
        (lambda facts: facts["format"].update(version=3, by="9.0"), "newer Callstream (9.0, format 3)"),
        (lambda facts: facts["format"].update(name="sheet"), "it is a 'sheet', and no exported call"),
        (lambda facts: facts["format"].update(version="2"), "Expected `int`, got `str`"),
    ],
)  # fmt: skip
def test_facts_that_cannot_be_are_refused_with_their_place(exported, change, why):
    rewrite(exported, change)
    assert why in refused(exported)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"sid": 1e999}'])
def test_what_is_no_json_is_refused(exported, content):
    (path,) = exported.glob("*.json")
    path.write_bytes(content)
    sign(exported)
    assert "its facts" in refused(exported)


def test_facts_that_are_endless_are_not_read_to_their_end(exported, monkeypatch):
    monkeypatch.setattr("calls.recordings.imports.rows.MOST_BYTES", 1000)
    monkeypatch.setattr(shape, "MOST_BYTES", 1000)
    sums = next(exported.glob("*.sha256"))
    sums.unlink()
    assert "its facts are longer than" in refused(exported)


def test_a_line_without_an_end_is_not_read_to_it(exported):
    (path,) = exported.glob("*.frames.jsonl")
    path.write_bytes(b" " * 10_000_000)
    sign(exported)
    assert "line 1 of its frames is too long" in refused(exported)


def test_more_audio_than_a_call_can_have_is_refused(exported, monkeypatch):
    monkeypatch.setattr("calls.recordings.imports.audio.MOST_AUDIO", 16_000)
    assert "more audio than a call can have" in refused(exported)


ODD = [["a"], {"a": ["b"]}, "x", "", None, True, -5, 1.5, 1e308, int("9" * 400), [[None]]]
_NAMES = [
    *(
        "answer",
        "by",
        "cleared_ms",
        "duration",
        "end_ms",
        "error",
        "handler",
        "heard_ms",
        "lane",
        "length",
        "length_ms",
    ),
    *("line", "name", "number", "outcome", "position", "reason", "seconds", "start", "start_ms", "status", "text"),
    *("waits_ms", "what", "why", "from", "file", "advice", "StreamError", "StreamSid", "ErrorCode", "SipResponseCode"),
]


def oddly(value):
    """An event of each kind, of each source that is told differently, and nothing in them as it should be."""

    def change(facts):
        like = facts["events"][1]
        for number, kind in enumerate([*wording._EVENTS, "of tomorrow"]):
            for source in ("control", "stream"):
                own = {"kind": kind, "source": source, "key": f"{number}-{source}", "sequence_number": None}
                facts["events"].append({**like, **own, "data": dict.fromkeys(_NAMES, value)})
        facts["data"] = facts["parameters"] = stream(facts)["custom_parameters"] = {"odd": value}
        stream(facts)["media_format"] = {"encoding": value, "sampleRate": value}

    return change


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:8])
def test_whatever_events_hold_the_call_can_be_looked_at(exported, client, value):
    rewrite(exported, oddly(value))
    bring(exported)
    client.force_login(User.objects.create_superuser("root"))
    page = f"/admin/calls/call/{Call.objects.get().pk}/"
    for end in ("change/", "words.json", "words.txt", "turns.json", "peaks.json", "follow.json", "history/"):
        assert client.get(f"{page}{end}").status_code == 200, end
    for path in ("/admin/", "/admin/calls/call/", "/admin/calls/call/export.csv"):
        assert client.get(path, follow=True).status_code == 200, path


# --- Hostile and foreign archives


@pytest.mark.parametrize("name", ["../CA.json", "/etc/passwd", "a/../../b", "C:\\evil.json", "..\\evil", "a\x01b"])
def test_a_zip_that_leads_out_of_itself_is_refused(exported, name):
    assert "leads out of it" in refused(zipped(exported, **{name: "x"}))


def test_a_zip_with_a_file_twice_is_refused(exported):
    name = next(exported.glob("*.json")).name
    assert "twice, or in two folders" in refused(zipped(exported, **{f"other/{name}": "{}"}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a ZIP" * 100])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    assert "neither a ZIP nor a folder of exported calls" in refused(tmp_path / "a.zip")


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert f"{tmp_path}/CA.zip: there is no such file" in refused(tmp_path / "CA.zip")
    assert "no such file" in refused(tmp_path / f"CA{'0' * 32}.json")


def test_a_zip_of_something_else_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    assert "there is no exported call in it" in refused(zipped(tmp_path / "a", **{"readme.txt": "hello"}))
    assert "there is no exported call in this folder" in refused(tmp_path / "a")


def test_a_zip_that_is_damaged_within_is_refused(exported):
    path = zipped(exported)
    data = bytearray(path.read_bytes())
    at = data.index(b'"payload": "') + 50
    data[at : at + 4] = b"!!!!"
    path.write_bytes(data)
    assert "of its frames" in (why := refused(path)) or "cannot be read" in why


def test_nothing_is_told_of_a_file_that_a_link_leads_to(exported):
    (path,) = exported.glob("*.json")
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert "root:" not in refused(exported)


# --- Older exports


def as_before(folder):
    """What version 1 had."""

    def change(facts):
        del facts["format"]
        for one in facts["streams"]:
            del one["turns"]

    rewrite(folder, change, also_sums=False)
    next(folder.glob("*.sha256")).unlink()


@pytest.fixture
def recorded(tmp_path):
    """An older export of a call of two seconds."""
    call = make_recording(measured_at=EXACTLY)
    make_turn(call.streams.get())
    export(call, to=tmp_path)
    Call.objects.all().delete()
    as_before(tmp_path)
    return tmp_path


def test_an_export_of_before_comes_back_and_its_turns_are_to_be_found_anew(recorded):
    bring(recorded)
    assert Call.objects.unmeasured().get().measured_at is None
    assert not Turn.objects.exists()


def test_an_export_of_before_that_ends_too_soon_is_noticed(recorded):
    (path,) = recorded.glob("*.frames.jsonl")
    facts = json.loads(path.read_text())
    path.write_text("")
    assert facts["length"] == 16_000
    assert "not all of it is there" in refused(recorded)


def test_an_export_of_before_without_audio_comes_back(tmp_path):
    call = make_recording()
    erase(call, "", audio_only=True)
    export(call, to=tmp_path)
    Call.objects.all().delete()
    as_before(tmp_path)
    Erasure.objects.all().delete()
    bring(tmp_path)
    assert Call.objects.get().audio_samples == 0


# --- How it is said


def test_a_terminal_as_standard_input_is_explained(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(CommandError, match="pipe one in"):
        bring("-")


def test_every_field_that_is_exported_has_a_type(exported):
    facts, form = shape.read(next(exported.glob("*.json")).read_bytes())
    assert (form.version, facts.data_at) == (2, {"order": 7, "lines": 8})
    assert isinstance(facts.created_at, dt.datetime)
    assert sources.NEEDED == (".json", ".frames.jsonl")


def test_the_recording_time_is_now_for_none_of_it(exported):
    before = timezone.now()
    bring(exported)
    assert CallEvent.objects.get(kind="import").occurred_at >= before
    assert Stream.objects.filter(merged_at__gte=before).count() == 2
    assert Utterance.objects.get().words[0] == ["I", 0, 3200]
