"""`python -m simulator run`: from a scenario's file to the reports that a build server reads."""

import asyncio
import json
import os
import signal
import sys
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulator.__main__ import main
from tests.support.servers import ROOT
from tests.test_simulator import CONNECT, HANGUP, TOKEN, echo, listen, serving


VOICE = CONNECT.replace("/stream-ended", "/after")
SCENARIO = """\
name: order
server: {voice_url: "${voice_url}"}
steps:
  - wait: 200ms
  - hang_up
expect:
  twiml: <Stream
"""
# Of a server that opens no stream.
FAILS = SCENARIO.replace("<Stream", "<Say>")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.yaml").write_text(SCENARIO)
    (tmp_path / "fails.yaml").write_text(FAILS.replace("name: order", "name: says hello"))
    return tmp_path


async def run(server, *arguments):
    where = ("--voice-url", f"{server.url}/voice?tenant=7", "--server", server.url)
    return await asyncio.to_thread(main, ["run", *arguments, *where])


async def test_scenarios_that_go_well_end_with_0_and_the_summary(folder, capsys):
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("order.yaml: order: 1 ok")
    assert out.splitlines()[-1] == "the call went well"
    assert "ok     order.yaml: order: the caller hung up" in err


async def test_a_call_that_fails_ends_with_1_and_its_line(folder, capsys):
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "fails.yaml") == 1
    out = capsys.readouterr().out.splitlines()
    assert out[-2].startswith("FAILED fails.yaml:7: says hello: TwiML with")
    assert out[-1] == "1 of 2 calls failed"


async def test_each_report_is_written_where_it_is_wanted(folder):
    files = ("--junit", "out/junit.xml", "--json", "out/run.json", "--html", "out/run.html", "--save", "out/calls")
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "fails.yaml", *files, "--quiet") == 1
    suites = ElementTree.parse(folder / "out/junit.xml").getroot()
    assert [(suite.get("name"), suite.get("failures")) for suite in suites] == [
        ("order.yaml", "0"),
        ("fails.yaml", "1"),
    ]
    told = json.loads((folder / "out/run.json").read_text())
    assert (told["summary"]["failed"], told["tested"]) == (1, [f"{server.url}/voice?…"])
    assert told["simulator"].startswith("twilio-media-streams-simulator")
    html = (folder / "out/run.html").read_text()
    assert 'src="calls/0002-says-hello.wav"' in html
    assert sorted(file.name for file in (folder / "out/calls").iterdir()) == ["0001-order.wav", "0002-says-hello.wav"]
    assert TOKEN not in html


async def test_each_scenario_is_played_as_often_as_wanted_each_time_by_somebody_else(folder, capsys):
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--calls", "3", "--at-once", "2") == 0
    forms = server.forms("/voice")
    assert len({form["CallSid"] for form in forms}) == 3
    assert len({form["From"] for form in forms}) == 3
    assert "all 3 calls went well" in capsys.readouterr().out


async def test_without_a_number_of_calls_one_is_played_after_the_other(folder):
    alive, most = set(), []

    async def talk(line):
        alive.add(line)
        most.append(len(alive))
        await listen(line)
        alive.remove(line)

    async with serving(talk, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "order.yaml", "--quiet") == 0
    assert most == [1, 1]


async def test_the_token_may_stand_on_the_command_line(folder, monkeypatch):
    monkeypatch.delenv("TWILIO_AUTH_TOKEN")
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--quiet", "--auth-token", TOKEN) == 0


def test_a_variable_that_no_scenario_has_is_a_slip(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "order.yaml", "--set", "voice_ulr=http://127.0.0.1:9/voice"])
    assert (
        "--set voice_ulr: no scenario has a variable `voice_ulr`; did you mean `voice_url`?" in capsys.readouterr().err
    )


@pytest.mark.parametrize("server", ['server: {voice_url: "http://127.0.0.1:9/nobody"}\n', ""])
async def test_the_voice_url_of_the_command_line_outweighs_that_of_the_scenario(folder, server):
    (folder / "order.yaml").write_text(SCENARIO.replace('server: {voice_url: "${voice_url}"}\n', server))
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--quiet") == 0


async def test_a_variable_is_set(folder):
    (folder / "order.yaml").write_text(SCENARIO + "to: ${number}\n")
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--set", "number=+14155550177", "--quiet") == 0
    assert server.forms("/voice")[0]["To"] == "+14155550177"


async def test_its_first_call_is_recorded_however_many_there_are(folder):
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--calls", "6", "--record", "again.yaml", "--quiet") == 0
        assert await run(server, "again.yaml", "--quiet") == 0


async def test_it_is_quiet_when_all_is_well(folder, capsys):
    async with serving(echo, voice=[VOICE], after=[HANGUP]) as server:
        assert await run(server, "order.yaml", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["wrong.yaml"], "wrong.yaml:3: "),
        (["order.yaml", "--junit", "order.yaml/junit.xml"], "order.yaml"),
    ],
)
def test_what_cannot_be_read_or_written_ends_with_2_before_any_call(folder, arguments, fault, capsys):
    (folder / "wrong.yaml").write_text(SCENARIO.replace("steps:", "stebs:"))
    assert main(["run", *arguments, "--voice-url", "http://127.0.0.1:9/voice"]) == 2
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["order.yaml", "--set", "number"], ["order.yaml", "--calls", "0"]])
def test_a_wrong_option_ends_with_2(folder, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["run", *arguments])
    assert ended.value.code == 2


@pytest.mark.process
async def test_ctrl_c_hangs_up_and_reports_what_was_played(folder):
    (folder / "order.yaml").write_text(SCENARIO.replace("200ms", "60s"))
    speaking = asyncio.Event()

    async def talk(line):
        await line.until("media")
        speaking.set()
        await listen(line)

    async with serving(talk, voice=[VOICE], after=[HANGUP]) as server:
        program = await start(server, "--calls", "2", "--at-once", "1")
        await speaking.wait()
        program.send_signal(signal.SIGINT)
        out, err = await program.communicate()
    assert program.returncode == 130
    assert out.decode().splitlines()[-1] == "interrupted: 0 of 2 calls played, 0 failed"
    assert "hanging up (1 call); Ctrl-C again leaves at once" in err.decode()
    assert ElementTree.parse(folder / "junit.xml").getroot()[0].get("skipped") == "2"


@pytest.mark.process
async def test_a_second_ctrl_c_waits_for_no_server(folder):
    asked, never = asyncio.Event(), asyncio.Event()

    async def voice(request):
        asked.set()
        await never.wait()

    async with TestServer(answering(voice)) as server:
        server.url = str(server.make_url("")).rstrip("/")
        program = await start(server)
        await asked.wait()
        program.send_signal(signal.SIGINT)
        await program.stderr.readuntil(b"Ctrl-C again leaves at once\n")
        program.send_signal(signal.SIGINT)
        await program.communicate()
        never.set()
    assert program.returncode == 130
    assert (
        ElementTree.parse(folder / "junit.xml").find("testsuite/testcase/skipped").get("message")[:11] == "interrupted"
    )


def answering(voice):
    app = web.Application()
    app.router.add_post("/voice", voice)
    return app


async def start(server, *arguments):
    """The program, in a process of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "run", "order.yaml", "--junit", "junit.xml"),
        *("--voice-url", f"{server.url}/voice", *arguments),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
