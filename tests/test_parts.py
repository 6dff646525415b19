"""What a caller did on one stream, frame by frame."""

from calls.replays.parts import Key, Part, joined


def part(*caller, keys=(), length=480):
    return Part(caller, keys, length, leaves=True)


def test_audio_comes_in_frames_of_20_ms():
    assert list(part((0, b"a" * 320), length=320).frames) == [b"a" * 160, b"a" * 160]


def test_where_twilio_sent_nothing_nothing_comes():
    assert list(part((0, b"a" * 160), (320, b"b" * 160)).frames) == [b"a" * 160, None, b"b" * 160]
    assert list(part().frames) == [None, None, None]


def test_what_is_left_of_a_frame_is_silence():
    frames = list(part((80, b"a" * 160)).frames)
    assert frames == [b"\xff" * 80 + b"a" * 80, b"a" * 80 + b"\xff" * 80, None]


def test_several_runs_may_lie_in_one_frame():
    assert list(part((0, b"a" * 10), (50, b"b" * 10), length=160).frames) == [
        b"a" * 10 + b"\xff" * 40 + b"b" * 10 + b"\xff" * 100
    ]


def test_what_lies_behind_the_end_is_left_out():
    assert list(part((0, b"a" * 160), (320, b"b" * 160), length=160).frames) == [b"a" * 160]


def test_the_lane_is_as_long_as_the_stream():
    assert part((80, b"a" * 160), length=320).lane == b"\xff" * 80 + b"a" * 160 + b"\xff" * 80
    assert part((0, b"a" * 160), length=80).lane == b"a" * 80


def test_keys_are_pressed_with_the_frame_that_was_spoken_then():
    pressed = part(keys=(Key(19, "1"), Key(20, "2"), Key(39, "#")))
    assert [pressed.pressed(frame) for frame in range(3)] == ["1", "2#", ""]


def test_runs_that_touch_are_one():
    assert joined([(0, b"aa"), (2, b"bb"), (5, b"c")]) == [(0, b"aabb"), (5, b"c")]


def test_of_two_that_overlap_the_first_one_stays():
    assert joined([(0, b"aaaa"), (2, b"bbbb")]) == [(0, b"aaaabb")]
    assert joined([(0, b"aaaa"), (1, b"b")]) == [(0, b"aaaa")]
    assert joined([]) == []
