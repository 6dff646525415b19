"""`python -m simulator call` as a stranger has it: for another server than ours, without Django and without calls/."""

import asyncio
import json
import re
import sys
from base64 import b64decode

import pytest

from calls.sounds import FOLDER
from simulator import Report
from simulator.__main__ import main
from simulator.command import conclude
from simulator.pacer import Lateness
from simulator.spoken import spoken
from tests.support.servers import ROOT
from tests.support.sounds import espeak
from tests.test_simulator import CONNECT, HANGUP, TOKEN, echo, serving


__all__ = ["espeak"]

# What a machine does that has only the simulator and what it needs.
ALONE = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "channels", "calls", "config", "benchmark", "handlers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
runpy.run_module("simulator", run_name="__main__", alter_sys=True)
"""
VOICE = CONNECT.replace("/stream-ended", "/after")


async def run(*arguments, **environment):
    """The program's exit status, and what it printed on each of its outputs."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ALONE, *arguments),
        cwd=ROOT,
        env={"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await program.communicate()
    return program.returncode, out.decode(), err.decode()


async def test_it_calls_a_server_that_is_not_ours_without_django():
    async with serving(echo, voice=[VOICE], after=[HANGUP], **{"call-status": []}) as server:
        where = ("--voice-url", f"{server.url}/voice?tenant=7", "--status-callback", f"{server.url}/call-status")
        status, out, err = await run("call", *where, "--duration", "0.2", "--json", TWILIO_AUTH_TOKEN=f"{TOKEN},old")
    assert status == 0, err
    (report,) = json.loads(out)
    assert (report["ok"], report["streams"][0]["frames_sent"]) == (True, 10)
    assert server.forms("/voice")[0]["AccountSid"] == "AC" + "0" * 32
    assert server.forms("/call-status")[0]["CallStatus"] == "completed"


async def test_a_call_that_fails_ends_with_1_and_the_reason():
    async with serving(echo, voice=[{"status": 500}]) as server:
        status, out, err = await run("call", "--voice-url", f"{server.url}/voice", "--auth-token", TOKEN, "--quiet")
    assert (status, out) == (1, "")
    assert err == "python -m simulator call: the webhook POST /voice was answered 500\n"


# --- In this process


async def call(server, *arguments):
    where = ("--voice-url", f"{server.url}/voice", "--auth-token", TOKEN, "--duration", "0.1")
    return await asyncio.to_thread(main, ["call", *where, *arguments])


async def test_without_a_server_each_address_is_dialled_as_it_stands():
    async with serving(echo) as media:
        voice = CONNECT.replace("{host}", media.url.removeprefix("http://"))
        async with serving(echo, voice=[voice]) as web:
            assert await call(web, "--quiet") == 0
    assert media.events("start")
    assert not web.handshakes


async def test_a_server_without_tls_may_name_its_socket_wss_as_twilio_wants_it():
    async with serving(echo, voice=[CONNECT.replace("ws://", "wss://")]) as server:
        assert await call(server, "--quiet") == 0
    assert server.events("start")


async def test_another_host_is_dialled_with_tls_if_the_document_wants_it(capsys):
    async with serving(echo) as media:
        voice = CONNECT.replace("ws://{host}", media.url.replace("http", "wss"))
        async with serving(echo, voice=[voice]) as web:
            assert await call(web, "--quiet") == 1
    assert "31910 TLS Error" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["call", "run", "examine"])
