"""Twilio's SIDs: two letters that say what it is, and 32 hexadecimal digits (https://www.twilio.com/docs/glossary/what-is-a-sid)."""

import re


_SID = re.compile("([A-Z]{2})[0-9a-fA-F]{32}")


def is_sid(text: object, *kinds: str) -> bool:
    """Whether this is the SID of something of one of these kinds, each named by its two letters."""
    found = _SID.fullmatch(text) if isinstance(text, str) else None
    return found is not None and found[1] in kinds


def is_call_sid(text: object) -> bool:
    return is_sid(text, "CA")


def is_stream_sid(text: object) -> bool:
    return is_sid(text, "MZ")
