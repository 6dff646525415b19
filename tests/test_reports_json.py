"""The run as a JSON document."""

import json
from dataclasses import replace

from simulator.report import Event
from simulator.reports.as_json import as_json
from simulator.reports.results import Result
from tests.support.results import CALL, LATE, TOKEN, broken, late, planned, result, run, stream


def document(*results, **changes):
    return json.loads(as_json(run(*results, **changes)))


def test_it_says_what_was_tested_when_and_how_it_went():
    told = document(result(), result(LATE))
    assert (told["version"], told["simulator"], told["ok"]) == (1, "simulator 1.2.3", False)
    assert (told["tested"], told["began"]) == (["http://127.0.0.1:5000/voice"], "2026-11-28T12:00:00+00:00")
    assert told["summary"]["failed"] == 1
    assert told["summary"]["response_ms"] == {"count": 2, **dict.fromkeys(["p50", "p90", "p99", "worst"], 500.125)}


def test_each_scenario_has_its_own_figures():
    scenarios = document(result(), result(LATE, plan=planned("menu", 2)))["scenarios"]
    assert [(one["name"], one["calls"], one["failed"]) for one in scenarios] == [("order", 1, 0), ("menu", 1, 1)]


def test_each_call_has_its_report_and_what_was_measured():
    (call,) = document(replace(result(LATE, **broken()), wav="calls/0001-order.wav"))["calls"]
    assert (call["status"], call["took_seconds"], call["wav"]) == ("failed", 2.5, "calls/0001-order.wav")
    assert (call["response_ms"], call["log"]) == ([500.125], [[0.0, "the caller hangs up"]])
    report = call["report"]
    assert (report["call_sid"], report["errors"], report["seconds"]) == (CALL, [LATE], 2.0)
    assert report["findings"][0]["line"] == 12
    assert "sent" not in report["streams"][0]


def test_a_call_that_never_began_has_no_report():
    told = document(Result(planned()), interrupted=True)
    assert (told["calls"][0]["status"], told["calls"][0]["report"], told["ok"]) == ("not run", None, False)


def test_how_late_the_simulator_was_is_told():
    summary = document(replace(result(), late=late(34)))["summary"]
    assert round(summary["lateness_ms"]["p99"]) == 34
    assert "34 ms late" in summary["warning"]


def test_no_token_is_told():
    told = as_json(
        run(
            result(
                TOKEN,
                requests=[("http://h/after?token=s3cr3t", 200)],
                twiml=['<Parameter name="token" value="s3cr3t"/>'],
                streams=[stream(parameters={"token": "s3cr3t"})],
                events=[Event(0, "document", {"token": "s3cr3t"})],
            )
        )
    )
    assert "s3cr3t" not in told
    assert TOKEN not in told
