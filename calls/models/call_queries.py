"""Calls as they are looked for: those that are live or over, those that are due for something, and the one of a SID."""

import datetime as dt
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from calls.media.storable import storable, storable_json
from calls.models.campaigns import CampaignCall
from calls.models.erasures import Erased, Erasure
from calls.models.events import CallEvent
from calls.models.streams import Stream
from calls.models.utterances import Utterance


if TYPE_CHECKING:
    from calls.models.calls import Call


# How long a call may be without a stream while nobody has sent its caller elsewhere: before its first one (Twilio rings
# a phone for ten minutes at most), and between one that broke and the next.
FIRST_STREAM, RINGING = dt.timedelta(seconds=30), dt.timedelta(minutes=10)
NEXT_STREAM = dt.timedelta(seconds=10)

# Twilio ends every call by then (https://www.twilio.com/docs/voice/api/call-resource, TimeLimit).
LONGEST_CALL = dt.timedelta(hours=24)

# Its price is asked for this long after its end, and how often again: in its first hour, and after that ...
PRICE_FIRST, PRICE_NEW = dt.timedelta(minutes=5), dt.timedelta(hours=1)
PRICE_OFTEN, PRICE_SELDOM = dt.timedelta(minutes=10), dt.timedelta(hours=4)
# ... until it is given up.
PRICE_PATIENCE = dt.timedelta(days=2)


