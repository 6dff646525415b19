"""The picture of a call."""

import pytest

from simulator.audio import mulaw_of, tone
from simulator.reports.measuring import Sound
from simulator.reports.waveform import BROKEN, COLUMNS, ROWS, WIDTH, Flag, outline, waveform


SILENCE, SPEECH = b"\xff", tone(440, 1)


def picture(said=SPEECH, heard=SILENCE * 8000, flags=()):
    return waveform(Sound(said, heard), list(flags), "a call")


def lines_of(flag):
    return [float(line.get("x1")) for line in flag.iter("line")]


def test_an_outline_is_the_loudest_of_each_part():
    assert outline(SILENCE * 100 + b"\x80" + SILENCE * 99, 4) == pytest.approx([0, 0, 0.98, 0], abs=0.02)


def test_quiet_speech_can_be_seen():
    (height,) = outline(bytes([mulaw_of(328)]), 1)
    assert 0.05 < height < 0.1


def test_a_call_of_a_few_samples_and_one_of_none_have_outlines():
    assert outline(b"\x80", 3) == pytest.approx([0.98] * 3, abs=0.02)
    assert outline(b"", 3) == [0, 0, 0]


def test_silence_is_drawn_as_nothing_and_speech_as_bars():
    said, heard = picture().iter("path")
    assert said.get("d").count("M") == COLUMNS
    assert heard.get("d") == ""


def test_speech_is_drawn_where_it_was():
    said, _ = picture(said=SILENCE * 4000 + tone(440, 1)[:4000]).iter("path")
    assert said.get("d").startswith(f"M{COLUMNS + 1} ")


def test_an_event_lies_where_it_came_about_and_has_its_number_and_its_words():
    (flag,) = picture(flags=[Flag(1, 500, "pressed: digit 5")]).iter("g")
    assert lines_of(flag) == [WIDTH / 2]
    assert flag.find("title").text == "1: pressed: digit 5"
    assert flag.find("text").text == "1"


def test_where_an_expectation_did_not_hold_is_told_by_more_than_a_colour():
    (flag,) = picture(flags=[Flag(7, 500, "step: expect", is_broken=True)]).iter("g")
    assert flag.find("text").text == "7!"
    assert flag.find("rect").get("fill") == BROKEN


def test_events_that_are_close_lie_one_above_the_other_as_far_as_there_is_room():
    flags = list(picture(flags=[Flag(n, 500 + n, "mark") for n in range(1, ROWS + 3)]).iter("g"))
    assert [flag.find("text") is not None for flag in flags] == [True] * ROWS + [False] * 2
    assert len({flag.find("rect").get("y") for flag in flags[:ROWS]}) == ROWS


def test_an_event_after_the_last_sample_is_still_in_the_picture():
    (flag,) = picture(flags=[Flag(1, 2000, "closed")]).iter("g")
    assert lines_of(flag) == [WIDTH - 1]
    assert float(flag.find("rect").get("x")) < WIDTH


@pytest.mark.parametrize("seconds", [1, 7, 60, 600])
def test_the_axis_has_a_dozen_times_at_most(seconds):
    times = [text.text for text in picture(said=SILENCE * 8000 * seconds).iter("text") if text.text.endswith(" s")]
    assert 4 <= len(times) <= 13
    assert times[0] == "0 s"
