"""The sounds that ship, by name: what voicemail says, and a caller for the simulator."""

from pathlib import Path

from calls.media.audio import read_wav


FOLDER = Path(__file__).parent
#: Those that may be played to a caller.
PLAYABLE = ("greeting", "thanks", "apology", "beep")


def sound(name: str) -> bytes:
    """A shipped sound as µ-law."""
    return read_wav((FOLDER / f"{name}.wav").read_bytes())
