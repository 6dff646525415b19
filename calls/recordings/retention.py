"""Erasing calls for good: the audit row stays, and nothing of the content."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, Sum

from calls.media.audio import SAMPLE_RATE
from calls.models import (
    Answer,
    AudioChunk,
    Call,
    CallEvent,
    CampaignCall,
    Comment,
    Dtmf,
    Erasure,
    LegalHold,
    Notice,
    QuarantinedRow,
    RecordingAccess,
    Review,
    Stream,
    Utterance,
)
from calls.recorder.spool import erase_damaged
from calls.recordings import holds
from calls.store import moving


# Chunks that one transaction deletes, and bytes: a large one would keep the recorder of live calls waiting on SQLite.
SLICE, SLICE_BYTES = 1000, 4_000_000
# Calls that are erased at once, and their samples: a sum over more would be stopped by the statement_timeout.
BATCH, BATCH_SAMPLES = 100, 3600 * SAMPLE_RATE
# SQLite says numbers, and takes words.
SECURE_DELETE = ("OFF", "ON", "FAST")


def erasable(calls: QuerySet[Call], *, audio_only: bool = False) -> QuerySet[Call]:
    """Those of the calls that are over, and so are their streams, and that nobody holds; with `audio_only`, those that
    have any, or an object in the archive that was left where somebody had begun to erase it."""
    live = Stream.objects.live().filter(call=OuterRef("pk"))
    over = holds.free(calls).filter(~Exists(live), ended_at__isnull=False)
    chunks = AudioChunk.objects.filter(stream__call=OuterRef("pk"))
    objects = moving.with_objects(Stream.objects.filter(call=OuterRef("pk")))
    return over.filter(Exists(chunks) | Exists(objects)) if audio_only else over


def audio_bytes(call: Call) -> int:
    return int(AudioChunk.objects.filter(stream__call=call).aggregate(sum=Sum("length", default=0))["sum"])


@dataclass(frozen=True)
class Content:
    """What goes when calls are erased."""

    calls: int
    samples: int
    bytes: int
    utterances: int
    comments: int
    answers: int
    keys: int
    events: int
    notes: int
    tags: int
    notices: int
    reviews: int

    @classmethod
    def of(cls, calls: Sequence[Call]) -> "Content":
        return cls(
            calls=len(calls),
            samples=sum(call.audio_samples for call in calls),
            # Call by call: a sum over fifty long ones at once would be stopped by the statement_timeout.
            bytes=sum(map(audio_bytes, calls)),
            utterances=Utterance.objects.filter(stream__call__in=calls).count(),
            comments=Comment.objects.filter(call__in=calls).count(),
            answers=_in_words(calls).count(),
            keys=Dtmf.objects.filter(stream__call__in=calls).count(),
            events=CallEvent.objects.filter(call__in=calls).count(),
            notes=sum(bool(call.notes) for call in calls),
            tags=Call.tags.through.objects.filter(call__in=calls).count(),
            notices=Notice.objects.filter(call__in=calls).count(),
            reviews=Review.objects.filter(call__in=calls).count(),
        )

    def lines(self, *, audio_only: bool = False) -> list[str]:
        """What goes, to be read before it is confirmed."""
        sound = f"{self.samples // SAMPLE_RATE} s of recordings ({_size(self.bytes)} stored)"
        said = [_counted(self.utterances, "line") + " of what was said"] if self.utterances else []
        said += [_counted(self.comments, "comment")] if self.comments else []
        said += [_counted(self.answers, "reviewer's answer") + " in words"] if self.answers else []
        if audio_only:
            return [sound, *said]
        rest = [(self.keys, "pressed key"), (self.events, "event"), (self.notes, "note"), (self.tags, "tag")]
        rest.append((self.notices, "webhook"))
        rest.append((self.reviews, "review"))
        counted = [_counted(count, word) for count, word in rest if count]
        whose = "the call" if self.calls == 1 else f"{self.calls} calls"
        return [sound, *said, *counted, f"the numbers, the name, the data and the parameters of {whose}"]


#: What is left of an erased call.
STAYS = "a line that says what was erased, when, by whom and why; and who had listened to it."


def _in_words(calls: Sequence[Call]) -> QuerySet[Answer]:
    return Answer.objects.filter(review__call__in=calls).exclude(text="")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count} bytes"


def erase(call: Call, reason: str, *, user: User | None = None, audio_only: bool = False) -> int:
    """Erases a call, or only its audio, and returns how many bytes of audio that were."""
    return erase_all([call], reason, user=user, audio_only=audio_only)


def erase_all(calls: Sequence[Call], reason: str, *, user: User | None = None, audio_only: bool = False) -> int:
    """Erases calls, or only their audio, and returns how many bytes of audio that were; `batches` has some at a time.

    With the audio goes what was said in it, and with that the comments and what reviewers wrote, which may quote it;
    their scores stay.

    The audit rows come first, and with them go the keys of what is sealed: nothing is left then that could be heard. If
    this is interrupted, doing it again goes on where it stopped. Raises OnHold if one of them may not be erased, and
    ArchiveError if the archive does not let go of their audio.
    """
    sizes = _sizes(calls)
    # Before anything is begun: while the archive is away nothing is said to be erased.
    moving.check_discardable(calls)
    _note(calls, sizes, reason[:200], user, audio_only=audio_only)
    # From here on no other stream of theirs begins.
    streams = dict(Stream.objects.filter(call__in=calls).values_list("pk", "sid"))
    names = [sid for sid in (*(call.sid for call in calls), *streams.values()) if sid]
    # What is no row of a call's, or too much for one transaction.
    moving.discard(calls)
    erase_damaged(settings.SPOOL_DIR, names)
    if audio_only:
        # Before the last of the audio: while there is some, it is known that there is more to do.
        with transaction.atomic():
            locked = _erase_around(calls, names, audio_only=True)
            Call.objects.filter(pk__in=[call.pk for call in locked]).update(audio_samples=0)
    _erase_chunks(streams)
    # Somebody may have begun to move what was left; with no rows there is nothing more to move.
    moving.discard(calls)
    if not audio_only:
        with transaction.atomic():
            locked = _erase_around(calls, names, audio_only=False)
            unnamed = [call for call in locked if not call.sid]
            Erasure.objects.bulk_create(_erasure(call, sizes, reason[:200], user) for call in unnamed)
            _erase_rows(locked)
    return sum(sizes.values())


def batches(calls: QuerySet[Call]) -> Iterator[list[Call]]:
    """Some of them at a time, those that ended first; each once, whatever becomes of it."""
    left = calls
    while found := list(left.order_by("ended_at", "pk")[:BATCH]):
        # The first one in any case, however long it is.
        most = accumulate(call.audio_samples for call in found)
        some = [call for call, samples in zip(found, most, strict=True) if samples <= BATCH_SAMPLES] or found[:1]
        last = some[-1]
        yield some
        after = Q(ended_at__gt=last.ended_at) | Q(ended_at=last.ended_at, pk__gt=last.pk)
        # For the index, which takes no OR: what is left alone would be read again for each of them.
        left = calls.filter(after, ended_at__gte=last.ended_at)


def _sizes(calls: Sequence[Call]) -> dict[int, int]:
    """Bytes of audio, by call."""
    # Two queries: of one, PostgreSQL might read the whole table.
    streams = list(Stream.objects.filter(call__in=calls).values_list("pk", flat=True))
    chunks = AudioChunk.objects.filter(stream__in=streams).order_by().values("stream__call")
    return dict(chunks.annotate(sum=Sum("length")).values_list("stream__call", "sum"))


def _erasure(call: Call, sizes: dict[int, int], reason: str, user: User | None, *, audio_only: bool = False) -> Erasure:
    size = sizes.get(call.pk, 0)
    return Erasure(call_sid=call.sid or "", audio_only=audio_only, reason=reason, bytes=size, user=user)


@transaction.atomic
def _note(calls: Sequence[Call], sizes: dict[int, int], reason: str, user: User | None, *, audio_only: bool) -> None:
    """One audit row for each, however often it is begun. One without a SID has it in the transaction that erases it."""
    named = [call for call in holds.lock_free(calls) if call.sid]
    rows = Erasure.objects.filter(call_sid__in=[call.sid for call in named], audio_only=audio_only)
    known = set(rows.values_list("call_sid", flat=True))
    new = [call for call in named if call.sid not in known]
    Erasure.objects.bulk_create(_erasure(call, sizes, reason, user, audio_only=audio_only) for call in new)
    Stream.objects.filter(call__in=calls).exclude(sealing_key="").update(sealing_key="")


def _erase_chunks(streams: Iterable[int]) -> None:
    chunks = AudioChunk.objects.filter(stream__in=streams).order_by("stream", "start")
    while found := list(chunks.values_list("pk", "length")[:SLICE]):
        sizes = accumulate(length for _, length in found)
        some = [pk for (pk, _), size in zip(found, sizes, strict=True) if size <= SLICE_BYTES] or [found[0][0]]
        AudioChunk.objects.filter(pk__in=some).delete()


def _erase_around(calls: Sequence[Call], names: Sequence[str], *, audio_only: bool) -> list[Call]:
    """What goes with the audio, within a transaction; returns those of the calls that are still there, locked."""
    # Before their parts, as whoever measures or reviews one: two who begin at different ends wait for each other.
    locked = list(Call.objects.select_for_update().filter(pk__in=[call.pk for call in calls]).order_by("pk"))
    _erase_words(locked)
    _erase_quarantined(names, audio_only=audio_only)
    _name_evidence(locked)
    return locked


def _erase_words(calls: Sequence[Call]) -> None:
    Utterance.objects.filter(stream__call__in=calls).delete()
    Comment.objects.filter(call__in=calls).delete()
    _in_words(calls).delete()


def _name_evidence(calls: Sequence[Call]) -> None:
    """Who heard them, and who held them, is known when they are gone."""
    sid = Call.objects.filter(pk=OuterRef("call")).values("sid")
    for evidence in (RecordingAccess.objects.all(), LegalHold.objects.all()):
        evidence.filter(call__in=calls, call__sid__isnull=False, call_sid="").update(call_sid=Subquery(sid))


def _erase_rows(calls: Sequence[Call]) -> None:
    """The calls, with all rows that refer to them; who heard them stays: that is evidence."""
    # What the admin has written down of them, their titles among it.
    content_type, keys = ContentType.objects.get_for_model(Call), [str(call.pk) for call in calls]
    LogEntry.objects.filter(content_type=content_type, object_id__in=keys).delete()
    # Whom a campaign has called, and with what, is theirs as well. That this line was called stays.
    CampaignCall.objects.filter(call__in=calls).update(number="", columns={})
    # Before their streams, of which each would be taken out of them first.
    CallEvent.objects.filter(call__in=calls).delete()
    Call.objects.filter(pk__in=[call.pk for call in calls]).delete()


def _erase_quarantined(names: Sequence[str], *, audio_only: bool) -> None:
    """Refused rows name their stream or call only within, in plain bytes."""
    wanted = [name.encode() for name in names]
    rows = (
        QuarantinedRow.objects.filter(kind__in=["ChunkRow", "UtteranceRow", "batch"])
        if audio_only
        else QuarantinedRow.objects.all()
    )
    found = [row.pk for row in rows.iterator(chunk_size=100) if any(name in bytes(row.data) for name in wanted)]
    QuarantinedRow.objects.filter(pk__in=found).delete()


@contextmanager
def leaving_no_traces() -> Iterator[None]:
    """SQLite keeps what was deleted in free pages and in the WAL; within this it overwrites both."""
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA secure_delete").fetchone()[0]
        cursor.execute("PRAGMA secure_delete=ON")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA secure_delete={SECURE_DELETE[before]}")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
