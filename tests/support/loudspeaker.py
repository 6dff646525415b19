"""What a browser plays of a running call, taken from its sound on the way out, and how like it is to what was said."""

import numpy as np
import soxr

from calls.media.audio import mulaw_to_pcm16


# The caller's lane on its way out: the last samples of it, and when that was.
TAP = """
document.getElementById("call-listen").addEventListener("call:sounding", ({ detail }) => {
    const tap = new AnalyserNode(detail.context, { fftSize: 8192 });
    detail.node.connect(tap, 0);
    window.taken = () => {
        const samples = new Float32Array(tap.fftSize);
        tap.getFloatTimeDomainData(samples);
        return { at: Date.now() / 1000, rate: detail.context.sampleRate, samples: [...samples] };
    };
})
"""

# Where both are compared, samples a second.
RATE = 16_000


def likeness(played, speech):
    """How like what was played is to some of the speech, which is said over and over; and the second where it ends."""
    said = soxr.resample(np.frombuffer(mulaw_to_pcm16(speech * 2), "<i2") / 32768, 8000, RATE)
    size = len(said) + len(played)
    found = np.fft.irfft(np.fft.rfft(said, size) * np.conj(np.fft.rfft(played, size)), size)[: len(said) - len(played)]
    energy = np.concatenate([[0], np.cumsum(said**2)])
    energy = energy[len(played) :] - energy[: -len(played)]
    alike = found / np.sqrt(np.maximum(energy[: len(found)], 1e-6) * max(float(np.sum(np.square(played))), 1e-6))
    at = int(np.argmax(alike))
    return float(alike[at]), (at + len(played)) / RATE


def best_likeness(samples, rate, speech):
    """The same, of samples of that rate. Now and then they are played 3 % faster, to catch up."""
    return max(likeness(soxr.resample(samples, rate / pace, RATE), speech) for pace in (1, 1.03))
