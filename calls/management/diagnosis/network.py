"""What others are asked over the network: the server behind PUBLIC_URL, and Twilio.

The server is asked as Twilio will ask it, with requests that leave no row: a signed webhook without a usable CallSid,
which is answered with 400 where the signature is right and with 403 where it is not, and a signed handshake that is
closed before `start`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings
from twilio.request_validator import RequestValidator

from calls import addresses
from calls.management.diagnosis.finding import TIMEOUT, Finding, Level, first_line
from calls.rest import RestError, numbers
from calls.rest.numbers import Number


# A clock that is wrong by more makes timelines wrong; by more again, tokens and certificates expire early or late.
SKEW_WARNING = 5
SKEW_FAILURE = 60
# Numbers that lead elsewhere are listed up to here.
MOST_NUMBERS = 10

# No CallSid: the answer to a good signature is 400.
FORM = {"CallSid": "doctor", "From": "+15550100", "CallStatus": "ringing"}


def examine() -> Iterator[Finding]:
    if settings.TWILIO_AUTH_TOKENS and urlsplit(settings.PUBLIC_URL).hostname:
        yield from asyncio.run(_all(check_server()))
    else:
        yield Finding("skip", "The server was not asked: that takes PUBLIC_URL and TWILIO_AUTH_TOKEN.")
    yield from asyncio.run(_all(check_clock()))
    yield from check_numbers()


async def _all(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


# --- the server, through PUBLIC_URL ----------------------------------------------------------------------------------


async def check_server() -> AsyncIterator[Finding]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    # No cookies, no proxy, no redirects: what Twilio would get.
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        try:
            reached = True
            async for finding in _check_webhook(session):
                reached = finding.level == "ok"
                yield finding
        except (aiohttp.ClientError, TimeoutError) as error:
            reached = False
            yield _unreachable(settings.PUBLIC_URL, error)
        if not reached:
            yield Finding("skip", "The socket was not tried: the webhook comes first.")
            return
        try:
            yield await _check_socket(session)
            yield await _check_unsigned_socket(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            yield _unreachable(addresses.socket(), error)


def _signature(url: str, form: dict[str, str]) -> dict[str, str]:
    return {"X-Twilio-Signature": RequestValidator(settings.TWILIO_AUTH_TOKENS[0]).compute_signature(url, form)}


async def _check_webhook(session: aiohttp.ClientSession) -> AsyncIterator[Finding]:
    url = addresses.absolute(addresses.INCOMING)
    status, where, body = await _post(session, url, _signature(url, FORM))
    finding = _judge(url, status, where, body)
    if finding.level == "ok":
        unsigned, _, _ = await _post(session, url, {})
        if unsigned != 403:
            finding = Finding(
                "FAIL",
                f"{url} answers {unsigned} to a request that nobody signed; 403 is right.",
                "Something between Twilio and us answers, or changes requests: look at the proxy.",
            )
    yield finding


async def _post(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """Status, Location and the beginning of the body."""
    async with session.post(url, data=FORM, headers=headers, allow_redirects=False) as answer:
        body = (await answer.content.read(2000)).decode(errors="replace")
        return answer.status, answer.headers.get("Location", ""), body


def _judge(url: str, status: int, where: str, body: str) -> Finding:
    """What the answer to a signed request without a usable CallSid says."""
    if status == 400 and body.startswith("CallSid"):
        return Finding("ok", f"The webhook answers at {url}, and accepts Twilio's signature.")
    if status == 403 and "X-Twilio-Signature" in body:
        return Finding(
            "FAIL",
            f"{url} refuses a signature made with this TWILIO_AUTH_TOKEN and PUBLIC_URL.",
            "The server runs with other values: its log line `signature_invalid` names the URL that it validated. "
            "Give it the same settings and restart it.",
        )
    if 300 <= status < 400:
        return Finding(
            "FAIL",
            f"{url} redirects ({status}) to {where or 'nowhere'}, and a redirected POST loses its fields.",
            "Set PUBLIC_URL to the final address, and have the proxy send X-Forwarded-Proto: https.",
        )
    return Finding("FAIL", f"{url} answers {status} where a signed request gets 400.", _status_hint(status))


def _status_hint(status: int) -> str:
    if status == 400:
        return "Perhaps the host is not allowed: ALLOWED_HOSTS has to name the host of PUBLIC_URL."
    if status in (401, 403, 407):
        return "Something in front of the server asks for a login or blocks us: let Twilio's requests through."
    if status in (404, 405):
        return "Another server answers there, or the proxy changes the path: it has to pass /incoming as it is."
    if status in (502, 504):
        return "The proxy answers and the server behind it does not: start it, and check the proxy's upstream."
    if status == 503:
        return "The server is draining, or the proxy has none that is ready: look at /healthz/ready."
    if status >= 500:
        return "The server failed: its log says why."
    return "That is not Callstream: check where PUBLIC_URL leads."


def _unreachable(url: str, error: Exception) -> Finding:
    """Why there was no answer at all."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = "its certificate is not valid"
            hint = "Twilio wants one of a public authority, for this host, with its chain; self-signed will not do."
        case aiohttp.ClientSSLError():
            reason = "TLS fails"
            hint = "Does the port speak TLS? PUBLIC_URL has to lead to the proxy's https port."
        case aiohttp.ClientConnectorDNSError():
            reason = "its host has no address"
            hint = "Check the host in PUBLIC_URL, and its DNS record."
        case aiohttp.ClientConnectorError():
            reason = "nothing accepts the connection"
            hint = "Start the server and its proxy, and open the port in the firewall."
        case TimeoutError():
            reason = f"no answer within {TIMEOUT} s"
            hint = "A firewall drops the connection, or the server hangs. Twilio waits 15 s in all."
        case _:
            reason = f"{type(error).__name__}: {first_line(error)}"
            hint = "Check what listens there, and the proxy's log."
    return Finding("FAIL", f"{url} cannot be reached: {reason}.", hint)