def test_the_examples_of_a_command_name_the_program_as_it_was_called(command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/venv/bin/twilio-media-streams-simulator"])
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    assert f"\n  twilio-media-streams-simulator {command} " in out
    assert "python -m" not in out


@pytest.mark.parametrize("command", ["call", "run", "examine"])
def test_help_fits_a_terminal_of_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    # Examples are to be copied, and stay as they are.
    assert [line for line in lines if len(line) > 80 and not line.startswith("  python -m simulator")] == []


async def test_a_server_is_dialled_for_every_address():
    async with serving(echo, voice=[CONNECT.replace("{host}", "voice.example.org")]) as server:
        where = ("--voice-url", "https://voice.example.org/voice", "--server", server.url)
        assert await call(server, *where, "--quiet") == 1
        voice = ("--voice-url", "http://voice.example.org/voice", "--server", server.url)
        assert await call(server, *voice, "--quiet") == 0
    assert server.events("start")


async def test_numbers_account_and_keys_are_as_said(capsys):
    async with serving(echo, voice=[VOICE]) as server:
        numbers = ("--from", "+14155550123", "--to", "+14155550145", "--account-sid", "AC" + "a" * 32)
        assert await call(server, *numbers, "--dtmf", "0.02:#") == 0
    form = server.forms("/voice")[0]
    assert (form["From"], form["To"], form["AccountSid"]) == ("+14155550123", "+14155550145", "AC" + "a" * 32)
    assert server.forms("/call-status") == []
    assert server.events("dtmf")[0]["dtmf"]["digit"] == "#"
    assert "5 frames sent" in capsys.readouterr().out


async def test_a_caller_says_a_sentence_and_has_the_sid_that_was_asked_for(espeak):
    sid = "CA" + "c" * 32
    async with serving(echo, voice=[VOICE]) as server:
        assert await call(server, "--call-sid", sid, "--say", "Hello.", "--quiet") == 0
    assert server.forms("/voice")[0]["CallSid"] == sid
    frames = [b64decode(media["media"]["payload"]) for media in server.events("media")]
    assert b"".join(frames) == spoken("Hello.")[: 160 * len(frames)]


async def test_what_cannot_be_saved_ends_with_1(capsys):
    async with serving(echo, voice=[VOICE]) as server:
        assert await call(server, "--save", "/nowhere/call.wav", "--quiet") == 1
    assert capsys.readouterr().err == "python -m simulator call: --save /nowhere/call.wav: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "required: COMMAND"),
        (["call"], "required: --voice-url"),
        (["call", "--voice-url", "localhost:5000/voice"], "write an address like https://voice.example.org/voice"),
        (["call", "--voice-url", "http://localhost:port/voice"], "write an address like"),
        (["call", "--voice-url", "http://[::1/voice"], "write an address like"),
        (["call", "--voice-url", "http://h/voice", "--audio", "/nowhere.wav"], "/nowhere.wav: No such file"),
        (["call", "--voice-url", "http://h/voice", "--audio", __file__], "not a WAV file"),
        (["call", "--voice-url", "http://h/voice", "--calls", "x"], "'x' is not a whole number"),
        (["call", "--voice-url", "http://h/voice", "--drop", "x"], "x is not a share"),
        (["call", "--voice-url", "http://h/voice", "--account-sid", "AC1"], "write AC and 32 hexadecimal digits"),
        (["call", "--voice-url", "http://h/voice", "--call-sid", "CA1"], "write CA and 32 hexadecimal digits"),
        (["call", "--voice-url", "http://h/voice", "--say", "a" * 9999], "a text of 9999 characters"),
        (["call", "--voice-url", "http://h/voice"], "no token to sign with: set TWILIO_AUTH_TOKEN"),
    ],
)
def test_a_wrong_option_ends_with_2_and_says_what_is_wanted(arguments, fault, capsys, monkeypatch):
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert fault in capsys.readouterr().err


def test_a_caller_says_a_sentence_or_a_file_and_not_both(espeak, capsys):
    with pytest.raises(SystemExit):
        main(["call", "--voice-url", "http://h/voice", "--say", "Hi", "--audio", str(FOLDER / "caller.wav")])
    assert "--audio: not allowed with argument --say" in capsys.readouterr().err


def test_its_help_names_every_option_and_the_exit_statuses(capsys):
    with pytest.raises(SystemExit):
        main(["call", "--help"])
    said = capsys.readouterr().out
    names = "voice-url server from to account-sid auth-token audio dtmf duration hang-up-after save json quiet"
    assert {f"--{name}" for name in names.split()} <= set(re.findall(r"--[a-z-]+", said))
    assert "exit status:" in said


@pytest.mark.parametrize(("p99", "told"), [(20.0, 0), (34.2, 1)])
def test_it_says_itself_when_it_was_late(p99, told):
    options, lines = {"save": None, "json": False, "quiet": False}, []
    reports = [Report("CA0", lateness=Lateness(50, 0.1, late, late)) for late in (0.2, p99)]
    conclude(reports, options, lines.append)
    assert [line for line in lines if "warning: the simulator itself was 34 ms late at p99" in line] == lines[1:]
    assert len(lines[1:]) == told
