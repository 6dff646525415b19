"""What the caller says, frame by frame, in another format than Twilio's."""

from calls.media.audio import FRAME_SAMPLES, SAMPLES_PER_MS, Encoding
from calls.media.formats import from_mulaw
from calls.media.protocol import Media, Track


class Frames:
    """The frames of one stream; each of its tracks is a sound of its own."""

    def __init__(self, encoding: Encoding, rate: int) -> None:
        """ValueError for a format that is none of ours."""
        self._form = encoding, rate
        from_mulaw(encoding, rate)
        self._sounds: dict[Track, _Sound] = {}

    def add(self, media: Media) -> list[Media]:
        """What is certain by now: at another rate up to 30 ms less than came, which follows; each with its own time.

        Where time jumps, frames were lost: what came before is given out to its end, and another sound begins. Nothing
        is invented for the hole, as in the frames themselves.
        """
        sound, rest = self._sounds.get(media.track), []
        if sound is None or not sound.goes_on_with(media):
            rest = sound.end() if sound else []
            sound = self._sounds[media.track] = _Sound(self._form, media)
        return rest + sound.add(media)

    def end(self) -> list[Media]:
        """What was still held back."""
        return [media for sound in self._sounds.values() for media in sound.end()]


class _Sound:
    """Frames of one track that follow each other without a hole."""

    def __init__(self, form: tuple[Encoding, int], first: Media) -> None:
        self._converter = from_mulaw(*form)
        self._width, self._rate = 1 if form[0] == "mulaw" else 2, form[1]
        self._begin, self._last = first.timestamp, first
        # In samples: of Twilio's, and of ours.
        self._taken = self._given = 0

    def goes_on_with(self, media: Media) -> bool:
        """Whether it begins where the last one ended; less than a frame to and fro is Twilio's own inaccuracy."""
        return abs((media.timestamp - self._begin) * SAMPLES_PER_MS - self._taken) < FRAME_SAMPLES

    def add(self, media: Media) -> list[Media]:
        self._last = media
        self._taken += len(media.payload)
        return self._give(self._converter.convert(media.payload))

    def end(self) -> list[Media]:
        return self._give(self._converter.flush())

    def _give(self, payload: bytes) -> list[Media]:
        if not payload:
            return []
        timestamp = self._begin + 1000 * self._given // self._rate
        self._given += len(payload) // self._width
        return [Media(timestamp, payload, self._last.track, self._last.chunk)]
