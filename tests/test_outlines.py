"""The waveform of a call that runs, as the process that holds it tells it."""

import pytest

from calls.media.audio import SILENCE
from calls.media.rows import ChunkRow
from calls.supervision.audience import Audience
from calls.supervision.outlines import Outlines
from tests.support.phone import CALL, LOUD, STREAM, Phone


def chunk(start, frames=1, track="inbound", frame=LOUD):
    return ChunkRow(STREAM, track, 0, start, frame * frames)


def taken(*rows):
    outlines = Outlines()
    for row in rows:
        outlines.add(STREAM, [row])
    return [(lane, start, len(peaks)) for lane, start, peaks in outlines.take(STREAM)]


def test_what_follows_in_a_lane_is_one_piece():
    assert taken(chunk(0, 10), chunk(1600, 5)) == [(0, 0, 15)]


def test_each_lane_has_its_own_pieces():
    both = [chunk(0), chunk(100, track="outbound"), chunk(160), chunk(260, track="outbound")]
    assert taken(*both) == [(0, 0, 2), (1, 100, 2)]


def test_behind_a_hole_begins_another_piece():
    assert taken(chunk(0), chunk(320)) == [(0, 0, 1), (0, 320, 1)]


def test_a_piece_tells_how_loud_each_20_ms_were():
    outlines = Outlines()
    outlines.add(STREAM, [ChunkRow(STREAM, "inbound", 0, 0, SILENCE * 160 + LOUD)])
    [(_, _, peaks)] = outlines.take(STREAM)
    assert peaks[0] == 0 < 100 < peaks[1]


def test_what_was_told_is_not_told_again():
    outlines = Outlines()
    outlines.add(STREAM, [chunk(0)])
    outlines.take(STREAM)
    assert outlines.take(STREAM) == []


@pytest.fixture
async def live():
    return Phone().live


def told(audience, live, rows):
    audience.hear(live, rows)
    audience.flush()
    return audience._waiting.popleft()[0]


def follow(audience, listens=False, drawn=()):
    audience.follow({"type": "audience.follow", "from": "there", "calls": {CALL: listens}, "drawn": list(drawn)})


async def test_only_a_call_whose_page_is_open_tells_its_waveform(live):
    audience = Audience("here")
    follow(audience)
    assert "peaks" not in told(audience, live, [chunk(0)])
    follow(audience, listens=True, drawn=[CALL])
    assert [piece[:2] for piece in told(audience, live, [chunk(160)])["peaks"]] == [(0, 160)]
    follow(audience, listens=True)
    assert "peaks" not in told(audience, live, [chunk(320)])


async def test_what_comes_between_two_words_is_told_with_the_second(live):
    audience = Audience("here")
    follow(audience, drawn=[CALL])
    told(audience, live, [chunk(0)])
    audience.hear(live, [chunk(160)])
    assert not audience._entries
    audience._told.clear()
    [(lane, start, peaks)] = told(audience, live, [chunk(320)])["peaks"]
    assert (lane, start, len(peaks)) == (0, 160, 2)
