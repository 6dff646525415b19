"""What a report may tell: no tokens, and nothing that XML, a terminal or a page cannot hold.

Reports are kept by build servers and read by more people than the server's log. Whoever has a token can sign as Twilio.
"""

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar


T = TypeVar("T")

HIDDEN = "…"

_SECRET = r"[\w.-]*(?:token|secret|passw|signature|credential|api_?key|auth)[\w.-]*"
_QUERY = re.compile(rf"([?&;]{_SECRET}=)[^&\s\"'<>]+", re.IGNORECASE)
_USER = re.compile(r"(://)[^/\s@\"'<>]+@")
_JSON = re.compile(rf'("{_SECRET}"\s*:\s*")(?:[^"\\]|\\.)*', re.IGNORECASE)
_PARAMETER = re.compile(r"<Parameter\b[^<>]*>", re.IGNORECASE)
_NAME = re.compile(rf"\bname\s*=\s*[\"']{_SECRET}[\"']", re.IGNORECASE)
_VALUE = re.compile(r"(\bvalue\s*=\s*)(\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_KEY = re.compile(_SECRET, re.IGNORECASE)
# https://www.w3.org/TR/xml/#charsets: what no XML 1.0 document has, and escape sequences for a terminal.
_UNSTORABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def masked(value: T, *secrets: str) -> T:
    """A copy in which every text can be told, however deep it lies; `secrets` are hidden wherever they stand."""
    told: Any = _masked(value, [secret for secret in secrets if secret])
    return told  # type: ignore[no-any-return]


def masked_text(text: str, *secrets: str) -> str:
    for secret in filter(None, secrets):
        text = text.replace(secret, HIDDEN)
    text = _UNSTORABLE.sub("\ufffd", text)
    text = _USER.sub(r"\1", text)
    text = _JSON.sub(rf"\1{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", text))
    return _PARAMETER.sub(_without_value, text)


def _masked(value: Any, secrets: list[str]) -> Any:
    match value:
        case str():
            return masked_text(value, *secrets)
        case list() | tuple():
            return type(value)(_masked(item, secrets) for item in value)
        case dict():
            return {_masked(key, secrets): _held(key, item, secrets) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _masked(getattr(value, f.name), secrets) for f in fields(value) if f.init})
    return value


def _held(key: Any, item: Any, secrets: list[str]) -> Any:
    is_secret = isinstance(key, str) and isinstance(item, str) and _KEY.fullmatch(key)
    return HIDDEN if is_secret else _masked(item, secrets)


def _without_value(parameter: re.Match[str]) -> str:
    text = parameter[0]
    return _VALUE.sub(rf'\1"{HIDDEN}"', text) if _NAME.search(text) else text
