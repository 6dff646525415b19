"""Which of two lists belong together."""

from calls.replays.alignment import aligned, farness


def pairs(before, after, join=None):
    return aligned(before, after, lambda one, other: farness(other - one), join)


def test_what_is_in_both_is_a_pair():
    assert pairs([1000, 5000], [1200, 5100]) == [(1000, 1200), (5000, 5100)]


def test_what_is_missing_leaves_the_others_where_they_are():
    assert pairs([1000, 5000, 9000], [1000, 9000]) == [(1000, 1000), (5000, None), (9000, 9000)]
    assert pairs([1000, 9000], [1000, 5000, 9000]) == [(1000, 1000), (None, 5000), (9000, 9000)]


def test_what_comes_much_later_is_the_same_all_the_same():
    assert pairs([1000], [61_000]) == [(1000, 61_000)]


def test_all_that_follows_may_have_moved():
    assert pairs([1000, 5000, 9000], [4000, 8000, 12_000]) == [(1000, 4000), (5000, 8000), (9000, 12_000)]


def test_one_side_may_be_empty():
    assert pairs([], [1, 2]) == [(None, 1), (None, 2)]
    assert pairs([1], []) == [(1, None)]
    assert pairs([], []) == []


def spans(before, after):
    return aligned(before, after, edges, lambda one, two: (one[0], two[1]))


def edges(one, other):
    return (farness(other[0] - one[0]) + farness(other[1] - one[1])) / 2


def test_two_in_a_row_may_be_one_on_the_other_side():
    torn, whole = [(0, 2000), (3010, 6000)], [(0, 6000)]
    assert spans(torn, whole) == [((0, 6000), (0, 6000))]
    assert spans(whole, torn) == [((0, 6000), (0, 6000))]


def test_two_are_not_one_if_they_fit_badly():
    assert spans([(0, 2000), (30_000, 31_000)], [(0, 2000)]) == [((0, 2000), (0, 2000)), ((30_000, 31_000), None)]


def test_two_pairs_are_better_than_one_that_is_joined():
    assert spans([(0, 2000), (3000, 6000)], [(0, 2100), (3000, 6100)])[0] == ((0, 2000), (0, 2100))


def test_many_close_to_each_other_stay_in_order():
    many = list(range(0, 30_000, 300))
    assert pairs(many, many) == list(zip(many, many, strict=True))
