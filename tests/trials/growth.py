"""What merging rows of audio brings, measured on a database of its own that is empty before.

DATABASE_URL=… python -m tests.trials.growth [--minutes 60]
"""

import argparse
import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from typing import Any


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django


django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from calls.media import audio  # noqa: E402
from calls.models import AudioChunk, Call, Stream  # noqa: E402
from calls.recordings.rendering import Recording  # noqa: E402
from calls.recordings.retention import erase  # noqa: E402
from calls.recordings.verification import problems  # noqa: E402
from calls.sounds import sound  # noqa: E402
from calls.store import merging  # noqa: E402


# As long as the recorder's rows.
ROW = 1600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60, help="of a call in which both sides are stored (60)")
    minutes = parser.parse_args().minutes
    call_command("migrate", verbosity=0, skip_checks=True)
    stream = record(minutes)
    vacuum(full=True)
    show("rows as recorded", stream)
    before = position()
    took, _ = timed(lambda: merging.merge(stream))
    print(f"merged in {took:.1f} s, of which half are pauses; {(position() - before) / 1e6:.0f} MB of write-ahead log")
    print(f"dead rows: {dead()}; after it {size() / 1e6:.1f} MB, vacuumed in {timed(vacuum)[0]:.2f} s")
    vacuum(full=True)
    show("rows merged, and what they left free given back", stream)
    took, size_ = timed(lambda: erase(stream.call, "a trial"))
    print(f"erased {size_ / 1e6:.1f} MB in {took:.2f} s")


def record(minutes: int) -> Stream:
    """A call whose both sides are stored for that long, as fast as can be."""
    end = timezone.now() - dt.timedelta(hours=1)
    samples = minutes * 60 * audio.SAMPLE_RATE
    call = Call.objects.create(
        sid=f"CA{time.time_ns():032x}", status="completed", created_at=end, ended_at=end, audio_samples=samples
    )
    stream = Stream.objects.create(
        call=call, sid=f"MZ{time.time_ns():032x}", nonce=f"{time.time_ns():032x}", started_at=end, ended_at=end,
        tracks=["inbound"], length=samples, heard=samples, end_reason="stop",
    )  # fmt: skip
    AudioChunk.objects.bulk_create(rows(stream, samples), batch_size=500)
    return stream


def rows(stream: Stream, samples: int) -> Iterator[AudioChunk]:
    said = {"inbound": sound("caller"), "outbound": sound("greeting")}
    for index, start in enumerate(range(0, samples, ROW)):
        for track, speech in said.items():
            at = start % (len(speech) - ROW)
            payload = speech[at : at + ROW]
            facts: dict[str, Any] = {"payload": payload, "peaks": audio.peaks(payload, step=3)}
            yield AudioChunk(stream=stream, track=track, index=index, start=start, length=ROW, **facts)


def show(what: str, stream: Stream) -> None:
    recording = Recording.of(stream.call)
    middle = recording.samples // 2
    reads = {
        "8 s": lambda: recording.read(middle, middle + 65_536),
        "15 minutes' waveform": lambda: recording.peaks(0, min(recording.samples, 7_200_000)),
        "all of it": lambda: [recording.read(at, at + 65_536) for at in range(0, recording.samples, 65_536)],
    }
    found = ", ".join(f"{name} {1000 * min(timed(read)[0] for _ in range(3)):.1f} ms" for name, read in reads.items())
    wrong = list(problems(stream))
    print(f"{what}: {stream.chunks.count()} rows, {size() / 1e6:.1f} MB; {found}; {wrong or 'nothing is missing'}")


def timed(do: Callable[[], Any]) -> tuple[float, Any]:
    before = time.perf_counter()
    found = do()
    return time.perf_counter() - before, found


def ask(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def is_postgres() -> bool:
    return connection.vendor == "postgresql"


def size() -> int:
    """Of the table with its indexes and its TOAST, or of SQLite's file, without what is free in it."""
    if is_postgres():
        return int(ask("SELECT pg_total_relation_size('calls_audiochunk')"))
    return int(ask("PRAGMA page_size")) * (int(ask("PRAGMA page_count")) - int(ask("PRAGMA freelist_count")))


def position() -> int:
    """In the write-ahead log; SQLite's says nothing of the kind."""
    return int(ask("SELECT pg_current_wal_lsn() - '0/0'")) if is_postgres() else 0


def dead() -> Any:
    if not is_postgres():
        return "none, SQLite keeps no old ones"
    ask("SELECT pg_stat_force_next_flush() IS NULL")
    ask("SELECT pg_stat_clear_snapshot() IS NULL")
    return ask("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'calls_audiochunk'")


def vacuum(*, full: bool = False) -> None:
    if is_postgres():
        ask("SELECT set_config('statement_timeout', '0', false)")
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ({'FULL, ' if full else ''}ANALYZE) calls_audiochunk" if is_postgres() else "VACUUM")


if __name__ == "__main__":
    main()
