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


class WrongKey(KeyMissing):
    """RECORDING_KEYS has another key of that name: as good as none, and as easily put right."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.args = (
            f"it is sealed, and “{name}” in RECORDING_KEYS is not the key that it takes, or its own key was exchanged",
        )


class Tampered(Unreadable):
    """The bytes are not those that were stored there."""
