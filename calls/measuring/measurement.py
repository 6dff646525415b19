"""Measures a call, and keeps what was measured: its turns, and the figures that the list shows."""

from functools import partial

from django.db import transaction
from django.db.models import Exists, QuerySet
from django.utils import timezone

from calls import metrics
from calls.measuring.courtesy import politely
from calls.measuring.line import Line
from calls.measuring.listening import listen
from calls.media.conversation import Conversation
from calls.models import Call, Erasure, Track, Turn
from calls.summaries.facts import FIGURES


def measure(call: Call, *, gives_way: bool = False) -> bool:
    """Replaces the turns and figures of a call that is over. False if its recording is no longer what was read.

    Takes 4 s of one core for an hour of call, and hardly more memory for a longer one; with `gives_way` only of what
    nobody else wants (`politely`). Raises what the database raises.
    """
    line = Line(call)
    heard = partial(_listen, line)
    return _keep(call, line, politely(heard) if gives_way else heard())


def _listen(line: Line) -> Conversation:
    return listen(
        line.lane(Track.INBOUND),
        line.lane(Track.OUTBOUND),
        line.unknown(),
        somebody_else=line.somebody_else(),
        answered=line.answered(),
    )


def _keep(call: Call, line: Line, conversation: Conversation) -> bool:
    """All or nothing, and only if what was read is still all there is: audio may have come or gone meanwhile."""
    rows = turns(line, conversation)
    with transaction.atomic():
        # The row is locked: whoever erases the audio, or writes more of it, is before this or after it.
        if not _unchanged(call).select_for_update().exists():
            return False
        Turn.objects.filter(stream__call=call.pk).delete()
        Turn.objects.bulk_create(rows, batch_size=500)
        figures = {name: getattr(conversation, name) for name in FIGURES}
        Call.objects.filter(pk=call.pk).update(
            **figures, measured_at=timezone.now(), measuring_since=None, turns_at=None
        )
    # One that was measured before, when less of it was there, is counted.
    if call.first_audio_ms is None and call.response_ms is None:
        _count(conversation)
    return True


def _count(conversation: Conversation) -> None:
    if conversation.first_audio_ms is not None:
        metrics.first_audio.observe(conversation.first_audio_ms / 1000)
    for said in conversation.turns:
        if said.response_ms is not None:
            metrics.response.observe(said.response_ms / 1000)


def _unchanged(call: Call) -> QuerySet[Call]:
    return untouched(call).filter(audio_samples=call.audio_samples, ended_at=call.ended_at)


def untouched(call: Call) -> QuerySet[Call]:
    """Its row, unless somebody erases it: they say so first, and then delete piece by piece."""
    erased = Exists(Erasure.objects.filter(call_sid=call.sid or "", call_sid__gt=""))
    return Call.objects.filter(~erased, pk=call.pk)


def turns(line: Line, conversation: Conversation) -> list[Turn]:
    """Unsaved, each on its stream."""
    rows = []
    for said in conversation.turns:
        stream_id, start = line.place(said.start)
        rows.append(
            Turn(
                stream_id=stream_id,
                speaker=said.speaker,
                start=start,
                length=said.end - said.start,
                response_ms=said.response_ms,
                interrupted=said.interrupted,
                talked_on_ms=said.talked_on_ms,
            )
        )
    return rows
