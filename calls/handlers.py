"""What makes a coroutine a handler, the handlers that ship, and how one is found by its name."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, overload

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from twilio.twiml.voice_response import VoiceResponse

from calls.media.audio import is_speech
from calls.server.preparations import ExpectedCall as ExpectedCall
from calls.server.preparations import Prepare
from calls.sounds import sound as sound
from calls.streams import Dtmf, Media, MediaStream
from calls.twiml import StreamNoun


logger = logging.getLogger(__name__)

# Voicemail ends after this many seconds without speech.
SILENCE_SECONDS = 5
# ... and in any case after this long.
LONGEST_MESSAGE_SECONDS = 180


Talk = Callable[[MediaStream], Awaitable[None]]
Document = Callable[[StreamNoun], VoiceResponse]
T = TypeVar("T", bound=Talk)

# Where `handler` leaves on a coroutine what it declares.
_DECLARED = "__callstream__"
# Who was told that attributes are the old way to declare.
_told: set[str] = set()


@dataclass(frozen=True)
class Options:
    """What a handler declares: its stream's document (plain <Connect>), whether its audio is recorded and transcribed,
    and what it prepares."""

    twiml: Document = StreamNoun.connect
    records: bool = True
    transcribes: bool = True
    prepare: Prepare | None = None

    def __post_init__(self) -> None:
        if not callable(self.twiml) or inspect.iscoroutinefunction(self.twiml):
            raise TypeError(f"A handler's twiml is a plain function of the <Stream> noun, not {self.twiml!r}.")
        if objection := _objection_to_arguments(self.twiml):
            raise TypeError(f"A handler's twiml takes one argument, the <Stream> noun: {objection}.")
        if not isinstance(self.records, bool):
            raise TypeError(f"A handler's records is True or False, not {self.records!r}.")
        if not isinstance(self.transcribes, bool):
            raise TypeError(f"A handler's transcribes is True or False, not {self.transcribes!r}.")
        if self.prepare is None:
            return
        if not inspect.iscoroutinefunction(self.prepare):
            raise TypeError(f"A handler's prepare is a coroutine, `async def`, and {self.prepare!r} is not one.")
        if objection := _objection_to_arguments(self.prepare):
            raise TypeError(f"A handler's prepare takes one argument, the expected call: {objection}.")


class NotAHandler(TypeError):
    """What STREAM_HANDLERS names, or `@handler` stands above, is none; says why."""


def objection_to(talk: Any) -> str:
    """Why that is no handler, or ""."""
    if inspect.isasyncgenfunction(talk):
        return "it has a `yield` in it, and a handler only awaits"
    if not inspect.iscoroutinefunction(talk):
        return "it is not a coroutine, `async def`"
    if _objection_to_arguments(talk):
        return f"it takes ({', '.join(inspect.signature(talk).parameters)}) and has to take one argument, the stream"
    return ""


def _objection_to_arguments(function: Callable[..., Any]) -> str:
    """Why a function cannot be called with one argument, or ""."""
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Handler:
    """A handler as it was found: its name, its coroutine and what that declares. Calling it talks on a stream."""

    name: str
    talk: Talk
    options: Options

    def __call__(self, stream: MediaStream) -> Awaitable[None]:
        return self.talk(stream)

    @property
    def records(self) -> bool:
        """Whether its audio is recorded, unless it says otherwise while it talks."""
        return self.options.records

    @property
    def transcribes(self) -> bool:
        """Whether its words are transcribed, if it is recorded and TRANSCRIBER is set."""
        return self.options.transcribes

    def twiml(self, noun: StreamNoun) -> str:
        """The document around its stream."""
        return str(self.options.twiml(noun))


@overload
def handler(talk: T, /) -> T: ...
@overload
def handler(
    *, twiml: Document = ..., records: bool = ..., transcribes: bool = ..., prepare: Prepare | None = ...
) -> Callable[[T], T]: ...
def handler(
    talk: T | None = None,
    /,
    *,
    twiml: Document = StreamNoun.connect,
    records: bool = True,
    transcribes: bool = True,
    prepare: Prepare | None = None,
) -> T | Callable[[T], T]:
    """Declares a handler: `@handler`, or with its options, `@handler(twiml=announce, records=False, prepare=warm_up)`.

    A plain coroutine is a handler too. TypeError, while your module is imported, for what cannot be meant.
    """
    options = Options(twiml, records, transcribes, prepare)

    def declare(talk: T) -> T:
        if objection := objection_to(talk):
            raise NotAHandler(f"{talk!r} below @handler is not a handler: {objection}.")
        vars(talk)[_DECLARED] = options
        return talk

    return declare if talk is None else declare(talk)


@handler
async def echo(stream: MediaStream) -> None:
    """Says back what the caller says."""
    async for media in stream.media():
        await stream.play(media.payload, wait=False)


@handler
async def voicemail(stream: MediaStream) -> None:
    """Greets, beeps, and records until #, silence or hang-up. Speaking or pressing a key skips the greeting."""
    if not stream.resumed:
        await stream.play(sound("greeting"), barge_in=True)
    # What was said, and the key that was pressed, to skip the greeting.
    stream.skip()
    await stream.play(sound("beep"))
    with suppress(TimeoutError):
        # A phone that sends nothing while its owner is silent has no timestamps to go by either.
        async with asyncio.timeout(LONGEST_MESSAGE_SECONDS):
            await _message(stream)
    await stream.play(sound("thanks"))
    await stream.hang_up()


