"""A process that runs a campaign: claims rows at the campaign's rate, asks Twilio for each once, and says how it goes.

It may be killed at any moment, and others may run the same campaign beside it: all that matters is in the database.
"""

import datetime as dt
import logging
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connections
from django.utils import timezone

from calls import rest
from calls.campaigns.claiming import Claim, Pause, Why, claim
from calls.campaigns.verdicts import Verdict, verdict
from calls.models import Call, Campaign, CampaignCall
from calls.models.campaigns import SEEN_EVERY


logger = logging.getLogger(__name__)

# A database that does not answer.
AWAY = (OperationalError, InterfaceError)
# Seconds between two looks at the database: a stop is obeyed at the next one.
LOOK_EVERY = 0.25
# Requests that may wait for Twilio at once.
ASKED_AT_ONCE = 8
# Seconds for which a campaign waits when Twilio has had too much of it: doubled each time, up to the last.
BACK_OFF, LONGEST_BACK_OFF = 2.0, 60.0
# So many in a row of which nobody knows whether they were placed, or that were refused for the same reason that we do
# not know: something is wrong that the next row would only repeat.
MOST_UNKNOWN, MOST_REFUSED = 3, 5
# Refusals in a row after which waiting is no use.
MOST_PUT_OFF = 12
# Seconds without a callback after which Twilio is asked how a call is, and again after as many.
PATIENCE = 60.0


class Ending(Enum):
    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    #: Only rows are left that may not be called now, and nobody wanted to wait for them.
    QUIET = "quiet"


class Audience(Protocol):
    """Whoever is told how it goes."""

    def tell(self, line: str, *, routine: bool = False) -> None:
        """`routine` is what is as it should be."""

    def show(self, campaign: Campaign) -> None:
        """Called every now and then: there may be something new to see."""


@dataclass
class _Streak:
    """What has gone wrong since something last went well."""

    unknown: int = 0
    put_off: int = 0
    refused: dict[int | None, int] = field(default_factory=dict)

    def end(self) -> None:
        self.unknown, self.put_off, self.refused = 0, 0, {}


