"""Where in the code somebody stands, and for how long the event loop has stood there."""

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings

from calls.server.mistakes import cause, sentence


_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_OURS = str(Path(__file__).parent.parent)


@dataclass(frozen=True)
class Stall:
    """For how many seconds the loop stood still, and where."""

    seconds: float
    #: "handlers/assistant.py:31 in answer", or "" where the process was stopped as a whole.
    place: str = ""
    #: The call whose handler did it, or "".
    call_sid: str = ""

    def __str__(self) -> str:
        where = self.place or "no line: the whole process was stopped, had no processor, or a library held Python"
        return f"{self.seconds:.1f} s at {where}" + (
            f" in the handler of call {self.call_sid}" if self.call_sid else ""
        )


def file_of(frame: FrameType) -> str:
    return frame.f_code.co_filename


def place(frames: list[FrameType]) -> str:
    """The first line of the user's own, of frames innermost first; of ours or of a library's, if there is none."""
    own = (frame for frame in frames if _is_own(frame))
    ours = (frame for frame in frames if is_ours(file_of(frame)))
    frame = next(own, None) or next(ours, None) or next(iter(frames), None)
    return "" if frame is None else _line(frame, frame.f_lineno)


def raised_at(error: BaseException) -> str:
    """The user's own line that an error came from; "" if it came from none. Of a group, that of its first one."""
    through = reversed(list(traceback.walk_tb(cause(error).__traceback__)))
    # A frame itself has gone on, to a `finally` for example.
    return next((_line(frame, number) for frame, number in through if _is_own(frame)), "")


def sentence_with_line(error: BaseException) -> str:
    """What came, and where in the handler it was raised, if that is known."""
    where = f", at {line}" if (line := raised_at(error)) else ""
    return f"{sentence(error)}{where}"


def is_ours(filename: str) -> bool:
    return filename.startswith(_OURS)


def _is_own(frame: FrameType) -> bool:
    return not file_of(frame).startswith((*_LIBRARIES, _OURS, "<"))


def _line(frame: FrameType, number: int) -> str:
    name = file_of(frame).removeprefix(f"{settings.BASE_DIR}/")
    return f"{name}:{number} in {frame.f_code.co_name}"


def standing(coroutine: Any) -> list[FrameType]:
    """The frames of a coroutine that waits and of those that it waits for, innermost first."""
    frames = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return frames[::-1]
