"""A piece of a running call's sound as a browser gets it. Pure.

1 byte lane (0 the caller, 1 us), 8 bytes position, big-endian, in samples on the stream's own clock, then µ-law. Where
the next piece of a lane begins behind the end of the one before it, there is a hole.
"""

import struct


_HEADER = struct.Struct(">BQ")


def pack(lane: int, position: int, mulaw: bytes) -> bytes:
    return _HEADER.pack(lane, position) + mulaw
