"""MediaStream: what a handler holds. Plain methods over the whole protocol; no ORM, no Channels.

Everything here runs in the event loop of one process. Audio is raw µ-law, 8000 samples (and bytes) a second.
"""

from collections.abc import AsyncIterator
from typing import Any, Literal, cast, overload

from calls.media import tones
from calls.media.audio import FRAME_SAMPLES, SAMPLE_RATE
from calls.media.formats import Encoding
from calls.media.protocol import Dtmf as Dtmf
from calls.media.protocol import Media as Media
from calls.media.transcript import Said as Said
from calls.media.turns import Speech as Speech
from calls.server.departures import Order
from calls.server.ear import LONGEST_SILENCE, SHORTEST_SILENCE
from calls.server.ear import speech as turns
from calls.server.inbox import Control as Control
from calls.server.inbox import Event as Event
from calls.server.inbox import Mark as Mark
from calls.server.inbox import Outcome as Outcome
from calls.server.inbox import Takeover as Takeover
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded as StreamEnded
from calls.server.outings import dial
from calls.server.playing import Played as Played
from calls.server.playing import Playing as Playing
from calls.server.sources import Bytes, Source
from calls.server.tickets import Dialled as Dialled


class MediaStream:
    """One stream of a call, as its handler sees it.

    A member of staff may take over: they talk to the caller, and the handler is held. What it says is not heard then,
    and what the caller says and presses is not for it; a `Takeover` tells it afterwards.
    """

    def __init__(self, live: LiveStream) -> None:
        token = live.token
        self.call_sid = token.call_sid
        self.account_sid = live.start.account_sid or token.account_sid
        self.from_number = token.from_number
        self.to_number = token.to_number
        self.direction = token.direction
        self.tracks = live.start.tracks
        #: The <Parameter>s of the stream, without our token.
        self.parameters = dict(live.parameters)
        #: Who the caller is by the carrier's word, and which number forwarded the call here; mostly unknown.
        self.caller_name = self.parameters.get("CallerName", "")
        self.forwarded_from = self.parameters.get("ForwardedFrom", "")
        #: 0, or how often this call has been connected again: greet nobody twice.
        self.resumed = token.resumed
        #: 0, or how often the call was handed over from one handler to another (calls.server.control).
        self.handed = token.handed
        self._take(live)

    def _take(self, live: LiveStream) -> None:
        """The call is on this stream from now on: at first, and when the caller is back from a `dial`."""
        self.stream_sid = live.sid
        self._live = live
        self._lifetime = live.lifetime
        self._inbox = live.inbox
        self._outgoing = live.outgoing
        self._path = live.path

    def __repr__(self) -> str:
        return f"<MediaStream {self.stream_sid} of {self.call_sid}>"

    @property
    def ended(self) -> bool:
        """Whether the caller hears nothing any more."""
        return self._lifetime.is_over

    @property
    def bidirectional(self) -> bool:
        """False on a <Start> stream: there we only listen."""
        return self._live.bidirectional

    @property
    def prepared(self) -> Any:
        """What the handler's `prepare` has returned, closed behind the handler; None if it raised or took over 2 s."""
        return self._live.prepared

    @property
    def overruns(self) -> int:
        """Frames that were dropped because the handler was more than 2 s behind."""
        return self._inbox.overruns

    @property
    def recording_paused(self) -> bool:
        return self._live.recording_paused

    # --- what comes from the caller -----------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Media, Dtmf, Mark, Control and Takeover in the order of their arrival, until the stream ends.

        Media that nobody takes is kept for 2 s; the others are never dropped. An event is given out once, even if
        several tasks iterate.

        While a person talks to the caller nothing comes. Then the marks that came back or were cleared meanwhile do,
        and a Takeover; audio and keys of the caller's that had not been taken before are gone.
        """
        return self._inbox.all()

    def media(self, *, encoding: Encoding = "mulaw", rate: int = 8000) -> AsyncIterator[Media]:
        """The caller's audio alone. Keys and marks that come meanwhile are thrown away, whoever else waits for them.

        `encoding`: "mulaw" or "pcm16" (little-endian); `rate`: 8000, 16000, 24000 or 48000 samples a second; ValueError
        for another one. Another rate comes 30 ms later; `timestamp` is that of the payload, in ms, all the same.
        """
        return self._inbox.media(encoding, rate)

    def speech(self, end_silence: float = 0.7) -> AsyncIterator[Speech]:
        """The caller's turns, each when it has ended: after `end_silence` seconds (0.1 to 10) without speech.

        The one that runs when the caller hangs up is given out too. Each of several iterators has all turns. What was
        said up to 2 s before the iteration began counts if the stream was listened to then (by an iterator before
        this one, or by a `play` with `barge_in`). A turn of more than 60 s comes in pieces. Turns that are not taken
        wait; of more than 60 s of them the oldest goes. What is said while a person talks to the caller is in no turn,
        and turns that had not been taken before are gone.
        """
        if not SHORTEST_SILENCE <= end_silence <= LONGEST_SILENCE:
            raise ValueError(f"end_silence is {SHORTEST_SILENCE} to {LONGEST_SILENCE} seconds, not {end_silence}")
        self._live.listen()
        return turns(self._live.listen, round(end_silence * SAMPLE_RATE))

    @property
    def is_speaking(self) -> bool:
        """Whether the caller speaks now, known about 0.15 s after they begin. The first look starts to listen."""
        return not self.ended and self._live.listen().is_speaking

    def skip(self) -> None:
        """Passes over what has arrived so far: audio, keys and marks."""
        self._inbox.skip()

    async def digits(
        self, count: int | None = None, *, timeout: float = 5.0, terminator: str = "#", sensitive: bool = False
    ) -> str:
        """Keys until `count` of them, the terminator, or `timeout` seconds without one; typed ahead counts too.

        While a person talks to the caller it waits, and the `timeout` begins anew when they have handed back.

        `sensitive` keeps them out of the rows and the logs: each is stored as •, even those that were typed ahead.
        """
        typed, keypad = "", self._live.keypad
        was_secret, keypad.is_secret = keypad.is_secret, keypad.is_secret or sensitive
        try:
            while (count is None or len(typed) < count) and (key := await self._inbox.key(timeout)):
                if keypad.is_secret:
                    keypad.mask(key)
                if key.digit == terminator:
                    break
                typed += key.digit
        finally:
            keypad.is_secret = was_secret
        return typed

    def transcripts(self) -> AsyncIterator[Said]:
        """What both sides say, in words, from the beginning of the stream on: each utterance once it is certain.

        It ends some seconds after the call at the latest. RuntimeError where nobody transcribes: TRANSCRIBER is not
        set, or this handler is declared with `records=False` or `transcribes=False`. What a person says who has taken
        over is ours too, and is told while they talk.
        """
        return self._live.words.all()

    # --- what the caller hears ----------------------------------------------------------------------------------------

    @overload
    async def play(
        self,
        audio: Bytes | Source,
        *,
        encoding: Encoding = ...,
        rate: int = ...,
        barge_in: bool = ...,
        wait: Literal[True] = ...,
    ) -> Played: ...
    @overload
    async def play(
        self,
        audio: Bytes | Source,
        *,
        encoding: Encoding = ...,
        rate: int = ...,
        barge_in: bool = ...,
        wait: Literal[False],
    ) -> Playing: ...
    async def play(
        self,
        audio: Bytes | Source,
        *,
        encoding: Encoding = "mulaw",
        rate: int = SAMPLE_RATE,
        barge_in: bool = False,
        wait: bool = True,
    ) -> Played | Playing:
        """Plays bytes, or what an iterator or async iterator of bytes gives, and returns once the caller has heard it.

        `encoding` is "mulaw" or "pcm16" (16 bits, little-endian), `rate` 8000, 16000, 24000 or 48000; mono. ValueError
        for what is not that, a sound file for example (`calls.media.audio.read_wav` reads a WAV file).

        `barge_in`: a key or 0.1 s of speech clears it.

        When a person takes over, what plays is cleared. What is played while they talk is never heard, and its source
        closed: this returns "cleared" when they have handed back, and with `wait=False` at once, though who awaits
        the `Playing` waits until then.

        `wait=False` returns a `Playing` at once: it is played after what was given before, as by `say`. What is not
        heard within 10 s waits here rather than at Twilio; at 10 minutes that wait (4.8 MB), the next play waits for
        room. Chunks of bytes of any size make one speech without seams, as long as each comes at least 0.1 s before the
        one before it has been heard; whatever comes between (a mark, `say`, `clear`, `hang_up`, a pause) ends the
        speech, and pads it to whole frames of 160 bytes.
        """
        # A frame that nothing waits before, 50 times a second for every call, goes straight to the socket.
        if not (wait or barge_in) and rate == SAMPLE_RATE and encoding == "mulaw":
            if self._path is not None and (playing := self._path.say(audio)) is not None:
                return cast(Playing, playing)
            outgoing = self._outgoing
            if type(audio) is bytes and len(audio) == FRAME_SAMPLES and outgoing.takes_frames:
                if text := outgoing.send_now(audio):
                    await outgoing.send(text)
                return self._live.voice.chunks
        if not wait and isinstance(audio, Bytes) and not barge_in:
            return await self._live.voice.add(audio, (encoding, rate))
        if not wait:
            return self.say(audio, encoding=encoding, rate=rate, barge_in=barge_in)
        return await self._live.voice.say(audio, (encoding, rate), barge_in=barge_in).see_through()

    def say(
        self, audio: Bytes | Source, *, encoding: Encoding = "mulaw", rate: int = SAMPLE_RATE, barge_in: bool = False
    ) -> Playing:
        """Begins to play and returns at once, without `await`: a `Playing`, to be awaited, cleared, paused or asked.

        It begins with the first chunk that a source gives, behind what was said before; a source that stalls keeps its
        place. One that is cleared is closed. A plain iterator is asked in a thread, since it may wait for a network.
        """
        playing = self._live.voice.say(audio, (encoding, rate), barge_in=barge_in)
        playing.go_on()
        return playing

    async def clear(self) -> None:
        """What was not heard yet never will be: it leaves Twilio's buffer, and what still waited here is forgotten.

        Waiting plays return "cleared", and marks come back as that. What a person says is not touched.
        """
        await self._live.speaking.clear()

    async def mark(self, name: str) -> None:
        """Asks for a Mark event once everything given to play so far has been heard. Names may repeat."""
        self._outgoing.check_open()
        await self._live.speaking.mark(name)

    async def press(self, keys: str) -> Played:
        """Plays the tones of these keys, for a machine that listens for them: 0-9, *, #, A-D; "w" waits half a second.

        ValueError for anything else.
        """
        return await self.play(tones.press(keys))

    async def dial(self, number: str, *, timeout: int = 20, caller_id: str | None = None) -> Dialled:
        """Connects the caller to another number, and returns when they are back: Dialled(status, duration).

        `number` is written like +14155550100, or is a SIP address, sip:name@host. `timeout` is for how many seconds it
        may ring, 5 to 600. `caller_id` is the number that is shown there, one of your Twilio account's; the caller's
        own if it is None. ValueError for anything else.

        What was given to play is heard first. Then the stream ends, and with it whatever iterates over it; `dial`
        returns on another one (`stream_sid`), and the recording has a gap in between. StreamEnded if the caller hangs
        up meanwhile. While a person talks to the caller it waits until they have handed back. StateError on a <Start>
        stream, and while somebody is dialled already.
        """
        return await dial(self._live, Order.checked(number, timeout, caller_id), self._take)

    async def hang_up(self) -> None:
        """Lets the caller hear what was given to play, then ends the stream; the call is hung up at once.

        The handler may go on for 5 s more, to clean up; whatever it sends then is a mistake, and raises StreamEnded.
        While a person talks to the caller this waits, and the call ends when they have handed back; so it does for a
        handler that returns or fails meanwhile.
        """
        await self._live.hang_up()

    # --- the recording ------------------------------------------------------------------------------------------------

    def pause_recording(self) -> None:
        """From now on both lanes of the recording are silent, and a gap says that it was meant."""
        self._live.pause_recording()

    def resume_recording(self) -> None:
        """Both lanes are recorded again."""
        self._live.resume_recording()

    # --- the call's data ----------------------------------------------------------------------------------------------

    def set(self, **data: Any) -> None:
        """Business data on the call, by name: `set(order="A-17", amount=12)`. A value replaces the one before it.

        It is in `Call.data` within a second: on the call's page, in the list's search and in exports. Values are JSON,
        and all that a stream sets has at most 16 KB of it. ValueError or TypeError for anything else. Nothing is
        masked: what is secret does not belong here.
        """
        self._live.notebook.set(data)

    def note(self, text: str) -> None:
        """A line in the call's timeline, at this moment: `note("asked for a refund")`. Cut at 4000 characters."""
        self._live.notebook.note(text)
