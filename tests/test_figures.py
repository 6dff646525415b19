"""Of numbers that somebody else has written, those that a page can be drawn with."""

import pytest

from calls.media.figures import figure


@pytest.mark.parametrize("number", [0, -3, 1.5, 10**12])
def test_a_number_is_what_it_is(number):
    assert figure({"ms": number}, "ms") == number


@pytest.mark.parametrize("value", ["12", None, [1], {}, 10**12 + 1, -(10**400), float("nan"), float("inf")])
def test_what_cannot_be_reckoned_with_is_nothing(value):
    assert figure({"ms": value}, "ms") is None


def test_what_is_not_there_is_nothing():
    assert figure({}, "ms") is None
