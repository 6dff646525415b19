"""How much memory rows are taken for while they wait."""

import datetime as dt

import pytest

from calls.media.rows import DataRow, EventRow
from calls.recorder.batches import ROW_SIZE, size_of
from tests.support.batches import START, chunk, gap


LONG = "x" * 4000


def test_audio_is_taken_for_what_it_is_and_a_small_row_for_a_few_bytes():
    assert size_of([chunk(), gap(0, 160)]) == 160 + ROW_SIZE


@pytest.mark.parametrize(
    "row",
    [
        DataRow("CA1", {"order": LONG}, START),
        EventRow("CA1", "MZ1", "stream", "note", "key", START, {"text": LONG}),
    ],
)
def test_a_row_that_a_handler_fills_is_taken_for_all_that_is_in_it(row):
    assert 4000 < size_of([row]) < 5000


def test_a_short_event_is_taken_for_as_much_as_other_rows():
    assert size_of([EventRow("CA1", "MZ1", "stream", "note", "key", dt.datetime(2026, 1, 1), {})]) == ROW_SIZE
