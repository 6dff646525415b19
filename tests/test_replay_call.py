"""`replay_call` plays a recorded call's caller to other code, and says what is different."""

import asyncio
import json
import signal
from io import StringIO

import msgspec
import pytest
from django.core.management import CommandError, call_command

from calls import archive_url
from calls.handlers import handler, sound
from calls.media.transcript import Heard
from calls.models import Call, CallEvent, RecordingAccess, Stream
from calls.rehearsal import HandlerPhone
from calls.store import moving
from tests.support.callers import place
from tests.support.factories import make_call, make_recording, make_staff, make_view
from tests.support.recorded import stored_to_the_end
from tests.support.sealed import KEY
from tests.support.servers import Server


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
# A caller who says something after five seconds, for five, and presses a key at eleven.
CALLER = b"\xff" * 40_000 + sound("caller")[:40_000] + b"\xff" * 8000


@handler
async def polite(stream):
    await stream.play(sound("greeting"), barge_in=True)
    await anext(stream.speech())
    stream.note("asked for something")
    await stream.play(sound("thanks"))
    await stream.mark("thanked")
    stream.set(key=await stream.digits(1, timeout=3))
    await stream.play(sound("beep"))
    await stream.hang_up()


@handler
async def slow(stream):
    await stream.play(sound("greeting"), barge_in=True)
    await anext(stream.speech())
    await asyncio.sleep(0.7)
    stream.note("asked for something")
    await stream.play(sound("thanks"))
    await stream.mark("thanked")
    stream.set(key=await stream.digits(1, timeout=3))
    await stream.play(sound("beep"))
    await stream.hang_up()


@handler
async def rude(stream):
    await stream.play(sound("greeting") + sound("greeting"))
    await stream.play(sound("apology"))
    raise KeyError("order")


@handler(records=False)
async def private(stream):
    await polite(stream)


@handler
async def impatient(stream):
    """Of one caller, somebody at the keyboard has had enough."""
    if stream.from_number == "+14155550142":
        signal.raise_signal(signal.SIGINT)
    await polite(stream)


async def understood(audio):
    """One utterance a lane, at its beginning."""
    async for _ in audio:
        continue
    yield Heard("Welcome.", 0.0, 1.0)


async def misunderstood(audio):
    async for heard in understood(audio):
        yield msgspec.structs.replace(heard, text="Farewell.")


@pytest.fixture(autouse=True)
def known_handlers(settings):
    names = ("polite", "slow", "rude", "private")
    settings.STREAM_HANDLERS = {name: f"tests.test_replay_call.{name}" for name in names}


def recorded(name="polite", **facts):
    """A call to that handler, with a database behind it."""
    with asyncio.Runner() as runner, HandlerPhone() as phone:
        facts = {"says": CALLER, "keys": [(11.0, "7")], **facts}
        runner.run(phone.call(name, records=True, **facts))
    return Call.objects.get()


def replay(*sids, **options):
    """What it says, and how it ends."""
    out, code = StringIO(), 0
    try:
        call_command("replay_call", *sids, stdout=out, stderr=StringIO(), **options)
    except CommandError as error:
        out.write(str(error))
        code = error.returncode
    return out.getvalue(), code


def written(tmp_path, *sids, **options):
    replay(*sids, json=tmp_path / "out.json", **options)
    return json.loads((tmp_path / "out.json").read_text())


def different(tmp_path, *sids, **options):
    """Subject, and what is different and by how many ms."""
    lines = written(tmp_path, *sids, **options)["calls"][0]["lines"]
    return [(line["subject"], change["what"], change["by_ms"]) for line in lines for change in line["changes"]]


def test_the_same_code_does_the_same():
    text, code = replay(recorded().sid)
    assert "The same, within 200 ms." in text
    assert code == 0


def test_it_is_the_same_to_the_millisecond_and_each_time(tmp_path):
    call = recorded()
    first, second = (written(tmp_path, call.sid, tolerance=0) for _ in range(2))
    assert first["calls"] == second["calls"]
    assert first["calls"][0]["is_same"]


def test_a_slower_handler_is_named_with_its_ms(tmp_path):
    changes = different(tmp_path, recorded().sid, handler="slow")
    assert ("us", "moved") in [(subject, what) for subject, what, _ in changes]
    assert all(600 <= by <= 800 for _, what, by in changes if what == "moved")
    assert {subject for subject, _, _ in changes} == {"us", "note", "mark", "end"}


def test_a_ruder_handler_talks_on_over_its_caller_and_fails(tmp_path):
    changes = different(tmp_path, recorded().sid, handler="rude")
    assert any(subject == "us" and what == "talk-over" and by > 1000 for subject, what, by in changes)
    assert {("failure", "new", None), ("note", "gone", None), ("data", "gone", None)} <= set(changes)


def test_what_is_different_is_an_exit_code_of_1():
    text, code = replay(recorded().sid, handler="slow")
    assert "ms later" in text
    assert code == 1


def test_a_tolerance_is_one():
    call = recorded()
    assert replay(call.sid, handler="slow", tolerance=900)[1] == 0
    assert replay(call.sid, handler="slow", ignore=["us", "note", "mark", "end"])[1] == 0


def test_who_plays_a_call_again_is_warned_that_the_handler_runs():
    err = StringIO()
    call_command("replay_call", recorded().sid, stdout=StringIO(), stderr=err)
    assert err.getvalue() == "The handler itself runs: what it does beside talking, it does again.\n"


def test_code_need_not_be_named_in_the_settings():
    assert replay(recorded().sid, handler="tests.test_replay_call.polite")[1] == 0


def test_a_handler_that_is_not_recorded_is_heard_all_the_same():
    assert replay(recorded().sid, handler="private")[1] == 0