async def _check_socket(session: aiohttp.ClientSession) -> Finding:
    url = addresses.socket()
    try:
        async with session.ws_connect(url, headers=_signature(url, {})):
            return Finding("ok", f"The media socket opens at {url}, and accepts Twilio's signature.")
    except aiohttp.WSServerHandshakeError as error:
        return Finding("FAIL", f"{url} answers {error.status} to a signed handshake.", _socket_hint(error.status))


def _socket_hint(status: int) -> str:
    if status == 403:
        return (
            "The server's log says why: `handshake_refused`. The proxy must pass X-Twilio-Signature and add no Origin."
        )
    if status in (200, 400, 404, 405, 426):
        return "The proxy does not pass WebSockets: it has to forward Upgrade and Connection for /connection."
    return _status_hint(status)


async def _check_unsigned_socket(session: aiohttp.ClientSession) -> Finding:
    try:
        async with session.ws_connect(addresses.socket()):
            return Finding(
                "FAIL",
                f"{addresses.socket()} opens for a handshake that nobody signed.",
                "Something between Twilio and us answers: look at the proxy.",
            )
    except aiohttp.WSServerHandshakeError:
        return Finding("ok", "What nobody signed is refused.")


# --- Twilio ----------------------------------------------------------------------------------------------------------


async def check_clock() -> AsyncIterator[Finding]:
    """Our clock against the one of Twilio's API, whatever else it answers."""
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.head(settings.TWILIO_API_URL) as answer:
            theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (aiohttp.ClientError, TimeoutError, ValueError, TypeError) as error:
        yield Finding(
            "warn",
            f"{settings.TWILIO_API_URL} did not tell the time: {first_line(error)}",
            "Let us reach it over https: calls are placed and ended through it.",
        )
        return
    # Date counts whole seconds.
    skew = max(abs(time.time() - theirs) - 1, 0)
    if skew > SKEW_WARNING:
        level: Level = "FAIL" if skew > SKEW_FAILURE else "warn"
        yield Finding(level, f"Our clock is wrong by {skew:.0f} s.", "Let the host keep its time by NTP.")
    else:
        yield Finding("ok", "The clock is right.")


def check_numbers() -> Iterator[Finding]:
    """Where the account's numbers lead."""
    if not settings.TWILIO_ACCOUNT_SID or not settings.TWILIO_AUTH_TOKENS:
        yield Finding("skip", "The account's numbers were not looked at: TWILIO_ACCOUNT_SID is not set.")
        return
    try:
        found = numbers()
    except RestError as error:
        yield Finding("FAIL", "The account's numbers cannot be read.", str(error))
        return
    here = [number for number in found if addresses.is_ours(number.voice_url)]
    for number in here:
        yield from _check_number(number)
    if not here:
        yield from _elsewhere(found)


def _check_number(number: Number) -> Iterator[Finding]:
    fallback = number.voice_fallback_url
    fix = f"Run `manage.py configure_number {number.number}`."
    if number.warnings:
        yield Finding("FAIL", f"{number.number} does not ask us.", " ".join(number.warnings))
    elif not addresses.is_incoming(number.voice_url):
        yield Finding("FAIL", f"{number.number} leads to {number.voice_url}, where nobody answers calls.", fix)
    elif addresses.is_ours(fallback) and not addresses.is_incoming(fallback):
        yield Finding("FAIL", f"{number.number} falls back to {fallback}, where nobody answers calls.", fix)
    elif not number.status_callback:
        yield Finding("warn", f"{number.number} leads to us, but its StatusCallback is not set.", fix)
    elif not fallback:
        lacking = "its VoiceFallbackUrl is not set: one failed answer ends a call"
        yield Finding("warn", f"{number.number} leads to us, but {lacking}.", fix)
    elif number.falls_back_elsewhere:
        ours = f"Run `manage.py configure_number {number.number} --fallback {number.voice_url}`, unless that is meant."
        yield Finding("warn", f"{number.number} leads to us, but falls back to {fallback}.", ours)
    else:
        yield Finding("ok", f"{number.number} leads to {number.voice_url}.")


def _elsewhere(found: list[Number]) -> Iterator[Finding]:
    hint = "Run `manage.py configure_number` with the number that we are to answer."
    if not found:
        yield Finding("warn", "The account has no phone number.", "Buy one in the Twilio Console.")
        return
    leads = ", ".join(f"{number.number} to {number.voice_url or 'nothing'}" for number in found[:MOST_NUMBERS])
    more = f" and {len(found) - MOST_NUMBERS} more" if len(found) > MOST_NUMBERS else ""
    yield Finding("warn", f"No number of the account leads to {settings.PUBLIC_URL}: {leads}{more}.", hint)
