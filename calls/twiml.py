"""The documents that we answer with, built with twilio's own VoiceResponse.

A handler that wants another document around its stream declares `@handler(twiml=…)`: a function of the noun that
returns a VoiceResponse, and calls `noun.connect()` or `noun.start()`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from django.conf import settings
from twilio.twiml.voice_response import Connect, Start, VoiceResponse

from calls import addresses


# https://www.twilio.com/docs/voice/twiml/stream#parameter: name and value together stay below.
PARAMETER_MAX_LENGTH = 500
# A call may have a <Connect> and a <Start> stream of one handler at once, and Twilio wants their names to differ.
START_SUFFIX = "-start"
# The <Parameter>s of ours: the stream's token, and the ticket of a caller who comes back to a handler that waits.
TOKEN, OUTING = "token", "outing"
RESERVED = (TOKEN, OUTING)
# What XML 1.0 does not allow, not even escaped: Twilio would run no such document (12100). A caller's name may hold it.
# https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
APOLOGY = "We are sorry, this call cannot be answered right now. Please try again later."


def check_parameter(name: str, value: str) -> None:
    """ValueError, in a sentence, for a <Parameter> that Twilio would not hand on."""
    if not name or name in RESERVED:
        raise ValueError(f"A parameter cannot be named {name!r}.")
    if len(name) + len(value) >= PARAMETER_MAX_LENGTH:
        raise ValueError(
            f"The parameter {name[:40]} is too long: name and value stay below {PARAMETER_MAX_LENGTH} characters."
        )


@dataclass(frozen=True)
class StreamNoun:
    """The <Stream> of one call, ready to be put into <Connect> or <Start>.

    `sign(bidirectional)` makes the token; the two verbs differ in what may be sent (error 31924 on a <Start> stream).
    """

    sign: Callable[[bool], str]
    name: str
    #: What Twilio sent with the request for this document: CallSid, From, To and the rest.
    parameters: dict[str, str]
    #: How often this call has been connected again, and how often it was handed over to another handler.
    resumed: int = 0
    handed: int = 0
    #: Further <Parameter>s: what a call that we placed was given, and what `parameter` adds.
    custom: dict[str, str] = field(default_factory=dict)
    #: Seconds of silence before the stream.
    pause: int = 0
    #: The ticket of a caller who comes back to a handler that waits.
    outing: str = ""

    def connect(self, response: VoiceResponse | None = None) -> VoiceResponse:
        """Adds <Connect><Stream>: both directions. The document goes on at `action` when the socket is closed."""
        response = self._begin(response)
        # Twilio never connects again by itself: it asks here what to do when the socket is closed.
        where: dict[str, object] = {"handler": self.name, "resumed": self.resumed}
        if self.handed:
            where["handed"] = self.handed
        if ref := self.parameters.get("ref"):
            where["ref"] = ref
        if self.outing:
            where[OUTING] = self.outing
        connect = Connect(action=addresses.absolute(addresses.STREAM_ENDED, **where))
        self._add(connect, self.name, bidirectional=True)
        response.append(connect)
        return response

    def start(self, response: VoiceResponse | None = None, *, track: str = "both_tracks") -> VoiceResponse:
        """Adds <Start><Stream>: we only listen, and the next verb runs at once.

        Nothing is added when a call is connected again: this stream runs beside the one that broke, and if it broke too
        it is started again by `listening`.
        """
        response = self._begin(response)
        if self.resumed:
            return response
        start = Start()
        self._add(start, f"{self.name}{START_SUFFIX}", bidirectional=False, track=track)
        response.append(start)
        return response

    def parameter(self, name: str, value: str) -> "StreamNoun":
        """Adds a <Parameter>, which the handler finds in `stream.parameters`. ValueError if it is too long.

        For a handler's `twiml`, which is called again when the call is connected again.
        """
        check_parameter(name, value)
        self.custom[name] = value
        return self

    def _begin(self, response: VoiceResponse | None) -> VoiceResponse:
        response = response if response is not None else VoiceResponse()
        if self.pause:
            response.pause(length=self.pause)
        return response

    def _add(self, verb: Any, name: str, *, bidirectional: bool, **attributes: Any) -> None:
        stream = verb.stream(
            # Twilio strips a query from this URL, hence the parameter.
            url=addresses.socket(),
            name=name,
            status_callback=addresses.absolute(addresses.STREAM_STATUS),
            **attributes,
        )
        stream.parameter(name=TOKEN, value=self.sign(bidirectional))
        if self.outing and bidirectional:
            stream.parameter(name=OUTING, value=self.outing)
        for name, value in ((_NO_XML.sub("", name), _NO_XML.sub("", value)) for name, value in self.custom.items()):
            # Even those that were put into `custom` directly: Twilio would not run a document with a longer one.
            check_parameter(name, value)
            stream.parameter(name=name, value=value)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def busy() -> str:
    """Refuses a call that there is no room for; the caller hears a busy tone and is not charged."""
    response = VoiceResponse()
    response.reject(reason="busy")
    return str(response)


def apologise() -> str:
    """Says sorry and hangs up, rather than leave the caller to Twilio's "an application error has occurred"."""
    response = VoiceResponse()
    response.say(APOLOGY)
    response.hangup()
    return str(response)


