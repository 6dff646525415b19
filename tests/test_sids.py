"""Twilio's SIDs, and what is not one."""

import pytest

from calls.media.sids import is_call_sid, is_sid, is_stream_sid


CALL_SID = "CA" + "0123456789abcdef" * 2
STREAM_SID = "MZ" + "0123456789abcdef" * 2


@pytest.mark.parametrize("sid", [CALL_SID, CALL_SID.upper()])
def test_the_sid_of_a_call_is_ca_and_32_hexadecimal_digits(sid):
    assert is_call_sid(sid)


@pytest.mark.parametrize("sid", ["", None, 7, ["CA"], CALL_SID[:-1], f"{CALL_SID}\n", STREAM_SID, f" {CALL_SID}"])
def test_anything_else_is_not_the_sid_of_a_call(sid):
    assert not is_call_sid(sid)


def test_the_sid_of_a_stream_begins_with_mz():
    assert is_stream_sid(STREAM_SID)
    assert not is_stream_sid(CALL_SID)


def test_a_sid_may_be_of_several_kinds():
    assert is_sid(CALL_SID, "CA", "MZ")
    assert not is_sid(CALL_SID, "AC", "SK")
