"""What a handler says of its call: JSON of some size is kept as it is, the rest is refused where it is said."""

import json

import pytest

from calls.media.data import LONGEST_NOTE, MOST_BYTES, checked, note


@pytest.mark.parametrize(
    "value",
    [None, True, "A-17", "陳大文", 12, -(2**63 - 1), 12.5, [1, "two"], {"sku": "A", "rows": [{"n": 1}]}, "x" * 16_000],
)
def test_json_is_kept_as_it_is(value):
    assert checked({"order": value}, {}) == {"order": value}


def test_a_tuple_is_a_list():
    assert checked({"seats": ("A", "B")}, {}) == {"seats": ["A", "B"]}


def test_what_is_kept_does_not_change_with_what_was_given():
    rows = [1]
    kept = checked({"rows": rows}, {})
    rows.append(2)
    assert kept == {"rows": [1]}


def test_text_is_made_storable():
    assert checked({"said": "a\x00\ud800", "more": {"\x00": "b"}}, {}) == {
        "said": "a\ufffd\ufffd",
        "more": {"\ufffd": "b"},
    }


@pytest.mark.parametrize("name", ["order number", "", "1st", "a" * 101])
def test_a_name_is_an_identifier(name):
    with pytest.raises(ValueError, match="a name is an identifier"):
        checked({name: 1}, {})


def test_a_name_may_be_in_any_script():
    assert checked({"straße": 1}, {}) == {"straße": 1}


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), 2**63, -(2**63)])
def test_a_number_that_not_every_database_takes_is_refused(number):
    with pytest.raises(ValueError, match=r"amount is .*, which JSON cannot hold"):
        checked({"amount": number}, {})


@pytest.mark.parametrize("value", [b"A-17", {1, 2}, object(), [b""]])
def test_what_is_no_json_is_refused_by_its_name(value):
    with pytest.raises(TypeError, match=r"order is a \w+, which is not JSON: give str"):
        checked({"order": value}, {})


def test_keys_inside_of_a_value_are_text():
    with pytest.raises(TypeError, match="order has the key 1"):
        checked({"order": {1: "A"}}, {})


def test_a_value_that_holds_itself_is_refused():
    rows = []
    rows.append(rows)
    with pytest.raises(ValueError, match="rows has more than 4 levels"):
        checked({"rows": rows}, {})


def test_all_that_a_stream_sets_is_bounded():
    known = {"first": "x" * 10_000}
    with pytest.raises(ValueError, match="has at most 16384 bytes as JSON, and this would be 20"):
        checked({"second": "ä" * 5_000}, known)


def test_a_value_that_replaces_a_long_one_needs_its_room_only():
    room = MOST_BYTES - len(json.dumps({"first": ""}))
    known = checked({"first": "x" * room}, {})
    assert checked({"first": "y" * room}, known) == {"first": "y" * room}


def test_a_note_is_kept_as_it_is():
    assert note("asked for a refund") == "asked for a refund"


def test_a_long_note_ends_with_an_ellipsis():
    assert note("x" * 5_000) == "x" * (LONGEST_NOTE - 1) + "…"


def test_a_note_is_made_storable():
    assert note("a\x00b") == "a\ufffdb"


def test_a_note_is_text():
    with pytest.raises(TypeError, match="a note is text, not dict"):
        note({"asked": "refund"})
