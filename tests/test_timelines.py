"""What is measured and known of a stream, as one timeline."""

from calls.media.conversation import converse
from calls.media.turns import Span
from calls.replays.timelines import Figures, Happened, Spoken, Text, Timeline, timeline


CONVERSATION = converse([Span(8000, 16_000)], [Span(20_000, 24_000)], [], answered=0, length=32_000)
OUR = bytes(20_000) + b"\x2a" * 4000


def test_turns_are_in_ms_and_ours_have_their_audio():
    spoken = timeline(CONVERSATION, OUR, []).spoken
    assert spoken == (Spoken("caller", 1000, 2000), Spoken("us", 2500, 3000, 500, audio=b"\x2a" * 4000))


def test_words_are_those_of_the_turn_that_they_lie_in():
    texts = [Text("us", 2600, 2900, "you."), Text("us", 2500, 2600, "Thank"), Text("caller", 900, 1800, "A pizza")]
    assert [said.words for said in timeline(CONVERSATION, OUR, [], texts).spoken] == ["A pizza", "Thank you."]


def test_events_are_in_order_of_time():
    events = [Happened(900, "note", "b"), Happened(100, "mark", "a")]
    assert [event.at_ms for event in timeline(CONVERSATION, OUR, events).events] == [100, 900]


def test_figures_are_those_of_the_conversation():
    assert timeline(CONVERSATION, OUR, []).figures == Figures(2500, 500, 500, 0, 0)


def test_of_what_is_known_up_to_a_moment_the_end_is_left_out():
    line = Timeline(
        spoken=(Spoken("us", 0, 900), Spoken("us", 2000, 2900)),
        events=(Happened(100, "mark"), Happened(900, "end"), Happened(2000, "mark")),
    )
    assert (line.until(None), line.end_ms, line.until(2000).end_ms) == (line, 900, None)
    assert line.until(2000) == Timeline(spoken=(Spoken("us", 0, 900),), events=(Happened(100, "mark"),))


def test_a_turn_is_as_long_as_from_edge_to_edge():
    assert (Spoken("us", 100, 350).at_ms, Spoken("us", 100, 350).length_ms) == (100, 250)
