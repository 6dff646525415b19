"""What is kept of the calls of a run: a file of each, if that is asked for, and in memory the sound of those shown."""

import re
from dataclasses import replace
from pathlib import Path

from simulator.audio import stereo_wav
from simulator.reports.results import Result


# So many are shown with everything about them: those that failed first, or all of a few.
SHOWN, FEW = 50, 5


class Keeper:
    """Takes each call as it ends, in one thread at a time. A thousand calls of a minute are a gigabyte of sound."""

    def __init__(self, calls: int, folder: Path | None) -> None:
        self._few, self._folder = calls <= FEW, folder
        self._shown = 0
        self.trouble = ""  # why not every WAV could be written

    def keep(self, result: Result) -> Result:
        saved = replace(result, wav=self._save(result))
        if not self._few and (not result.failed or self._shown >= SHOWN):
            return replace(saved, sound=None)
        self._shown += 1
        return replace(saved, shown=True)

    def _save(self, result: Result) -> str:
        if self._folder is None or result.sound is None:
            return ""
        path = self._folder / file_name(result)
        try:
            path.write_bytes(stereo_wav(result.sound.said, result.sound.heard))
        except OSError as error:
            self.trouble = self.trouble or f"--save {path}: {error.strerror}"
            return ""
        return str(path)


def file_name(result: Result) -> str:
    """The scenario and the call's number in the run: no two calls have it, and every file system takes it."""
    safe = re.sub(r"[^A-Za-z0-9]+", "-", result.planned.name).strip("-")[:60]
    return f"{result.planned.number:04}-{safe or 'call'}.wav"
