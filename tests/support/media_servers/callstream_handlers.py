"""Our own server: the same conversation as a handler, right, and one that does not mind its caller."""

from calls.streams import MediaStream, Playing
from tests.support.media_servers.parrot import GREETING, PAUSE_FRAMES, is_loud


async def parrot(stream: MediaStream) -> None:
    await _talk(stream, clears=True)


async def unmoved(stream: MediaStream) -> None:
    await _talk(stream, clears=False)


async def _talk(stream: MediaStream, clears: bool) -> None:
    playing: Playing | None = stream.say(GREETING)
    heard, quiet = bytearray(), 0
    async for media in stream.media():
        if is_loud(media.payload):
            heard += media.payload
            quiet = 0
            if playing and clears:
                await playing.clear()
                playing = None
            continue
        quiet += 1
        if quiet >= PAUSE_FRAMES and heard:
            playing, heard = stream.say(bytes(heard)), bytearray()
