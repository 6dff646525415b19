"""Erasing calls for good: the audit row stays, and nothing of the content."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet, Sum

from calls.media.audio import SAMPLE_RATE
from calls.models import (
    Answer,
    AudioChunk,
    Call,
    CallEvent,
    Comment,
    Dtmf,
    Erasure,
    Notice,
    QuarantinedRow,
    Review,
    Stream,
    Utterance,
)
from calls.recorder.spool import erase_damaged
from calls.recordings import holds
from calls.store import moving


# Chunks that one transaction deletes: a large one would keep the recorder of live calls waiting on SQLite.
SLICE = 1000
# SQLite says numbers, and takes words.
SECURE_DELETE = ("OFF", "ON", "FAST")


def erasable(calls: QuerySet[Call], *, audio_only: bool = False) -> QuerySet[Call]:
    """Those of the calls that are over, and so are their streams, and that nobody holds; with `audio_only`, those that
    have any."""
    live = Stream.objects.live().filter(call=OuterRef("pk"))
    over = holds.free(calls).filter(~Exists(live), ended_at__isnull=False)
    return over.filter(Exists(AudioChunk.objects.filter(stream__call=OuterRef("pk")))) if audio_only else over


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
            # Call by call: of fifty long ones at once the database would be stopped by its statement_timeout.
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


def _in_words(calls: Iterable[Call]) -> QuerySet[Answer]:
    return Answer.objects.filter(review__call__in=calls).exclude(text="")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 100_000 else f"{count} bytes"


def erase(call: Call, reason: str, *, user: User | None = None, audio_only: bool = False) -> int:
    """Erases a call, or only its audio, and returns how many bytes of audio that were.

    With the audio goes what was said in it, and with that the comments and what reviewers wrote, which may quote it;
    their scores stay.

    The audit row comes first, and with it go the keys of what is sealed: nothing is left then that could be heard. If
    this is interrupted, doing it again goes on where it stopped. Raises OnHold for a call that may not be erased, and
    ArchiveError if the archive does not let go of the audio.
    """
    size = audio_bytes(call)
    # Before anything is begun: while the archive is away nothing is said to be erased.
    moving.check_discardable(call)
    facts: dict[str, Any] = {"reason": reason[:200], "bytes": size, "user": user}
    with transaction.atomic():
        holds.lock_free(call)
        if call.sid:
            Erasure.objects.get_or_create(call_sid=call.sid, audio_only=audio_only, defaults=facts)
        call.streams.exclude(sealing_key="").update(sealing_key="")
    moving.discard(call)
    chunks = AudioChunk.objects.filter(stream__call=call).order_by("pk")
    while some := list(chunks.values_list("pk", flat=True)[:SLICE]):
        AudioChunk.objects.filter(pk__in=some).delete()
    # Somebody may have begun to move what was left; with no rows there is nothing more to move.
    moving.discard(call)
    erase_damaged(settings.SPOOL_DIR, _names(call))
    with transaction.atomic():
        # Before its parts, as whoever measures or reviews it: two who begin at different ends wait for each other.
        Call.objects.select_for_update().only("pk").filter(pk=call.pk).first()
        Utterance.objects.filter(stream__call=call).delete()
        call.comments.all().delete()
        _in_words([call]).delete()
        _erase_quarantined(call, audio_only=audio_only)
        call.accesses.filter(call_sid="").update(call_sid=call.sid or "")
        call.holds.filter(call_sid="").update(call_sid=call.sid or "")
        if audio_only:
            Call.objects.filter(pk=call.pk).update(audio_samples=0)
        else:
            if not call.sid:
                Erasure.objects.create(audio_only=False, **facts)
            _erase_history(call)
            call.delete()
    return size


def _erase_history(call: Call) -> None:
    """What the admin has written down of a call, its title among it. Who heard the call stays: that is evidence."""
    content_type = ContentType.objects.get_for_model(Call)
    LogEntry.objects.filter(content_type=content_type, object_id=str(call.pk)).delete()


def _names(call: Call) -> list[str]:
    """What is named in rows of this call that were never written."""
    return [sid for sid in (call.sid, *call.streams.values_list("sid", flat=True)) if sid]


def _erase_quarantined(call: Call, *, audio_only: bool) -> None:
    """Refused rows name their stream or call only within, in plain bytes."""
    names = [name.encode() for name in _names(call)]
    rows = (
        QuarantinedRow.objects.filter(kind__in=["ChunkRow", "UtteranceRow", "batch"])
        if audio_only
        else QuarantinedRow.objects.all()
    )
    found = [row.pk for row in rows.iterator(chunk_size=100) if any(name in bytes(row.data) for name in names)]
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
