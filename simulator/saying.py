"""What a caller says and presses, written down as a list: `["Hello.", heard(), "Two, please.", 1.5, "Thank you."]`.

A text is spoken by espeak-ng, bytes are µ-law, a path is a WAV file, a number is a pause in seconds, and a Step is
whatever else a caller waits for or does.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from simulator.audio import FRAME_SAMPLES, SAMPLE_RATE, SILENCE, read_wav
from simulator.caller import FRAME_SECONDS, PATIENCE, Caller
from simulator.scenario import Script
from simulator.spoken import spoken
from simulator.stream import SILENT_FRAME


#: What a caller does for some frames of 20 ms each: the frame, or None while nothing comes over the line.
Step = Callable[[Caller], Iterator[bytes | None]]
Sound = str | bytes | bytearray | Path
Saying = Sound | float | Step
Says = Saying | Sequence[Saying]
Keys = str | Sequence[tuple[float, str]]

KEYS = "0123456789*#ABCD"
# Seconds between two keys, after which a silence is one, and that somebody waits who is not spoken to.
BETWEEN_KEYS, LINGER, UNANSWERED = 0.25, 2.0, 10.0


def sound(what: Sound) -> bytes:
    """Its µ-law. ValueError for a file that is no WAV, OSError for none; SpeechUnavailable without espeak-ng."""
    if isinstance(what, bytes | bytearray):
        return bytes(what)
    if isinstance(what, Path) or what.endswith(".wav"):
        return read_wav(Path(what).read_bytes())
    return spoken(what)


def heard(seconds: float = UNANSWERED) -> Step:
    """Waits until the server has said something and is silent again; so many seconds at most for it to begin."""
    return lambda caller: chain(_while(caller, lambda: not _talks(caller), seconds), silence(0.5)(caller))


def speech(seconds: float = UNANSWERED) -> Step:
    """Waits until the server speaks; so many seconds at most."""
    return lambda caller: _while(caller, lambda: not _talks(caller), seconds)


def silence(seconds: float = LINGER, at_most: float = PATIENCE) -> Step:
    """Waits until the server has been silent for so long."""

    def wait(caller: Caller) -> Iterator[bytes | None]:
        quiet = end = caller.seconds
        while caller.seconds < end + at_most and caller.seconds - quiet < seconds:
            yield SILENT_FRAME
            if _talks(caller):
                quiet = caller.seconds

    return wait


def mark(name: str, seconds: float = PATIENCE) -> Step:
    """Waits until the caller has heard all before that mark; so many seconds at most."""

    def is_back(caller: Caller) -> bool:
        return caller.stream is not None and (name, "played") in caller.stream.buffer.marks

    return lambda caller: _while(caller, lambda: not is_back(caller), seconds)


def hold(seconds: float) -> Step:
    """On hold: nothing comes over the line, and Twilio's timestamps jump."""
    return lambda caller: iter([None] * round(seconds / FRAME_SECONDS))


def press(keys: str) -> Step:
    """Presses keys, a quarter of a second apart. ValueError for what is none."""
    _check(keys)

    def do(caller: Caller) -> Iterator[bytes | None]:
        for key in keys:
            caller.press(key)
            yield from _pause(BETWEEN_KEYS)

    return do


def script(says: Says, keys: Keys = "", stays: float | None = None) -> Script:
    """Says all of it, then presses the keys that have no time as somebody does who has listened, and hangs up.

    Keys with times are pressed then, several of one time a quarter of a second apart. The caller stays until the server
    is silent for 2 s, or, with `stays`, so many seconds in all.
    """
    said = [says] if isinstance(says, str | bytes | bytearray | Path | int | float) or callable(says) else [*says]
    steps = [_step(what) for what in said if what != b"" and what != ""]
    if isinstance(keys, str) and keys:
        steps += [heard(), press(keys)]
    timed = [] if isinstance(keys, str) else sorted(_timed(keys))

    def run(caller: Caller) -> Iterator[bytes | None]:
        left = list(timed)
        for frame in chain.from_iterable(step(caller) for step in (*steps, _until_over(timed, stays))):
            while left and left[0][0] <= caller.seconds:
                caller.press(left.pop(0)[1])
            yield frame

    return run


def _check(keys: Sequence[str]) -> None:
    if wrong := set(keys) - set(KEYS):
        raise ValueError(f"no such key: {', '.join(sorted(wrong))}; a phone has {KEYS}")


def _timed(keys: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Each key with its own second. ValueError for what is none, TypeError for what has no time."""
    try:
        pairs = [(float(at), [*pressed]) for at, pressed in keys]
    except (TypeError, ValueError):
        raise TypeError(
            f'keys are "12#", or pairs of a second and keys, [(1.5, "1"), (4.0, "2#")]; not {keys!r}'
        ) from None
    for at, pressed in pairs:
        _check(pressed)
        yield from ((at + n * BETWEEN_KEYS, key) for n, key in enumerate(pressed))


def _step(what: Saying) -> Step:
    if isinstance(what, int | float):
        return lambda caller: _pause(what)
    if callable(what):
        return what
    audio = sound(what)
    return lambda caller: _say(audio, caller)


def _say(audio: bytes, caller: Caller) -> Iterator[bytes]:
    caller.note("said", ms=len(audio) * 1000 // SAMPLE_RATE)
    for at in range(0, len(audio), FRAME_SAMPLES):
        frame = audio[at : at + FRAME_SAMPLES]
        yield frame + SILENCE * (FRAME_SAMPLES - len(frame))


def _pause(seconds: float) -> Iterator[bytes]:
    return iter([SILENT_FRAME] * round(seconds / FRAME_SECONDS))


def _while(caller: Caller, waits: Callable[[], bool], seconds: float) -> Iterator[bytes]:
    until = caller.seconds + seconds
    while waits() and caller.seconds < until:
        yield SILENT_FRAME


def _talks(caller: Caller) -> bool:
    return any(stream.buffer.queued > 0 or stream.buffer.talking for stream in caller.streams)


def _until_over(timed: Sequence[tuple[float, str]], stays: float | None) -> Step:
    """Until all keys are pressed and the server has said what it had to say, if it is to say anything."""

    def stay(caller: Caller) -> Iterator[bytes | None]:
        if stays is not None:
            yield from _while(caller, lambda: True, stays - caller.seconds)
            return
        last = max((at for at, _ in timed), default=0.0)
        yield from _while(caller, lambda: True, last + FRAME_SECONDS - caller.seconds)
        yield from _while(caller, lambda: any(map(caller.waits_for, caller.streams)), UNANSWERED)
        yield from silence()(caller)

    return stay
