"""Measures conversations that are made by chance, and says how far off each wait is:

    python -m tests.trials.conversations 200 [--seed 7]

Callers of many voices, speeds, languages and levels say sentences, many of which end softly ("six", "left"), over line
noise of several levels; each is answered after 300 ms to 4 s. The noise is 25 dB below the voice and more: closer to it
the ends of words cannot be heard. In every third conversation something else is in the pauses: hiss, a keyboard, music;
they are told apart. Ends with 1 if a wait over a mere line is more than 60 ms off. Not collected by pytest.
"""

import argparse
import sys
from collections import defaultdict

import numpy as np

from calls.measuring.listening import listen
from calls.media.audio import SAMPLES_PER_MS
from tests.support import sounds
from tests.support.talks import Talk, lane_of, line_noise, linear


LIMIT = 60
WAITS = (300, 800, 1500, 4000)
SENTENCES = {
    "en": ["Yes.", "No, not yet.", "Six.", "I left it on the desk.", "Turn left.", "Hello, who is there?",
           "That is all, thanks.", "The number is four one five, double five, zero one hundred.",
           "It was last week, I think.", "Please stop."],
    "de": ["Ja, genau.", "Ich möchte gern wissen, was das kostet.", "Nummer sechs.", "Links."],
    "fr": ["Oui, bien sûr.", "Je voudrais parler à quelqu'un.", "Six."],
    "es": ["Buenos días, quiero saber el precio.", "Muchas gracias."],
}  # fmt: skip
VOICES = {"en": ["en-us", "en-gb", "en-us+f3", "en-us+m7"], "de": ["de", "de+f2"], "fr": ["fr"], "es": ["es", "es+f4"]}
PAUSES = {
    "hiss": lambda: 0.01 * linear(sounds.hiss(60)) / 0.05,
    "keyboard": lambda: 0.3 * linear(sounds.keyboard(60)),
    "music": lambda: 0.1 * linear(sounds.music(60)),
}


class Chance:
    def __init__(self, seed=1):
        self.dice = np.random.default_rng(seed)
        self._pauses = {}

    def one(self, among):
        return among[self.dice.integers(len(among))]

    def talk(self):
        """A conversation of three answers, and how loud its caller is."""
        language, decibels = self.one([*SENTENCES]), self.dice.uniform(-35, -15)
        voice, talk = self.one(VOICES[language]), Talk().wait(int(self.dice.integers(500, 1500)))
        for _ in range(3):
            facts = {"voice": voice, "decibels": decibels, "speed": self.one([120, 160, 200])}
            talk.caller(self.one(SENTENCES[language]), **facts).answer(self.one(WAITS) + int(self.dice.integers(20)))
            talk.wait(int(self.dice.integers(300, 1500)))
        return talk, decibels

    def beneath(self, talk, decibels, what):
        noise = line_noise(talk.length, decibels - self.dice.uniform(25, 45), self.dice.integers(1 << 30))
        if what == "line":
            return noise
        sound = self._pauses.setdefault(what, np.tile(PAUSES[what](), 3)) * 10 ** ((decibels + 20) / 20)
        at = self.dice.integers(len(sound) // 3)
        between = sound[at : at + talk.length].copy()
        for span in talk.spans("caller"):
            between[span.start : span.end] = 0
        return noise + between


def errors(talk, beneath):
    """In ms, of each answer; None where no wait was measured."""
    caller, ours = talk.lane("caller", talk.length, beneath), talk.lane("us", talk.length)
    found = listen(lane_of(caller), lane_of(ours), [], somebody_else=[], answered=0)
    measured = [(turn.start, turn.response_ms) for turn in found.turns if turn.speaker == "us"]
    for at, response in talk.responses.items():
        near = [wait for start, wait in measured if abs(start - at) < 100 * SAMPLES_PER_MS and wait is not None]
        yield near[0] - response if near else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, found = Chance(options.seed), defaultdict(list)
    for nth in range(options.count):
        what = "line" if nth % 3 else ("hiss", "keyboard", "music")[nth // 3 % 3]
        talk, decibels = chance.talk()
        found[what] += errors(talk, chance.beneath(talk, decibels, what))
    for what, all_of_it in found.items():
        known = np.array([error for error in all_of_it if error is not None])
        off = np.abs(known)
        usual = "  ".join(f"p{share} {np.percentile(off, share):.0f}" for share in (50, 95, 99))
        print(f"{what:9} {len(known):5} waits, off by {usual}  max {off.max():.0f} ms")
        late = f"{(off > LIMIT).sum()} past {LIMIT} ms; {known.min():+.0f}..{known.max():+.0f} ms"
        print(f"{'':9} {late}; {len(all_of_it) - len(known)} were not measured")
    sys.exit(any(error is None or abs(error) > LIMIT for error in found["line"]))


if __name__ == "__main__":
    main()