def test_a_caller_who_hung_up_hangs_up_when_they_did():
    call = recorded(keys="", seconds=7.0)
    assert call.streams.get().end_reason == "stop"
    text, code = replay(call.sid, tolerance=0)
    assert "by caller" in text
    assert code == 0


def test_nothing_is_written_but_who_read_it():
    call = recorded()
    before = [list(model.objects.order_by("pk").values()) for model in (Call, Stream, CallEvent)]
    replay(call.sid, handler="slow")
    assert [list(model.objects.order_by("pk").values()) for model in (Call, Stream, CallEvent)] == before
    (access,) = RecordingAccess.objects.all()
    assert (access.call, access.kind, access.detail) == (call, "export", "replay_call --handler slow")


def test_several_calls_are_told_in_a_table_and_the_worst_come_first():
    call = recorded()
    silent, running = make_call(), make_recording()
    text, code = replay(call.sid, silent.sid, running.sid, handler="slow")
    assert "2 calls played again: " in text
    assert "1 × it had no stream" in text
    assert text.splitlines()[0].split() == ["call", "response", "first", "audio", "different"]
    assert code == 1


def test_the_calls_of_a_view_are_played():
    recorded()
    make_call(handler="voicemail")
    make_view("Polite", "handler=polite")
    text, code = replay(view="polite", handler="slow")
    assert "ms later" in text
    assert code == 1


def test_a_view_of_somebodys_own_is_theirs():
    recorded()
    make_view("Mine", "handler=polite", user=make_staff("view_call", username="ada"))
    assert replay(view="Mine", of="ada")[1] == 0
    text, code = replay(view="Mine")
    assert text == "There is no view 'Mine' of everybody; there are none."
    assert code == 2


def test_the_calls_of_a_file_are_played(tmp_path):
    call = recorded()
    (tmp_path / "sids").write_text(f"# of Monday\n{call.sid}\n\n")
    assert replay(calls=str(tmp_path / "sids"))[1] == 0


@pytest.mark.parametrize(
    ("sids", "options", "said"),
    [
        ([], {}, "Which calls? Name some, or use --view or --calls; one of these."),
        (["CA1"], {"view": "x"}, "Which calls? Name some, or use --view or --calls; one of these."),
        (["CA1"], {}, "No such call: CA1"),
        ([], {"calls": "/nowhere"}, "/nowhere cannot be read: [Errno 2] No such file or directory: '/nowhere'"),
    ],
)
def test_what_cannot_be_meant_is_an_exit_code_of_2(sids, options, said):
    assert replay(*sids, **options) == (said, 2)


def test_a_handler_that_is_not_known_is_an_exit_code_of_2():
    text, code = replay(make_recording().sid, handler="nobody")
    assert text.startswith("There is no handler 'nobody'; there are echo, ")
    assert code == 2
    assert replay(make_recording().sid, handler="nowhere.at_all")[1] == 2
    assert "is not a handler" in replay(make_recording().sid, handler="calls.handlers.names")[0]


def test_what_was_played_before_ctrl_c_is_told_and_written(tmp_path):
    call = recorded()
    second = make_recording(from_number="+14155550142", ended_at=call.ended_at)
    text, code = replay(call.sid, second.sid, handler="tests.test_replay_call.impatient", json=tmp_path / "out.json")
    assert "1 call played again: 1 the same" in text
    assert code == 130
    assert [one["call_sid"] for one in json.loads((tmp_path / "out.json").read_text())["calls"]] == [call.sid]


def test_words_are_compared_where_both_sides_have_them(settings, tmp_path):
    settings.TRANSCRIBER = "tests.test_replay_call.understood"
    call = recorded()
    assert call.streams.get().utterances.filter(track="outbound").exists()
    assert replay(call.sid, tolerance=0)[1] == 0
    settings.TRANSCRIBER = "tests.test_replay_call.misunderstood"
    assert ("us", "words", None) in different(tmp_path, call.sid)
    assert replay(call.sid, without_words=True)[1] == 0


def test_one_that_cannot_be_played_says_why_and_nobody_has_read_it():
    call = make_call()
    text, code = replay(call.sid)
    assert text.endswith(f"{call.sid} was not played: it had no stream")
    assert code == 2
    assert not RecordingAccess.objects.exists()


def test_a_sealed_recording_is_played_by_who_has_its_key(settings):
    settings.RECORDING_KEYS = [KEY]
    call = recorded()
    assert call.streams.get().sealing_key
    assert replay(call.sid, tolerance=0)[1] == 0
    settings.RECORDING_KEYS = []
    assert "its audio is sealed: " in replay(call.sid)[0]


def test_an_archived_recording_is_played_too(settings, tmp_path):
    call = recorded()
    settings.ARCHIVE_URL = f"file://{tmp_path}"
    settings.STORAGES = {**settings.STORAGES, **archive_url.storages(settings.ARCHIVE_URL)}
    moving.store(call.streams.get())
    assert call.streams.get().archive
    assert replay(call.sid, tolerance=0)[1] == 0
    (tmp_path / call.streams.get().archive).unlink()
    text, code = replay(call.sid)
    assert text.startswith(f"{call.sid}: ")
    assert code == 2


@pytest.mark.process
@pytest.mark.clock
def test_a_call_that_was_recorded_in_real_time_is_the_same_on_a_clock_that_jumps(tmp_path):
    with Server("uvicorn", tmp_path) as server:
        (report,) = place(server, handler="voicemail", audio=sound("caller"), dtmf=((9.0, "#"),))
        stored_to_the_end([report])
    # Both said the same; a machine that is busy says it later.
    text, code = replay(report.call_sid, tolerance=2000)
    assert "9.0" in text
    assert code == 0, text
