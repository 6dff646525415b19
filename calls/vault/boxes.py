"""What waits on disk or in quarantine, sealed whole: a box has its own key in it, wrapped, and in plain whose it is.

So any process that has RECORDING_KEYS can open it, and whoever erases a call finds it by its SIDs.
"""

import os
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from cryptography.exceptions import InvalidTag

from calls.vault.errors import Tampered
from calls.vault.keyring import NONCE_BYTES, Keyring, is_on, keyring, new_data_key


# No msgpack begins like this: https://github.com/msgpack/msgpack/blob/master/spec.md (0xc1, never used).
_MAGIC = b"\xc1box"
_WHOSE = b"callstream box"


class _Box(msgspec.Struct, array_like=True):
    key: str
    names: list[str]
    sealed: bytes


_decode = msgspec.msgpack.Decoder(_Box).decode


@lru_cache(1)
def _key(ring: Keyring) -> str:
    """The one key of this process's boxes."""
    return ring.wrap(new_data_key(), _WHOSE)


def shut(content: bytes, names: Iterable[str]) -> bytes:
    """A box of these calls and streams; the content itself while nothing is sealed."""
    if not is_on():
        return content
    ring, nonce, named = keyring(), os.urandom(NONCE_BYTES), sorted(set(names))
    key = _key(ring)
    sealed = nonce + ring.unwrap(key, _WHOSE).encrypt(nonce, content, _of(named))
    return _pack(_Box(key, named, sealed))


def unshut(data: bytes) -> bytes:
    """What is in a box; anything else is its own content. Unreadable if it cannot be had."""
    if (box := _read(data)) is None:
        return data
    try:
        sealed = box.sealed
        data_key = keyring().unwrap(box.key, _WHOSE)
        return data_key.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _of(box.names))
    except (InvalidTag, ValueError) as error:
        raise Tampered("a box is not what it was when it was shut") from error


def wrapping_key(data: bytes) -> str:
    """The name of the key that a box needs; empty for what is none."""
    box = _read(data)
    return box.key.partition(":")[0] if box else ""


def rewrap_box(data: bytes) -> bytes:
    """The same box under the first key of RECORDING_KEYS."""
    box = _read(data)
    return _pack(_Box(keyring().rewrap(box.key, _WHOSE, _WHOSE), box.names, box.sealed)) if box else data


def _read(data: bytes) -> _Box | None:
    if not data.startswith(_MAGIC):
        return None
    try:
        return _decode(data[len(_MAGIC) :])
    except ValueError as error:
        raise Tampered("a box is damaged") from error


def _pack(box: _Box) -> bytes:
    return _MAGIC + msgspec.msgpack.encode(box)


def _of(names: list[str]) -> bytes:
    return " ".join(["callstream box of", *names]).encode()
