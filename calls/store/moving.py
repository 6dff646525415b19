"""Audio on its way into the archive, and back, a stream at a time.

A stream has one object: what its rows hold, one after the other. A row that has been moved stays, with an empty payload
and the place of its bytes in the object. At every moment each row's bytes are in its payload or in the object that
`Stream.archive` names, so that whoever is killed leaves nothing to mend, and doing it again goes on from there:

    claim       `archiving_at` says that somebody is at it; nobody else is for LEASE
    announce    `archive_spare` names the object that is about to be written
    write       the bytes that the object before it has, and those of the rows that are in the database
    verify      what the archive gives back is what was read of the rows
    adopt       in one step `archive` names the new object, and `archive_spare` the one before it
    empty       row by row: only whose payload is, byte for byte, what the archive gives back
    tidy up     the spare object is deleted, and the claim let go

What is in the object before the rows that are emptied stays where it is: offsets hold in both objects.
"""

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Iterator

from django.db import connection, transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from calls import vault
from calls.models import AudioChunk, Call, Stream
from calls.store import archive
from calls.store.archive import Busy, Corrupt


# For how long a claim holds that nobody renews, and after which part of that it is renewed.
LEASE, RENEWED = dt.timedelta(minutes=5), dt.timedelta(seconds=30)
# Rows and bytes of one transaction: a large one would keep the recorder of live calls waiting on SQLite.
ROWS, BYTES = 200, 1 << 20
KEEP = f'UPDATE {AudioChunk._meta.db_table} SET "offset" = %s, size = %s, payload = %s WHERE id = %s'
# How often a stream is begun anew whose rows change meanwhile.
TRIES = 3


def unmoved() -> QuerySet[Stream]:
    """Those that are not in the archive, or were interrupted on their way. Late rows of others take `late`."""
    new = Q(archive="") & Exists(AudioChunk.objects.filter(stream=OuterRef("pk")))
    return _whole(Stream.objects.filter(new | ~Q(archive_spare="") | Q(archiving_at__isnull=False)))


