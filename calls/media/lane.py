"""One track of a stream, in memory: runs of audio, and why there is none between them.

Positions are samples on the stream's own clock. Everything here runs in one thread and never waits.
"""

from calls.media.audio import SAMPLE_RATE
from calls.media.protocol import Track
from calls.media.rows import AnyRow, ChunkRow, GapRow


# Longer runs are cut: whoever reads a range of a recording back looks no further before it than this.
MAX_CHUNK = 10 * SAMPLE_RATE

Piece = tuple[int, int, str]


class Lane:
    """One track of a stream: runs of audio, and why there is none between them."""

    __slots__ = (
        "end",
        "holes",
        "index",
        "is_playback",
        "jumps",
        "missing",
        "overlap",
        "paused",
        "run",
        "runs",
        "settled",
        "stream",
        "track",
    )

    def __init__(self, stream: str, track: Track, *, is_playback: bool = False) -> None:
        """`is_playback`: what the caller heard of us, or a track that was not asked for: silence there is no hole."""
        self.stream = stream
        self.track: Track = track
        self.is_playback = is_playback
        #: Where the lane ends; the run that is being filled ends here too.
        self.end = 0
        self.run = bytearray()
        #: Runs that are complete, as (start, audio).
        self.runs: list[tuple[int, bytearray]] = []
        #: Holes that late frames may still fill, as (start, end, reason), in order.
        self.holes: list[Piece] = []
        #: Holes that are certain, to be written as gaps.
        self.settled: list[Piece] = []
        self.index = 0
        self.jumps = 0
        self.missing = 0
        self.overlap = 0
        self.paused = False

    def put(self, position: int, audio: bytes, reason: str = "timestamp") -> None:
        """Lays audio at a position; what comes before it and is not there is a hole for that reason."""
        if position == self.end and not self.paused:
            self.run += audio
            self.end += len(audio)
            return
        self.jumps += position != self.end
        if position < 0:
            self.overlap += min(-position, len(audio))
            position, audio = 0, audio[-position:]
        late = max(self.end - position, 0)
        if late:
            self._fill(position, audio[:late])
        if len(audio) > late:
            self._extend(position + late, audio[late:], reason)

    def _extend(self, position: int, audio: bytes, reason: str) -> None:
        """Lays audio at or after the end."""
        self.explain(position, reason)
        self.end = position + len(audio)
        if self.paused:
            self._settle((position, self.end, "paused"))
        else:
            self.run += audio

    def _fill(self, position: int, audio: bytes) -> None:
        """Lays late audio into the holes that it fits; what lies over other audio is cut: the first one stays."""
        end = position + len(audio)
        kept: list[Piece] = []
        self.overlap += len(audio)
        for start, stop, reason in self.holes:
            low, high = max(start, position), min(stop, end)
            if low >= high:
                kept.append((start, stop, reason))
                continue
            self.overlap -= high - low
            self._keep(low, audio[low - position : high - position])
            kept += [(a, b, reason) for a, b in ((start, low), (high, stop)) if a < b]
        self.holes = kept

    def _keep(self, start: int, audio: bytes) -> None:
        if self.paused:
            self._settle((start, start + len(audio), "paused"))
        elif self.runs and self.runs[-1][0] + len(self.runs[-1][1]) == start:
            self.runs[-1][1].extend(audio)
        else:
            self.runs.append((start, bytearray(audio)))

    def explain(self, until: int, reason: str) -> None:
        """The lane goes on at `until`, and what it lacks up to there is a hole."""
        if until > self.end or self.paused:
            self._close_run()
        if until > self.end:
            if not self.is_playback:
                self.holes.append((self.end, until, reason))
            self.end = until

    def set_paused(self, paused: bool) -> None:
        if paused and not self.paused:
            self._close_run()
        self.paused = paused

    def shift(self, by: int) -> None:
        """Moves everything later, after a hole. Only while nothing has been cut yet."""
        if not self.end:
            return
        self.end += by
        self.runs = [(start + by, audio) for start, audio in self.runs]
        self.holes = [(start + by, end + by, reason) for start, end, reason in self.holes]
        self.settled = [(start + by, end + by, reason) for start, end, reason in self.settled]
        if not self.is_playback:
            self.holes.insert(0, (0, by, "timestamp"))

    def _settle(self, piece: Piece) -> None:
        start, end, reason = piece
        if self.settled and self.settled[-1][1:] == (start, reason):
            start = self.settled.pop()[0]
        self.settled.append((start, end, reason))

    def _close_run(self) -> None:
        if self.run:
            self.runs.append((self.end - len(self.run), self.run))
            self.run = bytearray()

    def cut(self, before: int) -> list[AnyRow]:
        """Rows for what is new. Holes that end before that position are certain now."""
        self._close_run()
        rows: list[AnyRow] = []
        for start, audio in self.runs:
            for at in range(0, len(audio), MAX_CHUNK):
                rows.append(
                    ChunkRow(self.stream, self.track, self.index, start + at, bytes(audio[at : at + MAX_CHUNK]))
                )
                self.index += 1
        self.runs.clear()
        if self.holes or self.settled:
            rows += self._cut_gaps(before)
        return rows

    def _cut_gaps(self, before: int) -> list[AnyRow]:
        """While the recording is paused its gap grows, and is written again each time, longer."""
        for hole in [hole for hole in self.holes if hole[1] <= before]:
            self.holes.remove(hole)
            self._settle(hole)
            self.missing += hole[1] - hole[0]
        known, self.settled = self.settled, []
        if self.paused:
            self.settled = [piece for piece in known if piece[1:] == (self.end, "paused")]
        return [GapRow(self.stream, self.track, start, end - start, reason) for start, end, reason in known]

    @property
    def samples_missing(self) -> int:
        return self.missing + sum(end - start for start, end, _ in self.holes)
