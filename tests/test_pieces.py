"""How a piece of a running call's sound lies on the wire."""

from calls.media import pieces


def test_a_piece_is_its_lane_its_position_and_the_audio_as_it_came():
    assert pieces.pack(1, 0x0102030405060708, b"\xff\x7f\x00") == b"\x01\x01\x02\x03\x04\x05\x06\x07\x08\xff\x7f\x00"


def test_a_piece_without_audio_is_nine_bytes():
    assert pieces.pack(0, 160, b"") == b"\x00\x00\x00\x00\x00\x00\x00\x00\xa0"
