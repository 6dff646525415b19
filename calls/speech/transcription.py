"""One stream's words: both lanes to their scribes while it runs, and what comes back as rows, and to the handler."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress

from django.utils import timezone

from calls.media.audio import SAMPLE_RATE
from calls.media.reel import Missing
from calls.media.rows import AnyRow, ChunkRow, EventRow, StreamChange, UtteranceRow
from calls.media.transcript import Said, said
from calls.speech.scribe import Scribe
from calls.speech.transcribers import Transcribe


# Seconds after the end of its stream for which a transcription may still bring rows, and for which a handler waits
# for them: less than it has to finish.
LINGER = 10.0
WAITED_FOR = 4.0
# Parts of a lane that are told one by one, if so many are missing.
MOST_PARTS = 10

#: Those whose stream is over and that are not done yet, so that a drain can wait for them.
lingering: set[asyncio.Task[None]] = set()


class Transcription:
    """Begins with the first sound of a stream, and ends some seconds after its last."""

    def __init__(self, stream: str, call: str, transcribe: Transcribe, submit: Callable[[list[AnyRow]], None]) -> None:
        """`submit` is given rows as soon as there are any."""
        self._stream, self._call, self._submit = stream, call, submit
        self._scribes = {
            track: Scribe(call, stream, track, transcribe, self._note) for track in ("inbound", "outbound")
        }
        self._said: list[Said] = []
        self._news = asyncio.Event()
        self._is_closed = self._is_told = False

    def take(self, rows: Iterable[AnyRow], now: int) -> None:
        """What was recorded since the last time; both lanes are known up to `now`, in samples."""
        if self._is_closed:
            return
        for row in rows:
            if type(row) is ChunkRow:
                self._scribes[row.track].put(row.start, row.payload)
        for scribe in self._scribes.values():
            scribe.rest(now)

    def close(self) -> None:
        """Nothing more comes; what did is still transcribed, for a while."""
        if self._is_closed:
            return
        self._is_closed = True
        for scribe in self._scribes.values():
            scribe.close()
        task = asyncio.create_task(self._finish())
        lingering.add(task)
        task.add_done_callback(lingering.discard)

    async def all(self) -> AsyncGenerator[Said]:
        """What was said so far, then what is said, in the order in which it is understood."""
        at = 0
        while True:
            while at < len(self._said):
                yield self._said[at]
                at += 1
            if self._is_told:
                return
            await self._news.wait()

    def _note(self, row: UtteranceRow) -> None:
        self._said.append(said(row))
        self._submit([row])
        self._tell()

    def _tell(self) -> None:
        """Wakes all who wait now."""
        self._news.set()
        self._news = asyncio.Event()

    async def _finish(self) -> None:
        # A drain may not wait so long.
        with suppress(asyncio.CancelledError):
            await self._linger()
        self._is_told = True
        self._tell()
        for scribe in self._scribes.values():
            await scribe.cut_off()
        self._submit(self._outcome())

    async def _linger(self) -> None:
        tasks = {task for scribe in self._scribes.values() for task in scribe.tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=WAITED_FOR)
            self._is_told = True
            self._tell()
            await asyncio.wait(tasks, timeout=LINGER - WAITED_FOR)

    def _outcome(self) -> list[AnyRow]:
        """That all words are known, or which are missing."""
        now = timezone.now()
        missing = [(track, part) for track, scribe in self._scribes.items() for part in few(scribe.reel.missing)]
        if not missing:
            return [StreamChange(self._stream, {"transcribed_at": now})]
        return [
            EventRow(
                self._call,
                self._stream,
                "stream",
                "words-missing",
                f"{self._stream}:words:{number}",
                now,
                {
                    "lane": track,
                    "start": round(part.start / SAMPLE_RATE, 1),
                    "length": round(part.length / SAMPLE_RATE, 1),
                    "why": part.why,
                },
            )
            for number, (track, part) in enumerate(missing)
        ]


def few(missing: list[Missing]) -> list[Missing]:
    """What is missing in not too many parts: the last one reaches to the end of what it stands for."""
    last = missing[MOST_PARTS - 1 :]
    if len(last) < 2:
        return missing
    start = last[0].start
    return [*missing[: MOST_PARTS - 1], Missing(start, max(part.end for part in last) - start, last[-1].why)]


async def drain(seconds: float) -> None:
    """Waits that long for what is still being transcribed, and gives up the rest."""
    if lingering:
        _, late = await asyncio.wait({*lingering}, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
