"""A scenario that was written from a call passes against the server that it was written of, and fails another one."""

import jsonschema
import pytest
import yaml

from simulator import Scenario, simulate
from simulator.__main__ import main
from simulator.audio import read_wav
from simulator.dialled import Dialled
from simulator.report import Event, Report, StreamReport
from simulator.scenarios import load, play, schema, write_scenario
from tests.support.desk import QUIET, REPLY, Desk, babble


ACCOUNT, TOKEN = "AC" + "0" * 32, "0123456789abcdef0123456789abcdef"
MS = 8  # samples


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", TOKEN)


def calling(url, **more):
    return Scenario(
        public_url=url,
        server="",
        url=f"{url}/voice",
        account_sid=ACCOUNT,
        auth_token=TOKEN,
        status_callback=False,
        **more,
    )


def call(*heard, said=(), ms=8000, events=(), ended="the caller hung up after 8.0 s", **more):
    """What was heard and said: (ms, audio)."""
    sent = bytearray(QUIET * ms * MS)
    for begin, audio in said:
        sent[begin * MS : begin * MS + len(audio)] = audio
    stream = StreamReport("MZ1", ["inbound"], {}, sent=bytes(sent), heard=[(at * MS, audio) for at, audio in heard])
    return Report("CA1", streams=[stream], events=[Event(*event) for event in events], ended=ended, **more)


@pytest.fixture
def recorded(tmp_path):
    """The steps, and the rest, of what is written of a call."""

    def write(report, **more):
        path = tmp_path / "again.yaml"
        write_scenario(report, calling("http://127.0.0.1:5000", **more), path)
        jsonschema.validate(written := yaml.safe_load(path.read_text()), schema.schema())
        assert load(path), "it can be read"
        return written.pop("steps"), written

    return write


def test_what_was_said_and_pressed_is_written_with_what_came_between(recorded, tmp_path):
    words = babble(0.5, "words")
    report = call(
        (500, babble(1, "greeting")),
        (4000, REPLY),
        said=[(3000, words)],
        events=[(6500.0, "pressed", {"digit": "#"})],
    )
    steps, rest = recorded(report)
    assert steps == [
        {"expect": {"speech": "1.3s"}},
        {"wait_for": "silence"},
        {"wait": "1s"},
        {"play": "again-said-1.wav"},
        {"expect": {"speech": "1.3s"}},
        {"wait_for": "silence"},
        {"wait": "1s"},
        {"press": "#"},
        {"wait": "1.48s"},
        "hang_up",
    ]
    assert rest["expect"] == {"streams": 1, "ended_by": "caller", "sounds": ["again-heard-1.wav", "again-heard-2.wav"]}
    assert read_wav((tmp_path / "again-said-1.wav").read_bytes()) == words
    assert read_wav((tmp_path / "again-heard-2.wav").read_bytes()) == REPLY


def test_who_spoke_into_an_answer_interrupts_it_again(recorded, tmp_path):
    report = call((500, babble(3, "long")), said=[(1700, babble(0.5, "stop"))], ms=4500)
    steps, _ = recorded(report)
    assert steps[:2] == [{"expect": {"speech": "1.3s"}}, {"interrupt": {"after": "1.2s", "play": "again-said-1.wav"}}]
    assert len(read_wav((tmp_path / "again-heard-1.wav").read_bytes())) == 1200 * MS


def test_a_server_that_hung_up_has_to_again(recorded):
    steps, rest = recorded(call(ms=2000, ended="the server hung up after 2.0 s", said=[(0, babble(0.5, "bye"))]))
    assert steps == [{"play": "again-said-1.wav"}, {"expect": {"hang_up": "2.8s"}}]
    assert rest["expect"] == {"streams": 1, "ended_by": "server", "nothing_heard": True}


def test_hold_a_cut_line_marks_and_dialled_numbers_are_written_too(recorded):
    events = [(1000.0, "hold", {"ms": 500}), (3000.0, "closed", {"by": "caller", "code": 1006})]
    report = call(ms=4000, events=events, dialled=["+14155550111"])
    report.streams[0].marks = [("hi", "played"), ("f81d4fae-7dec-11d0", "played"), ("ho", "cleared"), ("ho", "played")]
    steps, rest = recorded(report, dial=(Dialled("busy"), Dialled("completed", 5.0)))
    assert steps == [{"wait": "1s"}, {"hold": "500ms"}, {"wait": "1.5s"}, "cut", {"wait": "980ms"}, "hang_up"]
    assert rest["dial"] == ["busy", {"outcome": "completed", "lasting": "5s"}]
    assert (rest["expect"]["marks"], rest["expect"]["dialled"]) == ({"hi": "played", "ho": "any"}, ["+14155550111"])


def test_packets_that_were_lost_are_lost_once(recorded, tmp_path):
    words = babble(0.5, "words")
    report = call(said=[(0, words[:1600]), (300, words[2400:])])
    _, rest = recorded(report, audio=words, drop=0.03, jitter=0.04, burst=2)
    assert rest["line"] == {"jitter": "40ms", "loss": "3%", "burst": 2}
    assert read_wav((tmp_path / "again-said-1.wav").read_bytes()) == words


def test_the_token_is_not_written(recorded, tmp_path):
    recorded(call())
    assert TOKEN not in (tmp_path / "again.yaml").read_text()


@pytest.mark.parametrize(
    ("report", "more", "reason"),
    [(Report("CA1"), {}, "opened no stream"), (call(), {"direction": "outbound-api"}, "only a call that comes in")],
)
def test_what_was_no_call_that_came_in_is_not_written(recorded, report, more, reason):
    with pytest.raises(ValueError, match=reason):
        recorded(report, **more)


async def test_a_recorded_call_passes_again_and_fails_another_server(tmp_path):
    audio = QUIET * 12_000 + babble(0.5, "order") + QUIET * 14_400
    path = tmp_path / "again.yaml"
    async with Desk().served() as url:
        scenario = calling(url, audio=audio, dtmf=((3.9, "#"),))
        report = await simulate(scenario)
        write_scenario(report, scenario, path)
    async with Desk().served() as url:
        assert (await again(path, url)).errors == []
    async with Desk(reply=babble(1, "another")).served() as url:
        report = await again(path, url)
    assert ["again-heard-2.wav" in error for error in report.errors] == [True]


async def again(path, url):
    (scenario,) = load(path, {"voice_url": f"{url}/voice"})
    return await play(scenario)


def test_the_program_writes_a_scenario_of_its_call(tmp_path, capsys):
    """Against nobody, which it says."""
    path = tmp_path / "again.yaml"
    where = ["--voice-url", "http://127.0.0.1:9/voice", "--record", str(path)]
    assert main(["call", *where]) == 1
    assert "a call that opened no stream cannot be written as a scenario; no server at" in capsys.readouterr().err
    assert not path.exists()
