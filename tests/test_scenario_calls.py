"""Scenarios played against servers: what they do reaches the server, and what it does wrong is found."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from django.conf import settings

from simulator.audio import mono_wav
from simulator.scenarios import load, play
from tests.support.desk import GREETING, QUIET, REPLY, Desk, babble
from tests.support.servers import Server, free_port


EXAMPLES = Path(__file__).parents[1] / "simulator/examples"
ACCOUNT, TOKEN = "AC" + "0" * 32, "0123456789abcdef0123456789abcdef"
HEAD = "server: {voice_url: '${url}/voice', status_callback: '${url}/status'}\n"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", ACCOUNT)


@pytest.fixture
def espeak():
    if not shutil.which("espeak-ng"):
        (pytest.fail if os.environ.get("REQUIRE_ESPEAK") else pytest.skip)("espeak-ng is not installed")


@pytest.fixture
def played(tmp_path):
    """Plays a scenario against a desk: the report, and the desk."""
    for name, audio in (("greeting", GREETING), ("reply", REPLY), ("me", babble(0.5, "me"))):
        (tmp_path / f"{name}.wav").write_bytes(mono_wav(audio))

    async def run(text, **desk):
        path, server = tmp_path / "pizza.yaml", Desk(**desk)
        path.write_text(HEAD + text)
        async with server.served() as url:
            (scenario,) = load(path, {"url": url})
            return await play(scenario), server

    return run


CONVERSATION = """
steps:
  - expect: {speech: 3s, sound: greeting.wav, mark: greeting}
  - wait_for: silence
  - play: me.wav
  - expect: {speech: 3s, sound: reply.wav}
  - wait_for: silence
  - play: me.wav
  - interrupt: {after: 300ms, play: me.wav, silent_within: 3s}
  - expect: {clear: 3s, mark: {name: reply 2, outcome: cleared}}
  - wait_for: speech
  - wait_for: silence
  - press: 1#
  - expect: {hang_up: 3s}
expect:
  response: {each: 3s}
  marks: {greeting: played, reply 1: played, reply 2: cleared}
  sounds: [greeting.wav, reply.wav]
  ended_by: server
  streams: 1
  warnings: none
