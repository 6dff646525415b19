"""The process behind calls/speech/sphinx.py: PCM16 of 16 kHz in, a line of JSON for each utterance out.

It is run as a file, and knows nothing of ours: what it needs is pocketsphinx alone, with the model in its package.
"""

import json
import os
import sys

from pocketsphinx import Decoder, Endpointer  # type: ignore[import-untyped]


RATE = 16000
# Seconds of silence after which it says that there was nothing.
SILENCE = 1.0
# Frames of the decoder a second.
FRAMES = 100


def main() -> None:
    os.nice(10)
    decoder, endpointer = Decoder(samprate=RATE, loglevel="FATAL"), Endpointer(sample_rate=RATE)
    at, told, speaks = 0.0, 0.0, False
    source = sys.stdin.buffer
    while frame := source.read(endpointer.frame_bytes):
        is_last = len(frame) < endpointer.frame_bytes
        speech = endpointer.end_stream(frame) if is_last else endpointer.process(frame)
        at += len(frame) / 2 / RATE
        if speech is not None:
            if not speaks:
                decoder.start_utt()
            decoder.process_raw(speech)
            speaks = endpointer.in_speech
            if not speaks:
                tell(decoder, endpointer)
        elif at > told + SILENCE:
            # The endpointer takes back some of what it has passed over when somebody begins to speak.
            told = at
            say("", max(0.0, at - SILENCE), max(0.0, at - SILENCE), [])
        if is_last:
            return
    if speaks or endpointer.in_speech:
        finish(decoder, endpointer)


def finish(decoder: Decoder, endpointer: Endpointer) -> None:
    """The sound ended with a whole frame, and somebody was speaking."""
    speech = endpointer.end_stream(bytes(2))
    if speech:
        decoder.process_raw(speech)
    tell(decoder, endpointer)


def tell(decoder: Decoder, endpointer: Endpointer) -> None:
    decoder.end_utt()
    begin = endpointer.speech_start
    words = [
        (segment.word.partition("(")[0], begin + segment.start_frame / FRAMES, begin + (segment.end_frame + 1) / FRAMES)
        for segment in decoder.seg() or []
        if segment.word[0] not in "<["
    ]
    if words:
        say(" ".join(word for word, _, _ in words), words[0][1], words[-1][2], words)


def say(text: str, start: float, end: float, words: list[tuple[str, float, float]]) -> None:
    print(json.dumps({"text": text, "start": start, "end": end, "words": words}), flush=True)


if __name__ == "__main__":
    main()
