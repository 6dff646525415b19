"""`manage.py transcribe_calls`: writes down what was said in recordings whose words are not all known."""

import asyncio
import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.db.models import Q, QuerySet
from django.utils import timezone
from tqdm import tqdm

from calls import handlers
from calls.management.arguments import day
from calls.models import Call, Stream
from calls.speech import scribe, transcribers
from calls.speech.afterwards import Failed, transcribe_stream
from calls.speech.transcribers import Refused, Transcribe
from calls.store import ArchiveError


# Streams that are looked up at once.
BATCH = 100
# A worker has that long to finish a stream's words itself.
SETTLED = dt.timedelta(seconds=30)
# Failures that are told one by one.
MOST_TOLD = 10


class Command(BaseCommand):
    help = (
        "Writes down what was said in recordings that have no words yet, or not all. It can be interrupted and started "
        "again at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sids", nargs="*", metavar="CallSid", help="only these calls")
        parser.add_argument("--since", type=day, metavar="YYYY-MM-DD", help="only calls of that day and later")
        parser.add_argument("--handler", help="only calls that this handler took")
        parser.add_argument("--at-once", type=int, default=4, metavar="N", help="streams at the same time; default: 4")

    def handle(self, *args: Any, **options: Any) -> None:
        transcribe = self.transcriber()
        self.options, self.written, self.failed = options, 0, dict[str, str]()
        self.done: set[int] = set()
        streams = self.chosen()
        try:
            with quiet():
                asyncio.run(self.transcribe(streams, transcribe))
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {self.summary()} The rest is as it was.", returncode=130) from None
        except Refused as error:
            raise CommandError(f"{self.summary()} Then {error}.") from error
        self.stdout.write(self.style.SUCCESS(self.summary()))
        if self.failed:
            told = [f"{sid}: {why}" for sid, why in [*self.failed.items()][:MOST_TOLD]]
            raise CommandError("\n".join([f"{len(self.failed)} streams were left as they are:", *told]))

    def transcriber(self) -> Transcribe:
        try:
            transcribe = transcribers.find()
        except (ImportError, ImproperlyConfigured) as error:
            raise CommandError(f"TRANSCRIBER cannot be used: {error}") from error
        if transcribe is None:
            raise CommandError("TRANSCRIBER is not set: nobody transcribes.")
        return transcribe

    def chosen(self) -> QuerySet[Stream]:
        sids = self.options["sids"]
        if strange := sorted({*sids} - {*Call.objects.filter(sid__in=sids).values_list("sid", flat=True)}):
            raise CommandError(f"There is no call {strange[0]}.")
        streams = Stream.objects.filter(
            # Whether any of it is stored is found out one by one: of all at once that takes too long.
            length__gt=0,
            ended_at__lt=timezone.now() - SETTLED,
            transcribed_at=None,
        )
        wanted = Q(call__sid__in=sids) if sids else Q()
        if since := self.options["since"]:
            wanted &= Q(call__created_at__gte=since)
        if handler := self.options["handler"]:
            wanted &= Q(call__handler=handler)
        return streams.filter(wanted).select_related("call").order_by("pk")

    async def transcribe(self, streams: QuerySet[Stream], transcribe: Transcribe) -> None:
        """Several at once; the first refusal ends all."""
        no_bar = None if self.options["verbosity"] else True
        source = self.pages(streams)
        try:
            count = await sync_to_async(streams.count)()
            with tqdm(total=count, unit=" streams", leave=False, disable=no_bar) as bar:
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(max(1, self.options["at_once"])):
                        tasks.create_task(self.work(source, transcribe, bar))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            await sync_to_async(connections.close_all)()

    def pages(self, streams: QuerySet[Stream]) -> Iterator[Stream]:
        """One after the other; read in a thread."""
        last = 0
        while page := list(streams.filter(pk__gt=last)[:BATCH]):
            last = page[-1].pk
            yield from page

    async def work(self, source: Iterator[Stream], transcribe: Transcribe, bar: Any) -> None:
        while stream := await sync_to_async(following)(source):
            try:
                if objection := await sync_to_async(self.objection)(stream):
                    self.failed[stream.sid] = objection
                else:
                    self.written += await transcribe_stream(stream, transcribe)
                    self.done.add(stream.call_id)
            except (Failed, ArchiveError) as error:
                self.failed[stream.sid] = str(error)
            bar.update()

    def objection(self, stream: Stream) -> str:
        """Why it must not be transcribed, if so; what is not known any more has to be asked for by its SID."""
        try:
            handler = handlers.find(stream.handler)
        except Exception as error:  # whatever a module raises while it is imported
            return f"its handler {stream.handler!r} cannot be imported: {error}"
        if handler is None:
            return "" if self.options["sids"] else f"its handler {stream.handler!r} is not known; name the call"
        return "" if handler.transcribes else f"its handler {stream.handler!r} is declared with transcribes=False"

    def summary(self) -> str:
        calls = f"{len(self.done)} call{'' if len(self.done) == 1 else 's'}"
        return f"Wrote down {self.written} utterance{'' if self.written == 1 else 's'} of {calls}."


@contextmanager
def quiet() -> Iterator[None]:
    """What goes wrong is said at the end, once, and not for each lane in the log."""
    logger = logging.getLogger(scribe.__name__)
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def following(source: Iterator[Stream]) -> Stream | None:
    return next(source, None)
