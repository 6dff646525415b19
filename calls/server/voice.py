"""What a handler says on its stream: in one go, as it comes from a source, or chunk by chunk."""

import asyncio

from calls.media.audio import SAMPLE_RATE
from calls.media.formats import Form, to_mulaw
from calls.media.script import Speech
from calls.media.tape import Tape
from calls.server.barge_in import BargeIn
from calls.server.playing import Playing
from calls.server.sources import Bytes, Source, check_source, feed, pieces
from calls.server.speaking import Speaking


# What may wait to be sent, in samples: 10 minutes. Beyond that even a chunk that is not waited for does.
MOST_WAITING = 600 * SAMPLE_RATE


class Voice:
    """One stream's."""

    def __init__(self, speaking: Speaking, barge_in: BargeIn, tape: Tape) -> None:
        self._speaking = speaking
        self._barge_in = barge_in
        self._tape = tape
        #: Where what is said in chunks while a person talks would end, if it were heard.
        self._unheard_end = 0

    @property
    def chunks(self) -> Playing:
        """What is said in chunks at the moment, all of it."""
        opened = self._speaking.speeches.current
        assert opened is not None  # something was added to it just now
        if opened.playing is None:
            opened.playing = Playing(self._speaking, opened.speech, self._tape)
        playing: Playing = opened.playing
        return playing

    def say(self, audio: Bytes | Source, form: Form, *, barge_in: bool = False) -> Playing:
        """Says it behind what was said before, from its first chunk on; whoever calls this sees it through.

        Raises what `Speaking.check`, `check_source` and `to_mulaw` do, and then nothing is said.
        """
        self._speaking.check()
        check_source(audio)
        converter, speech = to_mulaw(*form), Speech()
        if isinstance(audio, Bytes):
            first, *audio = pieces(bytes(audio)) or [b""]
            # Whatever is wrong with it is told to whom it belongs, and nothing is said.
            speech.add(converter.convert(first))
        playing = Playing(self._speaking, speech, self._tape)
        playing.begin(feed(audio, converter, speech, self._speaking), self._barge_in if barge_in else None)
        return playing

    async def add(self, chunk: Bytes, form: Form) -> Playing:
        """Adds a chunk to what was said in chunks before, without a seam. Waits only if ten minutes wait already."""
        speaking = self._speaking
        speaking.check()
        if speaking.is_held:
            return await self._pass_over(len(chunk), form)
        opened = speaking.speeches.open(form)
        playing, speech = self.chunks, opened.speech
        while speaking.speeches.script.samples > MOST_WAITING and not speech.is_over:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for piece in pieces(bytes(chunk)):
            await speaking.add(speech, opened.converter.convert(piece))
            if len(chunk) > len(piece):
                await asyncio.sleep(0)
        return playing

    async def _pass_over(self, size: int, form: Form) -> Playing:
        """A chunk that is not heard, since a person talks. It takes the same room as if it were, while they do."""
        encoding, rate = form
        speaking, speech = self._speaking, Speech()
        speaking.say(speech)
        samples = size * SAMPLE_RATE // (rate * (2 if encoding == "pcm16" else 1))
        self._unheard_end = max(self._unheard_end, speaking.now()) + samples
        while speaking.is_held and self._unheard_end - speaking.now() > MOST_WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return Playing(speaking, speech, self._tape)
