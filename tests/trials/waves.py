"""Holds the examiner of audio against as many sounds as you like, all of them right:

    python -m tests.trials.waves 1000 [--seed 7]

Makes that many of each kind at each rate, and has each examined as PCM16 and as µ-law, in chunks and in one go. Ends
with 1 if one was objected to. Not collected by pytest.
"""

import argparse
import sys
from collections import Counter

from calls.media.audio import mulaw_to_pcm16
from calls.media.examiner import Examiner
from calls.media.formats import RATES
from tests.support.waves import Chance, mulaw, pcm16


SIZES = (640, 96_000)


def objections(data, encoding):
    for size in SIZES:
        examiner = Examiner(encoding)
        yield next(filter(None, (examiner.objection(data[at : at + size]) for at in range(0, len(data), size))), "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("each", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = Counter()
    for rate in RATES:
        for sound in Chance(rate, options.seed).sounds(options.each):
            found.update(objections(pcm16(sound), "pcm16"))
            found.update(objections(mulaw_to_pcm16(mulaw(sound)), "pcm16"))
            found.update(objections(mulaw(sound), "mulaw"))
    print(f"{found.total()} examined, {found.total() - found['']} objected to")
    for objection, times in found.items():
        print(f"{times:8}  {objection or 'nothing'}")
    return 1 if set(found) - {""} else 0


if __name__ == "__main__":
    sys.exit(main())
