"""This machine, and what it works with: settings, database, Redis, spool, the model of speech, the mail server."""

import asyncio
import secrets
import shlex
import shutil
from collections.abc import Iterator

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.core import mail
from django.core.checks import run_checks
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from django.utils import timezone

from calls.management.diagnosis.finding import TIMEOUT, Finding, first_line
from calls.models import Stream
from calls.recorder.spool import damaged, fingerprint, foreign
from calls.speech import silero
from calls.store import archive
from calls.store.moving import LEASE


def examine() -> Iterator[Finding]:
    yield from check_settings()
    yield from check_database()
    yield from check_layer()
    yield from check_spool()
    yield from check_archive()
    yield from check_speech()
    yield from check_mail()


def check_settings() -> Iterator[Finding]:
    messages = run_checks()
    for message in messages:
        yield Finding("FAIL" if message.is_serious() else "warn", f"{message.msg} ({message.id})", message.hint or "")
    if not messages:
        yield Finding("ok", "The settings are in order.")


def check_database() -> Iterator[Finding]:
    connection = connections["default"]
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding(
            "FAIL",
            f"The database does not answer: {first_line(error)}",
            "Check DATABASE_URL, and that the server runs and lets us in.",
        )
        return
    if missing:
        yield Finding("FAIL", f"{len(missing)} migrations are missing.", "Run `manage.py migrate`.")
    else:
        yield Finding("ok", f"The database answers ({connection.display_name}), and has all migrations.")


def check_layer() -> Iterator[Finding]:
    """A message to ourselves through Redis. Without Redis, only the live pages of other processes are missing."""
    if not settings.REDIS_URL:
        yield Finding("skip", "REDIS_URL is not set: the channel layer is in memory, for one process.")
        return
    try:
        async_to_sync(_round_trip)()
    except Exception as error:  # redis has exceptions of its own, and the layer lets them through
        yield Finding(
            "FAIL",
            f"Redis does not answer: {first_line(error)}",
            "Check REDIS_URL. Calls do not need it; live pages do.",
        )
        return
    yield Finding("ok", "Redis answers, and the channel layer carries messages.")


async def _round_trip() -> None:
    layer = get_channel_layer()
    channel = f"doctor.{secrets.token_hex(8)}"
    try:
        async with asyncio.timeout(TIMEOUT):
            await layer.send(channel, {"type": "doctor"})
            await layer.receive(channel)
    finally:
        # The layer's own connections outlive a loop that is not asked to close them.
        await layer.close_pools()


def check_archive() -> Iterator[Finding]:
    if not archive.is_set():
        yield Finding("skip", "ARCHIVE_URL is not set: all audio stays in the database.")
        return
    try:
        archive.ask()
    except archive.ArchiveError as error:
        yield Finding("FAIL", f"The archive does not answer: {first_line(error)}", "Check ARCHIVE_URL and AWS_… .")
        return
    left = Stream.objects.filter(Q(archiving_at__lt=timezone.now() - LEASE) | ~Q(archive_spare="")).count()
    if left:
        yield Finding(
            "warn",
            f"{left} streams were interrupted on their way into the archive.",
            "The next `manage.py archive_calls` goes on with them.",
        )
    else:
        yield Finding("ok", "The archive answers.")


def check_speech() -> Iterator[Finding]:
    """Nobody needs it whose handlers ask for no turns and play nothing that may be interrupted."""
    try:
        silero.load()
    except silero.Missing as error:
        yield Finding(
            "skip",
            f"Speech is told by its loudness: {first_line(error)}",
            "Noise interrupts what is played with `barge_in` then, and makes turns of `stream.speech()`.",
        )
    else:
        yield Finding("ok", "Speech is told from noise by Silero's model.")


def check_mail() -> Iterator[Finding]:
    """Whether its server lets us in; nothing is sent."""
    if not settings.EMAIL_URL:
        yield Finding("skip", "EMAIL_URL is not set: alerts are not sent by mail.")
        return
    connection = mail.get_connection()
    try:
        connection.open()
        connection.close()
    except (OSError, UnicodeError) as error:
        yield Finding("FAIL", f"The mail server does not let us in: {first_line(error)}", "Check EMAIL_URL.")
        return
    yield Finding("ok", "The mail server lets us in.")


def check_spool() -> Iterator[Finding]:
    """System checks say whether it can be written."""
    database = fingerprint(settings.DATABASES["default"])
    # Paths as a shell takes them, to be copied after --from.
    if paths := shlex.join(str(file) for file in foreign(settings.SPOOL_DIR, database)):
        yield Finding(
            "warn",
            f"SPOOL_DIR has recordings of another database, which nobody writes: {paths}",
            f"If the database was moved or renamed (this one's files begin with {database}), "
            "see what they hold and write it with `manage.py replay_spool`.",
        )
    # Without SQLite's companion files.
    files = (file for file in damaged(settings.SPOOL_DIR) if file.suffix == ".damaged")
    if paths := shlex.join(str(file) for file in files):
        yield Finding(
            "warn",
            f"SPOOL_DIR has files that were damaged and set aside: {paths}",
            "They hold calls, perhaps some that are to be erased. Keep what is left of each with "
            "`manage.py replay_spool --from FILE`, and delete it.",
        )
    try:
        free = shutil.disk_usage(settings.SPOOL_DIR).free // 2**20
    except OSError:
        return
    if free < settings.SPOOL_MAX_MB:
        yield Finding(
            "warn",
            f"SPOOL_DIR has {free} MB free, and the spool may grow to {settings.SPOOL_MAX_MB} MB.",
            "Make room there, name a larger disk, or lower SPOOL_MAX_MB.",
        )
    else:
        yield Finding("ok", f"SPOOL_DIR can be written, and has {free} MB free.")
