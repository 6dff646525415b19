"""Notices audio that is not what it is said to be, before a caller hears it as noise.

Nothing marks raw samples, so what tells them apart is how they run. `python -m tests.trials.waves 500` holds it against
10,000 sounds that are right (tones, beeps of every wave form, DTMF, noise, music, at every rate and level), and the
tests against speech, by espeak-ng too. What is wrong is noticed within half a second if it is speech, but not always:
a pure sine whose period is a few whole samples passes.
"""

import struct
from collections.abc import Callable, Sequence
from operator import eq, mul

from calls.media.audio import LINEAR, Encoding
from calls.media.containers import container


# What is looked at in one go, in bytes: 0.26 s of µ-law, 43 ms of PCM16 at 24 kHz.
_WINDOW = 2048
# How much of it is looked at sample by sample, since that is slow.
_SAMPLES = 256
_HIGH_NIBBLE = bytes(byte >> 4 for byte in range(256))

_NAMES = {"mulaw": "µ-law", "pcm16": "16-bit PCM"}
_PCM16 = 'this is 16-bit PCM, not µ-law: say so with encoding="pcm16" and its rate'
_MULAW = 'this is µ-law, not 16-bit PCM: say so with encoding="mulaw"'
_FLOAT = (
    "these are 32-bit floats: `(samples * 32767).astype('<i2').tobytes()` makes 16-bit PCM of such an array of numpy's"
)
_STEREO = "this is stereo, and a call has one channel: ask for mono, or leave every other sample out"

_STEREO_PCM16 = 'this is stereo 16-bit PCM, not µ-law: ask for mono, and say encoding="pcm16" and its rate'


