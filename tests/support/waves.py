"""Sounds of every kind, as arrays of -1 to 1 that are made by chance: what a caller may be played."""

import subprocess
from itertools import product

import numpy as np
import soxr

from calls.media.audio import mulaw_to_pcm16, read_wav
from calls.media.resampler import encode
from calls.sounds import FOLDER


def pcm16(sound):
    return encode(np.asarray(sound) * 32768, "pcm16")


def mulaw(sound):
    return encode(np.asarray(sound) * 32768, "mulaw")


def stereo(left, right):
    both = np.empty(2 * len(left))
    both[0::2], both[1::2] = left, right
    return both


def speech(name, rate):
    """One of ours that speak: greeting, thanks, apology, caller."""
    samples = np.frombuffer(mulaw_to_pcm16(read_wav((FOLDER / f"{name}.wav").read_bytes())), "<i2")
    return soxr.resample(samples / 32768, 8000, rate)


def espeak(text, voice, rate):
    wav = subprocess.run(["espeak-ng", "-v", voice, "--stdout", text], capture_output=True, check=True).stdout
    samples = np.frombuffer(wav[44 : len(wav) // 2 * 2], "<i2") / 32768
    return soxr.resample(samples, 22050, rate)


class Chance:
    """Makes sounds of 1.5 s, the same ones for the same seed."""

    def __init__(self, rate, seed=1):
        self.rate = rate
        self.dice = np.random.default_rng(seed)
        self.n = np.arange(rate * 3 // 2)
        self.t = self.n / rate

    def sounds(self, each):
        """That many of each kind, at every level, with every kind of beginning and end."""
        kinds = (self.tone, self.wave, self.keys, self.noise, self.music)
        for _, kind in product(range(each), kinds):
            yield kind() * self.envelope() * 10 ** -self.dice.uniform(0, 2.5)

    def envelope(self):
        shapes = (
            lambda: np.ones(len(self.n)),
            lambda: np.exp(-self.t / self.dice.uniform(0.05, 0.5)),
            lambda: 10 ** (-2.4 * np.clip(1 - self.t / self.dice.uniform(0.1, 1), 0, 1)),
            lambda: np.sin(2 * np.pi * self.t * self.dice.uniform(1, 8)) > 0,
        )
        return shapes[self.dice.integers(4)]()

    def sine(self, hertz, phase=0.0):
        return np.sin(2 * np.pi * hertz * self.t + phase)

    def tone(self):
        """Half of them in step with the samples, where samples are equal in pairs, or every other one is 0."""
        hertz = self.dice.choice([self.rate / self.dice.integers(2, 17), self.dice.uniform(30, self.rate / 2)])
        return self.sine(hertz, self.dice.choice([0, np.pi / 4, np.pi / 2, self.dice.uniform(0, 6)]))

    def wave(self):
        """A beep, as old machines make it: square, sawtooth, triangle, pulse or needle."""
        period = self.dice.choice([self.dice.integers(2, 129), self.rate / self.dice.uniform(50, 2000)])
        phase = (self.n / period + self.dice.choice([0, self.dice.uniform()])) % 1
        pulse = np.where(phase < self.dice.uniform(0.05, 0.5), 1.0, -1.0)
        square, needle = np.where(phase < 0.5, 1.0, -1.0), np.where(phase < 1 / period, 1.0, 0.0)
        return [square, 2 * phase - 1, 4 * abs(phase - 0.5) - 1, pulse, needle][self.dice.integers(5)]

    def keys(self):
        """DTMF, a dial tone, ringing, busy, and a fax machine's."""
        keys = list(product((697, 770, 852, 941), (1209, 1336, 1477, 1633)))
        pairs = [*keys, (350, 440), (440, 480), (480, 620), (1100, 2100)]
        return sum(self.sine(hertz, self.dice.uniform(0, 6)) for hertz in pairs[self.dice.integers(len(pairs))]) / 2

    def noise(self):
        """White to brown, some of it in a band, from full scale to less than a bit."""
        spectrum, hertz = (
            np.fft.rfft(self.dice.standard_normal(len(self.n))),
            np.fft.rfftfreq(len(self.n), 1 / self.rate),
        )
        spectrum[1:] *= hertz[1:] ** -self.dice.choice([-0.5, 0, 0.5, 1, 1.5])
        low = self.dice.uniform(0, self.rate / 2)
        if self.dice.uniform() < 0.3:
            spectrum[(hertz < low) | (hertz > low + self.dice.uniform(100, self.rate / 2))] = 0
        shape = np.fft.irfft(spectrum, len(self.n))
        return shape / (abs(shape).max() + 1e-9) * 10 ** -self.dice.uniform(0, 1.5)

    def music(self):
        """Notes of strings, flutes, reeds and bells, and some drums; one in four is loud to the point of distortion."""
        shape = sum(self.note() for _ in range(self.dice.integers(3, 9)))
        shape /= abs(shape).max() + 1e-9
        return np.clip(6 * shape, -1, 1) if self.dice.uniform() < 0.25 else shape

    def note(self):
        since = np.clip(self.t - self.dice.uniform(0, 1.2), 0, None)
        hertz, fall = (
            110 * 2 ** (self.dice.integers(0, 48) / 12),
            np.exp(-since * self.dice.uniform(1, 6)) * (since > 0),
        )
        kind = self.dice.integers(4)
        if kind == 3:
            return np.sin(2 * np.pi * hertz * since + 3 * fall * np.sin(2 * np.pi * hertz * 1.41 * since)) * fall
        overtones = np.arange(1, min(12, int(0.47 * self.rate / hertz)) + 1)
        levels = [1 / overtones, 1 / overtones**2, overtones % 2 / overtones][kind]
        return (
            sum(level * np.sin(2 * np.pi * hertz * n * since) for n, level in zip(overtones, levels, strict=True))
            * fall
        )
