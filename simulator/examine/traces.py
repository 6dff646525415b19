"""A server's messages on one stream, read once for all checks."""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from functools import cached_property

from simulator import messages
from simulator.examine.verdicts import quoted
from simulator.messages import BadMessage
from simulator.report import StreamReport, Traced


class Trace:
    """Of one stream."""

    def __init__(self, stream: StreamReport) -> None:
        self._stream = stream

    @cached_property
    def received(self) -> list[Traced]:
        return [traced for traced in self._stream.trace if not traced.sent]

    @cached_property
    def rejections(self) -> list[tuple[Traced, str]]:
        """Each message that Twilio rejects, with the reason."""
        return list(self._rejections())

    @cached_property
    def audio(self) -> list[tuple[Traced, bytes]]:
        """Each audio message that has any, whatever else is wrong with it."""
        return list(self._audio())

    @cached_property
    def heard(self) -> bytes:
        """All audio, one piece behind the other."""
        return b"".join(audio for _, audio in self.audio)

    def _rejections(self) -> Iterator[tuple[Traced, str]]:
        for traced in self.received:
            if traced.text.startswith(("b'", 'b"')):
                yield traced, f"{messages.MALFORMED}: a binary frame"
                continue
            try:
                messages.read(traced.text, self._stream.sid)
            except BadMessage as error:
                yield traced, str(error)

    def _audio(self) -> Iterator[tuple[Traced, bytes]]:
        for traced in self.received:
            try:
                yield traced, b64decode(json.loads(traced.text)["media"]["payload"], validate=True)
            except (ValueError, TypeError, KeyError, Base64Error):
                continue


def quote(traced: Traced) -> str:
    return f"{traced.at:.2f} s {'→' if traced.sent else '←'} {quoted(traced.text)}"
