"""What `absence` does for every call from now on, once for those that are there."""

from django.db import migrations
from django.db.models import Count, Q


LOST = ("shutdown", "interrupted", "disconnect")
RATE, FRAME, SAME_END = 8000, 160, 16000


def explain(apps, schema_editor):
    using = schema_editor.connection.alias
    calls = apps.get_model("calls", "Call").objects.using(using)
    carried = calls.annotate(
        carriers=Count("streams"), lost=Count("streams", filter=Q(streams__end_reason__in=LOST))
    ).filter(Q(carriers__gt=1) | Q(lost__gt=0), ended_at__isnull=False)
    for call in carried.only("ended_at", "audio_samples").iterator(chunk_size=500):
        _explain(apps, using, call)


def _explain(apps, using, call):
    Gap = apps.get_model("calls", "Gap")
    streams = list(call.streams.using(using).order_by("started_at", "id"))
    origin, ends, found, last = streams[0].started_at, {}, {}, None
    for stream in streams:
        line = None if stream.bidirectional else stream.name
        start = max(round((stream.started_at - origin).total_seconds() * RATE), ends.get(line, 0))
        stream.stop = ends[line] = start + stream.length
        if last is not None and start > last.stop:
            found[last] = start - last.stop
        if last is None or stream.stop > last.stop:
            last = stream
    behind = round((call.ended_at - origin).total_seconds() * RATE) - last.stop
    least = SAME_END if last.end_reason == "disconnect" else 0
    guessed = call.events.using(using).filter(kind="presumed-over").exists()
    if last.end_reason in LOST and behind > least and not guessed:
        found[last] = behind
    for stream, length in found.items():
        if length < FRAME or stream.ended_at is None:
            continue
        stream.absent = length
        stream.save(using=using, update_fields=["absent"])
        tracks = [track for track in ("inbound", "outbound") if track in stream.tracks] or ["inbound"]
        Gap.objects.using(using).bulk_create(
            [Gap(stream=stream, track=track, start=stream.length, length=length, reason="no_stream") for track in tracks],
            ignore_conflicts=True,
        )
    # One whose audio was erased has none.
    if call.audio_samples:
        call.audio_samples = max(stream.stop + stream.absent for stream in streams)
        call.save(using=using, update_fields=["audio_samples"])


class Migration(migrations.Migration):

    dependencies = [
        ("calls", "0014_keep_calls_that_wait"),
    ]

    operations = [
        migrations.RunPython(explain, migrations.RunPython.noop, elidable=True),
    ]
