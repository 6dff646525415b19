"""What is different between two timelines of the same caller."""

from calls.replays.differences import compare
from calls.replays.timelines import Figures, Happened, Spoken, Timeline


GREETING = Spoken("us", 0, 2000, audio=b"hello")
ORDER = Spoken("caller", 2500, 4000)
ANSWER = Spoken("us", 4400, 6000, response_ms=400, audio=b"thanks")
CALL = Timeline(spoken=(GREETING, ORDER, ANSWER), events=(Happened(6000, "end", "us"),))


def line(*spoken, events=()):
    return Timeline(spoken=spoken, events=events)


def compared(before, after, **options):
    return compare(before, after, alike=bytes.__eq__, **options)


def changes(before, after, **options):
    """Subject, what is different and by how many ms, in order of time."""
    found = compared(before, after, **options).differences
    return [(one.subject, change.what, change.by_ms) for one in found for change in one.changes]


def events(before, after, **options):
    return changes(line(events=before), line(events=after), **options)


def test_the_same_twice_is_the_same():
    assert compared(CALL, CALL).is_same
    assert [one.subject for one in compared(CALL, CALL).lines] == ["us", "caller", "us", "end"]


def test_a_slower_answer_is_named_with_its_ms():
    slower = line(GREETING, ORDER, Spoken("us", 5100, 6700, response_ms=1100, audio=b"thanks"))
    assert changes(line(GREETING, ORDER, ANSWER), slower) == [("us", "moved", 700)]
    assert compared(line(GREETING, ORDER, ANSWER), slower).slower_ms == 700


def test_what_lies_within_the_tolerance_is_the_same():
    later = line(Spoken("us", 200, 2200))
    assert changes(line(Spoken("us", 0, 2000)), later) == []
    assert changes(line(Spoken("us", 0, 2000)), later, tolerance_ms=199) == [("us", "moved", 200)]


def test_an_answer_that_is_missing_is_gone_and_a_further_one_is_new():
    assert changes(CALL, line(GREETING, ORDER, events=CALL.events)) == [("us", "gone", None)]
    assert changes(line(GREETING, ORDER, events=CALL.events), CALL) == [("us", "new", None)]


def test_a_longer_answer_is_named_with_its_ms():
    assert changes(line(Spoken("us", 0, 2000)), line(Spoken("us", 0, 3500))) == [("us", "length", 1500)]


def test_talking_on_over_the_caller_is_named_with_its_ms():
    rude = Spoken("us", 0, 2000, talked_on_ms=900)
    assert changes(line(Spoken("us", 0, 2000, talked_on_ms=100)), line(rude)) == [("us", "talk-over", 800)]
    assert changes(line(Spoken("us", 0, 2000)), line(rude)) == [("us", "talk-over", 900)]


def test_a_caller_who_is_talked_over_is_named_too():
    spoken_into = Spoken("caller", 2500, 4000, talked_on_ms=600)
    assert changes(line(ORDER), line(spoken_into)) == [("caller", "talk-over", 600)]


def test_other_audio_is_another_sound():
    assert changes(line(ANSWER), line(Spoken("us", 4400, 6000, 400, audio=b"sorry"))) == [("us", "sound", None)]


def test_words_count_more_than_their_sound():
    said = Spoken("us", 0, 900, words="Thank you!", audio=b"one voice")
    assert changes(line(said), line(Spoken("us", 0, 900, words="thank you", audio=b"another"))) == []
    assert changes(line(said), line(Spoken("us", 0, 900, words="Bye.", audio=b"one voice"))) == [("us", "words", None)]


def test_a_caller_says_the_same_whatever_was_understood():
    assert changes(line(Spoken("caller", 0, 900, words="A pizza")), line(Spoken("caller", 0, 900, words="Pisa"))) == []


def test_words_of_one_side_alone_leave_it_to_the_sound():
    said = Spoken("us", 0, 900, words="Thank you!", audio=b"one voice")
    assert changes(line(said), line(Spoken("us", 0, 900, audio=b"one voice"))) == []


def test_the_same_words_belong_together_however_late_they_are():
    question = Spoken("us", 5000, 6000, words="Anything else?")
    moved = Spoken("us", 9000, 10_000, words="Anything else?")
    other = Spoken("us", 5000, 6000, words="One moment.")
    assert changes(line(question), line(other, moved)) == [("us", "new", None), ("us", "moved", 4000)]


