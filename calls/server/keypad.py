"""The keys that a caller presses, as they are stored: plainly, or masked."""

from django.conf import settings

from calls.media.protocol import Dtmf
from calls.media.rows import MASKED, DtmfRow
from calls.media.tape import Tape


class Keypad:
    """One stream's."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        #: Whether what is pressed from now on is nobody's business.
        self.is_secret: bool = settings.MASK_DTMF
        #: Keys that are stored as they are, with their rows: they may turn out to be secret.
        self._plain: list[tuple[Dtmf, DtmfRow]] = []

    def press(self, key: Dtmf, position: int) -> None:
        row = self._tape.key(MASKED if self.is_secret else key.digit, position)
        if not self.is_secret:
            self._plain.append((key, row))

    def mask(self, key: Dtmf) -> None:
        """A key that was typed ahead is secret: what is stored of it, or about to be, is masked."""
        for at, (known, row) in enumerate(self._plain):
            if known is key:
                self._tape.mask(row, MASKED)
                del self._plain[at]
                return
