"""What a handler gets of a row."""

import pytest

from calls.media.rows import UtteranceRow
from calls.media.transcript import Said, Word, said


@pytest.mark.parametrize("track", ["inbound", "outbound"])
def test_positions_in_samples_become_milliseconds(track):
    row = UtteranceRow("MZ1", track, 8000, 4000, "a refund", [("a", 8000, 800), ("refund", 8800, 3200)])
    assert said(row) == Said(track, 1000, 1500, "a refund", (Word("a", 1000, 1100), Word("refund", 1100, 1500)))
