"""Phone numbers in logs and traces, for who may not keep them there: `+14155550123` becomes `+1•••••••0123`.

What looks like a number of E.164 is one: a plus sign, in one of the ways in which addresses and Python escape it, and
seven digits or more, with what people write between them. So is what stands behind the names that Twilio and we give
to numbers, with or without a plus. SIDs, moments and sizes have neither: a log is full of them, unlike what staff are
shown of a call, where `calls.access.numbers` takes all long digits for a number and also knows the call's own.
"""

import re


_PLUS = r"(?:[+\uff0b]|%(?:25)?2[bB]|\\x2b|\\u002b|\\uff0b|&#(?:43|x2[bB]);|&plus;)"
# What may stand between two digits of one number.
_BETWEEN = r"(?:[ .()/\-\u00a0\u2009-\u2011\u202f]|%20|\\xa0){0,3}"
_CONTIGUOUS = rf"{_PLUS}\d{{7,}}"
# Behind a time +1300 is so far off UTC, and begins no number.
_WRITTEN = rf"(?<!\d){_PLUS}{_BETWEEN}[1-9](?:{_BETWEEN}\d){{6,14}}"
_NAME = r"(?i:\b(?:from|to|caller|called|number|phone|caller_?id|forwarded_?from|(?:from|to)_number))"
_NAMED = rf"{_NAME}(?:=|['\"]\s*[:,]\s*)['\"]?\d{{7,15}}(?![\d.:])"
_NUMBER = re.compile(f"{_CONTIGUOUS}|{_WRITTEN}|{_NAMED}")
# What is in front of the digits: a plus, whose escapes have digits of their own, or a name.
_HEAD = re.compile(rf"{_PLUS}|\D+")


def masked(text: str) -> str:
    """The same, with no more of a number than its country and its last two to four digits."""
    return _NUMBER.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    head = _HEAD.match(found[0])
    assert head is not None, "a number has something in front of it"
    digits = re.findall(r"\d", re.sub(r"%20|\\xa0", "", found[0][head.end() :]))
    # One digit of country for North America and Russia; two for the others, a third of which would be too much.
    first = 1 if digits[0] in "17" else 2
    last = min(4, max(2, len(digits) - 6))
    hidden = "•" * (len(digits) - first - last)
    return f"{head[0]}{''.join(digits[:first])}{hidden}{''.join(digits[-last:])}"
