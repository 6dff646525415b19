"""The caller's frames in other formats: whose time, whose track, and what becomes of holes."""

import random

import pytest

from calls.media.audio import mulaw_to_pcm16
from calls.media.formats import from_mulaw
from calls.media.frames import Frames
from calls.media.protocol import Media


def frames(*timestamps, track="inbound"):
    """Noise, 20 ms each."""
    dice = random.Random(1)
    return [Media(at, dice.randbytes(160), track, chunk) for chunk, at in enumerate(timestamps, 1)]


def converted(media, encoding="pcm16", rate=16000):
    to = Frames(encoding, rate)
    return [each for one in media for each in to.add(one)] + to.end()


def sound(media):
    return b"".join(each.payload for each in media)


def whole(media, encoding="pcm16", rate=16000):
    converter = from_mulaw(encoding, rate)
    return converter.convert(sound(media)) + converter.flush()


@pytest.mark.parametrize("encoding", ["mulaw", "pcm16"])
@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_frames_have_no_seams(encoding, rate):
    said = frames(*range(100, 500, 20))
    assert sound(converted(said, encoding, rate)) == whole(said, encoding, rate)


def test_each_payload_has_its_own_time():
    given = converted(frames(100, 120, 140, 160))
    assert [(media.timestamp, len(media.payload) // 32) for media in given] == [
        (100, 10),
        (110, 20),
        (130, 20),
        (150, 30),
    ]


def test_at_the_telephones_rate_a_frame_stays_a_frame():
    (said,) = frames(100)
    assert Frames("pcm16", 8000).add(said) == [Media(100, mulaw_to_pcm16(said.payload), "inbound", 1)]


def test_nothing_is_left_behind_in_front_of_a_hole_or_invented_for_it():
    before, after = frames(100, 120), frames(500, 520)
    given = converted([*before, *after])
    assert sound(given) == whole(before) + whole(after)
    assert [media.timestamp for media in given] == [100, 110, 500, 510]


def test_a_frame_that_comes_late_is_given_out_in_its_turn_with_its_time():
    given = converted(frames(100, 140, 120))
    assert [(media.timestamp, len(media.payload)) for media in given] == [(100, 640), (140, 640), (120, 640)]


def test_a_time_that_is_a_little_off_is_no_hole():
    said = frames(100, 121, 139, 175)
    assert sound(converted(said)) == whole(said)


def test_two_tracks_are_two_sounds():
    caller, other = frames(100, 120, 140), frames(100, 120, 140, track="outbound")
    given = converted([media for pair in zip(caller, other, strict=True) for media in pair])
    assert sound(media for media in given if media.track == "inbound") == whole(caller)
    assert sound(media for media in given if media.track == "outbound") == whole(other)


def test_a_payload_has_the_chunk_of_the_frame_that_completed_it():
    assert [media.chunk for media in converted(frames(100, 120, 140))] == [2, 3, 3]


def test_another_format_is_refused_before_anything_is_said():
    with pytest.raises(ValueError, match="not 44100"):
        Frames("pcm16", 44100)
    assert converted([]) == []
