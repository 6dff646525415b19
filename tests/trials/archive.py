"""`python -m tests.trials.archive`: kills what moves audio into the archive at each step, has two do it at once, and
measures how soon a recording of an hour plays from the database, from a folder and from a bucket.

On a database of its own, SQLite unless --database names an empty one.
"""

import argparse
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


CHILD = """
import os, signal, sys, django
django.setup()
from calls.models import Stream
from calls.store import moving
step = sys.argv[2]
moving.store(Stream.objects.get(pk=sys.argv[1]), told=lambda at: at == step and os.kill(os.getpid(), signal.SIGKILL))
"""
STEPS = ["claimed", "announced", "written", "verified", "adopted", "emptied some"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["kill", "two", "play"]
    parser.add_argument("what", nargs="*", choices=parts, default=parts, help="only that")
    parser.add_argument("--database", metavar="URL")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--calls", type=int, default=20, help="that two move at once (20)")
    parser.add_argument("--ranges", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archive").mkdir()
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": options.database or f"sqlite:///{folder}/trial.sqlite3",
            "ARCHIVE_URL": f"file://{folder}/archive",
            "SPOOL_DIR": f"{folder}/spool",
            "PUBLIC_URL": "http://127.0.0.1",
        }
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        if "kill" in options.what:
            kill(options.minutes)
        if "two" in options.what:
            two_at_once(options.calls)
        if "play" in options.what:
            measure(folder, options.minutes, options.ranges)


def kill(minutes: int) -> None:
    from django.utils import timezone

    from calls.models import AudioChunk, Stream
    from calls.store import moving

    call, sound = spoken(minutes)
    stream = call.streams.get()
    for step in STEPS:
        child = subprocess.run([sys.executable, "-c", CHILD, str(stream.pk), step], check=False)
        assert child.returncode == -9, (step, child.returncode)
        assert fingerprint(call) == sound, f"killed when {step}: something else is heard"
        left = AudioChunk.objects.filter(stream=stream, offset=None).count()
        print(f"kill -9 when {step:<13} heard as before, {left} rows in the database", flush=True)
        Stream.objects.filter(archiving_at__isnull=False).update(archiving_at=timezone.now() - moving.LEASE)
    before = time.monotonic()
    moving.store(stream)
    assert fingerprint(call) == sound
    assert not AudioChunk.objects.filter(stream=stream, offset=None).exists()
    print(f"gone on with and done in {time.monotonic() - before:.1f} s; objects: {len(objects())}", flush=True)
    assert len(objects()) == 1
    before = time.monotonic()
    moving.bring_back(stream)
    print(f"back in the database after {time.monotonic() - before:.1f} s", flush=True)
    assert fingerprint(call) == sound
    assert not objects()
    before = time.monotonic()
    moving.store(stream)
    print(f"an undisturbed move took {time.monotonic() - before:.1f} s", flush=True)
    assert fingerprint(call) == sound
    call.delete()
    for path in objects():
        path.unlink()


def two_at_once(count: int) -> None:
    from calls.models import AudioChunk

    calls = [spoken(1) for _ in range(count)]
    command = [sys.executable, "manage.py", "archive_calls", "--skip-checks"]
    for child in [subprocess.Popen(command) for _ in range(2)]:
        assert child.wait() == 0
    assert not AudioChunk.objects.filter(offset=None).exists()
    assert len(objects()) == count
    assert all(fingerprint(call) == sound for call, sound in calls)
    print(f"two at once: {count} calls, {count} objects, all heard as before", flush=True)
    for call, _ in calls:
        call.delete()


def measure(folder: Path, minutes: int, ranges: int) -> None:
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client, override_settings

    from calls import archive_url
    from calls.store import moving
    from tests.support.buckets import bucket_server

    call, _ = spoken(minutes)
    stream, client = call.streams.get(), Client()
    client.force_login(User.objects.create_superuser("trial"))
    (folder / "bucket").mkdir()
    with bucket_server(folder / "bucket") as bucket:
        os.environ |= bucket.environment
        for kind, url in (("database", ""), ("folder", os.environ["ARCHIVE_URL"]), ("bucket", bucket.url)):
            added = archive_url.storages(url)
            with override_settings(ARCHIVE_URL=url, STORAGES=settings.STORAGES | added, ALLOWED_HOSTS=["*"]):
                if added:
                    moving.store(stream)
                # The first ones open connections.
                tell(kind, [first_byte(client, call.pk, minutes) for _ in range(ranges)][5:])
                if added:
                    moving.bring_back(stream)


def first_byte(client: Any, call: int, minutes: int) -> float:
    """Milliseconds from the request for a place of the recording to the first bytes of it, without a server."""
    at = random.randrange(44, minutes * 60 * 32_000)
    before = time.perf_counter()
    answer = client.get(f"/admin/calls/call/{call}/recording.wav", headers={"Range": f"bytes={at}-"})
    assert answer.status_code == 206, answer.content[:500]
    next(iter(answer.streaming_content))
    took = time.perf_counter() - before
    answer.close()
    return took * 1000


def tell(kind: str, found: list[float]) -> None:
    p99 = statistics.quantiles(found, n=100)[98]
    print(f"first byte from the {kind}: p50 {statistics.median(found):.0f} ms, p99 {p99:.0f} ms", flush=True)


def spoken(minutes: int) -> tuple[Any, str]:
    """A call of both lanes in rows of 0.2 s, and its fingerprint."""
    from calls.models import AudioChunk
    from tests.support.factories import make_call, make_stream

    samples = minutes * 60 * 8000
    call = make_call(audio_samples=samples)
    stream = make_stream(call, length=samples, ended_at=call.ended_at)
    noise = random.randbytes(1 << 16)
    AudioChunk.objects.bulk_create(
        (
            AudioChunk(stream=stream, track=track, index=start, start=start, length=1600, payload=_cut(noise, start))
            for start in range(0, samples, 1600)
            for track in ("inbound", "outbound")
        ),
        batch_size=500,
    )
    AudioChunk.objects.filter(stream=stream).update(peaks=bytes(10))
    return call, fingerprint(call)


def _cut(noise: bytes, start: int) -> bytes:
    at = start * 7 % (len(noise) - 1600)
    return noise[at : at + 1600]


def fingerprint(call: Any) -> str:
    from calls.recordings import export

    known = hashlib.sha256()
    for line in export.wav(call):
        known.update(line)
    return known.hexdigest()


def objects() -> list[Path]:
    return [path for path in Path(os.environ["ARCHIVE_URL"].removeprefix("file://")).rglob("*") if path.is_file()]


if __name__ == "__main__":
    main()
