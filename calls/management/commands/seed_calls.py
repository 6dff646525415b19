"""Fills the database with made-up calls: for demonstrations, and to see how the admin fares at a million of them."""

import datetime as dt
import json
import random
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone
from tqdm import tqdm

from calls import store, vault
from calls.management.chatter import Said, conversation, figures, guessed_figures, turns
from calls.media import audio
from calls.models import AudioChunk, Call, CallEvent, Dtmf, Gap, Mark, Stream, Tag, Turn, Utterance
from calls.sounds import sound


BATCH = 2000
# A quarter of a second, which is what the recorder writes at once.
PIECE = 2000
# What marks a made-up call: Twilio's SIDs are random.
SID = "5eed"
ACCOUNT = "AC" + SID * 8
NAMES = ["", "", "", "Ada Lovelace", "Łukasz Nowak", "Zoë Müller", "陳大文", "Acme Ltd", "O'Brien & Sons"]
NOTES = ["Asked for a call back.", "Wrong number.", "Invoice 4711 is still open.", "Very happy with the new voice."]
TAGS = ["billing", "call back", "complaint", "sales", "spam"]
HANDLERS = ["voicemail", "voicemail", "voicemail", "echo", "monitor", "survey"]
# Ms within which half of a handler's answers come; on every fifth day it takes them longer.
WAITS = {"voicemail": 700, "echo": 350, "monitor": 1100, "survey": 1500}
SLOW_DAY = 1.6
# Dollars a minute.
PRICES = {"inbound": Decimal("0.0085"), "outbound-api": Decimal("0.014")}
PARAMETERS = ["order", "campaign", "customer"]
STATUSES = {"completed": 82, "no-answer": 7, "busy": 5, "failed": 3, "canceled": 3}


Row = dict[str, Any]


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("count", type=int, help="how many calls")
        parser.add_argument("--days", type=int, default=90, help="spread over this many days until now (90)")
        parser.add_argument("--audio", type=float, default=0, help="share of the calls with audio, 0 to 1 (0)")
        parser.add_argument("--words", type=float, help="share of the calls with words, 0 to 1 (default: as --audio)")
        parser.add_argument("--turns", type=float, help="share of the calls with turns, 0 to 1 (default: as --words)")
        parser.add_argument("--seconds", type=float, help="length of each answered call (default: varies around 90 s)")
        parser.add_argument("--live", type=int, default=3, help="how many of them are still running (3)")
        parser.add_argument("--seed", type=int, default=1, help="the same number makes the same calls (1)")

    def handle(self, *args: Any, **options: Any) -> None:
        for share, other in (("words", "audio"), ("turns", "words")):
            options[share] = options[other] if options[share] is None else options[share]
        if options["count"] < 1 or not all(0 <= options[share] <= 1 for share in ("audio", "words", "turns")):
            raise CommandError("count is at least 1, and --audio, --words and --turns lie between 0 and 1.")
        maker = Maker(options)
        with tqdm(total=options["count"], unit=" calls", disable=None if options["verbosity"] else True) as bar:
            for done in range(0, options["count"], BATCH):
                size = min(BATCH, options["count"] - done)
                maker.write(size, live=max(0, options["live"] - done))
                bar.update(size)
        self.stdout.write(self.style.SUCCESS(f"{options['count']} calls, {maker.chunks} pieces of audio."))


