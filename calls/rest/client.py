"""The twilio library's own client at TWILIO_API_URL, with a timeout. Credentials are in no log and no error."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.base.version import Version
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from calls import about, addresses, tracing
from calls.rest.errors import OutcomeUnknown, RestError, disconnected, explained, host, of_a_question


logger = logging.getLogger(__name__)

# Seconds for a connection, and again for the answer. Somebody waits for it in front of a page.
TIMEOUT = 5.0
# The call that a request is about, by its path.
_CALL = re.compile(r"/Calls/(CA[0-9a-f]{32})\b")


class _HttpClient(TwilioHttpClient):  # type: ignore[misc, unused-ignore]
    """Twilio's client at TWILIO_API_URL: the library builds its hosts in, and has no option for another one."""

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override, unused-ignore]
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        found = _CALL.search(parts.path)
        of_call = about.about(found[1]) if found else nullcontext()
        with of_call, tracing.span("twilio", method=method, path=parts.path) as span:
            response = super().request(method, f"{settings.TWILIO_API_URL}{parts.path}{query}", *args, **kwargs)
            span.note(outcome=response.status_code)
            return response

    def log_request(self, kwargs: dict[str, Any]) -> None:
        """One line, and not the library's ten at INFO."""
        logger.debug("twilio_request %s %s", kwargs["method"], urlsplit(kwargs["url"]).path)

    def log_response(self, status_code: int, response: object) -> None:
        logger.debug("twilio_response %d", status_code)


@contextmanager
def asked() -> Iterator[Any]:
    """The account's resources where nothing is changed: what goes wrong is no reason to look what was done."""
    try:
        with twilio() as account:
            yield account
    except RestError as error:
        raise of_a_question(error) from error.__cause__


@contextmanager
def twilio() -> Iterator[Any]:
    """The account's resources; whatever goes wrong in the block comes out as a RestError."""
    check_settings()
    http = _HttpClient(timeout=TIMEOUT)
    try:
        yield Client(*_credentials(), account_sid=settings.TWILIO_ACCOUNT_SID, http_client=http).api.v2010.account
    except TwilioException as error:
        raise explained(_with_code(error)) from None
    except requests.RequestException as error:
        raise disconnected(error, TIMEOUT) from None
    except ValueError as error:
        raise OutcomeUnknown(
            f"What answered at {host()} is not Twilio's API, or not in order: check TWILIO_API_URL and what is between."
        ) from error
    finally:
        if http.session is not None:
            http.session.close()


def _credentials() -> tuple[str, str]:
    """An API key and its secret where there is one, else the account's own token.

    https://www.twilio.com/docs/iam/api-keys
    """
    if settings.TWILIO_API_KEY:
        return settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET
    return settings.TWILIO_ACCOUNT_SID, settings.TWILIO_AUTH_TOKENS[0]


def has_credentials() -> bool:
    return bool(settings.TWILIO_ACCOUNT_SID and (settings.TWILIO_API_KEY or settings.TWILIO_AUTH_TOKENS))


def _with_code(error: TwilioException) -> TwilioRestException | TwilioServiceException:
    """Lists are read by pages, whose error is the bare answer."""
    if isinstance(error, TwilioRestException | TwilioServiceException):
        return error
    answer = error.args[-1] if error.args else None
    if not isinstance(answer, Response):
        raise error
    return Version.exception("GET", "", answer, "Unable to fetch page")


def check_settings() -> None:
    if not has_credentials():
        raise RestError("Twilio cannot be asked: set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.")
    scheme = urlsplit(settings.TWILIO_API_URL).scheme
    if scheme != "https" and not (scheme == "http" and addresses.is_loopback(settings.TWILIO_API_URL)):
        raise RestError("TWILIO_API_URL has to be https: the credentials would travel in the clear.")


def address(path: str) -> str:
    """One of our own, as Twilio is to request it. RestError if nobody has said where we are."""
    if not urlsplit(settings.PUBLIC_URL).hostname:
        raise RestError("PUBLIC_URL is not set: Twilio would not know where to find us.")
    return addresses.absolute(path)
