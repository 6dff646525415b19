"""Sentences as a caller's audio, by espeak-ng where it is installed."""

import re
import subprocess
import wave
from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.audio import SAMPLE_RATE, mulaw_of


Samples = NDArray[np.floating[Any]]  # between -1 and 1

LONGEST = 5000  # characters: some six minutes
# As loud as people speak on a phone line: -20 dB, as an average over a sentence.
_LEVEL = 0.1
_AUDIBLE = 0.01
_MARGIN = SAMPLE_RATE // 50
# A phone line ends at 3400 Hz, and what is above 4000 Hz would come back as what was never said.
_PASSED, _STOPPED = 3400, 4000


class SpeechUnavailable(ValueError):
    """There is no espeak-ng here, or it has no such voice; the message says what to do."""


@lru_cache(maxsize=256)
def spoken(text: str, voice: str = "en-us", words_a_minute: int = 160) -> bytes:
    """A sentence as raw µ-law, 8000 bytes a second, at -20 dB, without silence around it; the same each time.

    SpeechUnavailable if it cannot be spoken here; ValueError for a text of more than LONGEST characters or without
    anything to say, and for a speed that espeak-ng does not have. Blocks for some 50 ms.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a text of {len(text)} characters; {LONGEST} at most are spoken")
    if not 80 <= words_a_minute <= 450:
        raise ValueError(f"{words_a_minute} words a minute; espeak-ng speaks 80 to 450")
    samples, rate = _read(_rendered(text, voice, words_a_minute))
    said = _trimmed(_resampled(samples, rate))
    if not len(said):
        raise ValueError(f"{text!r} has nothing in it that can be said")
    louder = np.clip(said * _LEVEL / np.sqrt(np.mean(said**2)), -1, 1)
    return bytes(mulaw_of(sample) for sample in (louder * 32767).astype(int).tolist())


def _rendered(text: str, voice: str, words_a_minute: int) -> bytes:
    """espeak-ng's WAV. The text goes in by a pipe, where none is taken for an option."""
    if not re.fullmatch(r"\w[\w+-]*", voice, re.ASCII):
        raise SpeechUnavailable(f"{voice!r} is no voice; `espeak-ng --voices` lists them")
    command = ["espeak-ng", "--stdout", "--stdin", "-b", "1", "-v", voice, "-s", str(words_a_minute)]
    try:
        said = subprocess.run(command, input=text.encode(errors="replace"), capture_output=True, timeout=60)
    except FileNotFoundError:
        raise SpeechUnavailable("nothing here can speak: install espeak-ng, or give a WAV file") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpeechUnavailable(f"espeak-ng did not speak: {error}") from error
    if said.returncode:
        reason = said.stderr.decode(errors="replace").strip() or f"it ended with {said.returncode}"
        raise SpeechUnavailable(f"espeak-ng does not speak with the voice {voice!r}: {reason}")
    return said.stdout


def _read(said: bytes) -> tuple[Samples, int]:
    """Its samples and how many are a second; of a text without a word espeak-ng says nothing at all."""
    if not said:
        return np.zeros(0), SAMPLE_RATE
    with wave.open(BytesIO(said)) as file:
        # It was written into a pipe, so its header, which says 2 GB, could not know how long it would be.
        sound = file.readframes(len(said))
        return np.frombuffer(sound, "<i2") / 32768, file.getframerate()


def _resampled(samples: Samples, rate: int) -> Samples:
    """At 8 kHz, as a phone line carries it: by their spectrum, which ends softly between 3400 and 4000 Hz."""
    seconds = (
        -(-len(samples) // rate) + 1
    )  # whole ones, so that both rates fit, and silence so that the ends do not meet
    spectrum = np.fft.rfft(samples, seconds * rate)[: seconds * _STOPPED + 1]
    hertz = np.arange(len(spectrum)) / seconds
    spectrum *= np.cos(np.pi / 2 * np.clip((hertz - _PASSED) / (_STOPPED - _PASSED), 0, 1)) ** 2
    return np.fft.irfft(spectrum, seconds * SAMPLE_RATE) * SAMPLE_RATE / rate


def _trimmed(samples: Samples) -> Samples:
    """From 20 ms before what is heard first to 20 ms after what is heard last."""
    heard = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    return samples[max(heard[0] - _MARGIN, 0) : heard[-1] + _MARGIN] if len(heard) else samples[:0]