class Runner:
    """Runs a campaign until nothing is left of it, or until somebody stops it."""

    def __init__(self, campaign: Campaign, audience: Audience, *, waits: bool = True) -> None:
        self.campaign, self.audience, self.waits = campaign, audience, waits
        #: Set by whoever wants this process, and not the campaign, to end.
        self.interrupted = threading.Event()
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="place-calls")
        self._asking: dict[Future[Call], Claim] = {}
        self._looking: Future[str] | None = None
        self._looked: dict[int, float] = {}
        self._streak = _Streak()
        self._seen = self._away_since = 0.0
        self._nap = LOOK_EVERY
        self._said: object = None

    def run(self) -> Ending:
        """Returns once what was asked of Twilio has been answered; calls that run go on."""
        try:
            while (ending := self._safely()) is None:
                self.interrupted.wait(self._nap)
            self._await_answers()
            return ending
        finally:
            self._pool.shutdown()
            self.audience.show(self.campaign)

    def _safely(self) -> Ending | None:
        """A step, or none while the database is away: nothing that is to be known is only in memory."""
        if self.interrupted.is_set():
            return Ending.INTERRUPTED
        try:
            ending = self._step()
        except AWAY as error:
            if not self._away_since:
                self.audience.tell(f"The database does not answer: nobody is called until it does. ({_line(error)})")
            self._away_since = self._away_since or time.monotonic()
            close_old_connections()
            return None
        except rest.RestError as error:  # of our own settings: every row was right when the file was read
            self._stop(str(error))
            return Ending.STOPPED
        if self._away_since:
            self.audience.tell(f"The database is back after {time.monotonic() - self._away_since:.0f} s.")
            self._away_since = 0.0
        return ending

    def _step(self) -> Ending | None:
        self._conclude_all()
        self._keep_up()
        self._nap = LOOK_EVERY
        while not self.interrupted.is_set() and len(self._asking) < self._most_asked:
            found = claim(self.campaign.pk, timezone.now())
            if isinstance(found, Pause):
                return self._pause(found)
            self._said = None
            self._asking[self._pool.submit(_carry_out, found)] = found
        return None

    @property
    def _most_asked(self) -> int:
        """Twilio answers within a second: where it does not, few rows are lost with its answers."""
        return 1 if self._streak.unknown else min(ASKED_AT_ONCE, math.ceil(self.campaign.rate) + 1)

    def _pause(self, pause: Pause) -> Ending | None:
        match pause.why:
            case Why.STOPPED:
                return Ending.STOPPED
            case Why.FINISHED:
                return None if self.waits and self._are_alive() else Ending.FINISHED
            case Why.QUIET if not self.waits:
                return Ending.QUIET
            case Why.QUIET if pause.until and pause.until != self._said:
                self._said = pause.until
                when = at_clock(pause.until)
                self.audience.tell(f"Only numbers are left where it is quiet now: the next one is called {when}.")
            case Why.RATE if pause.until:
                seconds = (pause.until - timezone.now()).total_seconds()
                self._nap = min(LOOK_EVERY, max(0.001, seconds))
        return None

    def _are_alive(self) -> bool:
        return bool(self._asking) or self.campaign.rows.alive(timezone.now()).exists()

    def _await_answers(self) -> None:
        """Those that cannot be stored are unknown: whoever goes on finds them so."""
        try:
            self._conclude_all(wait=True)
            self._hear_of_look_up(wait=True)
            self.campaign.rows.note_over()
            # Another process that runs it says so within a second.
            self.campaign.say_gone()
        except AWAY as error:
            self.audience.tell(f"The database does not answer, and takes no answer of Twilio's. ({_line(error)})")

    def _keep_up(self) -> None:
        """Says that we are there, and learns what has happened to rows and calls meanwhile."""
        now = time.monotonic()
        if now - self._seen < SEEN_EVERY.total_seconds() / 2:
            return
        self._seen = now
        self.campaign.say_seen()
        self.campaign.rows.note_heard()
        if lost := self.campaign.rows.note_unanswered(timezone.now()):
            self.audience.tell(f"{lost} row{'' if lost == 1 else 's'} may have been called by a process that has died.")
        self.campaign.rows.note_over()
        self._look_up(now)
        self.audience.show(self.campaign)

    # --- What Twilio answers

    def _conclude_all(self, *, wait: bool = False) -> None:
        for future, claimed in list(self._asking.items()):
            if wait or future.done():
                self._conclude(claimed, future)
                # Not before: what the database did not take is concluded again.
                del self._asking[future]

    def _conclude(self, claimed: Claim, future: Future[Call]) -> None:
        row, who = claimed.row, f"Line {claimed.row.line} ({claimed.row.number})"
        try:
            call = future.result()
        except rest.OutcomeUnknown as error:
            row.lose(str(error))
            self.audience.tell(f"{who}: {error}")
            self._streak.unknown += 1
            if self._streak.unknown >= MOST_UNKNOWN:
                self._stop(f"Of {MOST_UNKNOWN} calls in a row nobody knows whether they were placed. {error}")
        except rest.RestError as error:
            self._refused(row, who, error)
        except Exception as error:
            # Twilio may have been asked: whatever it was, the row is not called again.
            logger.exception("campaign_call_lost row=%s; the traceback follows", row.pk)
            row.lose(f"The answer could not be stored: {_line(error)}")
            self.audience.tell(f"{who}: what Twilio answered could not be stored, {_line(error)}")
        else:
            self._streak.end()
            self.audience.tell(f"{who}: {call.sid}, {call.status}.", routine=True)

    def _refused(self, row: CampaignCall, who: str, error: rest.RestError) -> None:
        why = verdict(error)
        if why is Verdict.ROW:
            row.refuse(str(error))
            self.audience.tell(f"{who}: {error}")
            count = self._streak.refused[error.code] = self._streak.refused.get(error.code, 0) + 1
            if error.code not in rest.OF_THE_NUMBER and count >= MOST_REFUSED:
                self._stop(str(error))
            return
        row.give_back(str(error))
        if why is Verdict.ALL:
            self._stop(str(error))
        else:
            self._put_off(error)

    def _put_off(self, error: rest.RestError) -> None:
        self._streak.put_off += 1
        if self._streak.put_off >= MOST_PUT_OFF:
            self._stop(str(error))
            return
        seconds = min(LONGEST_BACK_OFF, BACK_OFF * 2 ** (self._streak.put_off - 1))
        self.audience.tell(f"{error} Nobody is called for {seconds:.0f} s.")
        later = timezone.now() + dt.timedelta(seconds=seconds)
        Campaign.objects.filter(pk=self.campaign.pk, next_at__lt=later).update(next_at=later)

    def _stop(self, reason: str) -> None:
        self.campaign.stop(reason=reason)

    # --- Calls of which no callback tells

    def _look_up(self, now: float) -> None:
        """Asks Twilio how one of them is: its callbacks may not reach us, and every call has to end some day."""
        self._hear_of_look_up()
        placed = self.campaign.rows.open().filter(status=CampaignCall.Status.PLACED, call__sid__isnull=False)
        alive = list(placed.values_list("call", flat=True))
        self._looked = {pk: self._looked.get(pk, now) for pk in alive}
        if self._looking is None and (due := [pk for pk, at in self._looked.items() if now - at > PATIENCE]):
            self._looked[due[0]] = now
            self._looking = self._pool.submit(_look_up, due[0])

    def _hear_of_look_up(self, *, wait: bool = False) -> None:
        if self._looking is not None and (wait or self._looking.done()):
            if said := self._looking.result():
                self.audience.tell(said)
            self._looking = None


def _carry_out(claimed: Claim) -> Call:
    """In a thread of its own."""
    try:
        return rest.carry_out(claimed.order, claimed.call)
    finally:
        connections.close_all()


def _look_up(pk: int) -> str:
    """What there is to say of it. In a thread of its own."""
    try:
        call = Call.objects.filter(pk=pk, ended_at=None).first()
        before = call.status if call else ""
        if call is None or rest.look_up(call).status == before:
            return ""
        return f"{call.sid}: {call.status}, says Twilio; its callbacks do not reach us at {settings.PUBLIC_URL}."
    except rest.RestError as error:
        return f"Twilio could not be asked how a call is: {error}"
    finally:
        connections.close_all()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def at_clock(moment: dt.datetime) -> str:
    local = timezone.localtime(moment)
    return (
        f"at {local:%H:%M} ({local:%Z})"
        if local.date() == timezone.localdate()
        else f"on {local:%Y-%m-%d at %H:%M} ({local:%Z})"
    )
