"""A stream's key, and its rows of audio sealed with it.

A row is bound to its stream, its lane and where it begins: moved elsewhere, it does not open. A key whose stream is
still being sealed (it was recorded before RECORDING_KEYS) is marked so, and only such a stream may have plain rows.
"""

import os

from cryptography.exceptions import InvalidTag

from calls.vault.errors import Tampered
from calls.vault.keyring import NONCE_BYTES, is_on, keyring, new_data_key


# What sealing adds to a row, in bytes: the nonce before it, and GCM's tag behind.
OVERHEAD = NONCE_BYTES + 16
#: How the key of a stream ends that is still being sealed.
PARTLY = ":partly"


def new_key(sid: str) -> str:
    """A key for a stream that begins, wrapped; empty while nothing is sealed."""
    return keyring().wrap(new_data_key(), _whose(sid)) if is_on() else ""


def check_key(key: str, sid: str) -> None:
    """Whether a stream's audio can be opened; KeyMissing or Tampered says why not."""
    if key:
        keyring().unwrap(*_parts(key, sid))


def seal(key: str, sid: str, track: str, start: int, audio: bytes) -> bytes:
    """The payload that is stored of a row; the audio itself if its stream has no key."""
    if not key:
        return audio
    nonce = os.urandom(NONCE_BYTES)
    return nonce + keyring().unwrap(*_parts(key, sid)).encrypt(nonce, audio, _place(sid, track, start))


def open_row(key: str, sid: str, track: str, start: int, payload: bytes, length: int) -> bytes:
    """A row's audio, so many bytes, from the payload that was stored of it. Unreadable if it cannot be had."""
    if not key or (is_being_sealed(key) and len(payload) == length):
        if len(payload) != length:
            raise Tampered(f"its {track} row at {start} has {len(payload)} bytes instead of {length}, and no key")
        return payload
    data_key = keyring().unwrap(*_parts(key, sid))
    try:
        audio = data_key.decrypt(payload[:NONCE_BYTES], payload[NONCE_BYTES:], _place(sid, track, start))
    except (InvalidTag, ValueError) as error:
        raise Tampered(f"its {track} row at {start} is not what was stored there") from error
    if len(audio) != length:
        raise Tampered(f"its {track} row at {start} has {len(audio)} samples instead of {length}")
    return audio


def rewrap(key: str, sid: str) -> str:
    """The same key under the first one of RECORDING_KEYS."""
    wrapped, whose = _parts(key, sid)
    return keyring().rewrap(wrapped, whose, whose) + (PARTLY if is_being_sealed(key) else "")


def begin_sealing(sid: str) -> str:
    """A key for a stream whose rows are plain, and are sealed one after the other."""
    return keyring().wrap(new_data_key(), _whose(sid, PARTLY)) + PARTLY


def end_sealing(key: str, sid: str) -> str:
    """The same key, once no row is plain."""
    wrapped, whose = _parts(key, sid)
    return keyring().rewrap(wrapped, whose, _whose(sid))


def is_being_sealed(key: str) -> bool:
    return key.endswith(PARTLY)


def _parts(key: str, sid: str) -> tuple[str, bytes]:
    if is_being_sealed(key):
        return key.removesuffix(PARTLY), _whose(sid, PARTLY)
    return key, _whose(sid)


def _whose(sid: str, mark: str = "") -> bytes:
    return f"callstream stream {sid}{mark}".encode()


def _place(sid: str, track: str, start: int) -> bytes:
    return f"{sid} {track} {start}".encode()
