"""What a conversation was like, from who spoke when: turns, waits, interruptions and dead air."""

from calls.media.conversation import common, converse, joined, without
from calls.media.turns import Span


def spans(*edges):
    """In ms: begin, end, begin, end."""
    return [Span(8 * begin, 8 * end) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def talk(caller=(), ours=(), unknown=(), answered=0, length=60_000):
    sides = (spans(*caller), spans(*ours), spans(*unknown))
    return converse(*sides, answered=8 * answered, length=8 * length)


def turns(**facts):
    """Speaker, begin and end in ms."""
    return [(turn.speaker, turn.start // 8, turn.end // 8) for turn in talk(**facts).turns]


def responses(**facts):
    return [turn.response_ms for turn in talk(**facts).turns if turn.speaker == "us"]


def interrupted(**facts):
    return [(turn.speaker, turn.talked_on_ms) for turn in talk(**facts).turns if turn.interrupted]


# --- turns ------------------------------------------------------------------------------------------------------------


def test_pauses_of_less_than_a_second_are_part_of_a_turn():
    assert turns(caller=(0, 1000, 1900, 3000)) == [("caller", 0, 3000)]
    assert turns(caller=(0, 1000, 2000, 3000)) == [("caller", 0, 1000), ("caller", 2000, 3000)]


def test_a_turn_is_over_where_the_other_side_speaks_in_its_pause():
    assert turns(caller=(0, 1000, 1900, 3000), ours=(1200, 1500)) == [
        ("caller", 0, 1000),
        ("us", 1200, 1500),
        ("caller", 1900, 3000),
    ]


def test_a_breath_ends_no_turn_whatever_the_other_side_does():
    assert turns(caller=(0, 1000, 1400, 3000), ours=(1100, 1200)) == [("caller", 0, 3000), ("us", 1100, 1200)]


def test_a_turn_is_over_where_something_is_lost_in_its_pause():
    assert len(turns(caller=(0, 1000, 1900, 3000), unknown=(1200, 1241))) == 2
    assert len(turns(caller=(0, 1000, 1900, 3000), unknown=(1200, 1240))) == 1


def test_each_of_several_pauses_is_looked_at():
    breaths = (0, 1000, 1500, 2000, 2500, 3000, 3500, 4000)
    assert turns(caller=breaths, ours=(2100, 2400)) == [
        ("caller", 0, 2000),
        ("us", 2100, 2400),
        ("caller", 2500, 4000),
    ]


def test_nobody_speaks():
    said = talk(length=1000)
    assert (said.turns, said.first_audio_ms, said.response_ms, said.response_ms_max) == ([], None, None, None)
    assert (said.dead_air_ms, said.talk_over_ms) == (0, 0)


# --- what the caller waits for ----------------------------------------------------------------------------------------


def test_a_response_begins_after_the_callers_last_speech():
    assert responses(caller=(0, 1000, 3000, 4000), ours=(4800, 6000)) == [800]


def test_a_greeting_answers_nobody():
    assert responses(ours=(500, 2000)) == [None]


def test_what_we_add_answers_nobody():
    assert responses(caller=(0, 1000), ours=(1500, 2000, 4000, 5000)) == [500, None]


def test_who_begins_while_the_caller_speaks_makes_nobody_wait():
    assert responses(caller=(0, 3000), ours=(2000, 4000)) == [None]


def test_an_end_that_lies_a_little_behind_our_beginning_is_no_talking_over():
    assert responses(caller=(0, 2050), ours=(2000, 4000)) == [0]
    assert interrupted(caller=(0, 2050), ours=(2000, 4000)) == []


def test_a_caller_who_stops_us_waits_from_the_end_of_their_words():
    # "Stop": we are silent 0.3 s later, and say something else after a second.
    assert responses(caller=(2000, 2400), ours=(0, 2700, 3700, 5000)) == [None, 1300]


def test_words_that_we_talk_over_and_go_on_are_not_waited_for():
    assert responses(caller=(1000, 1300), ours=(0, 4000, 6000, 7000)) == [None, None]


def test_a_short_answer_is_not_followed_by_another_one_to_the_same_words():
    assert responses(caller=(0, 1000), ours=(1100, 1200, 3000, 4000)) == [100, None]


def test_a_wait_in_which_something_is_lost_is_not_known():
    assert responses(caller=(0, 1000), ours=(3000, 4000), unknown=(2000, 2100)) == [None]
    assert responses(caller=(0, 1000), ours=(3000, 4000), unknown=(900, 1010, 2900, 2941)) == [None]


def test_what_is_lost_before_or_after_a_wait_does_not_matter():
    assert responses(caller=(500, 1000), ours=(3000, 4000), unknown=(0, 400, 3100, 3500)) == [2000]


def test_two_lost_frames_hide_nothing():
    assert responses(caller=(0, 1000), ours=(3000, 4000), unknown=(1000, 1040)) == [2000]


def test_the_median_and_the_longest_wait_are_the_calls():
    said = talk(caller=(0, 1000, 3000, 4000, 6000, 7000), ours=(1300, 2000, 4800, 5000, 11_000, 12_000))
    assert (said.response_ms, said.response_ms_max) == (800, 4000)


def test_the_first_audio_counts_from_the_answer():
    assert talk(ours=(500, 2000)).first_audio_ms == 500
    assert talk(ours=(500, 2000), answered=-250).first_audio_ms == 750


def test_a_first_audio_before_which_something_is_lost_is_not_known():
    assert talk(ours=(500, 2000), unknown=(0, 100)).first_audio_ms is None
    assert talk(caller=(0, 100)).first_audio_ms is None


# --- both at once, and nobody -----------------------------------------------------------------------------------------


def test_who_is_interrupted_talks_on_to_the_end():
    assert interrupted(caller=(1000, 3000), ours=(0, 1400)) == [("us", 400)]
    assert interrupted(caller=(0, 3000), ours=(2000, 4000)) == [("caller", 1000)]


def test_a_word_that_is_over_before_the_turn_is_an_interruption_too():
    assert interrupted(caller=(1000, 1300), ours=(0, 3000)) == [("us", 2000)]


def test_the_last_moments_of_a_turn_cannot_be_interrupted():
    assert interrupted(caller=(1000, 3000), ours=(0, 1060)) == []


def test_who_begins_at_the_same_time_interrupts_nobody():
    assert interrupted(caller=(0, 3000), ours=(60, 4000)) == []
    assert [speaker for speaker, _ in interrupted(caller=(0, 3000), ours=(61, 4000))] == ["caller"]


def test_talk_over_is_all_that_both_say_at_once():
    assert talk(caller=(0, 1000, 5000, 6000), ours=(800, 2000, 5200, 5500)).talk_over_ms == 500


def test_two_seconds_of_nobody_are_dead_air_from_their_beginning():
    assert talk(caller=(0, 1000), ours=(3000, 4000), length=4000).dead_air_ms == 2000
    assert talk(caller=(0, 1000), ours=(2999, 4000), length=4000).dead_air_ms == 0


def test_what_is_not_known_is_no_dead_air():
    assert talk(caller=(0, 1000), ours=(9000, 10_000), unknown=(2000, 6000), length=10_000).dead_air_ms == 3000


def test_nobody_says_anything_any_more_is_dead_air_whoever_spoke_last():
    assert talk(caller=(0, 1000), ours=(1500, 2000), length=12_000).dead_air_ms == 10_000
    assert talk(ours=(0, 1000), caller=(1500, 2000), length=12_000).dead_air_ms == 10_000


def test_a_call_in_which_nobody_speaks_is_dead_air():
    assert talk(length=12_000).dead_air_ms == 12_000


# --- spans ------------------------------------------------------------------------------------------------------------


def test_spans_are_joined_over_pauses_whatever_their_order():
    assert joined(spans(5, 6, 0, 3, 1, 2), 8) == spans(0, 3, 5, 6)
    assert joined(spans(0, 3, 4, 6), 8) == spans(0, 6)


def test_what_two_sides_have_in_common():
    assert common(spans(0, 4, 6, 9), spans(1, 2, 3, 7, 20, 30)) == spans(1, 2, 3, 4, 6, 7)


def test_what_is_left_without_holes():
    assert without(spans(0, 4, 6, 9), spans(3, 7)) == spans(0, 3, 7, 9)
    assert without(spans(1, 4), []) == spans(1, 4)
    assert without([], spans(1, 4)) == []
