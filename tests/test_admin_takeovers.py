"""How the page of a call shows when a person talked to its caller."""

import pytest

from calls.admin.events import entries
from calls.recordings.rendering import Recording
from tests.support.factories import START, make_event, make_stream


pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("end", ["hand-back", "takeover-ended"])
def test_a_takeover_is_a_stretch_of_our_side_where_the_stream_had_it(end):
    stream = make_stream()
    facts = {"stream": stream, "source": "control", "occurred_at": START}
    make_event(stream.call, kind="take-over", **facts)
    make_event(stream.call, kind=end, data={"start_ms": 2000, "end_ms": 5500, "seconds": 3.5}, **facts)
    found, _ = entries(stream.call, Recording.of(stream.call), whole_numbers=True)
    stretch = {entry.word: (entry.seconds, entry.length_seconds, entry.track) for entry in found if entry.length}
    assert stretch == {"A person took over": ("2.00", "3.50", "outbound")}
