"""What transcribes, found by TRANSCRIBER: a preset, or the dotted path of an async generator function.

async def transcribe(audio: AsyncIterator[bytes]) -> AsyncIterator[Heard]:

It is called once for each lane of a stream that has sound, and again if it fails. `audio` gives µ-law, 8000 bytes a
second, as the call goes on, in pieces of up to half a second without long silences, and ends with the call. It yields
what was said as soon as that is certain, in seconds of that audio, and ends when all is told. A `Heard` without text
says that up to there nobody spoke: then less has to be sent again. Whatever it raises means that it is called again,
but for `Refused`. It runs on the event loop of live calls: it must not hold that.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from importlib.util import find_spec

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from calls.media.transcript import Heard


Transcribe = Callable[[AsyncIterator[bytes]], AsyncGenerator[Heard]]

PRESETS = {
    "deepgram": "calls.speech.deepgram.transcribe",
    "vosk": "calls.speech.vosk.transcribe",
    "pocketsphinx": "calls.speech.sphinx.transcribe",
}


class Refused(Exception):
    """It will not work however often it is tried: the key is wrong, say."""


def find() -> Transcribe | None:
    """What TRANSCRIBER names; None if it names nothing. ImportError or ImproperlyConfigured if it cannot be used."""
    name: str = settings.TRANSCRIBER
    if not name:
        return None
    if name == "pocketsphinx" and find_spec("pocketsphinx") is None:
        raise ImproperlyConfigured("it is not installed: pip install 'callstream[speech]'")
    transcribe: Transcribe = import_string(PRESETS.get(name, name))
    return transcribe
