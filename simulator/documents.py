"""TwiML, read as Twilio reads it: https://www.twilio.com/docs/voice/twiml. Names are case-sensitive."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree


MAX_BYTES = 64 * 1024  # https://www.twilio.com/docs/api/errors/11750
# https://www.twilio.com/docs/voice/twiml#twilio-understands-mime-types; text/plain is run if it is TwiML.
XML_TYPES = ("text/xml", "application/xml", "text/html")
MAX_PARAMETER = 500  # https://www.twilio.com/docs/voice/twiml/stream#parameter: name and value together stay below
TRACKS = {"inbound_track": ["inbound"], "outbound_track": ["outbound"], "both_tracks": ["inbound", "outbound"]}


class TwimlError(ValueError):
    """A document that Twilio would not run, with its error code where it has one."""


@dataclass(frozen=True)
class Verb:
    """An element: a verb, or a noun inside one."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    nouns: tuple["Verb", ...] = ()

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def noun(self, name: str) -> "Verb | None":
        return next((noun for noun in self.nouns if noun.name == name), None)

    def __str__(self) -> str:
        inside = "".join(str(noun) for noun in self.nouns if noun.name != "Parameter")
        return f"<{self.name}>{inside}"


def parse_twiml(body: bytes, content_type: str = "text/xml") -> list[Verb]:
    """The verbs of a document, in order. TwimlError says what is wrong with it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in XML_TYPES and not (kind == "text/plain" and body.lstrip().startswith(b"<")):
        raise TwimlError(f"no TwiML: Content-Type is {content_type or 'missing'!r}, not text/xml (12300)")
    if len(body) > MAX_BYTES:
        raise TwimlError(f"{len(body)} bytes of TwiML; 64 kB are allowed (11750)")
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError) as error:
        raise TwimlError(f"invalid XML (12100): {error}") from None
    if root.tag != "Response":
        raise TwimlError(f"no TwiML: the document is a <{root.tag}>, not a <Response> (12100)")
    return [_verb(element) for element in root]


def _verb(element: ElementTree.Element) -> Verb:
    return Verb(
        element.tag, dict(element.attrib), (element.text or "").strip(), tuple(_verb(child) for child in element)
    )


@dataclass(frozen=True)
class StreamNoun:
    """A `<Stream>` that passed the checks; `url` is absolute and has no query."""

    url: str
    name: str
    tracks: list[str]
    parameters: dict[str, str]
    status_callback: str
    status_callback_method: str
    warnings: tuple[str, ...]


def read_stream(verb: Verb, base: str) -> StreamNoun:
    """The `<Stream>` of a `<Connect>` or `<Start>`, in a document that came from `base`; TwimlError names its fault."""
    stream = verb.noun("Stream")
    if stream is None:
        raise TwimlError(f"{verb} has no <Stream> inside")
    url, warnings = _stream_url(stream.get("url"), base)
    track = stream.get("track", "inbound_track")
    if track not in TRACKS or (verb.name == "Connect" and track != "inbound_track"):
        raise TwimlError(f"<{verb.name}><Stream> cannot have track={track!r} (31941)")
    callback = stream.get("statusCallback")
    if callback and urlsplit(callback).scheme not in ("http", "https"):
        raise TwimlError(f"statusCallback has to be an absolute address, not {callback!r}")
    method = stream.get("statusCallbackMethod", "POST")
    parameters = dict(_parameters(stream))
    return StreamNoun(url, stream.get("name"), TRACKS[track], parameters, callback, method, tuple(warnings))


def requested_stream(form: Mapping[str, list[str]]) -> Verb:
    """The <Start> that a request for a stream stands for: https://www.twilio.com/docs/voice/api/stream-resource."""
    attributes = {name[:1].lower() + name[1:]: values[0] for name, values in form.items() if name in _FIELDS}
    numbers = [name.removesuffix(".Name") for name in form if name.startswith("Parameter") and name.endswith(".Name")]
    parameters = [
        Verb("Parameter", {"name": form[f"{number}.Name"][0], "value": form.get(f"{number}.Value", [""])[0]})
        for number in numbers
    ]
    return Verb("Start", nouns=(Verb("Stream", attributes, nouns=tuple(parameters)),))


_FIELDS = ("Url", "Name", "Track", "StatusCallback", "StatusCallbackMethod")


def _stream_url(given: str, base: str) -> tuple[str, list[str]]:
    """Absolute, without its query: Twilio strips that before it dials."""
    absolute = urljoin(base, given) if urlsplit(given).netloc == "" else given
    scheme, host, path, query, _ = urlsplit(absolute)
    if not given or not host:
        raise TwimlError(f"<Stream> has no usable url: {given!r} (31923)")
    if absolute is not given:
        scheme = scheme.replace("http", "ws")
    if scheme != "wss" and not (scheme == "ws" and urlsplit(base).scheme == "http"):
        raise TwimlError(f"<Stream> url has to begin with wss://, not {given!r} (31922)")
    warnings = [f"Twilio strips the query of the Stream's url: ?{query}"] if query else []
    return urlunsplit((scheme, host, path, "", "")), warnings


def _parameters(stream: Verb) -> Iterator[tuple[str, str]]:
    for noun in stream.nouns:
        name, value = noun.get("name"), noun.get("value")
        if noun.name != "Parameter":
            raise TwimlError(f"<Stream> cannot hold a <{noun.name}>")
        if not name or len(name) + len(value) >= MAX_PARAMETER:
            raise TwimlError(f"<Parameter name={name!r}> is without a name, or has 500 characters and more")
        yield name, value
