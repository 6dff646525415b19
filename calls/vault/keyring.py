"""The keys of RECORDING_KEYS: they wrap data keys, and seal nothing else."""

import os
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from calls.vault.errors import KeyMissing, NotAKey, Tampered, WrongKey


KEY_BYTES = 32
NONCE_BYTES = 12
# Data keys that are kept open: those of all streams of a process, and of recordings that are listened to.
OPEN_KEYS = 512
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def read_keys(texts: Iterable[str]) -> dict[str, bytes]:
    """Keys by name, from `name:base64`, in their order. NotAKey says which is none, without what it holds."""
    keys: dict[str, bytes] = {}
    for number, text in enumerate(texts, 1):
        name, _, encoded = text.partition(":")
        if not _NAME.fullmatch(name) or not encoded:
            raise NotAKey(f"number {number} has no name: it is not name:key, with 1-32 of a-z 0-9 _ . - as its name")
        if name in keys:
            raise NotAKey(f"two keys have the name “{name}”")
        try:
            key = b64decode(encoded, validate=True)
        except ValueError as error:
            raise NotAKey(f"“{name}” is not base64") from error
        if len(key) != KEY_BYTES:
            raise NotAKey(f"“{name}” has {len(key)} bytes, and needs {KEY_BYTES}")
        keys[name] = key
    return keys


class Keyring:
    """Wraps data keys with its first key, and unwraps them with whichever has wrapped them."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self.names = list(keys)
        #: The data key of (wrapped, whose), ready to use.
        self.unwrap = lru_cache(OPEN_KEYS)(lambda wrapped, whose: AESGCM(self._data_key(wrapped, whose)))

    def wrap(self, data_key: bytes, whose: bytes) -> str:
        """`name:base64`. It opens only together with `whose` it is, so that no two can be exchanged."""
        nonce = os.urandom(NONCE_BYTES)
        name = self.names[0]
        return f"{name}:{b64encode(nonce + self._keys[name].encrypt(nonce, data_key, whose)).decode()}"

    def rewrap(self, wrapped: str, whose: bytes, whose_now: bytes) -> str:
        """The same data key under the first key."""
        return self.wrap(self._data_key(wrapped, whose), whose_now)

    def _data_key(self, wrapped: str, whose: bytes) -> bytes:
        name, _, encoded = wrapped.partition(":")
        if name not in self._keys:
            raise KeyMissing(name)
        try:
            sealed = b64decode(encoded, validate=True)
            return self._keys[name].decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], whose)
        except InvalidTag as error:
            raise WrongKey(name) from error
        except ValueError as error:
            raise Tampered("its wrapped key was changed") from error


@lru_cache(1)
def _keyring(texts: tuple[str, ...]) -> Keyring:
    return Keyring(read_keys(texts))


def keyring() -> Keyring:
    return _keyring(tuple(settings.RECORDING_KEYS))


def names() -> list[str]:
    """Of RECORDING_KEYS, the one that wraps first."""
    return keyring().names


def is_on() -> bool:
    """Whether what is recorded from now on is sealed."""
    return bool(settings.RECORDING_KEYS)


def new_data_key() -> bytes:
    return AESGCM.generate_key(KEY_BYTES * 8)
