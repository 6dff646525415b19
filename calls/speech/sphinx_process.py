"""The process behind calls/speech/sphinx.py: PCM16 of 16 kHz in, a line of JSON for each utterance out.

It is run as a file, and knows nothing of ours: what it needs is pocketsphinx alone, with the model in its package.
Each utterance is decoded when it is over, as a whole: piece by piece, with the loudness of a telephone still to be
learnt, it understood "whew" for "hello nobody can take your call right now".
"""

import json
import os
import signal
import sys
from collections.abc import Iterator

from pocketsphinx import Decoder, Endpointer  # type: ignore[import-untyped]


RATE, WIDTH = 16000, 2
# Seconds of silence after which it says that there was nothing.
SILENCE = 1.0
# Seconds after which an utterance is over whatever is said.
LONGEST = 20
# Frames of the decoder a second.
FRAMES = 100


def main() -> None:
    os.nice(5)
    # Ctrl-C reaches it too; who started it ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    decoder = Decoder(samprate=RATE, loglevel="FATAL", cmn="batch")
    for start, sound in utterances():
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        words = [
            (each.word.partition("(")[0], start + each.start_frame / FRAMES, start + (each.end_frame + 1) / FRAMES)
            for each in decoder.seg() or []
            if each.word[0] not in "<["
        ]
        end = start + len(sound) / WIDTH / RATE
        first, last = (words[0][1], words[-1][2]) if words else (start, end)
        say(" ".join(word for word, _, _ in words), first, last, words)


def utterances() -> Iterator[tuple[float, bytes]]:
    """What somebody said between two silences, and when in seconds."""
    endpointer = Endpointer(sample_rate=RATE)
    size = endpointer.frame_bytes
    read, told = 0, 0.0
    start, sound = 0.0, bytearray()
    frame = bytes(size)
    while len(frame) == size:
        # The last one is never whole, if need be a single sample: the endpointer then lets go of what it holds back.
        frame = sys.stdin.buffer.read(size) or bytes(WIDTH)
        speech = endpointer.process(frame) if len(frame) == size else endpointer.end_stream(frame)
        at = read / WIDTH / RATE
        read += len(frame)
        if speech is not None:
            start = start if sound else endpointer.speech_start
            sound += speech
        elif at - told > SILENCE:
            # The endpointer takes back some of what it has passed over when somebody begins to speak.
            told = at
            say("", at - SILENCE, at - SILENCE, [])
        if sound and (not endpointer.in_speech or len(sound) > LONGEST * WIDTH * RATE):
            yield start, bytes(sound)
            sound.clear()


def say(text: str, start: float, end: float, words: list[tuple[str, float, float]]) -> None:
    print(json.dumps({"text": text, "start": start, "end": end, "words": words}), flush=True)


if __name__ == "__main__":
    main()
