"""What a handler has said that is not sent yet: whole frames, marks in their places, and what is taken back."""

import pytest

from calls.media.audio import SILENCE
from calls.media.playback import PendingMark
from calls.media.script import MESSAGE_SAMPLES, Cue, Script


A, B = b"a" * 160, b"b" * 160
#: Room for everything.
AMPLE = 10 * MESSAGE_SAMPLES


def sent(script):
    """Everything that waits, as it leaves: audio, or the name of a mark."""
    said = []
    while script:
        item = script.next(AMPLE)
        said.append(item.name if isinstance(item, Cue) else item)
    return said


def test_what_is_said_leaves_in_its_order():
    script = Script()
    script.say(A)
    script.cue(Cue("one"))
    script.say(B)
    assert (len(script), script.samples) == (3, 320)
    assert sent(script) == [A, "one", B]
    assert script.samples == 0


def test_pieces_of_a_speech_become_whole_frames():
    script = Script()
    script.say(A[:100])
    assert (len(script), script.samples, script.has_rest) == (0, 0, True)
    script.say(A[100:] + B[:100])
    script.say(B[100:])
    assert (script.samples, script.has_rest) == (320, False)
    assert sent(script) == [A + B]


@pytest.mark.parametrize("end", [Script.end_speech, lambda script: script.cue(Cue("end"))])
def test_the_last_frame_of_a_speech_is_filled_with_silence(end):
    script = Script()
    script.say(A[:100])
    end(script)
    assert sent(script)[0] == A[:100] + SILENCE * 60


def test_a_speech_that_ends_has_a_mark_behind_it_and_what_was_left_before_it():
    script = Script()
    script.say(A[:100])
    assert script.say_all(A[100:] + B[:10], Cue("end")) == A + B[:10] + SILENCE * 150
    assert (script.samples, script.has_rest) == (320, False)
    assert sent(script) == [A + B[:10] + SILENCE * 150, "end"]


def test_a_speech_without_audio_is_a_mark():
    script = Script()
    assert script.say_all(b"", Cue("end")) == b""
    assert sent(script) == ["end"]


def test_what_nobody_waits_for_any_more_is_taken_back_with_its_mark():
    script, cue = Script(), Cue("end")
    script.say(B)
    script.cue(Cue("first"))
    audio = script.say_all(A, cue)
    script.take_back(audio, cue)
    assert script.samples == 160
    assert sent(script) == [B, "first"]


def test_of_what_was_sent_already_only_the_mark_is_taken_back():
    script, cue = Script(), Cue("end")
    audio = script.say_all(A, cue)
    assert script.next(AMPLE) == A
    script.take_back(audio, cue)
    assert (script.samples, len(script)) == (0, 0)


def test_a_long_speech_leaves_in_messages_of_a_second():
    script = Script()
    script.say(bytes(MESSAGE_SAMPLES + 160))
    assert script.next_size == MESSAGE_SAMPLES
    assert [len(piece) for piece in sent(script)] == [MESSAGE_SAMPLES, 160]


def test_audio_waits_for_room_and_a_mark_does_not():
    script = Script()
    script.say(A)
    assert script.next(159) is None
    assert script.next(160) == A
    script.cue(Cue("end"))
    assert script.next_size == 0
    assert script.next(0).name == "end"


def test_what_is_dropped_is_counted_and_its_marks_are_named():
    script, cue = Script(), Cue("one", text="{}")
    cue.mark = PendingMark(0, "one", 160)
    script.say(A)
    script.cue(cue)
    script.say(B + A[:40])
    assert script.drop() == (360, [cue])
    assert (len(script), script.samples, script.has_rest) == (0, 0, False)
