"""A microphone that says words into Chromium, and where these come back."""

import wave

import numpy as np
import pytest

from tests.support.browser import ARGUMENTS, CHROMIUM
from tests.support.talks import spoken


RATE = 8000
WORDS = "Good morning, this is Anna. I have taken over from the machine."
# Pieces that are looked for one by one: on a busy machine there are holes between them.
PIECE = RATE * 3 // 10


@pytest.fixture
def microphone(tmp_path):
    """A file that Chromium takes for one, and begins again at its end: silence, and words."""
    samples = np.concatenate([np.zeros(2 * RATE), 3 * spoken("en-us", WORDS), np.zeros(2 * RATE)]).clip(-1, 1)
    finer = np.interp(np.arange(len(samples) * 6) / 6, np.arange(len(samples)), samples)
    with wave.open(str(tmp_path / "microphone.wav"), "wb") as file:
        file.setparams((1, 2, 6 * RATE, 0, "NONE", ""))
        file.writeframes((finer * 32767).astype("<i2").tobytes())
    return tmp_path / "microphone.wav"


@pytest.fixture
def speaker(microphone, chromium):
    """A browser with that microphone, which its user lets every page have."""
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    file = f"--use-file-for-fake-audio-capture={microphone}"
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *fake, file])
    yield browser
    browser.close()


def found(audio, words):
    """How late each piece of the words comes in the audio, in ms, and how like it that is: 1 if it is it."""
    pieces = [(at, words[at : at + PIECE]) for at in range(0, len(words) - PIECE, PIECE)]
    loud = [(at, piece) for at, piece in pieces if np.sqrt(np.mean(piece**2)) > 0.02]
    energy = np.convolve(audio**2, np.ones(PIECE), "valid") + 1e-3
    for at, piece in loud:
        like = np.abs(np.correlate(audio, piece, "valid")) / np.sqrt(energy * (piece @ piece))
        best = int(np.argmax(like))
        yield (best - at) / 8, float(like[best])
