"""Rows as bytes that may wait on disk or in quarantine: sealed where there are keys, with their SIDs in plain."""

from collections.abc import Sequence

from calls import vault
from calls.media.rows import AnyRow, CallRow, EventRow, StreamRow, decode, encode


def pack(rows: Sequence[AnyRow]) -> bytes:
    return vault.shut(encode(rows), [name for row in rows for name in _names(row)]) if vault.is_on() else encode(rows)


def unpack(data: bytes) -> list[AnyRow]:
    """The rows again. ValueError if they cannot be read, KeyMissing if that takes a key that is not there."""
    try:
        return decode(vault.unshut(data))
    except vault.Tampered as error:
        raise ValueError(str(error)) from error


def _names(row: AnyRow) -> list[str]:
    match row:
        case CallRow():
            return [row.sid]
        case StreamRow():
            return [row.sid, row.call_sid]
        case EventRow():
            return [row.call, row.stream or ""]
        case _:
            return [row.stream]