async def _message(stream: MediaStream) -> None:
    """Until #, the end of the stream or 5 s without speech."""
    spoken = None
    async for event in stream:
        if isinstance(event, Dtmf) and event.digit == "#":
            return
        if not isinstance(event, Media) or event.track != "inbound":
            continue
        if spoken is None or is_speech(event.payload):
            spoken = event.timestamp
        if event.timestamp - spoken > 1000 * SILENCE_SECONDS:
            return


def _dial_beside(noun: StreamNoun) -> VoiceResponse:
    if not settings.MONITOR_DIAL:
        raise ImproperlyConfigured("MONITOR_DIAL is not set: the monitor handler has nobody to connect the caller to")
    response = noun.start(track="both_tracks")
    response.dial(settings.MONITOR_DIAL)
    return response


@handler(twiml=_dial_beside)
async def monitor(stream: MediaStream) -> None:
    """Records a call between two people, each on a channel of their own. Nothing is said into it."""
    async for _ in stream:
        continue


SHIPPED: dict[str, Talk] = {"echo": echo, "voicemail": voicemail, "monitor": monitor}
#: Those that ship too, in a module that is imported only if somebody asks for them.
APART = {"realtime": "calls.realtime.realtime"}


def names() -> list[str]:
    """The names that /incoming/<handler> knows."""
    return sorted({*SHIPPED, *APART, *settings.STREAM_HANDLERS})


#: Handlers that are rehearsed, by the names under which they are called meanwhile (calls.rehearsal).
REHEARSED: dict[str, Talk] = {}

#: How a path of STREAM_HANDLERS leads to its coroutine; `make run` has a way of its own, for code that changes.
load: Callable[[str], Any] = import_string


def find(name: str) -> Handler | None:
    """The handler of that name (the default one for ""), or None.

    NotAHandler if that is none; ImportError if its path leads nowhere; whatever its module raises.
    """
    name = name or settings.DEFAULT_STREAM_HANDLER
    if name in REHEARSED:
        talk: Talk | None = REHEARSED[name]
    elif (path := {**APART, **settings.STREAM_HANDLERS}.get(name)) is not None:
        talk = load(path)
    else:
        talk = SHIPPED.get(name)
    if talk is None:
        return None
    if objection := objection_to(talk):
        raise NotAHandler(f"{name!r} is not a handler: {objection}.")
    return Handler(name, talk, _declared(talk))


def _declared(talk: Talk) -> Options:
    """What a coroutine declares by `handler`, or in the old way: by attributes, until 1.0."""
    options: Options = getattr(talk, _DECLARED, Options())
    old: dict[str, Any] = {name: getattr(talk, name) for name in ("twiml", "records") if hasattr(talk, name)}
    if not old:
        return options
    where = f"{talk.__module__}.{getattr(talk, '__qualname__', talk)}"
    if where not in _told:
        _told.add(where)
        logger.warning(
            "handler_attributes handler=%s: write @handler(%s) above it instead of %s; 1.0 will not look at attributes",
            where,
            ", ".join(f"{name}=…" for name in old),
            " and ".join(f".{name} = …" for name in old),
        )
    if "records" in old:
        old["records"] = bool(old["records"])
    return replace(options, **old)
