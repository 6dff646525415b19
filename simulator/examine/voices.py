"""What callers say where nothing better is at hand: no words, but as loud and as lively as speech."""

from math import sin, tau

from simulator.audio import SAMPLE_RATE, mulaw_of
from simulator.spoken import SpeechUnavailable, spoken


def babble(hertz: int, seconds: float) -> bytes:
    """µ-law whose pitch wanders, four syllables a second; no two frames are alike, and no two voices."""
    phase, said = 0.0, bytearray()
    for n in range(round(seconds * SAMPLE_RATE)):
        time = n / SAMPLE_RATE
        phase += tau * (hertz + 40 * sin(1.7 * time) + 25 * sin(5.3 * time)) / SAMPLE_RATE
        loudness = 7000 + 3000 * sin(tau * 4 * time)
        said.append(mulaw_of(round(loudness * (0.7 * sin(phase) + 0.3 * sin(2.01 * phase)))))
    return bytes(said)


BABBLE = babble(190, 2.0), babble(310, 2.0)
_SENTENCES = {
    "en-us": "Hello, I would like to know when you are open tomorrow.",
    "en-us+f3": "Good morning, could you please tell me about my order?",
}


def sentences(audio: bytes | None = None) -> tuple[bytes, bytes]:
    """What two callers say: that audio, if there is some, or what espeak-ng says, or babble."""
    try:
        one, other = (spoken(text, voice) for voice, text in _SENTENCES.items())
    except SpeechUnavailable:
        one, other = BABBLE
    return audio or one, other
