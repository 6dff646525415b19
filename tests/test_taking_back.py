"""Whatever is said, cleared, paused and resumed in whatever order: each speech is heard from its first sample, once.

What is recorded of a speech is a beginning of it, without a hole and without anything twice, and as long as its handler
is told. Each speech has bytes of its own, so the recording shows which is which.
"""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from calls.media.rows import ChunkRow
from tests.support.phone import Phone


SPEECHES = 6
WHICH = some.integers(0, SPEECHES - 1)
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("say"), some.integers(1, 40_000)),
        some.tuples(some.just("stream"), some.integers(1, 3_000)),
        some.tuples(some.just("chunks"), some.integers(1, 3_000)),
        some.tuples(some.just("frames"), some.integers(1, 40).map(lambda frames: 160 * frames)),
        some.tuples(some.just("later"), some.integers(1, 3_000)),
        some.tuples(some.sampled_from(["pause", "resume", "clear"]), WHICH),
        some.tuples(some.sampled_from(["clear everything", "mark", "return marks"]), some.just(0)),
    ),
    max_size=25,
)


def content(which, size):
    return bytes(16 * which + at % 16 for at in range(size))


async def in_pieces(audio):
    for at in range(0, len(audio), 777):
        yield audio[at : at + 777]
        await asyncio.sleep(0)


class Talk:
    """A handler that does what it is told, and what became of it."""

    def __init__(self):
        self.phone = Phone()
        self.said = []
        self.playings = []

    async def step(self, what, number):
        stream, playings = self.phone.stream, self.playings
        if what in ("say", "stream", "chunks", "frames") and len(playings) < SPEECHES:
            await self.speak(what, content(len(playings), number))
        elif what == "later":
            self.phone.later(number)
        elif what in ("pause", "resume", "clear") and number < len(playings):
            await getattr(playings[number], what)()
        elif what == "clear everything":
            await stream.clear()
        elif what == "mark":
            await stream.mark("m")
        elif what == "return marks":
            self.return_marks()
        for _ in range(4):
            await asyncio.sleep(0)

    async def speak(self, how, audio):
        self.said.append(audio)
        if how in ("chunks", "frames"):
            # Something else lies before and behind it, or it would be one speech with other chunks.
            await self.phone.stream.mark("before")
            size = 500 if how == "chunks" else 160
            for at in range(0, len(audio), size):
                playing = await self.phone.stream.play(audio[at : at + size], wait=False)
                assert playing.sent_ms <= (at + size) // 8
            await self.phone.stream.mark("behind")
        else:
            playing = self.phone.stream.say(audio if how == "say" else in_pieces(audio))
        self.playings.append(playing)

    def return_marks(self):
        """Those behind which everything has been played come back."""
        playback = self.phone.live.hearing.playback
        now = self.phone.live.outgoing.now()
        for mark in [mark for mark in playback.pending_marks if mark.cleared or mark.position <= now]:
            self.phone.return_mark(mark.name)

    def recorded(self):
        """What the caller heard of us, in order, by speech."""
        chunks = [row for row in self.phone.rows(ChunkRow) if row.track == "outbound"]
        heard = b"".join(row.payload for row in sorted(chunks, key=lambda row: row.start))
        return [bytes(byte for byte in heard if byte // 16 == which) for which in range(len(self.said))]


async def check(steps):
    talk = Talk()
    for what, number in steps:
        await talk.step(what, number)
    talk.phone.hang_up()
    played = await asyncio.wait_for(asyncio.gather(*talk.playings), 8)
    for audio, recorded, told in zip(talk.said, talk.recorded(), played, strict=True):
        assert recorded == audio[: len(recorded)]
        assert told.heard_ms == len(recorded) // 8
        assert told.heard_ms <= told.sent_ms <= -(-len(audio) // 8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_each_speech_is_heard_from_its_first_sample_without_a_hole_and_once(steps):
    asyncio.run(check(steps), debug=False)
