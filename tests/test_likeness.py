"""Whether two pieces of audio are the same words in the same voice."""

from random import Random

from calls.media.audio import SILENCE, mulaw_to_pcm16, pcm16_to_mulaw, tone
from calls.replays.likeness import ALIKE, likeness
from calls.sounds import sound


GREETING = sound("greeting")


def test_a_sound_is_like_itself():
    assert likeness(GREETING, GREETING) > 0.99


def test_wherever_it_lies():
    assert likeness(SILENCE * 1237 + GREETING, GREETING) > 0.99


def test_a_few_samples_beside_itself_a_short_tone_is_no_other_sound():
    # 2 samples of 660 Hz are a sixth of its period: that is how far a boundary known to 5 ms may be off, and more.
    shrill = tone(660, 500)
    assert likeness(shrill, shrill[2:] + SILENCE * 2) > 0.99
    assert likeness(shrill, SILENCE * 40 + shrill[:-40]) > 0.95


def test_another_sentence_is_not_like_it():
    assert likeness(GREETING, sound("thanks")) < ALIKE / 2


def test_the_half_that_was_heard_is_like_the_whole():
    assert likeness(GREETING, GREETING[: len(GREETING) // 2]) > 0.99


def test_a_longer_pause_in_between_makes_no_other_sound():
    torn = sound("thanks") + SILENCE * 3000 + sound("apology")
    assert likeness(torn, sound("thanks") + SILENCE * 3456 + sound("apology")) > ALIKE


def test_what_was_decoded_twice_and_is_quieter_is_like_it():
    dice = Random(4)
    pcm = memoryview(bytearray(mulaw_to_pcm16(GREETING))).cast("h")
    for at, sample in enumerate(pcm):
        pcm[at] = sample // 2 + dice.randrange(-40, 40)
    assert likeness(GREETING, pcm16_to_mulaw(bytes(pcm))) > ALIKE


def test_silence_is_like_everything():
    assert likeness(SILENCE * 8000, GREETING) == 1.0
    assert likeness(b"", GREETING) == 1.0


def test_a_tone_is_not_like_silence():
    assert likeness(tone(440, 500), SILENCE * 4000) < 0.1
