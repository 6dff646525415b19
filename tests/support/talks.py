"""Conversations whose gaps are known to the sample: espeak-ng speaks for the caller, and for us."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

from calls.measuring.lanes import Lane
from calls.media.audio import LINEAR, SAMPLE_RATE, SAMPLES_PER_MS, encode_table
from calls.media.turns import Span
from tests.support import sounds


LEVELS = np.array(LINEAR) / 32768
TABLE = np.frombuffer(encode_table(), np.uint8)
OURS = "How can I help you today?"


@cache
def spoken(voice, sentence, speed=160):
    """A sentence at -20 dB, rendered once a session."""
    return linear(sounds.spoken_by(voice, sentence, speed))


def linear(mulaw):
    return LEVELS[np.frombuffer(mulaw, np.uint8)]


def mulaw(samples):
    """As `sounds.mulaw`, and a hundred times as fast: hours are made of it."""
    return TABLE[(np.clip(samples, -1, 1) * 32767).astype(np.int16).view(np.uint16)].tobytes()


def line_noise(samples, decibels, seed=0):
    return 10 ** (decibels / 20) * np.random.default_rng(seed).standard_normal(samples)


@dataclass
class Talk:
    """What is said one after the other, and when. Positions are samples."""

    at: int = 0
    parts: list = field(default_factory=list)
    #: What is known of the turns of ours: the sample at which each begins, and what the caller waited for it.
    responses: dict = field(default_factory=dict)

    def wait(self, ms):
        self.at += ms * SAMPLES_PER_MS
        return self

    def caller(self, sentence="I would like to ask about my order, please.", voice="en-us", decibels=-20, speed=160):
        return self._say("caller", spoken(voice, sentence, speed) * 10 ** ((decibels + 20) / 20))

    def us(self, sentence=OURS, voice="en-gb", decibels=-20, after=None):
        """`after`: what the caller waited for it, in ms, if they waited."""
        self.responses[self.at] = after
        return self._say("us", spoken(voice, sentence) * 10 ** ((decibels + 20) / 20))

    def answer(self, ms, **facts):
        return self.wait(ms).us(after=ms, **facts)

    def back(self, ms):
        """What comes next begins that much before the end of what came last."""
        return self.wait(-ms)

    def _say(self, side, samples):
        self.parts.append((side, self.at, samples))
        self.at += len(samples)
        return self

    def spans(self, side):
        return [Span(at, at + len(samples)) for who, at, samples in self.parts if who == side]

    def lane(self, side, length, beneath=0.0):
        """µ-law, with that noise under it."""
        lane = np.zeros(length)
        for who, at, samples in self.parts:
            if who == side:
                lane[at : at + len(samples)] += samples
        return mulaw(lane + beneath)

    @property
    def length(self):
        return self.at + 2 * SAMPLE_RATE


def lane_of(audio):
    return Lane(len(audio), lambda start, stop: audio[start:stop].ljust(stop - start, b"\xff"))