"""


async def test_a_conversation_goes_as_it_is_written(played):
    report, desk = await played(CONVERSATION)
    assert report.errors == []
    assert (len(report.findings), desk.turns) == (23, 3)
    assert [facts["digit"] for event in report.events if event.kind == "pressed" for facts in [event.facts]] == [
        "1",
        "#",
    ]


@pytest.mark.parametrize(
    ("wrong", "steps", "found"),
    [
        ({"greeting": QUIET * 800 + GREETING}, "[expect: {speech: 50ms}]", "heard speech after 0.1"),
        ({"greeting": babble(0.4, "other")}, "[expect: {sound: greeting.wav}]", "did not hear greeting.wav; "),
        ({"hangs_up_at": ""}, "[press: '#', expect: {hang_up: 50ms}]", "the server had not hung up after 5.0"),
        (
            {"clears": False},
            "[interrupt: {after: 200ms, play: me.wav}, expect: {clear: 400ms}]",
            "no clear came, 0.4 s",
        ),
    ],
)
async def test_what_a_server_does_wrong_is_found(played, wrong, steps, found):
    report, _ = await played(f"steps: {steps}", **wrong)
    assert report.findings[-1].found.startswith(found)
    assert (report.findings[-1].line, report.ok) == (2, False)


async def test_a_server_that_sends_frame_by_frame_is_heard_as_well(played):
    steps = "steps: [expect: {sound: greeting.wav, mark: greeting}]"
    report, _ = await played(steps, paces=True)
    assert report.errors == []


async def test_a_server_without_a_word_is_no_failure_where_nothing_is_expected(played):
    report, _ = await played("steps: [expect: {nothing: 300ms}]\nexpect: {nothing_heard: true}", greeting=b"")
    assert report.errors == []


async def test_on_hold_the_callers_timestamps_jump(played):
    report, _ = await played("steps: [wait: 100ms, hold: 1s, wait: 100ms]", greeting=b"")
    (stream,) = report.streams
    assert (stream.seconds, stream.frames_sent) == (pytest.approx(1.2, abs=0.05), pytest.approx(10, abs=2))


async def test_a_cut_line_is_a_stream_error_for_the_server(played):
    report, desk = await played("steps: [wait: 200ms, cut]")
    assert desk.callbacks == [("stream", "stream-started"), ("stream", "stream-error"), ("status", "completed")]
    assert report.errors == []


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("stream-stopped", ["stream-started", "stream-stopped"]),
        ("stream-error", ["stream-started", "stream-error"]),
        ("stream-started", ["stream-started"]),
    ],
)
async def test_a_stream_ends_with_every_event(played, last, told):
    report, desk = await played(f"webhooks: {{last_stream_event: {last}}}\nsteps: [wait: 100ms]")
    assert ([event for kind, event in desk.callbacks if kind == "stream"], report.errors) == (told, [])


@pytest.mark.parametrize(("manner", "times"), [("in-order", 1), ("twice", 2), ("late", 1), ("shuffled", 1)])
async def test_callbacks_come_in_their_manner(played, manner, times):
    report, desk = await played(f"webhooks: {{callbacks: {manner}}}\nsteps: [wait: 100ms]")
    came = [("stream", "stream-started"), ("stream", "stream-stopped"), ("status", "completed")]
    assert sorted(desk.callbacks) == sorted(came * times)
    assert (desk.callbacks == [one for one in came for _ in range(times)]) is (manner != "shuffled")
    assert report.errors == []


async def test_late_callbacks_come_when_the_stream_is_over(played):
    _, desk = await played("webhooks: {callbacks: late}\nsteps: [wait: 100ms]")
    assert [kind for kind, _ in desk.requests] == ["voice", "closed", "stream", "stream", "status"]


async def test_a_repeated_webhook_comes_twice_for_one_call(played):
    report, desk = await played("webhooks: {repeat: true, parameters: {CallerName: Ann}}\nsteps: [wait: 100ms]")
    first, second = (form for kind, form in desk.requests if kind == "voice")
    assert (first, first["CallerName"]) == (second, "Ann")
    assert len(report.streams) == 1


async def test_a_server_that_refuses_the_call_fails_it_unless_that_is_expected(played):
    text = "steps: [wait: 1s]\nexpect: {failure: rejected the call, streams: 0}"
    report, _ = await played(text, twiml="<Response><Reject/></Response>")
    assert report.errors == []
    report, _ = await played("steps: [expect: {speech: 1s}]", twiml="<Response><Reject/></Response>")
    assert report.errors == ["the server rejected the call"]


async def test_what_becomes_of_a_dialled_number_is_written_too(played):
    twiml = "<Response><Dial>+14155550111</Dial><Connect><Stream url='{ws}/media'/></Connect></Response>"
    text = "dial: {outcome: busy, lasting: 100ms}\nsteps: [wait_for: speech]\nexpect: {dialled: '+14155550111'}"
    report, _ = await played(text, twiml=twiml)
    assert report.errors == []


# --- calls that the server places


ORDER = "{order: {url: '${url}/order', form: {to: '+14155550100', from: '+14155550199'}}, rings: 100ms"


@pytest.fixture
def placed(tmp_path):
    """Plays a call that a desk places: the report, and the desk."""

    async def run(outbound, steps="[wait_for: speech]", **desk):
        path, port = tmp_path / "called.yaml", free_port()
        server = Desk(api=(f"http://127.0.0.1:{port}", ACCOUNT, TOKEN), **desk)
        path.write_text(f"outbound: {outbound}, api_port: {port}}}\nfrom: +14155550199\nsteps: {steps}")
        async with server.served() as url:
            (scenario,) = load(path, {"url": url})
            return await play(scenario), server

    return run


@pytest.mark.parametrize("answer", ["human", "machine"])
async def test_a_call_that_the_server_places_is_answered(placed, answer):
    report, desk = await placed(f"{ORDER}, answer: {answer}")
    assert report.errors == []
    assert [event for kind, event in desk.callbacks if kind == "status"] == [
        "initiated",
        "ringing",
        "in-progress",
        "completed",
    ]
    assert report.findings[0].what == "speech within 10 s"


@pytest.mark.parametrize("answer", ["busy", "no-answer", "failed"])
async def test_a_call_that_nobody_answers_has_no_stream(placed, answer):
    report, desk = await placed(f"{ORDER}, answer: {answer}", "[wait_for: speech]\nexpect: {streams: 0}")
    assert (report.errors, report.ended) == ([], f"nobody answered: {answer}")
    assert desk.callbacks[-1] == ("status", answer)


@pytest.mark.parametrize(
    ("outbound", "reason"),
    [
        ("{within: 100ms", "the server placed no call within 0.1 s"),
        ("{order: '${url}/nowhere'", "the order POST http://"),
        ("{command: [python, -c, 'raise SystemExit(3)']", "python ended with 3: "),
        ("{command: [/no/such/program]", "/no/such/program could not be run: No such file or directory"),
    ],
)
async def test_a_call_that_is_never_placed_says_why(placed, outbound, reason):
    report, _ = await placed(outbound)
    assert report.reason.startswith(reason.strip())


async def test_every_example_passes_against_a_server_that_does_what_it_is_about(espeak):
    names, port = ("greeting", "order", "barge_in", "trouble"), free_port()
    desk = Desk(api=(f"http://127.0.0.1:{port}", ACCOUNT, TOKEN))
    async with desk.served() as url:
        given = {"voice_url": f"{url}/voice", "server": url, "api_port": str(port)}
        at_once = [scenario for name in names for scenario in load(EXAMPLES / f"{name}.yaml", given)]
        reports = await asyncio.gather(*map(play, at_once))
        reports += [await play(scenario) for scenario in load(EXAMPLES / "outbound.yaml", given)]
    assert {report.name: report.errors for report in reports if report.errors} == {}
    assert len(reports) == 12


@pytest.mark.process
@pytest.mark.once
@pytest.mark.django_db(transaction=True)
async def test_callstreams_own_voicemail_passes_its_scenario(espeak, tmp_path, monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", settings.TWILIO_AUTH_TOKENS[0])
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", settings.TWILIO_ACCOUNT_SID)
    with Server("uvicorn", tmp_path) as server:
        (scenario,) = load(EXAMPLES / "voicemail.yaml", {"server": server.url})
        report = await play(scenario)
    assert report.errors == [], server.log
