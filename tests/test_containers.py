"""Sound files by their first bytes."""

import random

import pytest

from calls.media.containers import container


def mp3(*headers, sizes, dice=None):
    """Frames with these headers, as long as they say; all the same without dice."""
    bodies = [dice.randbytes(size - 4) if dice else bytes(size - 4) for size in sizes]
    return b"".join(header + body for header, body in zip(headers, bodies, strict=True))


@pytest.fixture
def dice():
    return random.Random(1)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
        (b"OggS\0\2", "Ogg"),
        (b"fLaC\0\0", "FLAC"),
        (b"ID3\x04\0\0", "MP3"),
        (b"FORM\0\0\0\0AIFF", "AIFF"),
        (b"\x1aE\xdf\xa3\x9f", "WebM"),
        (b"\0\0\0\x20ftypM4A ", "MP4"),
    ],
)
def test_a_file_is_known_by_how_it_begins(data, name):
    assert container(data) == name
    assert container(b"\xff" + data) == ""


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"\xff\xfb\x90\x00", 417),  # MPEG-1, 128 kbit/s, 44.1 kHz
        (b"\xff\xfb\x92\x00", 418),  # the same, padded
        (b"\xff\xfb\x94\x00", 384),  # 48 kHz
        (b"\xff\xfa\xe8\x00", 1440),  # 320 kbit/s, 32 kHz: only two fit into what is looked at
        (b"\xff\xf3\x84\x00", 192),  # MPEG-2, 64 kbit/s, 24 kHz: what speech services give
        (b"\xff\xf3\x48\xc4", 144),  # 32 kbit/s, 16 kHz
        (b"\xff\xe3\x18\xc4", 72),  # MPEG-2.5, 8 kbit/s, 8 kHz
    ],
)
def test_an_mp3_file_without_a_tag_is_known_by_its_frames(dice, header, size):
    assert container(mp3(*[header] * 4, sizes=[size] * 4, dice=dice)) == "MP3"


def test_a_frame_may_be_padded(dice):
    headers = [b"\xff\xfb\x90\x00", b"\xff\xfb\x92\x00", b"\xff\xfb\x90\x00"]
    assert container(mp3(*headers, sizes=[417, 418, 417], dice=dice)) == "MP3"


def test_a_tone_whose_samples_repeat_like_headers_is_no_mp3():
    assert container(mp3(*[b"\xff\xf3\x84\x00"] * 10, sizes=[192] * 10)) == ""


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"\xff\xff\x90\x00", 417),  # layer I
        (b"\xff\xeb\x90\x00", 522),  # a version that there is not
        (b"\xff\xfb\x00\x00", 417),  # no bitrate
        (b"\xff\xfb\xf0\x00", 417),  # a bad one
        (b"\xff\xfb\x9c\x00", 417),  # no rate
        (b"\xff\x1b\x90\x00", 417),
    ],
)
def test_what_is_no_header_begins_no_mp3(dice, header, size):
    assert container(mp3(*[header] * 4, sizes=[size] * 4, dice=dice)) == ""


def test_one_frame_or_two_short_ones_may_be_chance(dice):
    header = b"\xff\xfb\x90\x00"
    assert container(mp3(header, sizes=[417], dice=dice)) == ""
    assert container(mp3(header, header, sizes=[417, 417], dice=dice)) == ""


@pytest.mark.parametrize(("other", "size"), [(b"\xff\xfb\x94\x00", 384), (b"\xff\xf3\xb0\x00", 365)])
def test_frames_of_two_kinds_are_no_mp3(dice, other, size):
    assert container(mp3(b"\xff\xfb\x90\x00", *[other] * 4, sizes=[417, *[size] * 4], dice=dice)) == ""


def test_quiet_samples_that_begin_like_an_mp3_are_none(dice):
    quiet = bytes([*range(0xF0, 0x100), *range(0x70, 0x80)])
    assert {container(b"\xff\xfb" + bytes(dice.choices(quiet, k=2046))) for _ in range(2000)} == {""}


def test_nothing_is_no_file():
    assert container(b"") == ""
