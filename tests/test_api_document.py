"""docs/api.md is true: its commands run against a server as in production, and what it names is the code's."""

import json
import re
import subprocess

import pytest

from calls.api.parameters import MOST, CallFilters
from calls.process.pools import MOST_API_OF_ONE
from tests.support.factories import make_client, make_recording, make_turn, make_utterance
from tests.support.servers import ROOT, Server


DOCUMENT = (ROOT / "docs/api.md").read_text()


def commands():
    [block] = re.findall(r"```console\n(.*?)```", DOCUMENT, re.DOTALL)
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ curl")]


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_every_command_gets_what_it_asks_for(tmp_path):
    call = make_recording(seconds=1)
    stream = call.streams.get()
    make_turn(stream)
    make_utterance(stream)
    _, token = make_client("listen_call", "download_call")
    found = []
    with Server("uvicorn", tmp_path) as server:
        environment = {"PATH": "/usr/bin:/bin", "API": f"{server.url}/api/v1", "TOKEN": token, "SID": call.sid}
        for command in commands():
            done = subprocess.run(
                ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, check=True
            )
            found.append(json.loads(done.stdout) if done.stdout else None)
        assert server.errors == []
    newest, filtered, one, turns, words, _ = found
    assert newest["calls"][0]["sid"] == filtered["calls"][0]["sid"] == one["sid"] == call.sid
    assert (turns["turns"][0]["end_ms"], words["lines"][0]["text"]) == (1000, "I want a refund")
    assert (tmp_path / "call.wav").stat().st_size == 44 + 8000 * 2


def test_every_filter_is_named():
    assert [
        name for name in CallFilters.model_fields if f"`{name}`" not in DOCUMENT and f"{name}=" not in DOCUMENT
    ] == []


def test_its_limits_are_those_of_the_code():
    assert f"(50; {MOST} at most)" in DOCUMENT
    assert f"more than {MOST_API_OF_ONE} requests of one address" in DOCUMENT


def test_every_code_of_a_refusal_is_in_the_table():
    elsewhere = [ROOT / "calls/process/pools.py", ROOT / "calls/files/ranges.py"]
    sources = "".join(path.read_text() for path in [*(ROOT / "calls/api").glob("*.py"), *elsewhere])
    used = set(re.findall(r"\(\s*\d{3}, \"(\w+)\"", sources))
    assert used == set(re.findall(r"^\| \d{3} \| `(\w+)`", DOCUMENT, re.MULTILINE))
