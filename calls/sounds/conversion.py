"""Uploaded sound files made into what a telephone carries, each by a process of its own, which ends with it.

The decoder is C that reads whatever somebody has sent: a file that breaks it, swells or never ends breaks no call. The
process gives way to those that carry calls, and has nothing of ours in its environment. It takes 0.4 s to start; to
convert a minute of sound takes 0.1 s.
"""

import logging
import os
import resource
import subprocess
import sys
from pathlib import Path


logger = logging.getLogger(__name__)

#: Bytes of a file: a minute and more of MP3, or of WAV as cameras and phones record it.
MOST_BYTES = 10_000_000
# Seconds that it may take on a busy machine, and of them a core's; bytes of its memory: a minute of eight channels at
# 192 kHz is made into one in 100 MB, and Python with its libraries claims 400 MB that it does not use.
PATIENCE, CORE_SECONDS, MEMORY = 30, 10, 1 << 30
# The exit code that says why a file cannot be played.
REFUSED = 3
_ROOT = Path(__file__).resolve().parent.parent.parent


def convert(data: bytes) -> bytes:
    """A WAV or MP3 file as µ-law (calls.media.decoder). ValueError says in a sentence why it cannot be played."""
    command = [sys.executable, "-m", __name__]
    # One thread is enough, and each of OpenBLAS's others would claim memory of its own.
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    try:
        # Captured, since what libraries print of a broken file is of no use in the log.
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=PATIENCE, cwd=_ROOT, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        logger.warning("sound_slow bytes=%d: no end within %d s", len(data), PATIENCE)
        raise ValueError(f"This file could not be read within {PATIENCE} seconds.") from None
    if done.returncode == REFUSED:
        raise ValueError(done.stdout.decode())
    if done.returncode:
        logger.warning("sound_unreadable bytes=%d: the decoder ended with %d", len(data), done.returncode)
        raise ValueError("This file cannot be read: what it holds breaks the decoder.")
    return done.stdout


def main() -> int:
    """The process: a file comes in, and µ-law goes out, or the reason why not."""
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CPU, (CORE_SECONDS, CORE_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from calls.media.decoder import decode

    try:
        answer, code = decode(sys.stdin.buffer.read()), 0
    except ValueError as error:
        answer, code = str(error).encode(), REFUSED
    sys.stdout.buffer.write(answer)
    return code


if __name__ == "__main__":
    sys.exit(main())