class Maker:
    """Makes batches of calls with all that belongs to them, each in one transaction."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.random = random.Random(options["seed"])
        self.now = timezone.now()
        self.span = options["days"] * 86_400
        self.seconds = options["seconds"]
        self.shares = {name: options[name] for name in ("audio", "words", "turns")}
        self.tags = [Tag.objects.get_or_create(name=name)[0] for name in TAGS]
        # As in real life, later calls come later: a week of them lies together in the table.
        self.moments = sorted(self.moment() for _ in range(options["count"]))
        self.said = {"inbound": spoken("caller"), "outbound": spoken("greeting")}
        self.chunks = 0

    @transaction.atomic
    def write(self, size: int, live: int) -> None:
        made = [self.call(live=number < live) for number in range(size)]
        talks = [self.converse(call) for call in made]
        calls = Call.objects.bulk_create(made)
        streams = Stream.objects.bulk_create(self.stream(call) for call in calls if call.audio_samples)
        by_call = {stream.call_id: stream for stream in streams}
        insert(CallEvent, chain.from_iterable(map(self.events, calls)))
        insert(Mark, chain.from_iterable(map(self.marks, streams)))
        insert(Dtmf, chain.from_iterable(map(self.keys, streams)))
        Gap.objects.bulk_create(self.gap(stream) for stream in streams if stream.frames_missing)
        Gap.objects.bulk_create(self.cut(by_call[call.pk]) for call in calls if call.was_interrupted)
        self.tag([call for call in calls if self.random.random() < 0.08])
        self.write_talks([(by_call[call.pk], talk) for call, talk in zip(calls, talks, strict=True) if talk])

    def converse(self, call: Call) -> list[Said]:
        """What is said in it, if it is one of those of which that is kept; it has its figures in any case."""
        if not call.audio_samples:
            return []
        wait = WAITS[call.handler] * (SLOW_DAY if call.created_at.toordinal() % 5 == 0 else 1)
        talk = []
        if self.random.random() < max(self.shares.values()):
            talk = list(conversation(call.audio_samples, self.random, wait))
        if call.ended_at and self.random.random() < 0.96:
            call.measured_at = call.ended_at + dt.timedelta(seconds=self.random.uniform(2, 60))
            found = (
                figures(talk, call.audio_samples) if talk else guessed_figures(call.audio_samples, self.random, wait)
            )
            vars(call).update(found)
        return talk

    def write_talks(self, talks: list[tuple[Stream, list[Said]]]) -> None:
        """Those with audio are among those with words, and the other way round."""
        part = {name: share / (max(self.shares.values()) or 1) for name, share in self.shares.items()}
        fates = [self.random.random() for _ in talks]
        each = list(zip(fates, talks, strict=True))
        insert(Turn, chain.from_iterable(self.turns(*talk) for fate, talk in each if fate < part["turns"]))
        insert(Utterance, chain.from_iterable(self.words(*talk) for fate, talk in each if fate < part["words"]))
        for fate, talk in each:
            if fate < part["audio"]:
                self.chunks += len(AudioChunk.objects.bulk_create(self.audio(*talk), batch_size=500))

    def call(self, *, live: bool) -> Call:
        """One call; most are made by day, answered, and a minute or two long."""
        pick = self.random
        created = self.now - dt.timedelta(seconds=pick.uniform(20, 90) if live else self.moments.pop())
        status = "in-progress" if live else pick.choices([*STATUSES], [*STATUSES.values()])[0]
        answered = status in ("completed", "in-progress")
        seconds = (self.seconds or min(pick.lognormvariate(4.2, 0.9), 7200)) if answered else 0
        if live:
            seconds = (self.now - created).total_seconds()
        recorded = answered and pick.random() < 0.97
        outbound, number = pick.random() < 0.25, f"+1555{pick.randrange(10_000_000):07}"
        ours = f"+1555010{pick.randrange(12):04}"
        interrupted = recorded and pick.random() < 0.2
        direction = "outbound-api" if outbound else "inbound"
        charged = answered and not live
        return Call(
            sid=self.sid("CA"),
            account_sid=ACCOUNT,
            from_number=ours if outbound else number,
            to_number=number if outbound else ours,
            direction=direction,
            status=status,
            handler=pick.choice(HANDLERS),
            caller_name=pick.choice(NAMES),
            data={"order": f"A-{pick.randrange(1000, 9999)}"} if answered and pick.random() < 0.3 else {},
            parameters={"FromCity": "EXAMPLE", "FromCountry": "US"},
            created_at=created,
            answered_at=created if answered else None,
            ended_at=None if live else created + dt.timedelta(seconds=seconds or 20),
            duration=None if live or not answered else round(seconds),
            audio_samples=int(seconds * audio.SAMPLE_RATE) if recorded else 0,
            has_warning=recorded and pick.random() < 0.04,
            was_interrupted=interrupted,
            price=-PRICES[direction] * (int(seconds // 60) + 1) if charged else None,
            price_unit="USD" if charged else "",
            notes=pick.choice(NOTES) if pick.random() < 0.03 else "",
            reviewed=pick.random() < 0.05,
        )

    def moment(self) -> float:
        """Seconds ago: of three tries the one that lies nearest to 13 o'clock, so that there are days and nights."""
        tries = [self.random.uniform(0, self.span) for _ in range(3)]
        return min(tries, key=lambda ago: abs((self.now.timestamp() - ago) % 86_400 - 13 * 3600))

    def stream(self, call: Call) -> Stream:
        pick, frames = self.random, call.audio_samples // audio.FRAME_SAMPLES
        number = self.sid("MZ")
        broken = call.has_warning and pick.random() < 0.2
        return Stream(
            call=call,
            sid=number,
            nonce=number[2:],
            sealing_key=vault.new_key(number),
            name=call.handler,
            tracks=["inbound"],
            custom_parameters={pick.choice(PARAMETERS): str(pick.randrange(100_000))},
            media_format={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            started_at=call.created_at,
            ended_at=call.ended_at,
            transcribed_at=call.ended_at,
            end_reason="" if call.ended_at is None else "interrupted" if broken else "stop",
            handler_finished_at=None if broken else call.ended_at,
            handler_failed=call.has_warning and not broken and pick.random() < 0.3,
            close_code=None if call.ended_at is None else 1000,
            length=call.audio_samples,
            heard=call.audio_samples // 3,
            first_timestamp=pick.randrange(40, 200),
            frames_received=frames,
            frames_missing=pick.randrange(1, 40) if call.has_warning else 0,
            jitter_ms=round(pick.uniform(0.5, 6), 2),
        )

    def events(self, call: Call) -> Iterator[Row]:
        steps = {"initiated": call.created_at, "in-progress": call.answered_at, call.status: call.ended_at}
        for number, (kind, at) in enumerate(steps.items()):
            if at is not None:
                yield {
                    **{"call_id": call.pk, "stream_id": None, "user_id": None, "sequence_number": number},
                    **{"source": "call-status", "kind": kind, "key": str(number)},
                    **{"occurred_at": stored(at), "received_at": stored(at)},
                    "data": json.dumps({"CallStatus": kind, "From": call.from_number}),
                }

    def marks(self, stream: Stream) -> Iterator[Row]:
        for index, name in enumerate(["greeting", "beep", "thanks"][: self.random.randrange(1, 4)]):
            at = stream.started_at + dt.timedelta(seconds=4 * index)
            yield {
                **{"stream_id": stream.pk, "index": index, "name": name, "sent_at": stored(at)},
                "position": min(stream.length, (4 * index + 4) * audio.SAMPLE_RATE),
                "returned_at": stored(at + dt.timedelta(seconds=4)),
                "outcome": "cleared" if stream.call.was_interrupted and not index else "played",
            }

    def keys(self, stream: Stream) -> Iterator[Row]:
        for index in range(self.random.choice([0, 0, 0, 1, 2])):
            at = self.random.randrange(max(1, stream.length // audio.SAMPLES_PER_MS))
            yield {
                "stream_id": stream.pk,
                "index": index,
                "digit": self.random.choice("0123456789*#"),
                "timestamp_ms": at,
            }

    def turns(self, stream: Stream, talk: list[Said]) -> Iterator[Row]:
        """A call that was not measured has none."""
        if stream.call.measured_at:
            for turn in turns(talk):
                yield {"stream_id": stream.pk, **turn._asdict()}

    def words(self, stream: Stream, talk: list[Said]) -> Iterator[Row]:
        for said in talk:
            yield {
                **{"stream_id": stream.pk, "track": said.track, "start": said.start, "length": said.length},
                **{"text": said.text, "words": json.dumps(said.words)},
            }

    def gap(self, stream: Stream) -> Gap:
        return Gap(
            stream=stream,
            track="inbound",
            start=self.random.randrange(max(1, stream.length)),
            length=stream.frames_missing * audio.FRAME_SAMPLES,
            reason=self.random.choice(["timestamp", "sequence"]),
        )

    def cut(self, stream: Stream) -> Gap:
        start = min(stream.length, int(self.random.uniform(1, 4) * audio.SAMPLE_RATE))
        length = self.random.randrange(4_000, 24_000)
        return Gap(stream=stream, track="outbound", start=start, length=length, reason="cleared")

    def tag(self, calls: list[Call]) -> None:
        through = Call.tags.through
        through.objects.bulk_create(through(call=call, tag=self.random.choice(self.tags)) for call in calls)

    def audio(self, stream: Stream, talk: list[Said]) -> Iterator[AudioChunk]:
        """Sound while somebody speaks, in rows as long as the recorder's."""
        pieces = [(said, start) for said in talk for start in range(0, said.length, PIECE)]
        for index, (said, start) in enumerate(pieces):
            sounds = self.said[said.track]
            payload, peaks = sounds[index % len(sounds)]
            if len(payload) > said.length - start:
                payload = payload[: said.length - start]
                peaks = audio.peaks(payload)
            stored = store.packed(stream, said.track, said.start + start, payload)
            facts = {"start": said.start + start, "length": len(payload), "payload": stored, "peaks": peaks}
            yield AudioChunk(stream=stream, track=said.track, index=index, **facts)

    def sid(self, prefix: str) -> str:
        return f"{prefix}{SID}{self.random.getrandbits(112):028x}"


def insert(model: type[Model], rows: Iterable[Row]) -> None:
    """Rows as the database takes them: most of `bulk_create`'s time goes into making objects and SQL of each."""
    found = list(rows)
    if found:
        quote = connection.ops.quote_name
        names, places = ", ".join(map(quote, found[0])), ", ".join(["%s"] * len(found[0]))
        sql = f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({places})"
        with connection.cursor() as cursor:
            cursor.executemany(sql, [tuple(row.values()) for row in found])


def stored(at: dt.datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def spoken(name: str) -> list[tuple[bytes, bytes]]:
    """One of the sounds that ship, cut like a recording: payloads and their peaks."""
    said = sound(name)
    pieces = [said[at : at + PIECE] for at in range(0, len(said) - PIECE + 1, PIECE)]
    return [(piece, audio.peaks(piece)) for piece in pieces]
