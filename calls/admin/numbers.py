"""Phone numbers as somebody may see them: whole with `calls.see_numbers`, else by their last digits."""

import re
from typing import Any

from django.http import HttpRequest

from calls.models import Call


# Seven digits and more, written as people and Twilio write them, and not a part of a SID.
_NUMBER = re.compile(r"(?<![0-9A-Za-z])\+?\d(?:[\s().-]{0,2}\d){6,}(?![0-9A-Za-z])")


def may_see(request: HttpRequest) -> bool:
    return request.user.has_perm("calls.see_numbers")


def mask(number: str) -> str:
    """Enough to recognise one's own by, not enough to call: the last four digits, or two of a short number."""
    keep = 4 if len(number) > 8 else 2 if len(number) > 4 else 0
    cut = len(number) - keep
    return re.sub(r"\w", "•", number[:cut]) + number[cut:]


def shown(number: str, whole: bool) -> str:
    return number if whole else mask(number)


def mask_all(value: Any, call: Call) -> Any:
    """The same for whatever a webhook or a handler said: the call's own numbers, and everything that looks like one."""
    if isinstance(value, dict):
        return {mask_all(key, call): mask_all(item, call) for key, item in value.items()}
    if isinstance(value, list):
        return [mask_all(item, call) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and value > 9_999_999:
        return mask(str(value))
    return _mask_text(value, call) if isinstance(value, str) else value


def _mask_text(text: str, call: Call) -> str:
    for number in (call.from_number, call.to_number, call.forwarded_from):
        if len(number) > 2:
            text = text.replace(number, mask(number))
    return _NUMBER.sub(lambda found: mask(found[0]), text)
