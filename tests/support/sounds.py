"""What a line carries: sentences by espeak-ng, and what is no speech. Everything is raw µ-law, 8000 bytes a second."""

import io
import os
import shutil
import subprocess
import wave

import numpy as np
import pytest
import soxr

from calls.media.audio import SAMPLE_RATE, mulaw_to_pcm16, pcm16_to_mulaw, read_wav
from calls.sounds import FOLDER


def spoken_by(voice: str, sentence: str, words_a_minute: int = 160) -> bytes:
    """A sentence of espeak-ng's at -20 dB, without silence around it. Where it is missing, skips; not in CI."""
    if not shutil.which("espeak-ng"):
        missing = "espeak-ng is not installed"
        (pytest.fail if os.environ.get("REQUIRE_ESPEAK") else pytest.skip)(missing)
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(words_a_minute), sentence]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(said)) as file:
        rate = file.getframerate()
        # espeak-ng writes into a pipe, and cannot know how long it will be: its header says 2 GB.
        samples = np.frombuffer(file.readframes(1 << 24), "<i2") / 32768
    samples = soxr.resample(samples, rate, SAMPLE_RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    samples = samples[loud[0] : loud[-1]]
    return mulaw(0.1 * samples / np.sqrt(np.mean(samples**2)))


@pytest.fixture
def espeak():
    """For tests of what calls espeak-ng by itself: where it is missing, skips; not in CI."""
    if not shutil.which("espeak-ng"):
        missing = "espeak-ng is not installed"
        (pytest.fail if os.environ.get("REQUIRE_ESPEAK") else pytest.skip)(missing)


def mulaw(samples: np.ndarray) -> bytes:
    """Of samples between -1 and 1; louder ones are clipped."""
    return pcm16_to_mulaw((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def silence(seconds: float) -> bytes:
    """A quiet line: never quite silent."""
    return mulaw(0.001 * _random(0).standard_normal(int(seconds * SAMPLE_RATE)))


#: The caller that ships: a recorded voice, 7.7 s with pauses of up to 0.4 s, and 80 ms of silence at both ends.
CALLER = read_wav((FOLDER / "caller.wav").read_bytes())


def tones(*hertz: float, seconds: float, level: float = 0.2) -> bytes:
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return mulaw(level * sum(np.sin(2 * np.pi * one * at) for one in hertz))


def ringing() -> bytes:
    """What callers hear in North America: 2 s of 440 and 480 Hz, 4 s of silence (ITU-T E.180)."""
    return 2 * (tones(440, 480, seconds=2) + silence(4))


def busy() -> bytes:
    return 8 * (tones(480, 620, seconds=0.5) + silence(0.5))


def keyboard(seconds: float = 8, seed: int = 1) -> bytes:
    """Six keys a second: a click of 3 ms as it goes down, a softer one as it comes up, each with its own colour."""
    random = _random(seed)
    sound = np.zeros(int(seconds * SAMPLE_RATE))
    for at in np.cumsum(random.uniform(0.08, 0.25, int(seconds * 6))):
        for delay, level in ((0, random.uniform(0.2, 0.7)), (random.uniform(0.05, 0.09), random.uniform(0.1, 0.3))):
            begin = int((at + delay) * SAMPLE_RATE)
            length = min(int(random.uniform(0.01, 0.03) * SAMPLE_RATE), max(len(sound) - begin, 0))
            burst = random.standard_normal(length) * np.exp(-np.arange(length) / random.uniform(15, 60))
            sound[begin : begin + length] += level * burst
    return mulaw(sound + 0.001 * random.standard_normal(len(sound)))


def clicks(seconds: float = 6) -> bytes:
    """Single samples at full level, five a second: a bad line."""
    sound = np.zeros(int(seconds * SAMPLE_RATE))
    sound[_random(2).integers(0, len(sound), int(seconds * 5))] = 0.9
    return mulaw(sound)


def breath(seconds: float = 6) -> bytes:
    """Into the microphone: noise around 1 kHz that comes and goes, one second in, one out."""
    random = _random(3)
    noise = np.convolve(random.standard_normal(int(seconds * SAMPLE_RATE)), np.hanning(12) / 6, "same")
    swell = np.abs(np.sin(np.pi * np.arange(len(noise)) / SAMPLE_RATE)) ** 2
    return mulaw(0.08 * noise * swell)


def music(seconds: float = 10) -> bytes:
    """On hold: chords of plucked notes with their overtones, four a second."""
    sound = np.zeros(int(seconds * SAMPLE_RATE))
    chords = [(262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294)]
    for step in range(int(seconds * 4)):
        begin = step * SAMPLE_RATE // 4
        at = np.arange(min(SAMPLE_RATE, len(sound) - begin)) / SAMPLE_RATE
        for root in chords[step // 4 % 4]:
            for overtone in range(1, 6):
                note = np.sin(2 * np.pi * root * overtone * at) / overtone
                sound[begin : begin + len(at)] += 0.04 * note * np.exp(-3 * at)
    return mulaw(sound)


def hiss(seconds: float = 6, level: float = 0.05) -> bytes:
    return mulaw(level * _random(4).standard_normal(int(seconds * SAMPLE_RATE)))


#: What is no speech, whatever its loudness.
NOISES = {
    "ringing": ringing,
    "busy": busy,
    "keyboard": keyboard,
    "clicks": clicks,
    "breath": breath,
    "music": music,
    "hiss": hiss,
}


def mixed(one: bytes, other: bytes) -> bytes:
    """Both at once; as long as the shorter one."""
    length = min(len(one), len(other))
    sums = sum(np.frombuffer(mulaw_to_pcm16(audio[:length]), "<i2").astype(np.float64) for audio in (one, other))
    return mulaw(sums / 32768)


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
