"""Twilio's side of a phone call, over real HTTP and a real WebSocket: `report = await simulate(Scenario(...))`.

`TwilioApi` is the REST API beside it, on loopback; a call that is placed there is played by `OutboundCall`, one that
comes in by its own `play`. From a terminal, `python -m simulator call` plays one call, `run` the calls that scenarios
describe, and `examine` says what is wrong with a server. Tests have `simulator.phone`, which also calls an ASGI
application in memory, on the clock of `simulator.virtual`.

It signs the voice webhook, follows the TwiML, opens the socket, speaks at 50 frames a second, plays what comes back on
the clock, returns marks, presses keys, hangs up and posts the status callbacks. It shares nothing with the server:
its messages are literals and its signatures the twilio library's, so that it can disagree with us.

Documented by Twilio, and held to here (pages named where they are used; base https://www.twilio.com/docs):
the messages of both directions and what is wrong with one (31950, 31951, 31924), the play buffer with its marks, clear
and 10 minutes (31931), X-Twilio-Signature, 15 s for a webhook, one retry if there is no connection, 64 kB of TwiML,
wss only, 500 characters a parameter, one bidirectional stream at a time, `action` after `<Connect>`.

Seen in captures of real calls: the order of keys, a first timestamp that is not 0, silence as 0xFF, timestamps that
jump over lost packets while sequence numbers do not, a query string stripped from the Stream's url, a close frame
without a code, User-Agent TwilioProxy/1.1, Timestamp with nanoseconds in stream callbacks.

Inferred, where no source says: audio that still waits when the socket closes is never heard; a bad message is ignored
and the stream goes on; a close with 1000 gives stream-stopped, any other stream-error (31921, or 31903 without a close
frame); a `<Start>` stream goes on after the server sent something on it; a refused handshake and a broken stream fall
through to `action` at once; both tracks of a `<Start>` stream share one chunk counter (as in the documentation's
example); Say and Play take no time; a `<Dial>` is answered unless the scenario says otherwise, and the person called
hangs up when both sides have said everything; its `action` is asked too if the caller hangs up meanwhile; the caller's
audio waits while no stream is open.
"""

from simulator.api import ApiError, PhoneNumber, PlacedCall, TwilioApi
from simulator.call import SimulatedCall, simulate
from simulator.carrier import CallFailed
from simulator.dialled import Dialled
from simulator.documents import TwimlError, Verb, parse_twiml
from simulator.messages import BadMessage
from simulator.outbound import OutboundCall
from simulator.playbuffer import PlayBuffer
from simulator.report import Event, Finding, Report, StreamReport
from simulator.scenario import Scenario


__all__ = [
    "ApiError",
    "BadMessage",
    "CallFailed",
    "Dialled",
    "Event",
    "Finding",
    "OutboundCall",
    "PhoneNumber",
    "PlacedCall",
    "PlayBuffer",
    "Report",
    "Scenario",
    "SimulatedCall",
    "StreamReport",
    "TwilioApi",
    "TwimlError",
    "Verb",
    "parse_twiml",
    "simulate",
]
