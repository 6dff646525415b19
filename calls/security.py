"""Who may talk to us: Twilio's signature on webhooks and WebSocket handshakes, and the token that binds a stream to a
call.

The signature is HMAC over *the URL that Twilio used*, so `PUBLIC_URL` decides it and never a header
(https://www.twilio.com/docs/usage/security#validating-requests). Nothing here looks at DEBUG or touches a database.
"""

import hashlib
import hmac
import logging
import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac
from twilio.request_validator import RequestValidator, get_signature_algorithm

from calls.addresses import socket_origin


logger = logging.getLogger(__name__)

SIGNATURE = "X-Twilio-Signature"
SIGNATURE_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
# Seconds between the answer with the token and the `start` that brings it back: a document may keep a caller in a queue
# or on the phone for as long as a call can last, 24 h, before its <Connect>. A shorter life would cost such calls their
# stream and gain little: a token is good for one socket of one call, and that socket's handshake is signed by Twilio.
TOKEN_MAX_AGE = 24 * 60 * 60
# Nonces that a process remembers, about 10 MB: older ones are refused by the database, which never forgets them, when
# the stream's row is written.
MOST_NONCES = 100_000
# Twilio allows 500 characters for a parameter's name and value together.
TOKEN_MAX_LENGTH = 400
# A reference to a row and the parameters for its handler, as they travel in a URL.
REF_MAX_LENGTH = 3000


