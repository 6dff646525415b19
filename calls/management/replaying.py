"""Plays the caller of a recorded call to a handler, in memory, and compares what comes of it with what did then."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from types import TracebackType
from typing import Self

from calls.handlers import NotAHandler, Talk
from calls.media.audio import FRAME_SAMPLES, SILENCE
from calls.rehearsal import HandlerCall, HandlerPhone
from calls.replays import rehearsed
from calls.replays.differences import compare
from calls.replays.likeness import ALIKE, likeness
from calls.replays.parts import Part
from calls.replays.stored import Playable, Stored, Unplayable
from calls.replays.telling import Compared
from simulator.caller import Caller
from simulator.scenario import Script


# Seconds for which a caller stays whom we had hung up on, if other code does not.
PATIENCE = 60
SILENT_FRAME = SILENCE * FRAME_SAMPLES


@dataclass(frozen=True)
class Terms:
    """`talk` is the handler, None for each call's own; the rest is as for `compare`."""

    talk: Talk | None
    tolerance_ms: int
    ignored: Sequence[str] = ()
    real_time: bool = False


class Replayer:
    """`with Replayer(terms) as replayer`: an event loop of its own, and calls one after the other."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._runner = asyncio.Runner()
        self._phone = HandlerPhone()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._phone.close()
        self._runner.__exit__(kind, error, at)

    def compared(self, playable: Playable) -> Compared:
        """Unplayable if the handler cannot be called; ArchiveError while the recording cannot be read."""
        stored = playable.read()
        again = self._called(playable, stored)
        after = rehearsed.read(again.rows, stored.heard, stored.part, _heard(again))
        comparison = compare(
            stored.timeline.until(playable.until_ms),
            after.until(playable.until_ms),
            alike=lambda one, other: likeness(one, other) >= ALIKE,
            tolerance_ms=self._terms.tolerance_ms,
            ignored=self._terms.ignored,
        )
        remark = "; ".join(filter(None, (playable.remark, *again.report.errors)))
        return Compared(playable.call.sid or "", comparison, remark)

    def _called(self, playable: Playable, stored: Stored) -> HandlerCall:
        try:
            return self._runner.run(self._place(playable, stored.part))
        except (ImportError, NotAHandler) as error:
            raise Unplayable(f"its handler cannot be used: {error}") from error
        except Exception as error:  # one call that fails keeps no other from being played
            raise Unplayable(f"playing it failed: {type(error).__name__}: {error}") from error
        finally:
            # It would keep the audio of each.
            self._phone.calls.clear()

    async def _place(self, playable: Playable, part: Part) -> HandlerCall:
        call = playable.call
        return await self._phone.call(
            self._terms.talk or call.handler,
            script=_script(part),
            parameters=dict(playable.stream.custom_parameters),
            real_time=self._terms.real_time,
            from_number=call.from_number,
            to_number=call.to_number,
            direction=call.direction,
            # What it says, and when, is compared.
            silence_timeout=0,
        )


def _script(part: Part) -> Script:
    """The caller of that stream; on any other one they hang up."""

    def play(caller: Caller) -> Iterator[bytes | None]:
        first, last = caller.stream, -(-part.length // FRAME_SAMPLES) - 1
        stays = repeat(SILENT_FRAME, 0 if part.leaves else PATIENCE * 50)
        for number, frame in enumerate(chain(part.frames, stays)):
            if caller.stream is not first:
                return
            for key in part.pressed(number):
                caller.press(key)
            if part.leaves and number == last:
                caller.hang_up()
            yield frame

    return play


def _heard(call: HandlerCall) -> bytes:
    return call.report.streams[0].heard_audio if call.report.streams else b""
