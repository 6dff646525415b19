"""What an address and a SID look like, wherever somebody writes one."""

import re
from urllib.parse import urlsplit


# For a server that does not look at it.
NO_ACCOUNT = "AC" + "0" * 32


def is_address(text: str) -> bool:
    """Whether it is http or https, with a host, and a port that can be."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be
        return False


def is_sid(prefix: str, text: str) -> bool:
    return bool(re.fullmatch(prefix + "[0-9a-fA-F]{32}", text))
