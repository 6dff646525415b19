"""What a handler has said: whole frames, marks in their places, what is sent again, and what is never heard."""

import pytest

from calls.media.audio import SILENCE
from calls.media.script import MESSAGE_SAMPLES, Cue, Script, Speech


A, B = b"a" * 160, b"b" * 160
#: Room for everything.
AMPLE = 10 * MESSAGE_SAMPLES


def speech(audio=b"", *, is_whole=True):
    said = Speech()
    said.add(audio)
    said.is_whole = is_whole
    return said


def script(*items):
    said = Script()
    said.say(*items)
    return said


def sent(script, ordinal=0):
    """Everything that can be sent, as it leaves: audio, or the name of a mark."""
    said = []
    while script and (item := script.next(AMPLE, ordinal)) is not None:
        said.append(item.name if isinstance(item, Cue) else item)
        ordinal += 0 if isinstance(item, Cue) else len(item)
    return said


# --- order and frames -------------------------------------------------------------------------------------------------


def test_what_is_said_leaves_in_its_order():
    said = script(speech(A), Cue("one"), speech(B))
    assert (len(said), said.samples) == (3, 320)
    assert sent(said) == [A, "one", B]
    assert (len(said), said.samples) == (0, 0)


def test_two_speeches_are_joined_without_a_seam():
    assert sent(script(speech(A[:100]), speech(A[100:] + B))) == [A + B]


def test_the_beginning_of_a_frame_waits_for_more():
    first = speech(A[:100])
    said = script(first)
    assert (said.next_size, said.has_rest, said.next(AMPLE, 0)) == (-1, True, None)
    said.say(speech(A[100:]))
    assert (said.has_rest, sent(said)) == (False, [A])


def test_a_mark_fills_the_last_frame_with_silence():
    assert sent(script(speech(A[:100]), Cue("end"))) == [A[:100] + SILENCE * 60, "end"]


def test_if_nothing_follows_for_a_while_the_last_frame_is_filled_too():
    said = script(speech(A[:100]))
    said.close()
    assert sent(said) == [A[:100] + SILENCE * 60]


def test_that_nothing_followed_is_forgotten_with_the_next_frame():
    said = script(speech(A))
    said.close()
    assert sent(said) == [A]
    said.say(speech(B[:100]))
    assert said.next(AMPLE, 0) is None


def test_a_speech_without_audio_is_its_mark():
    assert sent(script(speech(), Cue("end"))) == ["end"]


def test_a_speech_without_audio_is_passed_over():
    assert sent(script(speech(), speech(A))) == [A]


def test_a_speech_without_audio_and_without_a_mark_is_nothing():
    said = script(speech())
    assert said.next(AMPLE, 0) is None
    assert len(said) == 0


def test_nothing_overtakes_a_speech_of_which_more_may_come():
    first = speech(A, is_whole=False)
    said = script(first, speech(B), Cue("end"))
    assert sent(said) == [A]
    assert (said.has_rest, len(said)) == (False, 3)
    first.add(A)
    first.is_whole = True
    assert sent(said) == [A + B, "end"]


def test_a_speech_that_stalls_is_not_followed_in_the_frame_that_it_began():
    said = script(speech(A[:100], is_whole=False), speech(B))
    said.close()
    assert sent(said) == [A[:100] + SILENCE * 60]


def test_a_long_speech_leaves_in_messages_of_a_second():
    said = script(speech(bytes(MESSAGE_SAMPLES + 160)))
    assert said.next_size == MESSAGE_SAMPLES
    assert [len(piece) for piece in sent(said)] == [MESSAGE_SAMPLES, 160]


def test_audio_waits_for_room_and_a_mark_does_not():
    said = script(speech(A))
    assert said.next(159, 0) is None
    assert said.next(160, 0) == A
    said.say(Cue("end"))
    assert said.next_size == 0
    assert said.next(0, 160).name == "end"


# --- what is heard of a speech ----------------------------------------------------------------------------------------


def test_of_a_speech_it_is_known_what_was_sent_and_heard():
    first, second = speech(A), speech(B)
    assert sent(script(first, second), ordinal=1000) == [A + B]
    assert (first.sent, first.heard(1000), first.heard(1100), first.heard(1200)) == (160, 0, 100, 160)
    assert (second.sent, second.heard(1100), second.heard(1200), second.heard(9999)) == (160, 0, 40, 160)


def test_silence_that_fills_a_frame_belongs_to_nobody():
    first = speech(A[:100])
    sent(script(first, Cue("end")))
    assert (first.sent, first.heard(160)) == (100, 100)


@pytest.mark.parametrize(("front", "is_heard"), [(159, False), (160, True)])
def test_a_speech_is_heard_once_all_that_there_is_of_it_was(front, is_heard):
    first = speech(A)
    assert not first.is_heard(0)
    sent(script(first))
    assert first.is_heard(front) is is_heard
    first.add(B)
    assert not first.is_heard(160)


