"""Alerts by mail: each row that waits is claimed, sent, and noted as sent.

What dies between the last two sends that mail again when the claim runs out: twice is better than never, and both have
one Message-ID.
"""

import logging
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.utils import timezone

from calls.alerts import telling
from calls.media.storable import storable
from calls.models import AlertMail


logger = logging.getLogger(__name__)

# Mails of a round; the next one follows at once.
ROUND = 20
# What the server says of one mail, and not of all: another one may go through.
OF_ONE = (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError)
UNSET = "EMAIL_URL is not set"


class Post:
    """Sends what waits. One a process: it remembers what the log has been told."""

    def __init__(self) -> None:
        self._is_away = False

    def send(self) -> bool:
        """A round; whether there may be more mails at once."""
        due = AlertMail.objects.due(timezone.now()).select_related("alert__rule")
        mails = list(due[:ROUND])
        with _connection() as connection:
            for mail in mails:
                # Another machine may have been faster.
                if mail.claim(timezone.now()) and not self._send(mail, connection):
                    return False
        return len(mails) == ROUND

    def _send(self, mail: AlertMail, connection: BaseEmailBackend) -> bool:
        """Whether the next one may be tried."""
        try:
            if not settings.EMAIL_URL:
                raise OSError(UNSET)
            connection.open()
            message(mail, connection).send()
        except OF_ONE as error:
            if mail.tries == 1:
                logger.warning("alert_mail_refused mail=%s: %s", mail.pk, _said(error))
            _note(mail, error)
            return True
        # smtplib's own errors are OSErrors; a host's name may be none at all.
        except (OSError, UnicodeError) as error:
            if not self._is_away:
                logger.error("mail_away: %s", _said(error))
            self._is_away = True
            _note(mail, error)
            return False
        AlertMail.objects.filter(pk=mail.pk).update(sent_at=timezone.now(), error="")
        if self._is_away:
            logger.warning("mail_back")
        self._is_away = False
        return True


@contextmanager
def _connection() -> Iterator[BaseEmailBackend]:
    """One for a round, opened by its first mail. How it is closed does not matter any more: what was sent is sent."""
    connection: BaseEmailBackend = get_connection()
    try:
        yield connection
    finally:
        with suppress(OSError):
            connection.close()


def message(mail: AlertMail, connection: BaseEmailBackend) -> EmailMessage:
    host = urlsplit(settings.PUBLIC_URL).hostname or "callstream.invalid"
    headers = {"Message-ID": f"<alert-{mail.pk}@{host}>", "Auto-Submitted": "auto-generated"}
    subject, body = telling.subject(mail.alert, mail.event), telling.body(mail.alert, mail.event)
    return EmailMessage(subject, body, to=[mail.address], connection=connection, headers=headers)


def _note(mail: AlertMail, error: Exception) -> None:
    AlertMail.objects.filter(pk=mail.pk, sent_at=None).update(error=storable(_words(error), 300))


def _said(error: Exception) -> str:
    """As one line of the log."""
    return ascii(_words(error)[:300])[1:-1]


def _words(error: Exception) -> str:
    """The server's own words, if it has said anything: 550 5.1.1 no such user."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        error = smtplib.SMTPResponseException(*next(iter(error.recipients.values())))
    if not isinstance(error, smtplib.SMTPResponseException):
        return str(error) or type(error).__name__
    said = error.smtp_error
    return f"{error.smtp_code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"


# The one of this process.
post = Post()