def test_a_turn_that_a_longer_pause_has_torn_is_the_same():
    torn = (Spoken("us", 0, 2000, audio=b"he"), Spoken("us", 3010, 6000, audio=b"llo"))
    assert changes(line(Spoken("us", 0, 6000, audio=b"hello")), line(*torn)) == []
    assert changes(line(*torn), line(Spoken("us", 0, 6000, audio=b"hello"))) == []


def test_what_was_interrupted_in_both_halves_is_added_up():
    torn = (Spoken("us", 0, 2000, talked_on_ms=300), Spoken("us", 3010, 6000, talked_on_ms=400))
    assert changes(line(*torn), line(Spoken("us", 0, 6000))) == [("us", "talk-over", -700)]


def test_a_mark_with_another_outcome_has_changed():
    assert events([Happened(900, "mark", "menu", "played")], [Happened(900, "mark", "menu", "cleared")]) == [
        ("mark", "value", None)
    ]


def test_a_mark_of_another_name_is_another_mark():
    assert events([Happened(900, "mark", "menu", "played")], [Happened(900, "mark", "bye", "played")]) == [
        ("mark", "gone", None),
        ("mark", "new", None),
    ]


def test_data_is_the_same_in_any_order():
    one, other = Happened(900, "data", "amount", "12"), Happened(950, "data", "order", '"A-17"')
    moved = Happened(1000, "data", "amount", "12")
    assert events([one, other], [other, moved]) == []


def test_another_value_of_data_has_changed():
    assert events([Happened(1, "data", "order", "1")], [Happened(1, "data", "order", "2")]) == [("data", "value", None)]


def test_when_data_was_set_is_nobodys_business():
    assert events([Happened(900, "data", "order", "1")], [Happened(9000, "data", "order", "1")]) == []


def test_the_end_comes_last():
    early = line(ANSWER, events=[Happened(100, "end", "caller")])
    assert [one.subject for one in compared(CALL, early).lines] == ["us", "caller", "us", "end"]


def test_a_clear_that_throws_more_away_is_longer():
    assert events([Happened(900, "clear", length_ms=100)], [Happened(900, "clear", length_ms=2100)]) == [
        ("clear", "length", 2000)
    ]


def test_what_the_caller_would_still_have_done_is_no_difference():
    key, later = Happened(5000, "key", "1"), Spoken("caller", 6000, 7000)
    before = line(Spoken("caller", 1000, 4500), later, events=[key, Happened(8000, "end", "us")])
    after = line(Spoken("caller", 1000, 3000), events=[Happened(3000, "end", "us")])
    assert changes(before, after) == [("end", "moved", -5000)]


def test_what_the_caller_has_not_done_before_the_end_is_one():
    before = line(Spoken("caller", 1000, 1500), events=[Happened(8000, "end", "us")])
    after = line(events=[Happened(7000, "end", "us")])
    assert changes(before, after)[0] == ("caller", "gone", None)


def test_who_ended_it_matters():
    assert events([Happened(900, "end", "us")], [Happened(2000, "end", "caller")]) == [
        ("end", "moved", 1100),
        ("end", "value", None),
    ]


def test_what_is_ignored_is_no_difference():
    other = line(Spoken("us", 0, 2000, audio=b"bye"), events=[Happened(1, "mark", "menu")])
    assert changes(line(GREETING), other) == [("us", "sound", None), ("mark", "new", None)]
    assert changes(line(GREETING), other, ignored=["mark", "sound"]) == []


def test_lines_of_a_moment_begin_with_the_caller():
    both = line(Spoken("us", 0, 900), Spoken("caller", 0, 500), events=[Happened(0, "mark", "a")])
    assert [one.subject for one in compared(both, both).lines] == ["caller", "us", "mark"]


def test_differences_are_counted_by_what_they_are_about():
    after = line(Spoken("us", 900, 2900, audio=b"hello"), events=[Happened(1, "mark", "menu")])
    assert compared(line(GREETING), after).counted() == {"us": 1, "mark": 1}


def test_figures_come_along():
    found = compared(Timeline(figures=Figures(response_ms=400)), Timeline(figures=Figures(response_ms=900)))
    assert (found.before.response_ms, found.after.response_ms) == (400, 900)
