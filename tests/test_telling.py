"""Differences as a person reads them, and as a program does."""

import json

from calls.replays.differences import compare
from calls.replays.telling import Compared, figures, lines, plain, summary, table, worst_first
from calls.replays.timelines import Figures, Happened, Spoken, Timeline


BEFORE = Timeline(
    spoken=(Spoken("us", 0, 2000), Spoken("caller", 2500, 4000), Spoken("us", 4400, 6000, response_ms=400)),
    events=(Happened(2000, "mark", "menu", "played"), Happened(6000, "end", "us")),
    figures=Figures(0, 400, 400, 0, 0),
)
SLOWER = Timeline(
    spoken=(Spoken("us", 0, 2000), Spoken("caller", 2500, 4000), Spoken("us", 5500, 7100, response_ms=1500)),
    events=(Happened(7100, "end", "us"),),
    figures=Figures(0, 1500, 1500, 0, 0),
)


def compared(after=SLOWER, sid="CA1", before=BEFORE):
    return Compared(sid, compare(before, after, alike=bytes.__eq__))


def text(before, after):
    return list(lines(compare(Timeline(**before), Timeline(**after), alike=bytes.__eq__)))[1:]


def test_both_sides_stand_beside_each_other():
    assert list(lines(compared().comparison, 90)) == [
        "           before                        after",
        "=  us      0.00–2.00                     0.00–2.00",
        "-  mark    2.00 menu played                                            gone",
        "=  caller  2.50–4.00                     2.50–4.00",
        "±  us      4.40–6.00 after 400 ms        5.50–7.10 after 1,500 ms      1,100 ms later",
        "±  end     6.00 by us                    7.10 by us                    1,100 ms later",
    ]


def test_what_is_new_and_what_is_otherwise_is_said():
    before = {"spoken": (Spoken("us", 0, 2000, None, None, "Hello."),)}
    after = {
        "spoken": (Spoken("us", 0, 2500, None, 900, "Good-bye."),),
        "events": (Happened(700, "clear", length_ms=1200),),
    }
    line, new = text(before, after)
    assert line.endswith("500 ms longer, 900 ms more of both at once, says something else")
    assert new.split("  ")[0] == "+"
    assert "0.70 1,200 ms unheard" in new


def test_what_is_too_long_is_cut():
    long = {"spoken": (Spoken("us", 0, 2000, words="word " * 40),)}
    (line,) = text(long, long)
    assert line.count("…") == 2
    assert len(line) < 100


def test_figures_are_told_with_what_has_become_of_them():
    assert list(figures(Figures(120, 400, None, 0, 0), Figures(120, 1500, None, 0, 250))) == [
        "first audio            120 ms →     120 ms",
        "response, median       400 ms →   1,500 ms  +1,100 ms",
        "dead air                 0 ms →       0 ms",
        "both at once             0 ms →     250 ms  +250 ms",
    ]


def test_a_figure_of_one_side_alone_is_told_without_a_difference():
    assert next(figures(Figures(), Figures(first_audio_ms=80))) == "first audio                 – →      80 ms"


def test_the_worst_call_comes_first():
    same, slower = compared(BEFORE, "CA1"), compared(SLOWER, "CA2")
    assert [one.sid for one in worst_first([same, slower])] == ["CA2", "CA1"]


def test_a_line_of_the_table_says_what_is_different_in_a_call():
    assert list(table([compared(), compared(BEFORE)]))[1:] == [
        f"{'CA1':<34}  {'400 → 1,500 ms':<18}  {'0 ms':<18}  mark 1, us 1, end 1; answers up to 1,100 ms later",
        f"{'CA1':<34}  {'400 ms':<18}  {'0 ms':<18}  –",
    ]


def test_the_summary_counts_them():
    told = list(summary([compared(), compared(BEFORE)], {"CA3": "it had no stream"}, 200))
    assert told[0] == "2 calls played again: 1 the same within 200 ms, 1 different."
    assert told[1] == "response, median       400 ms →     950 ms  (the median of 2 calls)"
    assert told[-2:] == ["1 call not played:", "  1 × it had no stream"]


def test_a_program_gets_all_but_the_audio():
    found = plain(compared(Timeline(spoken=(Spoken("us", 0, 2000, audio=b"\xff"),)), before=Timeline()))
    assert json.loads(json.dumps(found))["lines"] == [
        {
            "at_ms": 0,
            "subject": "us",
            "before": None,
            "after": {"start_ms": 0, "end_ms": 2000, "response_ms": None, "talked_on_ms": None, "words": ""},
            "changes": [{"what": "new", "by_ms": None}],
        }
    ]
    assert found["is_same"] is False
