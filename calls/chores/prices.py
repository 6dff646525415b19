"""What calls cost: Twilio knows some minutes after their end, and is asked for each of them."""

import logging

from django.conf import settings
from django.utils import timezone

from calls import rest
from calls.models import Call


logger = logging.getLogger(__name__)

# Calls of a round, which comes every 30 s: at most 100 requests a minute, one at a time.
ROUND = 50


class Pricing:
    """Asks for what is due. One a process: it remembers what the log has been told."""

    def __init__(self) -> None:
        self._is_away = self._has_told = False

    def ask(self) -> bool:
        """A round. Nothing more is asked before the next one."""
        due = Call.objects.unpriced(timezone.now()) if rest.has_credentials() else Call.objects.none()
        for call in due.only("sid", "account_sid", "parameters")[:ROUND]:
            # Another machine may have been faster.
            claimed = due.filter(pk=call.pk).update(price_asked_at=timezone.now())
            if claimed and is_ours(call) and not self._learn(call):
                return False
        return False

    def _learn(self, call: Call) -> bool:
        """Whether Twilio answers at all."""
        try:
            rest.look_up_price(call)
        except rest.RestError as error:
            if error.code in rest.UNKNOWN:
                self._note_unknown(call)
                return True
            if not self._is_away:
                logger.warning("prices_wait: %s", error)
            self._is_away = True
            return False
        if self._is_away:
            logger.warning("prices_come_again")
        self._is_away = False
        return True

    def _note_unknown(self, call: Call) -> None:
        if not self._has_told:
            logger.warning("price_unknown call=%s: Twilio knows no such call", call.sid)
        self._has_told = True


def is_ours(call: Call) -> bool:
    """Whether it is a call that this account of Twilio's can know."""
    return not call.is_simulated and call.account_sid in ("", settings.TWILIO_ACCOUNT_SID)


# The one of this process.
pricing = Pricing()
