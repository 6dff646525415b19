"""Turns of calls that run, for whoever has a call's page open: made every few seconds, with little of one core.

Several machines may do it: a call belongs to the one that has last said so (`Call.turns_at`), and after LEASE to
whoever asks.
"""

import datetime as dt
import logging
import time
from dataclasses import dataclass, field
from functools import partial

from asgiref.sync import async_to_sync
from django.db import Error as DatabaseError
from django.db import InterfaceError
from django.db.models import Q
from django.utils import timezone

from calls.measuring.courtesy import politely
from calls.measuring.running import RunningTurns
from calls.models import Call
from calls.server.hints import tell


logger = logging.getLogger(__name__)

# Seconds between two rounds, if these cost little.
EVERY = 2.0
# Of one core, for all calls together: whoever follows more of them sees each less often.
SHARE = 0.1
# Seconds of a core after which a round leaves the rest to the next one.
ROUND = 0.4
# A page says every FOLLOWED_EVERY that it is open; one that nobody looks at, every 15 s.
FOLLOWED = dt.timedelta(seconds=25)
# For how long a call is ours, and after which part of that this is said again.
LEASE, RENEWED = dt.timedelta(seconds=15), dt.timedelta(seconds=5)

# Seconds for which it is known what was heard of a call whose page was closed: it may be opened again.
REMEMBERED = 600.0


@dataclass
class Hearing:
    """A call that this process hears."""

    #: What `Call.turns_at` was set to by us.
    turns_at: dt.datetime
    turns: RunningTurns = field(default_factory=RunningTurns)
    #: Whether it cannot be heard; that is told once, and it is left alone.
    is_broken: bool = False
    #: When it was heard last, by the monotonic clock.
    heard: float = 0.0


class Following:
    """One a process: it remembers what it has heard."""

    def __init__(self) -> None:
        self._hearings: dict[int, Hearing] = {}
        self._rests_until = 0.0

    def go_round(self) -> bool:
        """Hears calls that somebody follows. Nothing more is done before it has rested."""
        if (now := time.monotonic()) < self._rests_until:
            return False
        before = time.thread_time()
        heard: list[Call] = []
        spent = 0.0
        if calls := self._claimed():
            heard, spent = politely(partial(self._hear, calls))
        self._tell([call for call in heard if self._keep(call)])
        spent += time.thread_time() - before
        self._rests_until = now + max(EVERY, spent / SHARE)
        return False

    def _claimed(self) -> list[Call]:
        """Those that are ours; first those that were never heard, then the others by how long ago they were."""
        now = timezone.now()
        followed = Call.objects.followed(now - FOLLOWED).order_by("-followed_at")
        found = [call for call in followed.only("sid", "answered_at", "ended_at", "turns_at") if self._claim(call, now)]
        ours = {call.pk for call in found}
        known, since = self._hearings.items(), time.monotonic() - REMEMBERED
        self._hearings = {pk: hearing for pk, hearing in known if pk in ours or hearing.heard > since}
        well = [call for call in found if not self._hearings[call.pk].is_broken]
        return sorted(well, key=lambda call: self._hearings[call.pk].heard)

    def _claim(self, call: Call, now: dt.datetime) -> bool:
        """Whether it is ours, from now on if it was nobody's."""
        own = self._hearings.get(call.pk)
        if own and own.turns_at == call.turns_at and own.turns_at > now - RENEWED:
            return True
        free = Q(turns_at=None) | Q(turns_at__lt=now - LEASE)
        ours = Q(turns_at=own.turns_at) if own else Q(pk=None)
        if not Call.objects.live().filter(free | ours, pk=call.pk).update(turns_at=now):
            return False
        if own and own.turns_at == call.turns_at:
            own.turns_at = now
        else:
            # Whoever has had it, us too, may have been followed by another one, who has written what we do not know.
            self._hearings[call.pk] = Hearing(now)
        call.turns_at = now
        return True

    def _hear(self, calls: list[Call]) -> tuple[list[Call], float]:
        """As many as there is time for, and what that has cost, in seconds of a core."""
        heard, before = [], time.thread_time()
        for call in calls:
            hearing = self._hearings[call.pk]
            hearing.heard = time.monotonic()
            try:
                hearing.turns.hear(call)
            except (DatabaseError, InterfaceError):
                raise
            except Exception:
                logger.exception("running_turns_failed call=%s; measured when it is over", call)
                hearing.is_broken = True
            else:
                heard.append(call)
            if time.thread_time() - before > ROUND:
                break
        return heard, time.thread_time() - before

    def _keep(self, call: Call) -> bool:
        """Whether there is anything new of it."""
        kept = self._hearings[call.pk].turns.keep(call)
        if kept is None:
            del self._hearings[call.pk]
        return bool(kept)

    def _tell(self, calls: list[Call]) -> None:
        if sids := [call.sid for call in calls if call.sid]:
            async_to_sync(tell)(sids)
