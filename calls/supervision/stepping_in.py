"""What can be done to a call that this process holds: each act as `calls.server.control` describes it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from calls import handlers
from calls.media.audio import SAMPLES_PER_MS
from calls.media.formats import PLAIN
from calls.recorder import recorder
from calls.server.control import Objection, check_audio
from calls.server.departures import Departure, Order
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded
from calls.server.playing import Playing
from calls.server.switchboard import switchboard
from calls.supervision.beside import beside


logger = logging.getLogger(__name__)

# Seconds for which what plays may put off the end of a stream that somebody has asked for.
LONGEST_WAIT = 30.0


@dataclass(frozen=True)
class Asked:
    """What somebody wants of a call."""

    act: str
    facts: dict[str, Any]
    #: The user's key and name; None and "" if it was code.
    user: int | None
    name: str

    @property
    def by(self) -> dict[str, str]:
        """For the timeline, in which a user who was deleted later is none either."""
        return {} if self.user is not None else {"by": "code"}


# What an act does; it returns facts of what came of it, for who asked and for the timeline. It raises Objection, or
# StreamEnded if the caller is gone.
Act = Callable[[LiveStream, Asked], Awaitable[dict[str, Any]]]


async def clear(live: LiveStream, asked: Asked) -> dict[str, Any]:
    _check_two_ways(live)
    _check_free(live)
    return {"cleared_ms": await live.speaking.clear(is_noted=False) // SAMPLES_PER_MS}


async def play(live: LiveStream, asked: Asked) -> dict[str, Any]:
    audio, name = asked.facts["audio"], asked.facts.get("name", "")
    check_audio(audio)
    _check_two_ways(live)
    _check_free(live)
    _check_stays(live)
    waits = live.speaking.ahead // SAMPLES_PER_MS
    try:
        playing = live.voice.say(audio, PLAIN)
    except ValueError as error:
        raise Objection(str(error)) from None
    playing.go_on()
    facts = {"name": name, "length_ms": len(audio) // SAMPLES_PER_MS}
    beside(_tell(live, asked, playing, facts))
    return {**facts, "waits_ms": waits}


async def _tell(live: LiveStream, asked: Asked, playing: Playing, facts: dict[str, Any]) -> None:
    """What became of something that was played, as soon as that is known."""
    played = await playing
    kind = "play-heard" if played.outcome == "played" else "play-cleared"
    heard_ms = min(played.heard_ms, facts["length_ms"])
    live.tape.act(kind, timezone.now(), asked.user, **facts, heard_ms=heard_ms, **asked.by)
    if live.lifetime.is_recorded:
        # The end of the stream has told, and its last rows are gone.
        recorder.submit(live.tape.cut_all())


async def hang_up(live: LiveStream, asked: Asked) -> dict[str, Any]:
    _check_two_ways(live, "; the call's Hang up button asks Twilio, as calls.rest.end_call does")
    return _depart(live, Departure(handed=live.token.handed, by=asked.name))


async def dial(live: LiveStream, asked: Asked) -> dict[str, Any]:
    _check_two_ways(live, "; the call's Transfer button asks Twilio, as calls.rest.transfer does")
    try:
        order = Order.checked(asked.facts["number"], asked.facts["timeout"], asked.facts["caller_id"])
    except (TypeError, ValueError) as error:
        raise Objection(str(error)) from None
    waits = _depart(live, Departure(order, handed=live.token.handed, by=asked.name))
    return {"number": order.number, **waits}


async def hand_over(live: LiveStream, asked: Asked) -> dict[str, Any]:
    name = asked.facts["handler"]
    _check_two_ways(live, ", and the call goes on beside it: there is nothing to hand over")
    try:
        handler = handlers.find(name) if name and isinstance(name, str) else None
    except Exception as error:
        logger.exception("handler_unusable handler=%r call=%s", name, live.call_sid)
        raise Objection(f"the handler {name!r} cannot be used: {error}") from None
    if handler is None:
        raise Objection(f"there is no handler {name!r}; there are {', '.join(handlers.names())}")
    waits = _depart(live, Departure(handler=name, handed=live.token.handed, by=asked.name))
    return {"handler": name, **waits}


ACTS: dict[str, Act] = {"clear": clear, "play": play, "hang-up": hang_up, "dial": dial, "hand-over": hand_over}


# --- what they have in common -----------------------------------------------------------------------------------------


def _check_two_ways(live: LiveStream, advice: str = "") -> None:
    if not live.bidirectional:
        raise Objection(f"this stream only listens{advice}")


def _check_free(live: LiveStream) -> None:
    """What a person says to the caller is neither cleared nor talked over."""
    if live.hold.is_on:
        raise Objection(f"{live.hold.user} is talking to the caller")


def _check_stays(live: LiveStream) -> None:
    """Whatever is asked of a stream that is about to end would be cut, or undo what was asked before."""
    departure = live.departure
    if departure is not None:
        how = "hung up" if departure.is_goodbye else "handed over" if departure.handler else "sent to another number"
        raise Objection(f"the call is being {how} already, once the caller has heard what plays: clear it to be quick")
    if live.outing is not None:
        raise Objection("the handler is having the caller connected to another number")


def _depart(live: LiveStream, departure: Departure) -> dict[str, Any]:
    """The stream ends once the caller has heard what was given to play. The intention is kept from now on."""
    live.outgoing.check_open()
    _check_stays(live)
    # Whoever talks to the caller has said what there was to say: mostly it is they who have asked for this.
    waits = 0 if live.hold.is_on else min(live.speaking.ahead / SAMPLES_PER_MS, LONGEST_WAIT * 1000)
    live.departure = departure
    live.tape.change(dial=departure.stored())
    switchboard.note_departure(live.call_sid, departure)
    # The answer does not wait for it.
    beside(_end(live, departure))
    return {"waits_ms": round(waits)}


async def _end(live: LiveStream, departure: Departure) -> None:
    if not live.hold.is_on:
        with suppress(TimeoutError, StreamEnded):
            async with asyncio.timeout(LONGEST_WAIT):
                await live.let_hear()
    live.fall_silent()
    live.lifetime.end(departure.reason)
