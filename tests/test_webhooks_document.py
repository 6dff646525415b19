"""docs/webhooks.md is true: its examples are what is sent, and its ten lines of Python know what is ours."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from calls.api.shapes import CallFacts
from calls.models import Call, Gap, Notice
from calls.notices import signing
from calls.notices.delivery import AWAY, REFUSED, payload
from calls.notices.facts import MISSING
from calls.notices.telling import tell
from calls.summaries.facts import of_call
from tests.support.factories import make_gap, make_receiver, make_recording


DOCUMENT = (Path(__file__).resolve().parent.parent / "docs/webhooks.md").read_text()
EXAMPLES = {
    example["type"]: example for example in map(json.loads, re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL))
}
[PYTHON] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def shape(value: Any) -> Any:
    """Names and kinds of values, whatever they are."""
    if isinstance(value, dict):
        return {name: "data" if name == "data" and "order" in each else shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value).__name__


def without_call(what: dict[str, Any]) -> dict[str, Any]:
    return {**what, "data": {**what["data"], "call": {}}}


def sent(kind: str) -> dict[str, Any]:
    """What such a call makes of it."""
    make_receiver()
    figures = {"first_audio_ms": 900, "response_ms": 1200, "response_ms_max": 2100, "dead_air_ms": 0, "talk_over_ms": 0}
    call = make_recording(duration=60, price="-0.0085", price_unit="USD", data={"order": 7}, **figures)
    call.tags.create(name="refund")
    if kind == "recording.incomplete":
        make_gap(call.streams.get(), reason="sequence", length=4000)
    tell()
    return json.loads(json.dumps(payload(Notice.objects.get(kind=kind), with_numbers=True)))


@pytest.mark.django_db
def test_the_example_of_a_call_that_ended_is_what_is_sent():
    what, example = sent("call.ended"), EXAMPLES["call.ended"]
    assert shape(what) == shape(example)
    assert set(what["data"]["call"]) == set(example["data"]["call"])
    differs = {name for name, value in what["data"]["call"].items() if example["data"]["call"][name] != value}
    assert differs <= {"sid", "url"}
    assert what["timestamp"] == example["timestamp"]


@pytest.mark.django_db
def test_a_call_has_the_same_facts_under_the_same_names_as_the_api_has():
    call, own = sent("call.ended")["data"]["call"], {"url", "end_is_a_guess"}
    of_api = CallFacts(**of_call(Call.objects.get())).model_dump(
        mode="json", exclude={"created_at", "answered_at", "ended_at"}
    )
    assert set(call) - own == set(CallFacts.model_fields)
    assert {name: call[name] for name in of_api} == of_api


@pytest.mark.django_db
def test_the_example_of_a_recording_with_parts_missing_is_what_is_sent():
    what, example = sent("recording.incomplete"), EXAMPLES["recording.incomplete"]
    assert shape(without_call(what)) == shape(without_call(example))
    assert what["data"]["recording"] == example["data"]["recording"]


def test_every_kind_and_every_reason_is_explained():
    named = set(re.findall(r"`([a-z]+\.[a-z]+)`", DOCUMENT))
    assert set(Notice.Kind.values) <= named
    reasons = set(re.findall(r"^\| `([a-z_]+)` \|", DOCUMENT, re.MULTILINE))
    assert reasons - {"ping"} == {*map(str, MISSING), str(Gap.Reason.NO_STREAM), "interrupted"}


def test_the_pauses_are_those_that_are_kept():
    assert (REFUSED, AWAY) == ((5, 30, 120, 600, 1800, 3600), (5, 30, 120, 300, 600))
    text = " ".join(DOCUMENT.split())
    assert "5 s, 30 s, 2, 10 and 30 minutes, then every hour" in text
    assert "5 s, 30 s, 2 and 5 minutes, then every 10 minutes" in text


def test_the_ten_lines_know_what_is_ours():
    found: dict[str, Any] = {}
    exec(PYTHON, found)
    is_ours, secret, body = found["is_ours"], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"id": 1}'
    now = int(time.time())
    headers = signing.headers("1", now, body, ["whsec_AAAA", secret])
    assert is_ours(headers, body, secret)
    assert not is_ours(headers, body + b" ", secret)
    assert not is_ours(headers, body, "whsec_BBBB")
    assert not is_ours({**headers, "webhook-id": "2"}, body, secret)
    assert not is_ours(signing.headers("1", now - 600, body, [secret]), body, secret)