def _whole(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    """Without those that `seal_calls` is sealing just now: their rows change."""
    return streams.exclude(sealing_key__endswith=vault.PARTLY)


def late(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    """Those of the streams that have rows in the database: looks at every row until it finds one."""
    return streams.filter(Exists(AudioChunk.objects.filter(stream=OuterRef("pk"), offset__isnull=True)))


class Move:
    """A claim on a stream. Within it nobody else moves its audio, unless it is not renewed for LEASE."""

    def __init__(self, stream: Stream) -> None:
        self.pk = stream.pk
        self._since = dt.datetime.min.replace(tzinfo=dt.UTC)

    def __enter__(self) -> "Move":
        now = timezone.now()
        free = Q(archiving_at=None) | Q(archiving_at__lte=now - LEASE)
        if not _whole(Stream.objects.filter(free, pk=self.pk)).update(archiving_at=now):
            raise Busy("somebody else moves its audio just now")
        self._since = now
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an error it is free at once, and still to be seen that it is not done; who dies leaves it for LEASE."""
        left = self._since - LEASE if kind else None
        Stream.objects.filter(pk=self.pk, archiving_at=self._since).update(archiving_at=left)

    def renew(self) -> None:
        """Raises Busy if somebody has taken over."""
        now = timezone.now()
        if now - self._since > RENEWED:
            self.write(archiving_at=now)
            self._since = now

    def write(self, **facts: object) -> None:
        if not Stream.objects.filter(pk=self.pk, archiving_at=self._since).update(**facts):
            raise Busy("somebody else has taken it over")

    def names(self) -> tuple[str, str]:
        """Its object, and the spare one."""
        found = Stream.objects.filter(pk=self.pk).values_list("archive", "archive_spare").first()
        if found is None:
            raise Busy("it was erased")
        return found

    def check_object(self) -> None:
        """Raises Corrupt if its object is not what was written."""
        name, known = Stream.objects.values_list("archive", "archive_sha256").get(pk=self.pk)
        if known != archive.sha256(name, between=self.renew):
            raise Corrupt(f"{name} in the archive is not what was written")

    def chunks(self, *, archived: bool, since: int = 0) -> QuerySet[AudioChunk]:
        """Of that moment and later, in the order in which they lie in the object: what is heard together does together.

        Whoever goes through all of them says where they are, so that what is behind them is not read again.
        """
        chunks = AudioChunk.objects.filter(stream=self.pk, start__gte=since, offset__isnull=not archived)
        return chunks.order_by("start", "track", "pk")

    def end(self) -> int:
        """Where the bytes end of what was moved so far."""
        return int(self.chunks(archived=True).aggregate(end=Max(F("offset") + F("size"), default=0))["end"])

    def drop_spare(self) -> None:
        _, spare = self.names()
        if spare:
            archive.delete(spare)
            self.write(archive_spare="")


def store(stream: Stream, *, told: Callable[[str], None] = lambda step: None) -> int:
    """Moves a stream's audio into the archive; how many bytes that were.

    Raises Away, Busy, or Corrupt: nothing is emptied then of which the archive has not shown that it has it.
    """
    with Move(stream) as move:
        before = move.end()
        told("claimed")
        for _ in range(TRIES):
            # Of a run that was interrupted, or of a row that came late, something may be left to do.
            if move.names()[0]:
                _empty(move, told)
            move.drop_spare()
            if not move.chunks(archived=False).exists():
                return move.end() - before
            _replace(move, stream, told)
        raise Busy("its rows change meanwhile")


def _replace(move: Move, stream: Stream, told: Callable[[str], None]) -> None:
    """Writes an object with all that is moved and all that is not, and has the stream read from it."""
    old, _ = move.names()
    if old:
        move.check_object()
    name = f"{stream.started_at:%Y/%m/%d}/{stream.sid}-{secrets.token_hex(8)}"
    move.write(archive_spare=name)
    told("announced")
    given = archive.write(name, _content(move, old))
    told("written")
    if given != archive.sha256(name, between=move.renew):
        archive.delete(name)
        move.write(archive_spare="")
        raise Corrupt(f"{name} reads back as something else than was written")
    told("verified")
    try:
        move.write(archive=name, archive_sha256=given, archive_spare=old)
    except Busy:
        # Nobody knows it any more who could remove it.
        archive.delete(name)
        raise
    told("adopted")


def _content(move: Move, old: str) -> Iterator[bytes]:
    for piece in archive.pieces(old, move.end()) if old else ():
        move.renew()
        yield piece
    after, since = Q(), 0
    # Page by page: one cursor over a call of a day would take the database longer than a statement may.
    while page := list(move.chunks(archived=False, since=since).filter(after).only("start", "track", "payload")[:ROWS]):
        move.renew()
        for row in page:
            yield bytes(row.payload)
        since, last = row.start, Q(start=row.start)
        after = Q(start__gt=since) | last & (Q(track__gt=row.track) | Q(track=row.track, pk__gt=row.pk))


def _empty(move: Move, told: Callable[[str], None]) -> None:
    """Empties the rows whose bytes the object has, as far as it has them in their order."""
    name, at = move.names()[0], move.end()
    left, since = archive.size(name) - at, 0
    while left > 0:
        first = move.chunks(archived=False, since=since).values_list(Length("payload"), flat=True).first()
        if first is None:
            return
        data = archive.read(name, at, min(left, max(BYTES, first)))
        taken, since = _empty_slice(move, at, data, since)
        if not taken:
            return
        at, left = at + taken, left - taken
        move.renew()
        told("emptied some")


@transaction.atomic
def _empty_slice(move: Move, at: int, data: bytes, since: int) -> tuple[int, int]:
    """Empties rows that hold just these bytes, which the object has at this place; how many, and up to when."""
    Stream.objects.select_for_update(no_key=True).only("pk").filter(pk=move.pk).first()
    move.write(archiving_at=F("archiving_at"))
    rows, taken = [], 0
    for row in move.chunks(archived=False, since=since).only("start", "payload").select_for_update()[:ROWS]:
        payload = bytes(row.payload)
        if not payload or data[taken : taken + len(payload)] != payload:
            break
        row.offset, row.size, row.payload = at + taken, len(payload), b""
        rows.append(row)
        taken, since = taken + len(payload), row.start
    _keep(rows)
    return taken, since


def bring_back(stream: Stream) -> int:
    """Puts a stream's audio into its rows again, and removes its object; how many bytes that were.

    Raises Away or Busy, or Corrupt if the object is not what was written. Interrupted, it goes on where it was.
    """
    with Move(stream) as move:
        name, _ = move.names()
        move.drop_spare()
        if not name:
            return 0
        move.check_object()
        moved = since = 0
        while rows := list(move.chunks(archived=True, since=since).only("start", "offset", "size")[:ROWS]):
            moved, since = moved + _fill(move, name, rows), rows[-1].start
            move.renew()
        move.write(archive="", archive_sha256="", archive_spare=name)
        move.drop_spare()
        return moved


def _fill(move: Move, name: str, rows: list[AudioChunk]) -> int:
    payloads = archive.read_spans(name, {row.pk: (row.offset or 0, row.size or 0) for row in rows})
    for row in rows:
        row.offset, row.size, row.payload = None, None, payloads[row.pk]
    with transaction.atomic():
        move.write(archiving_at=F("archiving_at"))
        _keep(rows)
    return sum(map(len, payloads.values()))


def _keep(rows: list[AudioChunk]) -> None:
    """What `bulk_update` would do, in a twentieth of its time."""
    with connection.cursor() as cursor:
        cursor.executemany(KEEP, [(row.offset, row.size, bytes(row.payload), row.pk) for row in rows])


def have_objects(calls: Iterable[Call]) -> bool:
    return with_objects(Stream.objects.filter(call__in=calls)).exists()


def check_discardable(calls: Iterable[Call]) -> None:
    """Raises Away if objects of these calls could not be deleted now."""
    if have_objects(calls):
        archive.ask()


def discard(calls: Iterable[Call]) -> None:
    """Deletes the objects of calls that are being erased; their rows are whoever's who erases them.

    Raises Away if they cannot be deleted, and Busy if one is being written just now.
    """
    for stream in with_objects(Stream.objects.filter(call__in=calls)):
        with Move(stream) as move:
            for name in filter(None, move.names()):
                archive.delete(name)
            move.write(archive="", archive_sha256="", archive_spare="")


def with_objects(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    """Those of the streams that the archive has something of, or may have."""
    return streams.filter(~Q(archive="") | ~Q(archive_spare="") | Q(archiving_at__isnull=False))
