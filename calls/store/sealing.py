"""Seals what was recorded before there were keys: a stream at a time, some rows a transaction, each one checked."""

from collections.abc import Iterator

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Length

from calls import vault
from calls.models import AudioChunk, Call, Stream


# Rows that one transaction seals: a large one would keep the recorder of live calls waiting on SQLite.
SLICE = 500


class NotTheSame(Exception):
    """What was sealed does not open to what it was: nothing of these rows was changed."""


def to_be_sealed(calls: QuerySet[Call]) -> QuerySet[Stream]:
    """Streams of these calls that are over and have plain rows, those that were begun to be sealed too.

    Not those whose audio is in the archive, or on its way there: `archive_calls --back` brings it back before.
    """
    has_rows = Exists(AudioChunk.objects.filter(stream=OuterRef("pk")))
    plain = Q(sealing_key="") | Q(sealing_key__endswith=vault.PARTLY)
    return _here(Stream.objects.filter(plain, has_rows, call__in=calls, ended_at__isnull=False))


def _here(streams: QuerySet[Stream]) -> QuerySet[Stream]:
    return streams.filter(archive="", archiving_at=None)


def seal_stream(stream: Stream) -> Iterator[int]:
    """Seals its rows; gives after each transaction how many. Interrupted, it goes on where it stopped."""
    if not stream.sealing_key:
        key = vault.begin_sealing(stream.sid)
        # From here on nobody moves it into the archive.
        if not _here(Stream.objects.filter(pk=stream.pk, sealing_key="")).update(sealing_key=key):
            return
    while count := _seal_some(stream):
        yield count


@transaction.atomic
def _seal_some(stream: Stream) -> int:
    """0 once there is nothing left to seal, or it was erased."""
    # Whoever writes or erases its rows waits, or is waited for: no plain row may come after the last one was sealed.
    row = Stream.objects.select_for_update().filter(pk=stream.pk).first()
    if row is None or not vault.is_being_sealed(row.sealing_key):
        return 0
    plain = row.chunks.annotate(bytes=Length("payload")).filter(bytes=F("length")).order_by("pk")
    some = list(plain.only("stream", "track", "start", "length", "payload")[:SLICE])
    for chunk in some:
        audio = bytes(chunk.payload)
        chunk.payload = vault.seal(row.sealing_key, row.sid, chunk.track, chunk.start, audio)
        opened = vault.open_row(row.sealing_key, row.sid, chunk.track, chunk.start, chunk.payload, chunk.length)
        if opened != audio:
            raise NotTheSame(f"{row.sid}: the {chunk.track} row at {chunk.start}")
    with connection.cursor() as cursor:
        # `bulk_update` would make one statement of it, as long as the audio.
        sql = f"UPDATE {AudioChunk._meta.db_table} SET payload = %s WHERE id = %s"
        cursor.executemany(sql, [(bytes(chunk.payload), chunk.pk) for chunk in some])
    if not some:
        row.sealing_key = vault.end_sealing(row.sealing_key, row.sid)
        row.save(update_fields=["sealing_key"])
    return len(some)