def failed_handler() -> str:
    """How a call ends whose handler raised: FAILED_HANDLER_TWIML, or an apology."""
    return settings.FAILED_HANDLER_TWIML or apologise()


def goodbye(text: str) -> str:
    """Says a last sentence and hangs up."""
    response = VoiceResponse()
    response.say(_NO_XML.sub("", text))
    response.hangup()
    return str(response)


def transfer(number: str) -> str:
    """Connects whoever is on the line to a number; the call is over when either of them hangs up."""
    response = VoiceResponse()
    response.dial(number)
    return str(response)


def dial(number: str, *, timeout: int, caller_id: str, action: str) -> str:
    """Connects a caller to a number or a SIP address for a while; what comes then is asked at `action`.

    https://www.twilio.com/docs/voice/twiml/dial
    """
    response = VoiceResponse()
    dial = response.dial(action=action, timeout=timeout, caller_id=caller_id or None)
    if number.startswith(("sip:", "sips:")):
        dial.sip(number)
    else:
        dial.number(number)
    return str(response)


# Verbs that keep a call for hours without a stream, whatever else the document has
# (https://www.twilio.com/docs/voice/twiml#twiml-verbs-for-programmable-voice) ...
_ELSEWHERE = {"Dial", "Enqueue", "Redirect", "Refer"}
# ... those that take their time, and may have an `action` that goes on ...
_WAITING = {"Play", "Gather", "Record", "Pay", "Prompt", "Pause"}
# ... and all that keep a call whose stream is still to come or runs beside them. Without one, a sentence is the end.
_SPOKEN = _WAITING | {"Say"}
# A pause no longer than this keeps no call, in seconds.
_SHORT_PAUSE = 10


def lives_on(document: str) -> bool:
    """Whether the call can live on without a stream: the document connects it to somebody, or lets it wait."""
    try:
        verbs = list(ElementTree.fromstring(document.encode()))
    except ElementTree.ParseError:
        # FAILED_HANDLER_TWIML is the operator's; Twilio says what is wrong with it.
        return "<Dial" in document
    names = [verb.tag for verb in verbs if not _is_short_pause(verb)]
    if _ELSEWHERE.intersection(names) or any(_leads_elsewhere(verb) for verb in verbs):
        return True
    if "Connect" not in names and "Start" not in names:
        return not _WAITING.isdisjoint(names)
    before = names[: names.index("Connect")] if "Connect" in names else []
    behind = names[names.index("Start") :] if "Start" in names else []
    return not _SPOKEN.isdisjoint([*before, *behind])


def _leads_elsewhere(verb: ElementTree.Element) -> bool:
    """<Connect> has other nouns too, like <ConversationRelay>: https://www.twilio.com/docs/voice/twiml/connect."""
    return verb.tag == "Connect" and len(verb) > 0 and verb.find("Stream") is None


def _is_short_pause(verb: ElementTree.Element) -> bool:
    length = verb.get("length", "1")
    return verb.tag == "Pause" and (not length.isdecimal() or int(length) <= _SHORT_PAUSE)
