"""MediaStream: what a handler holds. Plain methods over the whole protocol; no ORM, no Channels.

Everything here runs in the event loop of one process. Audio is raw µ-law, 8000 samples (and bytes) a second.
"""

from collections.abc import AsyncIterator
from pathlib import PurePath

from calls.media import tones
from calls.media.audio import FRAME_SAMPLES, Examiner
from calls.media.protocol import Dtmf as Dtmf
from calls.media.protocol import Media as Media
from calls.server.inbox import Event as Event
from calls.server.inbox import Mark as Mark
from calls.server.inbox import Outcome as Outcome
from calls.server.live_stream import LiveStream
from calls.server.outgoing import StreamEnded as StreamEnded
from calls.server.outings import Order, dial
from calls.server.tickets import Dialled as Dialled


class MediaStream:
    """One stream of a call, as its handler sees it."""

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
        self._examiner = Examiner()
        self._take(live)

    def _take(self, live: LiveStream) -> None:
        """The call is on this stream from now on: at first, and when the caller is back from a `dial`."""
        self.stream_sid = live.sid
        self._live = live
        self._lifetime = live.lifetime
        self._inbox = live.inbox
        self._outgoing = live.outgoing

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
    def overruns(self) -> int:
        """Frames that were dropped because the handler was more than 2 s behind."""
        return self._inbox.overruns

    @property
    def recording_paused(self) -> bool:
        return self._live.recording_paused

    # --- what comes from the caller -----------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        """Media, Dtmf and Mark in the order of their arrival, until the stream ends.

        Media that nobody takes is kept for 2 s; keys and marks are never dropped. An event is given out once, even if
        several tasks iterate.
        """
        return self._inbox.all()

    def media(self) -> AsyncIterator[Media]:
        """The caller's audio alone. Keys and marks that come meanwhile are thrown away, whoever else waits for them."""
        return self._inbox.media()

    def skip(self) -> None:
        """Passes over what has arrived so far: audio, keys and marks."""
        self._inbox.skip()

    async def digits(
        self, count: int | None = None, *, timeout: float = 5.0, terminator: str = "#", sensitive: bool = False
    ) -> str:
        """Keys until `count` of them, the terminator, or `timeout` seconds without one; typed ahead counts too.

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

    # --- what the caller hears ----------------------------------------------------------------------------------------

    async def play(self, audio: bytes, *, barge_in: bool = False, wait: bool = True) -> Outcome:
        """Plays raw µ-law, 8000 bytes a second, and returns once the caller has heard it, or "cleared" if it was cut.

        ValueError for what is not µ-law: a WAV file (`calls.media.audio.read_wav` reads it) or PCM16
        (`pcm16_to_mulaw`).

        `barge_in`: a key or 100 ms of speech clears it. It needs a play that waits.

        `wait=False` returns at once: it is played after what was given before. What is not heard within 10 s waits
        here rather than at Twilio; at 10 minutes that wait (4.8 MB), the next play waits for room. Chunks of any size
        make one speech without seams, as long as each comes at least 0.1 s before the one before it has been heard;
        whatever comes between (a mark, `clear`, `hang_up`, a pause) ends the speech, and pads it to whole frames of 160
        bytes.
        """
        outgoing = self._outgoing
        # A frame that nothing waits before, 50 times a second for every call, goes straight to the socket.
        if not wait and not barge_in and type(audio) is bytes and len(audio) == FRAME_SAMPLES and outgoing.takes_frames:
            if text := outgoing.send_now(audio):
                await outgoing.send(text)
            return "cleared" if self._lifetime.is_over else "played"
        if barge_in and not wait:
            raise ValueError("barge_in needs a play that waits: with wait=False nobody would clear it")
        outgoing.check_open()
        self._live.protocol.check_sending("media")
        audio = self._examined(audio)
        if not wait:
            return await outgoing.say(audio)
        if not barge_in:
            return await outgoing.say_and_wait(audio)
        interrupted = self._live.barge_in.watch()
        try:
            return await outgoing.say_and_wait(audio, interrupted)
        finally:
            self._live.barge_in.stop(interrupted)

    async def clear(self) -> None:
        """What was not heard yet never will be: it leaves Twilio's buffer, and what still waited here is forgotten.

        Waiting plays return "cleared", and marks come back as that.
        """
        await self._outgoing.clear()

    async def mark(self, name: str) -> None:
        """Asks for a Mark event once everything given to play so far has been heard. Names may repeat."""
        self._outgoing.check_open()
        await self._outgoing.mark(name)

    async def press(self, keys: str) -> Outcome:
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
        up meanwhile. StateError on a <Start> stream, and while somebody is dialled already.
        """
        return await dial(self._live, Order.checked(number, timeout, caller_id), self._take)

    async def hang_up(self) -> None:
        """Lets the caller hear what was given to play, then ends the stream; the call is hung up at once.

        The handler may go on for 5 s more, to clean up; whatever it sends then is a mistake, and raises StreamEnded.
        """
        await self._live.hang_up()

    # --- the recording ------------------------------------------------------------------------------------------------

    def pause_recording(self) -> None:
        """From now on both lanes of the recording are silent, and a gap says that it was meant."""
        self._live.pause_recording()

    def resume_recording(self) -> None:
        """Both lanes are recorded again."""
        self._live.resume_recording()

    def _examined(self, audio: object) -> bytes:
        if not isinstance(audio, bytes | bytearray | memoryview):
            is_name = isinstance(audio, str | PurePath)
            what = f"the name of a file ({str(audio)[:80]!r})" if is_name else type(audio).__name__
            raise TypeError(
                f"play takes raw µ-law bytes, not {what}; calls.media.audio.read_wav(data) returns those of a WAV file"
            )
        audio = bytes(audio)
        if objection := self._examiner.objection(audio):
            raise ValueError(objection)
        return audio
