"""What people say in made-up calls, and how long they wait for each other."""

from collections.abc import Iterator
from itertools import pairwise
from math import log
from random import Random
from statistics import median
from typing import Any, NamedTuple

from calls.media.audio import SAMPLE_RATE, SAMPLES_PER_MS


# Samples from word to word, of a word, and of silence that is long enough to be dead air.
_PACE, _SAID, _DEAD = 2_400, 2_000, 2 * SAMPLE_RATE
# A caller who does not let us finish begins this many words before our end.
_EARLY = 3
_OPENINGS = {
    "outbound": ["Hello, this is Acme. How can I help you?", "Good afternoon, Acme Ltd. What can I do for you?"],
    "inbound": [
        "Hi, I am calling about order A-{number}.",
        "Hello. I would like a refund for order A-{number}.",
        "Good morning. Can you tell me where my parcel is?",
        "Grüß Gott, hier ist Müller. Sprechen Sie Deutsch?",
        "Yes, hello. My invoice {number} is wrong.",
    ],
}
_TURNS = {
    "outbound": [
        "One moment, please. I am looking it up.",
        "I am sorry to hear that. When did it arrive?",
        "That was sent on Tuesday, and should be with you tomorrow.",
        "I can offer you a replacement. Is that all right with you?",
        "Could you spell your name for me, please?",
        "You get the money back within five working days.",
        "Is there anything else that I can do for you?",
        "May I have the number on the back of the box?",
    ],
    "inbound": [
        "It came last week, and the box was already open.",
        "No, that is not what I ordered.",
        "Yes, please. That would be great.",
        "I have called twice about this, and nobody could help me.",
        "Let me see. It says {number} on the back.",
        "Okay. And how long does that take?",
        "Can I speak to somebody else?",
        "That is very kind of you, thank you.",
        "Hm, I would rather have my money back.",
    ],
}


class Said(NamedTuple):
    """Positions and lengths in samples, `words` as rows have them."""

    track: str
    start: int
    length: int
    text: str
    words: list[tuple[str, int, int]]


def conversation(length: int, random: Random, wait: float) -> Iterator[Said]:
    """Who said what in a stream of that many samples: we begin. Half of our answers come within `wait` ms."""
    at = _pause(random, wait)
    turn = 0
    while words := _sentence(turn, random)[: max(0, length - at) // _PACE]:
        times = [(word.strip(",.?"), at + number * _PACE, _SAID) for number, word in enumerate(words)]
        said = Said("inbound" if turn % 2 else "outbound", at, len(words) * _PACE, " ".join(words), times)
        yield said
        turn += 1
        at += said.length + _pause(random, wait if turn % 2 == 0 else 400)
        if turn % 2 and random.random() < 0.1:
            at = said.start + max(0, len(words) - _EARLY) * _PACE + _SAID


def _sentence(turn: int, random: Random) -> list[str]:
    sentence = random.choice((_OPENINGS if turn < 2 else _TURNS)["inbound" if turn % 2 else "outbound"])
    return sentence.format(number=random.randrange(1000, 9999)).split()


def _pause(random: Random, wait: float) -> int:
    return int(random.lognormvariate(log(wait), 0.5)) * SAMPLES_PER_MS


class Spoken(NamedTuple):
    """A turn as its row has it, but for the stream."""

    speaker: str
    start: int
    length: int
    response_ms: int | None
    interrupted: bool
    talked_on_ms: int | None


def turns(talk: list[Said]) -> Iterator[Spoken]:
    for before, said, after in zip([None, *talk], talk, [*talk[1:], None], strict=False):
        ours, end = said.track == "outbound", said.start + said.length
        response = (said.start - before.start - before.length) // SAMPLES_PER_MS if ours and before else None
        cut = after is not None and after.start < end
        talked_on = (end - after.start) // SAMPLES_PER_MS if cut and after else None
        yield Spoken("us" if ours else "caller", said.start, said.length, response, cut, talked_on)


def figures(talk: list[Said], length: int) -> dict[str, Any]:
    """What is measured in such a call, by the names of its fields."""
    spoken = list(turns(talk))
    responses = [turn.response_ms for turn in spoken if turn.response_ms is not None]
    edges = [(0, 0), *((said.start, said.start + said.length) for said in talk), (length, length)]
    silences = [start - end for (_, end), (start, _) in pairwise(edges)]
    return {
        "first_audio_ms": talk[0].start // SAMPLES_PER_MS if talk else None,
        "response_ms": round(median(responses)) if responses else None,
        "response_ms_max": max(responses, default=None),
        "dead_air_ms": sum(silence for silence in silences if silence >= _DEAD) // SAMPLES_PER_MS,
        "talk_over_ms": sum(turn.talked_on_ms or 0 for turn in spoken),
    }


def guessed_figures(length: int, random: Random, wait: float) -> dict[str, Any]:
    """Figures like these without a conversation, which takes a hundred times as long to make up."""
    answers = length // (8 * SAMPLE_RATE)
    typical = int(wait * random.uniform(0.7, 1.4)) if answers else None
    longest = int(typical * (1 + random.expovariate(1.2) * min(answers, 6) / 3)) if typical else None
    silence = int(random.expovariate(1 / 4000)) + 2000 if random.random() < 0.25 else 0
    return {
        "first_audio_ms": int(wait * random.uniform(0.5, 2)),
        "response_ms": typical,
        "response_ms_max": longest,
        "dead_air_ms": silence + (longest if longest and longest >= 2000 else 0),
        "talk_over_ms": int(random.expovariate(1 / 1500)) if random.random() < 0.2 else 0,
    }
