"""Asks Twilio what became of calls that have been quiet: their callbacks were lost, or there never are any.

One thread a process, since Twilio's API may take its time: neither the event loop nor the recorder waits for it. Each
call is claimed in the database before it is asked about, so that several processes do not all ask. What cannot be
learnt this way is guessed by the recorder, as it is where there are no credentials.
"""

import datetime as dt
import logging
import threading

from django.db import Error as DatabaseError
from django.db import close_old_connections
from django.utils import timezone

from calls import rest
from calls.models import Call, CallEvent
from calls.recorder import recorder
from calls.server.hints import hints


logger = logging.getLogger(__name__)

# Seconds between two rounds, and calls of one: 40 requests a minute at most, and one at a time.
EVERY = 30
ROUND = 20
# Seconds without a stream and without an event after which a call is asked about, and again while it goes on.
QUIET = 60
AGAIN = 300


class Inquiry:
    """`start` once a process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._is_away = False

    def start(self) -> None:
        if self._thread is not None or not rest.has_credentials():
            return
        recorder.asks_twilio = True
        self._thread = threading.Thread(target=self._run, name="inquiry", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            threading.Event().wait(EVERY)
            if recorder.away_since is not None:
                continue
            try:
                self.ask()
            except DatabaseError:
                # The recorder says so.
                continue
            except Exception:
                logger.exception("inquiry_failed; going on")
            finally:
                close_old_connections()

    def ask(self) -> None:
        """Asks about the calls that are due, those first that were never asked about."""
        now = timezone.now()
        due = Call.objects.quiet(now, dt.timedelta(seconds=QUIET), dt.timedelta(seconds=AGAIN))
        for call in due[:ROUND]:
            # Another process may have been faster. One that cannot be asked about counts as asked, and is guessed.
            claimed = due.filter(pk=call.pk).update(asked_at=timezone.now())
            if claimed and not call.is_simulated and not self._learn(call):
                # Twilio is away: guessing need not wait for more of these.
                due.update(asked_at=timezone.now())
                return

    def _learn(self, call: Call) -> bool:
        """Asks about one call. False if Twilio does not answer at all."""
        before = call.status
        try:
            rest.look_up(call)
        except rest.RestError as error:
            if error.code in rest.UNKNOWN:
                logger.warning("inquiry_unknown call=%s: %s", call.sid, error)
                return True
            if not self._is_away:
                logger.warning("twilio_away: %s Calls that are quiet are guessed to be over.", error)
            self._is_away = True
            return False
        if self._is_away:
            logger.warning("twilio_back")
        self._is_away = False
        if call.ended_at is None:
            Call.objects.filter(pk=call.pk).update(alive_at=timezone.now())
        if call.status != before:
            self._note(call)
        return True

    def _note(self, call: Call) -> None:
        logger.info("inquiry call=%s status=%s", call.sid, call.status)
        event = CallEvent(
            call=call,
            source=CallEvent.Source.SYSTEM,
            kind="looked-up",
            key=f"looked-up:{call.status}",
            occurred_at=timezone.now(),
            data={"answer": f"Twilio said when asked: {call.status}", "CallStatus": call.status},
        )
        CallEvent.objects.bulk_create([event], ignore_conflicts=True)
        hints.add(call.sid or "")


# The one of this process.
inquiry = Inquiry()
