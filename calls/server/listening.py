"""Keeps listening to calls that go on beside us: a <Start> stream that was lost is started again.

A <Start> has no `action`: when its stream ends by a drain, a crash or a broken socket, Twilio asks nobody, and two
people talk on. So a worker that drains starts its streams again once they are closed (the proxy gives them to one that
does not drain, since its readiness failed first), and every process looks every few seconds for what others have lost.

Twilio's API may take its time: all of this has threads of its own, and neither the event loop nor the recorder waits.
An attempt is an event of the call, whose key claims it: of several processes one asks. Where it cannot be done the call
stays open, and `absence` says what of it was not heard.
"""

import datetime as dt
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, transaction
from django.utils import timezone

from calls import rest
from calls.addresses import is_loopback
from calls.models import Call, CallEvent, Stream
from calls.models.streams import RECONNECTS, SHORT_STREAM
from calls.recorder import recorder
from calls.security import StreamToken


logger = logging.getLogger(__name__)

# Seconds between two looks for streams that were lost.
EVERY = 3.0
# How often a stream that was lost is asked for, and how many seconds apart.
ATTEMPTS = 5
APART = 10
# Streams that were lost longer ago belong to calls that somebody has given up.
RECENT = dt.timedelta(hours=1)
# Requests to Twilio at once.
THREADS = 4
# What no other attempt would mend: our credentials, a call that is unknown, or over.
FINAL = (20003, 20404, 404, 21220)
_ASKED, _FAILED, _GIVEN_UP = "listen-again", "listen-again-failed", "listening-given-up"


class Listening:
    """`start` once a process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="listening")
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="listening", daemon=True)
            self._thread.start()

    def again(self, stream_sid: str) -> "Future[bool]":
        """Starts a stream again that was lost just now, from a thread."""
        return self._pool.submit(_quietly, lambda: start_again(stream_sid))

    def stop(self, call_sid: str, stream_sid: str) -> "Future[bool]":
        """Has Twilio stop a stream whose handler has heard enough, from a thread. False if it does not."""
        return self._pool.submit(_quietly, lambda: _stop(call_sid, stream_sid))

    def _run(self) -> None:
        while True:
            threading.Event().wait(EVERY)
            if recorder.away_since is None:
                _quietly(self.look)

    def look(self) -> bool:
        """Starts again what others have lost."""
        for stream_sid in Stream.objects.lost(timezone.now() - RECENT).values_list("sid", flat=True):
            start_again(stream_sid)
        return True


def _quietly(action: Callable[[], bool]) -> bool:
    """In a thread: nobody would see what it raises."""
    try:
        return action()
    except DatabaseError:
        # The recorder says so, and the next look comes.
        return False
    except Exception:
        logger.exception("listening_failed; going on")
        return False
    finally:
        close_old_connections()


def start_again(stream_sid: str) -> bool:
    """Asks Twilio for a stream in the place of one that was lost, if that is our turn. False if nothing came of it."""
    stream = Stream.objects.lost(timezone.now() - RECENT).select_related("call").filter(sid=stream_sid).first()
    event = _claim(stream) if stream is not None else None
    if stream is None or event is None:
        return False
    call = stream.call
    try:
        if call.is_simulated and not is_loopback(settings.TWILIO_API_URL):
            raise rest.RestError("The call is simulated, and Twilio knows nothing of it.", code=20404)
        found = rest.start_stream(call, stream.name, stream.tracks, _parameters(stream))
    except rest.RestError as error:
        # Twilio may have done it all the same, and then the stream is there before the next attempt.
        final = error.code in FINAL or not rest.has_credentials()
        _conclude(event, _FAILED if final else _ASKED, outcome=str(error), code=error.code)
        logger.warning("listen_again_failed call=%s stream=%s: %s", call.sid, stream_sid, error)
        if error.code == 21220:
            # It may be over, and nobody has told us.
            with suppress(rest.RestError):
                rest.look_up(call)
        return False
    _conclude(event, _ASKED, outcome="Twilio opens another stream.", stream=found)
    logger.warning("listen_again call=%s after=%s stream=%s", call.sid, stream_sid, found)
    return True


def _claim(stream: Stream) -> CallEvent | None:
    """The event of the next attempt; None if it is too early, too late, or another process's."""
    tried = list(stream.events.filter(kind__in=[_ASKED, _FAILED, _GIVEN_UP]).order_by("occurred_at"))
    now = timezone.now()
    if tried and (tried[-1].kind != _ASKED or tried[-1].occurred_at > now - dt.timedelta(seconds=APART)):
        return None
    kind, reason = _ASKED, str(Stream.EndReason(stream.end_reason).label)
    if len(tried) >= ATTEMPTS:
        kind, reason = _GIVEN_UP, f"{ATTEMPTS} attempts brought no stream"
    elif _broken_in_a_row(stream) > RECONNECTS:
        kind, reason = _GIVEN_UP, f"more than {RECONNECTS} streams broke within {SHORT_STREAM} s each"
    with transaction.atomic():
        event, created = CallEvent.objects.get_or_create(
            call=stream.call,
            key=f"{_ASKED}:{stream.sid}:{len(tried)}",
            defaults={
                "stream": stream,
                "source": CallEvent.Source.SYSTEM,
                "kind": kind,
                "occurred_at": now,
                "data": {"reason": reason},
            },
        )
    if created and kind == _GIVEN_UP:
        logger.error("listening_given_up call=%s stream=%s: %s", stream.call.sid, stream.sid, reason)
        return None
    return event if created else None


def _broken_in_a_row(stream: Stream) -> int:
    count = 0
    for one in stream.call.streams.filter(name=stream.name, bidirectional=False).order_by("-started_at", "-pk"):
        if one.ended_at and not one.broke_at_once:
            break
        count += 1
    return count


def _parameters(stream: Stream) -> dict[str, str]:
    """What the stream had, with a fresh token: each is good for one socket."""
    call = stream.call
    token = StreamToken(
        call_sid=call.sid or "",
        handler=stream.handler,
        account_sid=call.account_sid,
        from_number=call.from_number,
        to_number=call.to_number,
        direction=call.direction[:24],
        bidirectional=False,
        resumed=call.streams.filter(name=stream.name, bidirectional=False).count(),
    )
    given = {name: str(value) for name, value in stream.custom_parameters.items() if name != "token"}
    return {"token": token.sign(), **given}


def _conclude(event: CallEvent, kind: str, **said: Any) -> None:
    event.kind, event.data = kind, {**event.data, **{name: value for name, value in said.items() if value}}
    event.save(update_fields=["kind", "data"])


def _stop(call_sid: str, stream_sid: str) -> bool:
    call = Call.objects.filter(sid=call_sid).first()
    if call is None or (call.is_simulated and not is_loopback(settings.TWILIO_API_URL)):
        return False
    try:
        rest.stop_stream(call_sid, stream_sid)
    except rest.RestError as error:
        logger.warning("stop_failed call=%s stream=%s: %s The socket is closed instead.", call_sid, stream_sid, error)
        return False
    return True


# The one of this process.
listening = Listening()
