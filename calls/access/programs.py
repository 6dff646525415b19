"""Programs that read over the API: a client's token, who is behind one, and how often a wrong one may be tried.

A token is `cs_`, the client's public key, `_` and 256 random bits. Nobody guesses those, so a fast hash is enough to
keep them, and strangers who try are only kept from costing much: a database query each, at a rate.
"""

import hashlib
import logging
import re
import secrets
import time
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from calls.access.logins import MOST_LOGGED, QUIET, network
from calls.models import ApiClient


logger = logging.getLogger(__name__)

_TOKEN = re.compile(r"cs_([0-9a-f]{16})_([A-Za-z0-9_-]{43})", re.ASCII)
# Wrong tokens that one address may try at once, and after how many seconds each of them comes back.
WRONG_AT_ONCE, WRONG_COMES_BACK = 20, 6.0
# Tokens that were right in this process: a stranger behind the same address does not lock them out.
MOST_KNOWN = 1000


class NoSuchToken(Exception):
    """Nobody's token: it is malformed, unknown, expired or revoked. Says which, for the log."""


class TooManyTokens(Exception):
    """So many wrong ones came from this address that this one was not looked at."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Program(AnonymousUser):
    """Who asks, where a client of the API does: `request.user`, with the permissions that the client has."""

    def __init__(self, client: ApiClient) -> None:
        super().__init__()
        self.client = client

    def __str__(self) -> str:
        return self.client.name

    @property
    def is_authenticated(self) -> Any:
        return True

    @property
    def is_anonymous(self) -> Any:
        return False

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return perm.removeprefix("calls.") in self.client.permissions


def issue(client: ApiClient) -> str:
    """Gives a client a new token in the place of any other, unsaved; only whoever calls this ever knows it."""
    client.key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    client.digest = _digest(secret)
    return f"cs_{client.key}_{secret}"


def log_in(request: HttpRequest, token: str) -> Program:
    """Makes the client that has this token `request.user`. Raises NoSuchToken or TooManyTokens.

    One query, none for what cannot be a token; a second one at most once a minute.
    """
    address = network(request.META.get("REMOTE_ADDR", ""))
    fingerprint = _digest(token)
    if fingerprint not in _known and (seconds := _wait(address)):
        raise TooManyTokens(seconds)
    try:
        client = _find(token)
    except NoSuchToken as error:
        _known.pop(fingerprint, None)
        _count(address, str(error))
        raise
    _remember(fingerprint)
    client.note_use(timezone.now())
    request.user = program = Program(client)
    return program


def _find(token: str) -> ApiClient:
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise NoSuchToken("malformed")
    client = ApiClient.objects.filter(key=found[1]).first()
    # An unknown key takes as long as a wrong secret.
    if not constant_time_compare(client.digest if client else "", _digest(found[2])) or client is None:
        raise NoSuchToken("unknown")
    if not client.is_active:
        raise NoSuchToken(f"revoked client={client.pk}")
    if client.has_expired:
        raise NoSuchToken(f"expired client={client.pk}")
    return client


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


#: Digests of tokens that were right, the last ones.
_known: dict[str, None] = {}
#: When all tries of an address will have come back, and when a refusal of it was last logged.
_wrong: dict[str, float] = {}
_logged: dict[str, float] = {}


def _remember(fingerprint: str) -> None:
    _known.pop(fingerprint, None)
    _known[fingerprint] = None
    while len(_known) > MOST_KNOWN:
        _known.pop(next(iter(_known)), None)


def _wait(address: str) -> int:
    """Seconds until this address may try another one."""
    ahead = _wrong.get(address, 0.0) - time.monotonic()
    return max(0, round(ahead - (WRONG_AT_ONCE - 1) * WRONG_COMES_BACK + 0.5))


def _count(address: str, why: str) -> None:
    now = time.monotonic()
    _wrong[address] = max(_wrong.pop(address, now), now) + WRONG_COMES_BACK
    if _logged.pop(address, -QUIET) <= now - QUIET:
        logger.warning("api_refused a token that is %s: address=%s", why, address)
    _logged[address] = now
    for kept in (_wrong, _logged):
        while len(kept) > MOST_LOGGED:
            kept.pop(next(iter(kept)), None)
