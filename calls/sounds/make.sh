#!/usr/bin/env bash
# Makes the sounds beside it again: 8 kHz, mono, µ-law. Needs Debian's flite and sox, and this project's .venv.
set -euo pipefail
cd "$(dirname "$0")"
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT

# speak NAME VOICE STRETCH TEXT: what a telephone lets through (300-3400 Hz), no silence at the ends but a breath of
# 80 ms, the loudest sample 4 dB below full scale. -D: no dither, so that the same bytes come out each time.
speak() {
    flite -voice "$2" --setf duration_stretch="$3" -t "$4" -o "$raw/$1.wav"
    sox -D "$raw/$1.wav" -r 8000 -c 1 -e mu-law -b 8 "$1.wav" \
        sinc 300-3400 silence 1 0.02 0.8% reverse silence 1 0.02 0.8% reverse \
        rate -v 8000 norm -4 pad 0.08 0.08
}

speak greeting slt 0.93 "Hello. Nobody can take your call right now. Please leave a message after the tone, then press hash."
speak thanks slt 1.0 "Thank you. Goodbye."
speak apology slt 1.0 "We are sorry. Something went wrong on our side. Please call again later."
speak caller rms 0.95 "Hi, this is Martin. I would like two large pizzas, one with mushrooms, and one with cheese. Call me back if you can deliver before eight."

PYTHONPATH=../.. "${PYTHON:-../../.venv/bin/python}" - <<'PYTHON'
from pathlib import Path

from calls import audio

beep = audio.tone(1000, 500)
Path("beep.wav").write_bytes(audio.wav_header(len(beep), 1, "mulaw") + beep)
PYTHON
