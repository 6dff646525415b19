"""`python -m simulator examine`: what it prints, saves and ends with; and checks that need no call."""

import asyncio
import json

import pytest

from simulator.__main__ import main
from simulator.carrier import Answer
from simulator.examine import CHECKS, Judgement, Result, Target, Verdict
from simulator.examine.facts import Facts
from simulator.examine.talks import Interruption, Talk
from simulator.examine.target import Exchange
from simulator.examine.verdicts import quoted
from simulator.examine.written import report
from simulator.messages import media
from simulator.report import Report, StreamReport, Traced
from tests.support.media_servers.aiohttp_server import TOKEN, serving
from tests.support.servers import free_port


BY_ID = {check.id: check for check in CHECKS}


async def examine(url, *options):
    where = ("--voice-url", url, "--auth-token", TOKEN, "--quiet")
    return await asyncio.to_thread(main, ["examine", *where, *options])


def document(body, voice_url="https://voice.example.org/voice", content_type="text/xml"):
    answer = Answer(200, content_type, body.encode())
    return Facts(Target(voice_url=voice_url, auth_token=TOKEN), {"twilio": Exchange("POST /voice", answer)})


def connect(url, inside="", after=""):
    return document(f'<Response><Connect><Stream url="{url}">{inside}</Stream></Connect>{after}</Response>')


# --- The program


async def test_a_server_that_is_wrong_ends_with_1_and_says_why(capsys):
    async with serving("redirect") as url:
        assert await examine(url) == 1
    out = capsys.readouterr().out
    assert "FAIL  The voice webhook does not redirect (redirect)\n" in out
    assert "        POST /voice → 301\n" in out
    assert "      See: https://www.twilio.com/docs/api/errors/11215\n" in out
    assert "\x1b" not in out


async def test_warnings_alone_end_with_0(capsys):
    async with serving("text") as url:
        assert await examine(url, "--only", "content-type") == 0
    assert "1 warned" in capsys.readouterr().out


async def test_only_what_is_asked_for_is_examined(capsys):
    async with serving("pause") as url:
        assert await examine(url, "--only", "trailing-pause", "verbs") == 0
    assert "0 failed, 1 warned, 1 passed, 0 not tested" in capsys.readouterr().out


async def test_the_report_is_saved_as_json(tmp_path):
    async with serving("query") as url:
        await examine(url, "--only", "stream-url", "--json", str(tmp_path / "report.json"))
    (result,) = json.loads((tmp_path / "report.json").read_text())["results"]
    assert (result["id"], result["verdict"]) == ("stream-url", "warn")
    assert result["proof"][0].startswith("POST /voice → 200 text/xml")


async def test_what_cannot_be_saved_ends_with_1(capsys):
    async with serving() as url:
        assert await examine(url, "--only", "webhook", "--json", "/nowhere/report.json") == 1
    assert "--json /nowhere/report.json: No such file or directory" in capsys.readouterr().err


async def test_where_nobody_listens_nothing_else_is_said(capsys):
    assert await examine(f"http://127.0.0.1:{free_port()}/voice") == 1
    out = capsys.readouterr().out
    assert "connection refused" in out
    assert f"the other {len(CHECKS) - 1} checks: nobody answers at that address" in out


def test_every_check_is_listed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["examine", "--list"])
    assert ended.value.code == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [check.id for check in CHECKS]


def test_an_unknown_check_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["examine", "--voice-url", "http://h/voice", "--auth-token", "x", "--only", "nonsense"])
    assert ended.value.code == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_a_report_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    says = " ".join(["words that go on"] * 9)
    result = Result(BY_ID["mulaw"], Judgement(Verdict.FAIL, says, ('{"event":"media",' * 20,)))
    lines = report([result], "http://h/voice", 1, colours=False).splitlines()
    assert max(len(line) for line in lines if "See: https://" not in line) == 80


@pytest.mark.parametrize("check", ["second-call", "blocking"])
def test_a_server_that_has_died_meanwhile_is_not_said_to_take_one_call_at_a_time(check):
    spoke = StreamReport("MZ1", ["inbound"], {}, trace=[Traced(0.1, False, "{}")])
    gone = Talk(b"", Report("CA2", errors=["no server at http://h (connection refused)"]))
    target = Target(voice_url="http://h/voice", auth_token=TOKEN)
    facts = Facts(target, talk=Talk(b"", Report("CA1", streams=[spoke])), pair=(gone, gone))
    assert BY_ID[check].judge(facts).verdict is Verdict.NOT_TESTED


def test_that_a_caller_speaks_is_shown_by_a_message_that_is_not_silent():
    frames = [media(n, "MZ1", "inbound", n, 20 * n, audio) for n, audio in enumerate([b"\xff" * 160, b"\x20" * 160])]
    stream = StreamReport("MZ1", ["inbound"], {}, trace=[Traced(n / 50, True, text) for n, text in enumerate(frames)])
    talk = Talk(b"", Report("CA1", streams=[stream]), interruption=Interruption(0.0, 4.0))
    facts = Facts(Target(voice_url="http://h/voice", auth_token=TOKEN), talk=talk)
    assert BY_ID["interruption"].judge(facts).proof[0].startswith("0.02 s →")


def test_a_terminal_has_colours():
    result = Result(BY_ID["mulaw"], Judgement(Verdict.FAIL, "It is not."))
    assert "\x1b[31;1mFAIL\x1b[0m" in report([result], "http://h/voice", 1, colours=True)


# --- Checks, and what is quoted


def test_checks_have_names_of_their_own_and_pages():
    assert len(BY_ID) == len(CHECKS)
    assert all(check.page.startswith("https://") for check in CHECKS)


@pytest.mark.parametrize(
    ("url", "verdict"),
    [
        ("wss://voice.example.org/media", Verdict.PASS),
        ("/media", Verdict.PASS),
        ("ws://voice.example.org/media", Verdict.FAIL),
        ("http://voice.example.org/media", Verdict.FAIL),
        ("wss:///media", Verdict.FAIL),
        ("wss://voice.example.org/media?token=1", Verdict.WARN),
    ],
)
def test_behind_tls_a_stream_has_to_be_wss(url, verdict):
    assert BY_ID["stream-url"].judge(connect(url)).verdict is verdict


@pytest.mark.parametrize("body", ["<Response/>", "<Response><Say>Hello</Say></Response>"])
def test_a_document_without_a_stream_is_accused_of_nothing(body):
    checks = [check for check in CHECKS if check.needs == ("document",)]
    verdicts = {check.judge(document(body)).verdict for check in checks}
    assert verdicts == {Verdict.PASS, Verdict.NOT_TESTED}


@pytest.mark.parametrize("kind", ["text/xml; charset=utf-8", "application/xml", "text/html"])
def test_every_type_that_twilio_takes_for_xml_is_right(kind):
    assert BY_ID["content-type"].judge(document("<Response/>", content_type=kind)).verdict is Verdict.PASS


def test_a_short_pause_is_a_breath():
    assert BY_ID["trailing-pause"].judge(connect("/media", after='<Pause length="1"/>')).verdict is Verdict.PASS


def test_of_audio_only_the_beginning_is_quoted():
    assert quoted('{"payload":"' + "Ab+/" * 200 + '=="}') == '{"payload":"Ab+/Ab+/Ab+/Ab+/Ab+/Ab+/…"}'
    assert quoted('{"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}').count("…") == 0
