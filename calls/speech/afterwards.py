"""The words of what is recorded already: a stream's lanes from the database to the transcriber, all at once."""

import asyncio
from collections.abc import AsyncGenerator

from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from calls import store, vault
from calls.media.audio import SAMPLE_RATE
from calls.media.rows import UtteranceRow
from calls.models import CallEvent, Stream, Track
from calls.recorder.writer import Writer
from calls.speech.scribe import Scribe
from calls.speech.transcribers import Refused, Transcribe


# What is read at once of a stream, in samples: half a megabyte a lane.
WINDOW = 60 * SAMPLE_RATE
# How often in a row a transcriber may fail at one lane.
TRIES = 3
# Seconds that it may take for the rest, once it has everything.
PATIENCE = 300.0


class Failed(Exception):
    """Some of the stream was not understood, and why; what was known of it before still is."""


async def transcribe_stream(stream: Stream, transcribe: Transcribe) -> int:
    """Writes down a stream that has ended, instead of what was written down before. Returns how many utterances.

    Refused if the transcriber will never do it, Failed if it did not now: then nothing is changed.
    """
    rows: list[UtteranceRow] = []
    scribes = {
        track: Scribe(stream.call.sid or "", stream.sid, track, transcribe, rows.append, TRIES)
        for track in Track.values
    }
    try:
        async for track, start, payload in _chunks(stream):
            scribes[track].put(start, payload)
            await scribes[track].until_room()
        for scribe in scribes.values():
            scribe.close()
        if tasks := {task for scribe in scribes.values() for task in scribe.tasks}:
            await asyncio.wait(tasks, timeout=PATIENCE)
    finally:
        for scribe in scribes.values():
            await scribe.cut_off()
    _raise_for(list(scribes.values()))
    await sync_to_async(_keep)(stream, rows)
    return len(rows)


async def _chunks(stream: Stream) -> AsyncGenerator[tuple[str, int, bytes]]:
    """(track, start, payload) of both lanes, in the order of their time."""
    for at in range(0, stream.length + WINDOW, WINDOW):
        for chunk in await sync_to_async(_window)(stream, at):
            yield chunk


def _window(stream: Stream, at: int) -> list[tuple[str, int, bytes]]:
    chunks = stream.chunks.filter(start__gte=at, start__lt=at + WINDOW).order_by("start", "track")
    try:
        return [(piece.track, piece.start, piece.audio) for piece in store.pieces(chunks)]
    except vault.Unreadable as error:
        raise Failed(f"its recording cannot be read: {error}") from error


def _raise_for(scribes: list[Scribe]) -> None:
    for scribe in scribes:
        if scribe.refusal:
            raise Refused(scribe.refusal)
    for scribe in scribes:
        if scribe.reel.missing:
            raise Failed(scribe.reel.missing[0].why)


@transaction.atomic
def _keep(stream: Stream, rows: list[UtteranceRow]) -> None:
    stream.utterances.all().delete()
    Writer("default").write(rows)
    CallEvent.objects.filter(stream=stream, kind="words-missing").update(kind="words-found")
    Stream.objects.filter(pk=stream.pk).update(transcribed_at=timezone.now())
