"""Text and JSON from outside: what both databases take is kept, and the rest is replaced or cut."""

import pytest

from calls.media.storable import storable, storable_json


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"])
def test_what_no_database_takes_is_replaced(text):
    assert storable(text, 10) == "a\ufffdb"


def test_text_is_cut_and_other_things_become_text():
    assert (storable("abcdef", 3), storable(1234, 3), storable(None, 10)) == ("abc", "123", "None")


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", [], {}, {"a": [1, {"b": None}]}])
def test_json_that_is_small_and_clean_stays_as_it_is(value):
    assert storable_json(value) == value


def test_keys_and_strings_of_json_are_made_storable_and_cut():
    assert storable_json({"\x00" + "k" * 200: "\x00" + "v" * 5000}) == {"\ufffd" + "k" * 99: "\ufffd" + "v" * 3999}


def test_of_each_level_of_json_a_hundred_items_are_kept():
    kept = storable_json([list(range(200)), {str(n): n for n in range(200)}])
    assert [len(each) for each in kept] == [100, 100]


def test_json_below_the_fourth_level_is_text():
    assert storable_json([[[[["deep"]]]]]) == [[[["['deep']"]]]]