def test_a_speech_may_be_sent_without_waiting_here():
    first, said = speech(), Script()
    for ordinal in (0, 160):
        said.note_flight(first)
        first.fly(160, ordinal)
    assert (first.sent, first.end, first.heard(200)) == (320, 320, 200)
    assert said.is_on_its_way(first)
    said.forget_heard(320)
    assert not said.is_on_its_way(first)


# --- taking back ------------------------------------------------------------------------------------------------------


def test_what_was_sent_and_not_heard_is_sent_again_with_its_marks():
    first, second = speech(A), speech(B)
    said = script(first, Cue("one"), second, Cue("two"))
    assert sent(said) == [A, "one", B, "two"]
    assert [cue.name for cue in said.put_back(A[100:] + B, 100)] == ["one", "two"]
    assert (first.sent, first.waiting, first.back, first.heard(9999)) == (160, 60, 60, 100)
    assert sent(said, ordinal=320) == [A[100:] + SILENCE * 100, "one", B, "two"]
    assert (first.sent, first.heard(380), second.heard(640)) == (160, 160, 160)


def test_a_mark_of_which_all_before_it_was_heard_is_not_sent_again():
    said = script(speech(A), Cue("one"), speech(B))
    sent(said)
    assert said.put_back(B, 160) == []
    assert sent(said) == [B]


def test_a_speech_that_is_being_sent_is_put_back_before_its_rest():
    first = speech(A + B)
    said = script(first)
    assert said.next(AMPLE, 0) == A + B
    first.add(A)
    said.say(first)
    said.put_back(B, 160)
    assert (len(said), first.waiting) == (1, 320)
    assert sent(said) == [B + A]


def test_a_long_speech_is_put_back_before_what_of_it_was_never_sent():
    first = speech(bytes(MESSAGE_SAMPLES) + A)
    said = script(first, Cue("end"))
    said.next(AMPLE, 0)
    said.put_back(bytes(4000), 4000)
    assert (first.back, first.waiting) == (4000, 4160)
    assert [len(piece) for piece in sent(said, MESSAGE_SAMPLES)] == [4160, 3]
    assert first.back == 0


@pytest.mark.parametrize(
    ("waiting", "order"),
    [
        ([], ["new"]),
        (["mark"], ["new", "mark"]),
        (["begun", "mark"], ["begun", "mark", "new"]),
        (["begun"], ["begun", "new"]),
    ],
)
def test_what_is_to_follow_at_once_lets_a_speech_end_that_has_begun(waiting, order):
    begun = speech(A)
    begun.fly(160, 0)
    items = {"mark": Cue("mark"), "begun": begun, "new": speech(B)}
    said = script(*(items[name] for name in waiting))
    said.say_next(items["new"])
    assert [next(name for name, one in items.items() if one is item) for item in said._items] == order


# --- what is never heard ----------------------------------------------------------------------------------------------


def test_what_is_removed_is_not_sent():
    first, cue = speech(A), Cue("one")
    said = script(first, cue, speech(B))
    said.remove(first, cue)
    assert sent(said) == [B]


def test_what_is_dropped_is_counted_and_its_marks_are_named():
    first, second, cue = speech(A), speech(B + A[:40]), Cue("one")
    said = script(first)
    sent(said)
    said.say(cue, second)
    assert said.drop(100) == (0, 200, [cue])
    assert (len(said), said.samples) == (0, 0)
    assert (first.heard(9999), first.sent, second.heard(9999), second.sent) == (100, 160, 0, 0)


def test_what_was_sent_in_vain_before_is_counted_apart_when_it_is_dropped():
    first = speech(A + B)
    said = script(first)
    sent(said)
    said.put_back(B, 160)
    first.add(A)
    assert said.drop(160) == (160, 160, [])
    assert (first.sent, first.heard(9999), first.is_cut) == (320, 160, True)


def test_nothing_is_added_to_a_speech_that_was_cut():
    first = speech(A)
    first.cut(0)
    first.add(B)
    assert (first.waiting, first.is_over, first.is_whole) == (0, True, True)


def test_a_speech_that_was_heard_to_its_end_is_over_and_not_cut():
    first = speech(A)
    sent(script(first))
    assert first.cut(160) == (0, 0)
    assert (first.is_over, first.is_cut, first.sent, first.heard(0)) == (True, False, 160, 160)


def test_a_speech_of_which_more_was_to_come_is_cut():
    first = speech(A, is_whole=False)
    sent(script(first))
    first.cut(160)
    assert first.is_cut


def test_of_a_speech_that_is_stopped_what_was_sent_is_heard():
    first = speech(A, is_whole=False)
    sent(script(first))
    first.add(B)
    first.stop()
    assert (first.waiting, first.sent, first.heard(160)) == (0, 160, 160)
