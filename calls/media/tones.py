"""The tones of a telephone's keys, as audio: for machines at the other end that listen for keys. Pure.

A key is its row's frequency and its column's together (ITU-T Q.23). Exchanges have to hear one of 40 ms (Q.24); lines
lose packets, so both the tone and the pause behind it are longer here.
"""

import struct
from math import pi, sin

from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS, SILENCE, pcm16_to_mulaw


ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
# Hertz of each key.
KEYS = {key: (row, column) for row, keys in zip(ROWS, ("123A", "456B", "789C", "*0#D"), strict=True)
        for key, column in zip(keys, COLUMNS, strict=True)}  # fmt: skip
# Milliseconds of a tone, of the silence behind it, and of a "w":
# https://www.twilio.com/docs/voice/api/call-resource (SendDigits).
TONE_MS, PAUSE_MS, WAIT_MS = 100, 100, 500
# Of full scale, each of the two: -8 dBm0 or so, as phones send them.
_LEVEL = 0.25


def press(keys: str) -> bytes:
    """µ-law of these keys, one after the other: 0-9, *, #, A-D, and "w" for half a second of silence.

    ValueError for anything else, and for nothing at all.
    """
    strange = sorted(set(keys) - {*KEYS, "w"})
    if strange or not keys:
        raise ValueError(f"a phone has no key {strange[0]!r}" if strange else "there is no key to press")
    return b"".join(_silence(WAIT_MS) if key == "w" else _tone(*KEYS[key]) + _silence(PAUSE_MS) for key in keys)


def _silence(milliseconds: int) -> bytes:
    return SILENCE * (milliseconds * SAMPLES_PER_MS)


def _tone(*hertz: int) -> bytes:
    """With 5 ms of fade at both ends, so that it does not click."""
    samples, fade = TONE_MS * SAMPLES_PER_MS, 5 * SAMPLES_PER_MS
    edges = (min(1.0, n / fade, (samples - 1 - n) / fade) for n in range(samples))
    waves = (sum(sin(2 * pi * each * n / SAMPLE_RATE) for each in hertz) for n in range(samples))
    linear = (int(32767 * _LEVEL * edge * wave) for edge, wave in zip(edges, waves, strict=True))
    return pcm16_to_mulaw(struct.pack(f"<{samples}h", *linear))
