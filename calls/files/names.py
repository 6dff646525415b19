"""What the file of a call is called."""

import re

from django.utils import timezone

from calls.models import Call


def file_name(call: Call, whole: bool) -> str:
    """Which call, when and with whom, without an ending. Nothing that a caller wrote gets into a header."""
    other = call.to_number if call.direction.startswith("outbound") else call.from_number
    digits = re.sub(r"[^0-9]", "", other)[:15] if whole else ""
    parts = ["call", str(call.pk), f"{timezone.localtime(call.created_at):%Y-%m-%d-%H%M%S}", digits]
    return "-".join(filter(None, parts))
