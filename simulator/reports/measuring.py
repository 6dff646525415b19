"""What a caller waited for, measured on the two lanes of a call that is over."""

from dataclasses import dataclass

from simulator import hearing
from simulator.report import Report


@dataclass(frozen=True)
class Sound:
    """Both lanes, µ-law and equally long, on the call's clock."""

    said: bytes
    heard: bytes


@dataclass(frozen=True)
class Measured:
    seconds: float = 0.0  # of streams
    first_audio_ms: float | None = None  # until the caller heard something; None: never
    response_ms: tuple[float, ...] = ()  # after each of the caller's turns that was answered


def sound_of(report: Report) -> Sound:
    return Sound(report.said_audio, report.heard_audio)


def measure(sound: Sound, seconds: float) -> Measured:
    spans = hearing.speech(sound.heard)
    waited = tuple(response.after_ms for response in hearing.responses(sound.said, sound.heard))
    return Measured(seconds, spans[0].start_ms if spans else None, waited)
