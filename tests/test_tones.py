"""The tones of a telephone's keys."""

import struct
from math import cos, pi

import pytest

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16
from calls.media.tones import press


# ITU-T Q.23, written out.
ROWS = {697: "123A", 770: "456B", 852: "789C", 941: "*0#D"}
COLUMNS = {1209: "147*", 1336: "2580", 1477: "369#", 1633: "ABCD"}
FREQUENCIES = [*ROWS, *COLUMNS]


def strength(samples, hertz):
    """Goertzel's algorithm, as a telephone exchange listens."""
    before = last = 0.0
    turn = 2 * cos(2 * pi * hertz / SAMPLE_RATE)
    for sample in samples:
        before, last = last, sample + turn * last - before
    return before * before + last * last - turn * before * last


def heard(audio):
    """The two frequencies that stand out, in 100 ms."""
    samples = struct.unpack("<800h", mulaw_to_pcm16(audio[:800]))
    found = sorted(FREQUENCIES, key=lambda hertz: strength(samples, hertz))
    assert strength(samples, found[-2]) > 100 * strength(samples, found[-3])
    return set(found[-2:])


@pytest.mark.parametrize("key", "0123456789*#ABCD")
def test_a_key_is_the_tone_of_its_row_and_of_its_column(key):
    assert heard(press(key)) == {
        next(hertz for hertz, keys in ROWS.items() if key in keys),
        next(hertz for hertz, keys in COLUMNS.items() if key in keys),
    }


def test_keys_are_apart():
    audio = press("12")
    assert len(audio) == 2 * 200 * 8
    assert heard(audio[1600:]) == {697, 1336}
    assert audio[800:1600] == b"\xff" * 800


def test_a_w_is_half_a_second_of_silence():
    assert press("w1") == b"\xff" * 4000 + press("1")


def test_both_tones_together_stay_below_full_scale():
    assert max(map(abs, struct.unpack("<1600h", mulaw_to_pcm16(press("5"))))) < 20_000


@pytest.mark.parametrize("keys", ["x", "1 2", "a", "W", "+", "１"])
def test_what_is_no_key_is_refused(keys):
    with pytest.raises(ValueError, match="a phone has no key"):
        press(keys)


def test_nothing_is_no_key():
    with pytest.raises(ValueError, match="there is no key to press"):
        press("")