def signing_urls(url: str) -> Iterator[str]:
    """The spellings under which Twilio may have signed a URL: without userinfo, with and without the port.

    Voice over https drops the port, over http it keeps it; for wss nothing is documented. On a WebSocket the docs
    say to try a trailing slash as well.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    bare = host.removesuffix(f":{parts.port}") if parts.port else host
    default = 443 if parts.scheme in ("https", "wss") else 80
    for netloc in dict.fromkeys([host, bare, f"{bare}:{parts.port or default}"]):
        spelled = parts._replace(netloc=netloc).geturl()
        yield spelled
        if parts.scheme in ("wss", "ws"):
            yield spelled.removesuffix("/") if spelled.endswith("/") else f"{spelled}/"


def is_signed(url: str, params: Any, signature: str | None, algorithm: str = "") -> bool:
    """Whether one of our tokens made this signature. `params` are form fields, {} or the raw body of a JSON request.

    Every token in TWILIO_AUTH_TOKEN counts: while tokens rotate, either may have signed. A missing or strange
    signature is simply not valid.
    """
    if not signature or not signature.isascii():
        return False
    validators = [RequestValidator(token) for token in settings.TWILIO_AUTH_TOKENS]
    try:
        if isinstance(params, bytes):
            if not _has_hash_of(url, params):
                return False
            params = {}
        expected = [
            validator.compute_signature(spelled, params, algorithm or None)
            for validator in validators
            for spelled in signing_urls(url)
        ]
    except ValueError:  # an algorithm that does not exist, a malformed URL
        return False
    # Every candidate is compared, so that timing does not tell which one came close.
    return sum(hmac.compare_digest(candidate, signature) for candidate in expected) > 0


def _has_hash_of(url: str, body: bytes) -> bool:
    """A JSON body is signed through its SHA-256 in the query."""
    stated = parse_qs(urlsplit(url).query).get("bodySHA256", [""])[0]
    return hmac.compare_digest(stated.encode(), hashlib.sha256(body).hexdigest().encode())


# HMAC-SHA1, or HMAC-SHA256 if the signature's settings say so, in base64.
_SIGNATURE = re.compile("[A-Za-z0-9+/]{27}=|[A-Za-z0-9+/]{43}=")


def could_be_signed(path: str, headers: Mapping[str, str]) -> bool:
    """Whether the header looks like a signature at all; a refusal is logged. Costs nothing, and says nothing more."""
    signature = headers.get(SIGNATURE)
    if signature and _SIGNATURE.fullmatch(signature):
        return True
    _log_refusal("webhook", settings.PUBLIC_URL + path, "parameters that were not read", signature)
    return False


def is_signed_webhook(path: str, params: Any, headers: Mapping[str, str]) -> bool:
    """Whether Twilio sent this request. `path` includes the query, as it was on the wire; a refusal is logged."""
    url = settings.PUBLIC_URL + path
    algorithm = get_signature_algorithm(headers.get(SIGNATURE_SETTINGS))
    if is_signed(url, params, headers.get(SIGNATURE), algorithm):
        return True
    names = "a raw body" if isinstance(params, bytes) else ", ".join(sorted(params))[:500]
    _log_refusal("webhook", url, f"parameters: {names}", headers.get(SIGNATURE))
    return False


# The parameter of a voice request in which `simulate_call` says that Twilio knows nothing of its call.
SIMULATED = "Simulated"


def simulators_mark(token: str) -> str:
    """What our simulator says of its calls: nobody can who does not have the token that it signs with."""
    return hmac.new(token.encode(), b"calls.simulator", hashlib.sha256).hexdigest()


def is_simulators(mark: str) -> bool:
    return any(constant_time_compare(simulators_mark(token), mark) for token in settings.TWILIO_AUTH_TOKENS)


def is_signed_handshake(path: str, headers: Mapping[str, str]) -> bool:
    """Whether Twilio opened this socket. It signs the URL of the <Stream> and no parameters."""
    url = socket_origin() + path
    algorithm = get_signature_algorithm(headers.get(SIGNATURE_SETTINGS.lower()))
    if is_signed(url, {}, headers.get(SIGNATURE.lower()), algorithm):
        return True
    _log_refusal("handshake", url, "no parameters", headers.get(SIGNATURE.lower()))
    return False


# The values of a query, and a password before the host.
_VALUE = re.compile(r"(?<==)[^&]+|(?<=://)[^/@]*@")


def _log_refusal(what: str, url: str, parameters: str, signature: str | None) -> None:
    """Names what was validated, so that a wrong PUBLIC_URL is found in a minute; values are never logged."""
    logger.warning(
        "signature_invalid %s: %s; validated %s with %s (PUBLIC_URL must be the address that Twilio uses)",
        what,
        "there is none" if not signature else "it is not ours",
        ascii(_VALUE.sub("...", url[:300]))[1:-1],
        ascii(parameters)[1:-1],
    )


class StreamToken(msgspec.Struct, frozen=True, array_like=True):
    """What a stream knows of its call without a database. Travels as <Parameter name="token">."""

    call_sid: str
    handler: str
    account_sid: str = ""
    from_number: str = ""
    to_number: str = ""
    direction: str = "inbound"
    #: False for a <Start> stream, on which nothing may be sent.
    bidirectional: bool = True
    #: How often this call has been connected again.
    resumed: int = 0
    #: Usable once: by the process at once, by the database when the Stream row is written.
    nonce: str = ""
    #: How often this call has been handed over to another handler.
    handed: int = 0

    def sign(self) -> str:
        """At most 400 characters whatever the numbers are: SIP URIs are long, and are cut."""
        # A handler's name of more than 39 characters takes its room from both numbers.
        room = 46 - max(0, len(self.handler.encode()) - 38) // 2
        short = msgspec.structs.replace(
            self,
            from_number=_cut(self.from_number, room),
            to_number=_cut(self.to_number, room),
            nonce=os.urandom(9).hex(),
        )
        return seal(short, "calls.stream")

    @classmethod
    def read(cls, text: object) -> "StreamToken | None":
        """The token, or None if it is not ours, was changed, or is older than a call can be."""
        return unseal(text, "calls.stream", cls, TOKEN_MAX_AGE)


SealedT = TypeVar("SealedT", bound=msgspec.Struct)


def seal(facts: msgspec.Struct, salt: str) -> str:
    """A small struct as text that nobody else could make, though anybody can read it. `salt` is for what it is used."""
    packed = urlsafe_b64encode(msgspec.msgpack.encode(facts)).decode().rstrip("=")
    return signing.TimestampSigner(salt=salt).sign(packed)


def unseal(text: object, salt: str, kind: type[SealedT], max_age: int) -> SealedT | None:
    """None if it is not ours, was changed, is of another use, or is older than `max_age` seconds."""
    if not isinstance(text, str) or len(text) > TOKEN_MAX_LENGTH or not text.isascii():
        return None
    try:
        packed = signing.TimestampSigner(salt=salt).unsign(text, max_age=max_age)
        return msgspec.msgpack.decode(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), type=kind)
    except (signing.BadSignature, Base64Error, msgspec.DecodeError):
        return None


class CallRef(msgspec.Struct, frozen=True, array_like=True):
    """Which of our rows a call that we placed belongs to, and what its handler is told, without a database.

    Travels as `?ref=` in the Url and StatusCallback given to Twilio, and so through every log on the way: it is
    encrypted, because parameters are names, addresses and whatever else an application tells its handler. It has no
    age: a callback may come a day later.
    """

    call: int
    parameters: dict[str, str] = {}

    def sign(self) -> str:
        """Without the padding, which a URL would have to quote."""
        return _ciphers().encrypt(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, text: object) -> "CallRef | None":
        """The reference, or None if there is none or it is not ours."""
        if not isinstance(text, str) or len(text) > REF_MAX_LENGTH or not text.isascii():
            return None
        try:
            return msgspec.msgpack.decode(_unsigned(text) if ":" in text else _decrypted(text), type=cls)
        except (signing.BadSignature, InvalidToken, ValueError):
            return None


def _ciphers() -> MultiFernet:
    """A key of its own from each SECRET_KEY; the first encrypts, the others are read while keys rotate."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    keys = [salted_hmac("calls.ref.encrypted", "", secret=secret, algorithm="sha256").digest() for secret in secrets]
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])


def _decrypted(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    # The last letter has unused bits: one reference has one spelling.
    if urlsafe_b64encode(urlsafe_b64decode(padded)).decode() != padded:
        raise InvalidToken
    return _ciphers().decrypt(padded)


def _unsigned(text: str) -> bytes:
    """What the first release gave to Twilio, for calls that it placed: signed and to be read by anybody."""
    packed = signing.Signer(salt="calls.ref").unsign(text)
    return urlsafe_b64decode(packed + "=" * (-len(packed) % 4))


def _cut(number: str, length: int) -> str:
    return number.encode("utf-8", "replace")[: max(0, length)].decode("utf-8", "ignore")


class UsedNonces:
    """The nonces that this process has seen last, none for longer than a token lives.

    It answers at once, and while the database is away; what it has forgotten, or another process has seen, the database
    refuses, at most a few hundred ms later.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def use(self, nonce: str) -> bool:
        """Uses a nonce up. False if it was used before."""
        now = time.monotonic()
        while self._seen and next(iter(self._seen.values())) < now - TOKEN_MAX_AGE:
            del self._seen[next(iter(self._seen))]
        if nonce in self._seen:
            return False
        if len(self._seen) >= MOST_NONCES:
            del self._seen[next(iter(self._seen))]
        self._seen[nonce] = now
        return True
