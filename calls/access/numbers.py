"""Phone numbers as somebody may see them: whole with `calls.see_numbers`, else by their last digits and nameless."""

import re
from typing import Any
from xml.sax.saxutils import escape

from django.http import HttpRequest

from calls.models import Call


# Seven digits and more, written as people and Twilio write them, and not a part of a SID.
_NUMBER = re.compile(r"(?<![0-9A-Za-z])\+?\d(?:[\s().-]{0,2}\d){6,}(?![0-9A-Za-z])")

# Whom a SIP address names; at which host is no secret. What is none is passed at once: somebody may write very many.
_SIP = re.compile(r"\b(sips?:)([^\s@<>\"]++)(@?)", re.IGNORECASE)

# A withheld number comes as a word, which older parts of Twilio type on a keypad: ANONYMOUS is +266696687.
# https://www.twilio.com/en-us/changelog/upcoming-changes-to-withheld-caller-ids-behavior-for-dial-calls
_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
_WITHHELD = {word.translate(_KEYPAD) for word in ("ANONYMOUS", "RESTRICTED", "BLOCKED", "UNKNOWN", "UNAVAILABLE")}

# What stands for a caller's name, and where Twilio's requests and our documents say it: the row may know another one.
HIDDEN, _NAME_KEY = "•••", "CallerName"
_NAME_PARAMETER = re.compile(rf'(<Parameter\b[^>]*\bname="{_NAME_KEY}"[^>]*\bvalue=")[^"]*')


def may_see(request: HttpRequest) -> bool:
    return request.user.has_perm("calls.see_numbers")


def is_nobodys(number: str) -> bool:
    """Whether it identifies nobody, and leads to nobody."""
    return not any(map(str.isdigit, number)) or number.removeprefix("+") in _WITHHELD


def mask(number: str) -> str:
    """Enough to recognise a known number, not enough to call it: the last four digits, or two of a short number."""
    keep = 4 if len(number) > 8 else 2 if len(number) > 4 else 0
    cut = len(number) - keep
    return re.sub(r"\w", "•", number[:cut]) + number[cut:]


def shown(number: str, whole: bool) -> str:
    return number if whole else mask(number)


def mask_all(value: Any, call: Call) -> Any:
    """The same for whatever a webhook or a handler said: the call's numbers, its name, and what looks like a number."""
    if isinstance(value, dict):
        hidden = {_NAME_KEY: HIDDEN} if value.get(_NAME_KEY) else {}
        return {mask_all(key, call): mask_all(item, call) for key, item in (value | hidden).items()}
    if isinstance(value, list):
        return [mask_all(item, call) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and value > 9_999_999:
        return mask(str(value))
    return _mask_text(value, call) if isinstance(value, str) else value


def _mask_text(text: str, call: Call) -> str:
    for number in (call.from_number, call.to_number, call.forwarded_from):
        if len(number) > 2:
            text = text.replace(number, mask(number))
    text = _name(call.caller_name).sub(HIDDEN, _NAME_PARAMETER.sub(rf"\1{HIDDEN}", text))
    text = _SIP.sub(lambda found: found[1] + (mask(found[2]) if found[3] else found[2]) + found[3], text)
    return _NUMBER.sub(lambda found: mask(found[0]), text)


def _name(name: str) -> re.Pattern[str]:
    """The caller's name as a handler or a document may write it; one of two letters is in too many other words."""
    forms = {form for form in (name.strip(), escape(name.strip())) if form}
    edge = r"\b" if len(name.strip()) < 3 else ""
    either = "|".join(map(re.escape, sorted(forms))) or r"(?!)"
    return re.compile(f"{edge}(?:{either}){edge}", re.IGNORECASE)
