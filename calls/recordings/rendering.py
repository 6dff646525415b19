"""A call's timeline read back: chunks and holes become stereo samples, WAV bytes and peaks.

A call has one timeline, in samples at 8000 a second (`placement`). Left is the caller, right is us. Whatever no chunk
covers is silence. Reading is bounded by the range that is asked for, never by the call's length.

Streams that run at once (a `<Start>` beside a `<Connect>`) are views of one conversation, not parts of it: mixed, the
caller would be twice as loud, with an echo of some milliseconds. So what is heard is the stream that began first, and
another one only where that one has nothing. What one of them was told not to record is silence, whatever another has.
"""

import datetime as dt
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import F, OuterRef, QuerySet, Subquery

from calls import store, vault
from calls.media import audio, placement
from calls.media.lane import MAX_CHUNK
from calls.media.placement import Placed
from calls.models import AudioChunk, Call, Gap, Track


# A stereo PCM piece is 256 KiB; the first one is short, because somebody is waiting for it.
FIRST_PIECE, PIECE = 1 << 13, 1 << 16

Channel = Literal["stereo", "inbound", "outbound"]


@dataclass(frozen=True)
class Recording:
    """What was recorded of a call so far; read while it runs, it has the length that it had when it was opened."""

    origin: dt.datetime | None
    streams: tuple[Placed, ...]
    samples: int
    has_audio: bool
    """False if not one chunk is stored: nothing was recorded, or it was erased; what is left is silence."""
    keys: tuple[tuple[str, str], ...] = ()
    """What its streams are sealed with, and their SIDs."""

    @classmethod
    def of(cls, call: Call) -> "Recording":
        """One query, whatever the call's length."""
        found = list(call.streams.annotate(**{track: _end(track) for track in Track.values}))
        ends = {stream.pk: [getattr(stream, track) or 0 for track in Track.values] for stream in found}
        placed = placement.place(stream.spell(*ends[stream.pk]) for stream in found)
        origin = min((stream.started_at for stream in found), default=None)
        has_audio = any(any(lanes) for lanes in ends.values())
        keys = tuple((stream.sealing_key, stream.sid) for stream in found if stream.sealing_key)
        return cls(origin, placed, placement.end(placed), has_audio, keys)

    def check_keys(self) -> None:
        """Raises vault.Unreadable if it is sealed, and cannot be opened."""
        for key, sid in self.keys:
            vault.check_key(key, sid)

    def until(self, samples: int) -> "Recording":
        """The same, but no longer than that: what a player was told of a call that grows stays true for it."""
        return replace(self, samples=max(0, min(self.samples, samples)))

    def place(self, stream_id: int, position: int) -> int:
        """A position on a stream's own clock, on the call's timeline."""
        return next(placed.start for placed in self.streams if placed.stream_id == stream_id) + position

    def is_heard(self, stream_id: int, at: int) -> bool:
        """Whether a stream is what is heard at a moment of the call's timeline.

        Of those that run at once it is the one that began first: what the others have is the same again.
        """
        covering = (placed.stream_id for placed in self.streams if placed.start <= at < placed.stop)
        return next(covering, stream_id) == stream_id

    def when(self, moment: dt.datetime) -> int:
        """A moment on the call's timeline; what happened before the first stream is negative."""
        return placement.samples(self.origin, moment) if self.origin else 0

    def read(self, start: int, stop: int) -> tuple[bytes, bytes]:
        """The µ-law samples start..stop (exclusive) of both lanes, the caller's first."""
        left, right = self.lanes(start, stop, (Track.INBOUND, Track.OUTBOUND))
        return left, right

    def lanes(self, start: int, stop: int, tracks: Sequence[str]) -> list[bytes]:
        """The same of the lanes that are wanted: the others are not even read."""
        lanes = {str(track): bytearray(audio.SILENCE * (stop - start)) for track in tracks}
        streams = self._between(start, stop)
        # The first one last: it lies over the others.
        for placed in reversed(streams):
            chunks = _chunks(placed, start, stop).filter(track__in=tracks)
            for piece in store.pieces(chunks):
                _lay(lanes[piece.track], piece.audio, placed.start + piece.start - start)
        for track, at, length in _paused(streams):
            if track in lanes:
                _lay(lanes[track], *_cut(at - start, length, stop - start, audio.SILENCE))
        return [bytes(lane) for lane in lanes.values()]

    def peaks(self, start: int, stop: int, step: int = 1) -> tuple[bytes, bytes]:
        """The loudest sample (0-127) of every `step` frames of 20 ms from start on, of both lanes."""
        first, last = start // audio.FRAME_SAMPLES, -(-stop // audio.FRAME_SAMPLES)
        lanes = {track: bytearray(last - first) for track in Track.values}
        streams = self._between(start, stop)
        for placed in reversed(streams):
            chunks = _chunks(placed, start, stop)
            found = list(chunks.values_list("track", "start", "peaks"))
            for track, at, peaks in found:
                _lay(lanes[track], peaks, (placed.start + at) // audio.FRAME_SAMPLES - first)
            if all(peaks for _, _, peaks in found):
                continue
            # Rows that came without peaks (from an import, say) are measured on the way; ours all have them.
            for piece in store.pieces(chunks.filter(peaks=b"")):
                at = (placed.start + piece.start) // audio.FRAME_SAMPLES - first
                _lay(lanes[piece.track], audio.peaks(piece.audio), at)
        for track, at, length in _paused(streams):
            begin, end = at // audio.FRAME_SAMPLES, -(-(at + length) // audio.FRAME_SAMPLES)
            _lay(lanes[track], *_cut(begin - first, end - begin, last - first, b"\0"))
        left, right = (_loudest(bytes(lane), step) for lane in lanes.values())
        return left, right

    def wav(self, channel: Channel = "stereo", encoding: audio.Encoding = "pcm16") -> "Wav":
        return Wav(self, channel, encoding)

    def _between(self, start: int, stop: int) -> list[Placed]:
        return [placed for placed in self.streams if placed.start < stop and placed.stop > start]


@dataclass(frozen=True)
class Wav:
    """The recording as a WAV file that is never written: any range of its bytes, rendered when it is asked for."""

    recording: Recording
    channel: Channel = "stereo"
    encoding: audio.Encoding = "pcm16"

    @property
    def channels(self) -> int:
        return 2 if self.channel == "stereo" else 1

    @property
    def width(self) -> int:
        return audio.sample_width(self.channels, self.encoding)

    @property
    def size(self) -> int:
        return audio.WAV_HEADER_SIZE + self.recording.samples * self.width

    def pieces(self, first: int, last: int) -> Iterator[bytes]:
        """The file's bytes first..last (inclusive, as Range counts them), a piece at a time."""
        return (self._bytes(start, stop) for start, stop in self._cuts(first, last))

    def stream(self, first: int, last: int) -> AsyncIterator[bytes]:
        """The same for ASGI."""
        return in_steps(self.pieces(first, last))

    def _cuts(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        size = FIRST_PIECE * self.width
        while first <= last:
            stop = min(first + size, last + 1)
            yield first, stop
            first, size = stop, PIECE * self.width

    def _bytes(self, start: int, stop: int) -> bytes:
        """The file's bytes start..stop (exclusive), which may cut the header or a sample in two."""
        if start < audio.WAV_HEADER_SIZE:
            header = audio.wav_header(self.recording.samples, self.channels, self.encoding)
            rest = self._bytes(audio.WAV_HEADER_SIZE, stop) if stop > audio.WAV_HEADER_SIZE else b""
            return header[start:stop] + rest
        start, stop = start - audio.WAV_HEADER_SIZE, stop - audio.WAV_HEADER_SIZE
        first = start // self.width
        body = self._body(first, -(-stop // self.width))
        return body[start - first * self.width : stop - first * self.width]

    def _body(self, start: int, stop: int) -> bytes:
        if self.channel == "stereo":
            return audio.stereo(*self.recording.read(start, stop), self.encoding)
        (lane,) = self.recording.lanes(start, stop, (self.channel,))
        return lane if self.encoding == "mulaw" else audio.mulaw_to_pcm16(lane)


async def in_steps(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """An iterator that reads the database, for ASGI: Django would read all of it into memory before the first byte."""
    while (piece := await sync_to_async(_next_and_let_go)(pieces)) is not None:
        yield piece


def _next_and_let_go(pieces: Iterator[bytes]) -> bytes | None:
    # A browser that has buffered enough stops reading for minutes: a pooled connection must not wait with it.
    try:
        return next(pieces, None)
    finally:
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _end(track: str) -> Subquery:
    """Where a lane of a stream ends: its last chunk ends last, because chunks of a lane never overlap."""
    chunks = AudioChunk.objects.filter(stream=OuterRef("pk"), track=track).order_by("-start")
    return Subquery(chunks.values(end=F("start") + F("length"))[:1])


def _chunks(placed: Placed, start: int, stop: int) -> QuerySet[AudioChunk]:
    """The chunks of a stream that a range of the call's timeline covers, and a few before it that may reach into it.

    None is longer than MAX_CHUNK, which bounds every read on the index of (stream, start, track).
    """
    return AudioChunk.objects.filter(
        stream=placed.stream_id,
        track__in=Track.values,
        start__gt=start - placed.start - MAX_CHUNK,
        start__lt=stop - placed.start,
    ).order_by("track", "start")


def _paused(streams: Sequence[Placed]) -> Iterator[tuple[str, int, int]]:
    """Where streams that run at once were told not to record, as (track, start, length); one alone is silent there."""
    if all(one.stop <= two.start for one, two in pairwise(streams)):
        return
    starts = {placed.stream_id: placed.start for placed in streams}
    gaps = Gap.objects.filter(stream__in=starts, reason=Gap.Reason.PAUSED).values_list(
        "stream_id", "track", "start", "length"
    )
    for stream_id, track, start, length in gaps:
        yield track, starts[stream_id] + start, length


def _cut(at: int, length: int, room: int, filling: bytes) -> tuple[bytes, int]:
    """A filling of that length as `_lay` takes it, no longer than there is room for it."""
    begin, end = max(at, 0), min(at + length, room)
    return filling * max(end - begin, 0), begin


def _lay(lane: bytearray, piece: bytes | memoryview, at: int) -> None:
    """Lays a piece into a lane at a position that may be before its start, and cuts what reaches beyond its ends."""
    piece = piece[max(0, -at) : max(0, len(lane) - at)]
    at = max(0, at)
    lane[at : at + len(piece)] = piece


def _loudest(lane: bytes, step: int) -> bytes:
    return lane if step == 1 else bytes([max(lane[at : at + step]) for at in range(0, len(lane), step)])
