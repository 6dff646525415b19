"""A WAV or MP3 file as a telephone carries it: µ-law, 8000 samples a second, one channel, as loud as speech on a line.

libsndfile reads both from memory, by way of soundfile. It is C that takes whatever somebody has uploaded: a server has
this done by another process (calls.sounds.conversion).
"""

import io

import numpy as np
import soundfile

from calls.media.audio import SAMPLE_RATE
from calls.media.containers import container
from calls.media.resampler import Samples, encode, to_line_rate


# Seconds of a sound: nobody listens longer than that to what somebody has prepared.
LONGEST = 60
KINDS = ("WAV", "MP3")
# Samples a second and channels that files of sound have. What is beyond is no sound, and would take much memory.
RATES = range(4000, 192_001)
MOST_CHANNELS = 8

# Seconds that an encoder may add.
_PADDING = 0.1
# Shorter, and there is nothing to hear: 20 ms.
_SHORTEST = SAMPLE_RATE // 50
# Of full scale: the loudest sample of what is silence.
_SILENT = 0.001
# Sounds that ship speak at -20 dB, and so do people on a line. What is quieter than that is made up to ten times as
# loud, what is louder is lowered, and no sample comes nearer to full scale than 2 dB: then nothing is ever clipped.
_SPEECH, _MOST_GAIN, _HIGHEST = 0.1, 10.0, 0.79
# A frame counts if it is at most 30 dB below the loudest one: pauses say nothing about a voice's loudness.
_PAUSE = 0.001
# Files of floating point may be louder than full scale, and hold what is no number.
_LOUDEST = 64.0


def decode(data: bytes) -> bytes:
    """ValueError says in a sentence, for whoever has uploaded it, why it cannot be played."""
    if not data:
        raise ValueError("This file is empty.")
    kind = container(data)
    if not kind:
        raise ValueError("This is not a sound file that can be read here: it has to be WAV or MP3.")
    if kind not in KINDS:
        raise ValueError(f"This is a sound file of another kind, {kind}: it has to be WAV or MP3.")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            samples = to_line_rate(_mono(file), file.samplerate)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"This {kind} file cannot be read: {error.error_string.strip().rstrip('.')}.") from None
    if len(samples) < _SHORTEST:
        raise ValueError("There is no sound in this file.")
    return encode(even(samples) * 32767, "mulaw")


def even(samples: Samples) -> Samples:
    """The same as loud as speech is. ValueError if there is nothing to hear."""
    peak = float(np.max(np.abs(samples)))
    if peak < _SILENT:
        raise ValueError("There is nothing but silence in this file.")
    frames = samples[: len(samples) // _SHORTEST * _SHORTEST].reshape(-1, _SHORTEST).astype(np.float64)
    power = np.mean(frames**2, axis=1)
    loudness = float(np.sqrt(np.mean(power[power >= _PAUSE * power.max()])))
    gain = min(_SPEECH / max(loudness, 1e-9), _MOST_GAIN, _HIGHEST / peak)
    return samples * np.float32(gain)


def _mono(file: soundfile.SoundFile) -> Samples:
    """All of it, at its own rate, a second at a time: what a header says of its length may be anything."""
    rate, channels = file.samplerate, file.channels
    if rate not in RATES:
        raise ValueError(f"This file has {rate} samples a second; it has to be from {RATES[0]} to {RATES[-1]}.")
    if channels > MOST_CHANNELS:
        raise ValueError(f"This file has {channels} channels; at most {MOST_CHANNELS} can be made into one.")
    blocks, left = [np.zeros(0, np.float32)], LONGEST * rate
    while len(block := file.read(rate, dtype="float32", always_2d=True)):
        whole = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0).clip(-_LOUDEST, _LOUDEST)
        blocks.append(whole.mean(axis=1, dtype=np.float32)[: max(left, 0)])
        left -= len(block)
        if left < -_PADDING * rate:
            raise ValueError(f"This sound lasts {_length(file)}; it may last {LONGEST} seconds.")
    return np.concatenate(blocks)


def _length(file: soundfile.SoundFile) -> str:
    """In words; as its header has it, if that can be."""
    seconds = round(file.frames / file.samplerate)
    return f"{seconds // 60}:{seconds % 60:02d}" if LONGEST < seconds < 24 * 3600 else "longer than that"
