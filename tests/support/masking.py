"""A client's WebSocket frames, put together here and not by the code under test."""

MASK = b"\x37\xfa\x21\x3d"


def masked(payload, first=0x81):
    """The frame of a text, or of what `first` says."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8, "big")
    return head + MASK + unmasked(payload)


def unmasked(octets):
    """The payload that looks like this on the wire."""
    size = len(octets)
    return (int.from_bytes(octets) ^ int.from_bytes((MASK * (size // 4 + 1))[:size])).to_bytes(size)