class CallQuerySet(models.QuerySet["Call"]):
    def live(self) -> "CallQuerySet":
        """Calls that have not ended, whatever Twilio last said of them."""
        return self.filter(ended_at__isnull=True)

    def of_numbers(self, numbers: Collection[str]) -> "CallQuerySet":
        """Calls from or to one of these numbers."""
        return self.filter(Q(from_number__in=numbers) | Q(to_number__in=numbers))

    def running(self, now: dt.datetime, lease: dt.timedelta) -> list[int]:
        """The keys of live calls that somebody can be on, whether or not housekeeping has looked since.

        A stream of theirs is held by a process that lives (`StreamQuerySet.held`), they wait for one, or their caller
        was sent elsewhere. Three queries, each on an index of what runs: as one with OR, PostgreSQL would read every
        stream there ever was.
        """
        live = self.live().order_by().values_list("pk", "created_at", "direction", "answered_at", "dialing")
        calls = list(live)
        held = set(Stream.objects.held(lease).values_list("call", flat=True))
        others = [pk for pk, *_ in calls if pk not in held]
        ended: dict[int, bool] = {}
        streams = Stream.objects.filter(call__in=others).order_by()
        for stream in streams.only("call", "ended_at", "end_reason", "handler_finished_at"):
            ended[stream.call_id] = ended.get(stream.call_id, False) or stream.is_to_be_replaced(now - NEXT_STREAM)

        def waits(pk: int, since: dt.datetime, direction: str, answered_at: dt.datetime | None) -> bool:
            if pk in ended:
                return ended[pk]
            rings = direction == "outbound-api" and answered_at is None
            return since > now - (RINGING if rings else FIRST_STREAM)

        return [
            pk
            for pk, since, direction, answered_at, is_dialing in calls
            if pk in held or (is_dialing and since > now - LONGEST_CALL) or waits(pk, since, direction, answered_at)
        ]

    def ended(self) -> "CallQuerySet":
        return self.filter(ended_at__isnull=False)

    def sid_of(self, pk: int | str) -> str:
        """The call's CallSid; "" if there is no such call, or Twilio has not accepted it yet."""
        return self.filter(pk=pk).values_list("sid", flat=True).first() or ""

    def followed(self, since: dt.datetime) -> "CallQuerySet":
        """Live calls whose page somebody had open since then."""
        return self.live().filter(followed_at__gt=since)

    def unmeasured(self) -> "CallQuerySet":
        """Calls that are over, have a recording, and were not measured since it has last grown."""
        return self.filter(measured_at=None, ended_at__isnull=False, audio_samples__gt=0)

    def untold(self, told: int, since: dt.datetime) -> "CallQuerySet":
        """Calls that are over since then at the earliest, and of which others were told just that much (`Told`)."""
        return self.filter(told=told, ended_at__isnull=False, ended_at__gte=since).order_by("ended_at", "pk")

    def abandoned(self, now: dt.datetime, after: dt.timedelta) -> "CallQuerySet":
        """Answered calls that for that long have had no stream, no <Dial> and no wait: nobody will ever end them.

        Twilio ends every call after LONGEST_CALL, including one that we last left in a <Dial> or a queue. A call that
        is still to be answered has Twilio's own timeout and callbacks.
        """
        recent = Stream.objects.filter(call=OuterRef("pk")).filter(
            Q(ended_at__isnull=True) | Q(ended_at__gt=now - after)
        )
        # One that we placed may have waited and rung for longer than that before it was answered.
        answered = Q(answered_at=None) | Q(answered_at__lt=now - after)
        alone = Q(dialing=False) | Q(created_at__lt=now - LONGEST_CALL)
        old_enough = self.live().filter(answered, alone, created_at__lt=now - after, sid__isnull=False)
        return old_enough.exclude(direction="outbound-api", answered_at=None).exclude(Exists(recent))

    def quiet(self, now: dt.datetime, after: dt.timedelta, again: dt.timedelta) -> "CallQuerySet":
        """Calls that may be over without our knowing: live, with neither a stream nor an event for that long.

        One that Twilio was asked about comes up again after `again`.
        """
        due = Q(asked_at=None) | Q(asked_at__lt=now - again)
        stream = Stream.objects.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=now - after), call=OuterRef("pk"))
        event = CallEvent.objects.filter(call=OuterRef("pk"), received_at__gt=now - after)
        old_enough = self.live().filter(due, created_at__lt=now - after, sid__isnull=False)
        return old_enough.exclude(Exists(stream)).exclude(Exists(event)).order_by(F("asked_at").asc(nulls_first=True))

    def asked_in_vain(self, now: dt.datetime, patience: dt.timedelta, trust: dt.timedelta) -> "CallQuerySet":
        """Those that Twilio was asked about more than `patience` ago, and has not called alive within `trust`."""
        silent = Q(alive_at=None) | Q(alive_at__lt=now - trust)
        return self.filter(silent, asked_at__lt=now - patience)

    def unheard(self, now: dt.datetime, after: dt.timedelta) -> "CallQuerySet":
        """Calls that we placed, or may have placed, and that Twilio has called neither answered nor over.

        It says nothing of one that is canceled in its queue, and keeps none there for more than a day.
        """
        return self.live().filter(direction="outbound-api", answered_at=None, created_at__lt=now - after)

    def unpriced(self, now: dt.datetime) -> "CallQuerySet":
        """Calls that are over since minutes, or a day or two, and whose price is due to be asked for.

        First those that were never asked about; each is again, often in its first hour and seldom after that. Twilio
        charges for calls that were completed only.
        """
        again = Q(price_asked_at__lt=now - PRICE_OFTEN, ended_at__gt=now - PRICE_NEW)
        due = Q(price_asked_at=None) | again | Q(price_asked_at__lt=now - PRICE_SELDOM)
        lately = self.filter(ended_at__lt=now - PRICE_FIRST, ended_at__gt=now - PRICE_PATIENCE, price=None)
        return lately.filter(due, status="completed", sid__isnull=False).order_by(
            F("price_asked_at").asc(nulls_first=True), "-ended_at"
        )

    def said(self, words: str) -> "CallQuerySet":
        """Calls in which somebody said that, as far as their words are known (`UtteranceQuerySet.saying`)."""
        return self.filter(pk__in=Utterance.objects.using(self.db).saying(words).values("stream__call"))

    def note(self, sid: str, *, at: dt.datetime | None = None, **facts: Any) -> "Call":
        """The one call with this SID, created by whichever signed request comes first.

        `at` is when that request came, which may be long before it is written; now if that is unknown.
        Later requests fill what is still empty and move the status up, never down (`Call.advance`). The row is locked:
        of two callbacks at once, the later one must see what the first one has said. Raises Erased if the call was.
        """
        facts = self._storable(facts)
        # A savepoint is two statements more: only a row that may have to go again needs one.
        with transaction.atomic(using=self.db, savepoint=False):
            if known := self.select_for_update().filter(sid=sid).first():
                self._add_to(known, facts, at, filled=known.fill(facts))
                return known
        with transaction.atomic(using=self.db):
            first = {name: value for name, value in facts.items() if name != "status"}
            call, created = self.select_for_update().get_or_create(
                sid=sid, defaults={**first, "created_at": at or timezone.now()}
            )
            if created and Erasure.objects.using(self.db).filter(call_sid=sid, audio_only=False).exists():
                raise Erased(sid)
            self._add_to(call, facts, at, filled=[] if created else call.fill(facts))
        return call

    def _add_to(self, call: "Call", facts: dict[str, Any], at: dt.datetime | None, *, filled: list[str]) -> None:
        moved = call.advance(facts.get("status", ""), duration=facts.get("duration"), at=at)
        if filled or moved:
            call.save(using=self.db, update_fields=[*filled, *moved])

    def claim(self, pk: int, sid: str) -> None:
        """Gives the row of a call that we placed its SID. Twilio's reply does so, or a request with its ref, if sooner.

        A row that a request without ref has created meanwhile keeps its key, which others know, and takes over what
        the pending row holds.
        """
        try:
            with transaction.atomic(using=self.db):
                self._claim(pk, sid)
        except IntegrityError:  # that request came just now; its row is there
            with transaction.atomic(using=self.db):
                self._claim(pk, sid)

    def _claim(self, pk: int, sid: str) -> None:
        pending = self.select_for_update().filter(pk=pk, sid=None).first()
        if pending is None:
            return
        if known := self.select_for_update().filter(sid=sid).first():
            known.absorb(pending)
        else:
            pending.sid = sid
            pending.save(using=self.db, update_fields=["sid"])
        CampaignCall.objects.using(self.db).note_placed((known or pending).pk)

    def _storable(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The fields of a call as both databases take them, whatever a request has said."""
        clean: dict[str, Any] = {}
        for name, value in facts.items():
            length = getattr(self.model._meta.get_field(name), "max_length", None)
            if isinstance(value, str) and length:
                value = storable(value, length)
            elif isinstance(value, int) and not isinstance(value, bool):
                value = max(0, min(value, 2**31 - 1))
            clean[name] = storable_json(value) if name == "parameters" else value
        return clean
