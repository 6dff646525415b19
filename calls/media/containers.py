"""How sound files begin, so that one is not taken for raw samples."""

from itertools import pairwise
from operator import ne


# Prefixes of at least four bytes: raw audio begins like that once in 4 billion times.
_PREFIXES = {
    b"RIFF": "WAV",
    b"RF64": "WAV",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"ID3\x02\x00": "MP3",
    b"ID3\x03\x00": "MP3",
    b"ID3\x04\x00": "MP3",
    b"FORM": "AIFF",
    b"\x1aE\xdf\xa3": "WebM",
}
_STARTS = tuple(_PREFIXES)
# Of MPEG-1 and of MPEG-2 and 2.5, layer III, by ISO/IEC 11172-3 and 13818-3: kbit/s by index, and Hz of MPEG-1.
_BITRATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = (44100, 48000, 32000)
_SEARCHED = 2048


def container(data: bytes) -> str:
    """The kind of sound file that `data` begins, "" if it is none that is known."""
    if data.startswith(_STARTS):
        return next(name for prefix, name in _PREFIXES.items() if data.startswith(prefix))
    if data[4:8] == b"ftyp":
        return "MP4"
    return "MP3" if data[:1] == b"\xff" and _is_mp3(data[:_SEARCHED]) else ""


def _is_mp3(data: bytes) -> bool:
    """MP3 without a tag: frames of one kind, each where the one before it ends."""
    frames: list[bytes] = []
    while len(data) >= 4:
        length = _mp3_frame(data)
        if not length or (frames and _kind(data) != _kind(frames[0])):
            return False
        frames.append(data[:length])
        data = data[length:]
    # A steady tone may begin like one too, but is the same from frame to frame.
    enough = 3 if frames and len(frames[0]) < _SEARCHED / 2 else 2
    return len(frames) >= enough and any(_differ(frame, following) for frame, following in pairwise(frames))


def _kind(frame: bytes) -> tuple[int, int]:
    """Its version, its layer and its rate: these stay."""
    return frame[1] & 0xFE, frame[2] & 0x0C


def _differ(frame: bytes, other: bytes) -> bool:
    different: int = sum(map(ne, frame, other))
    return different > min(len(frame), len(other)) / 2


def _mp3_frame(header: bytes) -> int:
    """How long the frame is whose four bytes of header these are; 0 if they are none."""
    # 11 bits set, then 01 for layer III.
    if header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bitrate == 15 or rate == 3:
        return 0
    is_first = version == 3
    hertz = _RATES[rate] // (1 if is_first else 2 if version == 2 else 4)
    return (144 if is_first else 72) * 1000 * _BITRATES[not is_first][bitrate] // hertz + (header[2] >> 1 & 1)
