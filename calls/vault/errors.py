"""Why something sealed cannot be opened. Their texts are for people, and name no secret."""


class NotAKey(ValueError):
    """RECORDING_KEYS has something in it that is no key."""


class Unreadable(Exception):
    """Audio that is there and cannot be opened."""


class KeyMissing(Unreadable):
    """RECORDING_KEYS has no key of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it is sealed, and the key “{name}” is not in RECORDING_KEYS")
        self.name = name


class Tampered(Unreadable):
    """The key does not fit, or the bytes are not those that were stored there."""
