"""What a server of the fault tests has beside the real thing: a slow view, and handlers that break."""

import asyncio
import os
import time

from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from django.utils import timezone

from calls.handlers import echo, handler
from calls.media.audio import tone
from calls.media.rows import GapRow
from calls.process import watchdog
from calls.recorder import housekeeping
from config.urls import urlpatterns as real


if seconds := os.environ.get("LEASE"):
    # Orphans are closed sooner than in production: a test does not wait 20 s.
    housekeeping.LEASE, housekeeping.HEARTBEAT = int(seconds), 1
if seconds := os.environ.get("HOPELESS"):
    watchdog.HOPELESS = float(seconds)


def slow(request):
    """A view with a query that takes 3 s, in the thread that Django gives it."""
    seconds = float(request.GET.get("seconds", 3))
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        else:
            cursor.execute("SELECT 1")
            time.sleep(seconds)
    return HttpResponse("at last")


urlpatterns = [path("slow", slow), *real]


async def raises(stream):
    """Hears half a second, and fails."""
    async for media in stream.media():
        if media.timestamp > 500:
            raise LookupError("the handler's own fault")


async def hangs(stream):
    """Never looks at its stream again."""
    await asyncio.sleep(3600)


async def blocks(stream):
    """Keeps the whole event loop for so long that the log names it, whatever it has named before."""
    async for media in stream.media():
        if media.timestamp > 500:
            break
    time.sleep(1.5)  # noqa: ASYNC251
    async for _ in stream:
        pass


async def never_returns(stream):
    """Keeps the whole event loop for good."""
    async for media in stream.media():
        if media.timestamp > 1000:
            break
    time.sleep(3600)  # noqa: ASYNC251


async def poisons(stream):
    """Echoes, and has a row written that no database takes."""
    async for media in stream.media():
        if 500 < media.timestamp <= 520:
            stream._live.tape.rows.append(GapRow(stream.stream_sid, "nowhere", 0, 160, "timestamp"))
        await stream.play(media.payload, wait=False)


async def fills(stream):
    """Echoes, in a process that has no memory left to keep anything in."""
    settings.RECORDER_MAX_BUFFER_MB = 0
    await echo(stream)


async def overflows(stream):
    """... and no room on its disk either."""
    settings.SPOOL_MAX_MB = 0
    await fills(stream)


async def talks_on(stream):
    """Has 9 s to say, and takes 3 s to notice that nobody listens any more."""
    await stream.play(tone(440, 9000), wait=False)
    async for _ in stream.media():
        pass
    await asyncio.sleep(3)


async def converses(stream):
    """Says four things as a speech service gives them, each of which may be interrupted, and notes what was heard."""
    for value in b"\x31\x32\x33\x34":
        played = await stream.play(_service(value), barge_in=True)
        facts = {"value": value, "outcome": played.outcome, "heard_ms": played.heard_ms}
        stream._live.tape.event("said", timezone.now(), **facts)


async def _service(value):
    """2.5 s of speech, faster than it is spoken, in chunks of odd sizes."""
    for size in [777] * 25 + [575]:
        await asyncio.sleep(0.01)
        yield bytes([value]) * size


async def takes_back(stream):
    """Is interrupted by each key, and goes on half a second later from where the caller had come to."""
    speech = tone(440, 3000)
    playing = stream.say(speech)
    for _ in range(2):
        await stream.digits(1)
        await playing.pause()
        await asyncio.sleep(0.5)
        await playing.resume()
    await playing


async def forgets(stream):
    """Means to play and to mark, and does neither."""
    for _ in range(2):
        stream.play(tone(440, 100))
    async for _ in stream.media():
        pass


class Prepared:
    async def aclose(self):
        print("what was prepared is closed", flush=True)


async def prepared(call):
    return Prepared()


@handler(prepare=prepared)
async def prepares(stream):
    """Has something to be closed."""
    async for _ in stream:
        pass


async def dials(stream):
    """Says with keys what came of it, and echoes: 1 for completed, 2 for busy, then a 9 if it began anew."""
    outcome = await stream.dial("+14155550111", timeout=5)
    await stream.press({"completed": "1", "busy": "2"}[outcome.status] + "9" * bool(stream.resumed))
    await echo(stream)


NAMES = (
    "dials",
    "raises",
    "hangs",
    "blocks",
    "never_returns",
    "poisons",
    "fills",
    "overflows",
    "talks_on",
    "forgets",
    "prepares",
    "converses",
    "takes_back",
)
HANDLERS = ",".join(f"{name}=tests.support.child.{name}" for name in NAMES)
