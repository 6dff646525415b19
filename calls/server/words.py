"""The words of a live stream: who transcribes them, if anybody does, and how they reach its handler and its rows."""

from collections.abc import AsyncIterator, Callable, Sequence

from calls.media.rows import AnyRow
from calls.media.transcript import Said
from calls.speech import transcribers
from calls.speech.transcription import Transcription


class TranscriptsError(RuntimeError):
    """A handler asks for words that nobody will ever write down."""


class Words:
    """One stream's."""

    def __init__(self, stream: str, call: str, *, records: bool, transcribes: bool) -> None:
        self._transcription: Transcription | None = None
        #: For the next beat; `_submit_late` takes those that come after the last one.
        self._rows: list[AnyRow] = []
        self._submit_late: Callable[[list[AnyRow]], None] | None = None
        #: Why there are none.
        self._objection = ""
        if not records or not transcribes:
            option = "transcribes" if records else "records"
            self._objection = f"this handler is declared with {option}=False, so nothing of it is transcribed"
        elif (transcribe := transcribers.find()) is None:
            self._objection = "TRANSCRIBER is not set, so nothing is transcribed"
        else:
            self._transcription = Transcription(stream, call, transcribe, self._submit)

    def take(self, rows: Sequence[AnyRow], now: int) -> list[AnyRow]:
        """What was recorded since the last time, up to `now` in samples. Returns the rows that words have become."""
        if self._transcription is None:
            return self._rows
        self._transcription.take(rows, now)
        words, self._rows = self._rows, []
        return words

    def close(self) -> None:
        """The call is over; what was said last may take some seconds."""
        if self._transcription is not None:
            self._transcription.close()

    def let_go(self, submit: Callable[[list[AnyRow]], None]) -> None:
        """There is no beat any more: what is still understood goes there."""
        self._submit_late = submit
        self.close()
        rows, self._rows = self._rows, []
        if rows:
            submit(rows)

    def all(self) -> AsyncIterator[Said]:
        if self._transcription is None:
            raise TranscriptsError(f"transcripts() has nothing to give: {self._objection}")
        return self._transcription.all()

    def _submit(self, rows: list[AnyRow]) -> None:
        if self._submit_late is None:
            self._rows += rows
        else:
            self._submit_late(rows)
