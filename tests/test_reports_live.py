"""What a run shows while it runs."""

import re
from io import StringIO

import pytest

from simulator.reports.figures import Spread
from simulator.reports.live import Display, Now, block, line
from tests.support.results import LATE, broken, planned, result, stream


class Terminal(StringIO):
    def isatty(self):
        return True


def now(*over, calls=8, late=None):
    return Now(over, calls, alive=3, frames_a_second=149.6, late=late, seconds=83.0)


def screen(written):
    """The lines that stand there in the end, by what a terminal does with them."""
    lines = []
    for up, text in re.findall(r"\x1b\[(\d+)F\x1b\[J|([^\n\x1b]*\n)", written):
        lines = lines[: len(lines) - int(up)] if up else [*lines, text.rstrip("\n")]
    return lines


def test_it_shows_how_far_the_calls_are_and_how_long_callers_wait():
    shown = block(now(result(), result(LATE, streams=[stream(marks=[("a", "played")])])))
    assert shown[0] == "██████░░░░░░░░░░░░░░░░░░ 2 of 8 calls over, 1 failed, 3 alive, 1:23"
    assert shown[1] == "frames         150 sent a second"
    assert shown[2] == "response time  p50 500 ms, p90 500 ms, p99 500 ms, worst 500 ms (2 answers)"
    assert shown[3] == "first audio    p50 1500 ms, p90 1500 ms, p99 1500 ms, worst 1500 ms (2 calls)"
    assert shown[4:] == ["marks          1 played"]


def test_it_warns_when_the_simulator_itself_is_late():
    shown = block(now(late=Spread(100, 1.0, 20.0, 34.0, 41.0)))
    assert shown[-2] == "simulator      p50 1.0 ms, p90 20 ms, p99 34 ms, worst 41 ms late"
    assert all(len(line) < 80 for line in shown[:-1])
    assert "the simulator's, not the server's" in shown[-1]


def test_a_terminal_has_one_block_that_is_drawn_anew_and_goes_away():
    terminal = Terminal()
    display = Display(8, to=terminal)
    for over in [(), (result(),)]:
        display.show(display.lines(now(*over)))
    assert [text[:14] for text in screen(terminal.getvalue())][1:] == [
        "frames        ",
        "response time ",
        "first audio   ",
    ]
    display.close()
    assert screen(terminal.getvalue()) == []


def test_a_call_that_fails_stays_above_the_block():
    terminal = Terminal()
    display = Display(8, to=terminal)
    display.show(display.lines(now()))
    display.ended(result())
    display.ended(result(LATE, **broken(line=12)))
    display.show(display.lines(now()))
    assert screen(terminal.getvalue())[0] == f"FAILED orders.yaml:12: order: {LATE}"
    assert len(screen(terminal.getvalue())) == 3


def test_no_line_is_longer_than_the_terminal_is_wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    terminal = Terminal()
    Display(8, to=terminal).show(["x" * 100])
    assert screen(terminal.getvalue()) == ["x" * 39]


def test_elsewhere_each_call_has_a_line_and_nothing_is_drawn():
    out = StringIO()
    display = Display(8, to=out)
    display.ended(result(plan=planned("order", 1, of=2), ended="the caller hung up after 2.0 s"))
    display.show(display.lines(now(result())))
    display.close()
    assert out.getvalue().splitlines() == [
        "ok     orders.yaml: order, call 1 of 2: the caller hung up after 2.0 s",
        line(now(result())),
    ]
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(("calls", "quiet"), [(1000, False), (1, True)])
def test_of_many_calls_and_where_it_is_to_be_quiet_only_those_that_fail_have_a_line(calls, quiet):
    out = StringIO()
    display = Display(calls, quiet, out)
    display.ended(result())
    display.ended(result(LATE))
    assert out.getvalue() == f"FAILED orders.yaml: order: {LATE}\n"


def test_who_wants_it_quiet_is_not_told_how_far_it_is():
    out = Terminal()
    display = Display(8, quiet=True, to=out)
    display.show(display.lines(now()))
    assert out.getvalue() == ""