class Examiner:
    """One sound's, or all that one stream plays. It looks at the first seconds only: 0.3 ms a window."""

    # Windows that are looked at in one call, and altogether; silent ones do not count.
    AT_ONCE, ALTOGETHER, REACH = 6, 12, 64

    def __init__(self, encoding: Encoding = "mulaw") -> None:
        self._name = _NAMES[encoding]
        self._signs = _SIGNS[encoding]
        self._seen = [0] * len(self._signs)
        self._left = self.ALTOGETHER
        self._rest = b""

    def objection(self, audio: bytes) -> str:
        """What this is instead, and what to do; "" if nothing is wrong with it."""
        if file := container(audio):
            return _about_a_file(file, self._name)
        if not self._left:
            return ""
        until = max(self._left - self.AT_ONCE, 0)
        for window in self._windows(audio):
            if self._left > until and (objection := self._look_at(window)):
                return objection
        return ""

    def _windows(self, audio: bytes) -> list[bytes]:
        """Those that may be looked at, spread over what there is. A part of one waits for more: no sample is cut."""
        collected = self._rest + audio[: self.REACH * _WINDOW]
        rest = (len(self._rest) + len(audio)) % _WINDOW
        self._rest = (self._rest + audio[-_WINDOW:])[-rest:] if rest else b""
        whole = len(collected) // _WINDOW
        return [
            collected[at * _WINDOW : (at + 1) * _WINDOW] for at in range(0, whole, max(whole // (2 * self.AT_ONCE), 1))
        ]

    def _look_at(self, window: bytes) -> str:
        # Silence is silence in all of them.
        if len(set(window[::3])) < 8:
            return ""
        self._left -= 1
        for at, (objection, shows, enough) in enumerate(self._signs):
            self._seen[at] += shows(window)
            if self._seen[at] == enough:
                return objection
        return ""


def _about_a_file(file: str, name: str) -> str:
    if file == "WAV":
        return f"this is a sound file (WAV), not raw {name}: calls.media.audio.read_wav(data) returns its samples"
    return (
        f"this is a sound file ({file}), not raw {name}: ask the service for PCM, or convert it "
        "(`ffmpeg -i in.file -f s16le -ac 1 -ar 24000 out.raw` makes PCM16 of 24000 Hz)"
    )


# --- one window -------------------------------------------------------------------------------------------------------


def _has_random_halves(window: bytes) -> bool:
    """PCM16 as µ-law. Every other byte of PCM16 is the low one, and as good as random; in µ-law all bytes are alike.

    A µ-law ding of 1000 or 2000 Hz may have such halves too, but as PCM16 it is rough: 0.65 at least, of thousands that
    were made at random. Speech is mostly below 0.3.
    """
    halves = _spreads(window)
    spread = any(max(half) <= 0.12 and sum(part > 0.01 for part in half) >= 15 for half in halves)
    return spread and _apart(halves) >= 0.25 and _roughness(_around_zero(_pcm16(window))) < 0.3


def _is_quiet_pcm16(window: bytes) -> bool:
    """PCM16 as µ-law, below 256: all high bytes are 00 or FF."""
    return any(0 < half.count(0x00) < half.count(0x00) + half.count(0xFF) == len(half) for half in _halves(window))


def _is_smooth_as_pcm16(window: bytes) -> bool:
    """PCM16 as µ-law: a tone, loud or once µ-law. As PCM16 it runs smoothly, as µ-law it does not."""
    part = window[:_SAMPLES]
    return _roughness(_around_zero(_pcm16(part))) < 0.3 and 0.6 < _roughness(_mulaw(part)) < 1.4


def _is_smooth_as_mulaw(window: bytes) -> bool:
    """µ-law as PCM16: both halves are alike, and it runs smoothly as µ-law only. Quiet PCM16 is mostly 00 and FF."""
    part = window[: 2 * _SAMPLES]
    if (
        len(set(part[1::2])) < 16
        or part.count(0x00) + part.count(0xFF) > _SAMPLES / 2
        or _apart(_spreads(window)) > 0.1
    ):
        return False
    return _roughness(_around_zero(_mulaw(part))) < 0.5 and _roughness(_around_zero(_pcm16(part))) > 0.3


def _is_float(window: bytes) -> bool:
    """32-bit floats: PCM16 that is negative and not loud, or µ-law, is far out of range as such or no number at all."""
    values = struct.unpack(f"<{_WINDOW // 4}f", window)
    if not all(-2 <= value <= 2 for value in values):
        return False
    loud = {value for value in values if abs(value) > 1e-4}
    return len(loud) > len(values) / 4 and min(loud) < 0 < max(loud) and _roughness(values) < 0.6


def _is_stereo_pcm16(window: bytes) -> bool:
    return _is_stereo(_pcm16(window[: 2 * _SAMPLES]))


def _is_stereo_mulaw(window: bytes) -> bool:
    return _is_stereo(_mulaw(window[:_SAMPLES]))


def _is_stereo(samples: Sequence[int]) -> bool:
    """Whether every other sample is another channel's.

    Each channel by itself then runs smoothly. A tone of a quarter of the rate, of which two samples are equal and then
    two others, or every other one is 0, does not.
    """
    left, right = (_around_zero(samples[at::2]) for at in (0, 1))
    if min(left) > -8 and max(left) < 8:
        return _is_smooth(right)
    if min(right) > -8 and max(right) < 8:
        return _is_smooth(left)
    return _is_smooth(left) and _is_smooth(right) and (_come_in_pairs(samples) or _zigzag(samples, left, right))


def _is_smooth(channel: Sequence[int]) -> bool:
    return min(channel) < -32 and max(channel) > 32 and len(set(channel)) >= 8 and _roughness(channel) < 0.5


def _come_in_pairs(samples: Sequence[int]) -> bool:
    """The same on both channels. A square wave has equal samples too, but not in pairs only."""
    within: int = sum(map(eq, samples[0::2], samples[1::2]))
    between: int = sum(map(eq, samples[1::2], samples[2::2]))
    return within >= 0.98 * len(samples) / 2 and between <= 0.2 * len(samples)


def _zigzag(samples: Sequence[int], left: Sequence[int], right: Sequence[int]) -> bool:
    """Two channels that differ: far from one to the other, and not so far from a sample to its channel's next one."""
    roughest = max(_roughness(left), _roughness(right))
    return roughest < 0.25 and max(4 * roughest, 0.05) < _roughness(_around_zero(samples)) < 1.2


def _pcm16(data: bytes) -> Sequence[int]:
    return struct.unpack(f"<{len(data) // 2}h", data)


def _mulaw(data: bytes) -> Sequence[int]:
    return [LINEAR[byte] for byte in data]


def _around_zero(samples: Sequence[int]) -> Sequence[int]:
    """Without their direct current."""
    middle = sum(samples) // len(samples)
    return [sample - middle for sample in samples]


def _halves(window: bytes) -> tuple[bytes, bytes]:
    return window[0::2], window[1::2]


def _spreads(window: bytes) -> list[list[float]]:
    """How often each high nibble occurs in each half."""
    halves = _halves(window.translate(_HIGH_NIBBLE))
    return [[half.count(value) / len(half) for value in range(16)] for half in halves]


def _apart(halves: list[list[float]]) -> float:
    """0 for halves that are alike, 1 for those that have nothing in common."""
    return 0.5 * sum(abs(low - high) for low, high in zip(halves[0], halves[1], strict=True))


def _roughness(samples: Sequence[float]) -> float:
    """How far each sample is from the one before it: 0 for a slow wave, 1 for noise, 2 for the fastest tone."""
    energy: float = sum(map(mul, samples, samples))
    if not energy:
        return 0.0
    # (a - b)² of each pair, multiplied out: no step of it is in Python.
    ends = samples[0] * samples[0] + samples[-1] * samples[-1]
    together: float = sum(map(mul, samples, samples[1:]))
    return 1 - (together + ends / 2) / energy


#: What is said, by which sign, and in how many windows: a hissed consonant may run smoothly as PCM16 in one or two.
_SIGNS: dict[Encoding, tuple[tuple[str, Callable[[bytes], bool], int], ...]] = {
    "mulaw": (
        (_PCM16, _has_random_halves, 1),
        (_PCM16, _is_quiet_pcm16, 1),
        (_PCM16, _is_smooth_as_pcm16, 4),
        (_FLOAT, _is_float, 2),
        (_STEREO, _is_stereo_mulaw, 2),
        (_STEREO_PCM16, _is_stereo_pcm16, 2),
    ),
    "pcm16": ((_MULAW, _is_smooth_as_mulaw, 2), (_FLOAT, _is_float, 2), (_STEREO, _is_stereo_pcm16, 2)),
}
