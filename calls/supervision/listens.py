"""Who listened to which running call: on record before the first byte, and afterwards from where to where."""

import asyncio
import logging
from functools import partial

from django.contrib.auth.models import User
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from calls.media import placement
from calls.media.audio import SAMPLE_RATE
from calls.models import Call, RecordingAccess, Stream
from calls.supervision.lookups import look_up


logger = logging.getLogger(__name__)

# Seconds between attempts to write down the end of a listen while the database is away.
AGAIN = (1.0, 5.0, 30.0, 120.0)

# Of a stream, by its SID: samples from and to on its own clock.
Span = tuple[str, int, int]


class Listen:
    """One person's to one call."""

    def __init__(self, user: User, call: int, address: str) -> None:
        """`call` is its key, `address` that of the browser."""
        self._facts = {"user": user, "call_id": call, "address": address[:64]}
        self._call = call
        self._sid = ""
        #: The row's key, once there is one.
        self._row: int | None = None
        self._sent: list[Span] = []
        self._played: list[Span] = []

    def begin(self) -> None:
        """Puts it on record; whoever cannot do that must not listen. In a thread."""
        kind = {"kind": RecordingAccess.Kind.LISTEN, "detail": RecordingAccess.LIVE}
        since = timezone.now() - RecordingAccess.ONE_LISTEN
        recent = RecordingAccess.objects.filter(**self._facts, **kind, at__gte=since)
        row = recent.first()
        if row is None:
            sid = Call.objects.values_list("sid", flat=True).get(pk=self._call) or ""
            row = RecordingAccess.objects.create(**self._facts, **kind, call_sid=sid)
        self._row, self._sid = row.pk, row.call_sid

    def send(self, stream: str, start: int, stop: int) -> None:
        """That is sent to the browser."""
        _extend(self._sent, stream, start, stop)

    def play(self, stream: str, start: int, stop: int) -> None:
        """The browser has played that, as it says."""
        _extend(self._played, stream, start, stop)

    async def note(self) -> None:
        """Adds what is new to the row, in seconds of the call's recording. django.db.Error; then it is kept."""
        sent, played = self._sent, self._played
        self._sent, self._played = [], []
        if self._row is None or not (sent or played):
            return
        try:
            await look_up(partial(self._write, self._row, sent, played))
        except DatabaseError:
            self._sent, self._played = sent + self._sent, played + self._played
            raise

    async def end(self) -> None:
        """Writes down the rest, also if the database comes back only later."""
        for pause in (0.0, *AGAIN):
            await asyncio.sleep(pause)
            try:
                return await self.note()
            except DatabaseError:
                continue
        logger.warning(
            "listen_not_noted call=%s access=%s: the database is away; what was heard last is missing",
            *(self._sid, self._row),
        )

    def _write(self, row: int, sent: list[Span], played: list[Span]) -> None:
        streams = {stream.pk: stream for stream in Stream.objects.filter(call=self._call)}
        placed = placement.place(stream.spell() for stream in streams.values())
        starts = {streams[one.stream_id].sid: one.start for one in placed}
        with transaction.atomic():
            access = RecordingAccess.objects.select_for_update().get(pk=row)
            for name, spans in (("ranges", sent), ("played", played)):
                for stream, start, stop in spans:
                    # A stream that is erased meanwhile lies nowhere.
                    if (at := starts.get(stream)) is not None:
                        access.extend(name, (at + start) // SAMPLE_RATE, -(-(at + stop) // SAMPLE_RATE))
            access.save(update_fields=["ranges", "played"])


def _extend(spans: list[Span], stream: str, start: int, stop: int) -> None:
    """Pieces less than a second apart are one: it is seconds that are on record."""
    if spans and spans[-1][0] == stream and spans[-1][1] <= start <= spans[-1][2] + SAMPLE_RATE:
        start, stop = spans[-1][1], max(stop, spans.pop()[2])
    spans.append((stream, start, stop))
