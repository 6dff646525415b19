"""Results of simulated calls, built by hand."""

from array import array
from datetime import UTC, datetime

from simulator.audio import tone
from simulator.report import Event, Finding, Report, StreamReport
from simulator.reports.results import Logged, Planned, Run, judge
from simulator.scenario import Scenario


TOKEN = "0123456789abcdef0123456789abcdef"
CALL = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056"
BEGAN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SILENCE = b"\xff"
LATE = "heard speech within 1 s: nothing was heard"
SAID = tone(440, 1) + SILENCE * 8000
HEARD = ((12000, tone(350, 1)[:4000]),)


def stream(said=SAID, heard=HEARD, **changes):
    """A second of speech, half a second of waiting, half a second of an answer."""
    facts = {
        "sent": said,
        "heard": list(heard),
        "frames_sent": len(said) // 160,
        "closed_by": "caller",
        "parameters": {},
    }
    return StreamReport("MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687", ["inbound"], **{**facts, **changes})


def report(*errors, streams=None, **changes):
    return Report(CALL, streams=[stream()] if streams is None else streams, errors=list(errors), **changes)


def planned(name="order", number=1, file="orders.yaml", nth=1, of=1):
    scenario = Scenario(public_url="http://h", auth_token=TOKEN, account_sid="AC" + "0" * 32, name=name)
    return Planned(file, scenario, number, nth, of)


def result(*errors, plan=None, log=("the caller hangs up",), shown=True, **changes):
    """Of a call that ended like this; `changes` are the report's."""
    lines = [Logged(at / 2, text) for at, text in enumerate(log)]
    told = judge(plan or planned(), report(*errors, **changes), lines, began=BEGAN, took=2.5, shown=shown)
    return told


def late(*milliseconds):
    return array("f", [ms / 1000 for ms in milliseconds])


def broken(line=12):
    """An expectation that did not hold, as a report has it."""
    return {"findings": [Finding("heard speech within 1 s", False, "nothing was heard", line)]}


def run(*results, **changes):
    facts = {"addresses": ("http://127.0.0.1:5000/voice",), "version": "simulator 1.2.3", "began": BEGAN, "took": 9.5}
    return Run(tuple(results), **{**facts, **changes})


def eventful(count=12):
    kinds = [("said", {"ms": 900}), ("pressed", {"digit": "5"}), ("mark", {"name": "greeting", "outcome": "played"})]
    return [Event(150.0 * n, *kinds[n % 3]) for n in range(count)]
