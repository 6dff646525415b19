"""Whether bytes that are to be µ-law are something else. Says so only where there is no doubt."""

import numpy as np
from numpy.typing import NDArray


# G.711: the sample of each byte.
_BYTES = ~np.arange(256) & 0xFF
_MAGNITUDES = (((_BYTES & 15) << 3) + 132 << (_BYTES >> 4 & 7)) - 132
LINEAR = np.where(_BYTES & 0x80, -_MAGNITUDES, _MAGNITUDES).astype(float)

CONTAINERS = {b"RIFF": "a WAV header", b"ID3": "an MP3 tag", b"OggS": "an Ogg page", b"fLaC": "a FLAC header"}
ENOUGH, MOST = 2000, 400_000  # samples
ZEROS = bytes(400)


def container(audio: bytes) -> str:
    """What file it is the beginning of, if it is one."""
    return next((name for magic, name in CONTAINERS.items() if audio.startswith(magic)), "")


def is_pcm16(audio: bytes) -> bool:
    """Whether it is 16-bit PCM: noise as µ-law, smooth as PCM, and even bytes are nothing like odd ones."""
    samples = audio[: min(len(audio), MOST) & ~1]
    if len(samples) < 2 * ENOUGH:
        return False
    bytes_ = np.frombuffer(samples, np.uint8)
    even, odd = (np.bincount(bytes_[first::2], minlength=256) for first in (0, 1))
    apart = np.abs(even - odd).sum() / (even + odd).sum()
    as_pcm = _roughness(np.frombuffer(samples, "<i2").astype(float))
    return bool(apart > 0.35 and as_pcm < 0.7 and _roughness(LINEAR[bytes_]) > 1.2)


def _roughness(samples: NDArray[np.float64]) -> float:
    """How much neighbours differ: near 0 for speech, 2 for noise."""
    power = float(np.var(samples))
    return float(np.mean(np.diff(samples) ** 2)) / power if power else 2.0


def has_zeros(audio: bytes) -> bool:
    """Whether there is a run of 0x00: silence in PCM, and the loudest sample there is in µ-law."""
    return ZEROS in audio
