"""What people say in made-up calls, in turns that are as long as those of their audio."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from calls.media.audio import SAMPLE_RATE


# Samples of one turn, after which the other side speaks.
TURN = 5 * SAMPLE_RATE
_PACE, _SAID, _PAUSE = 2_400, 2_000, 2_400
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


def conversation(length: int, random: Random) -> Iterator[Said]:
    """Who said what in a stream of that many samples: we begin."""
    for turn, start in enumerate(range(_PAUSE, length, TURN)):
        track = "inbound" if turn % 2 else "outbound"
        sentence = random.choice((_OPENINGS if turn < 2 else _TURNS)[track])
        words = sentence.format(number=random.randrange(1000, 9999)).split()
        fitting = words[: (length - start) // _PACE]
        if fitting:
            times = [(word.strip(",.?"), start + number * _PACE, _SAID) for number, word in enumerate(fitting)]
            yield Said(track, start, len(fitting) * _PACE, " ".join(fitting), times)
