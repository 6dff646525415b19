"""What `manage.py doctor` looks at: each finding is one line, and what is not right has a hint.

The server is asked through PUBLIC_URL, as Twilio will ask it, with requests that leave no row: a signed webhook without
a usable CallSid, which is answered with 400 where the signature is right and with 403 where it is not, and a signed
handshake that is closed before `start`.
"""

import asyncio
import secrets
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.core import mail
from django.core.checks import run_checks
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from twilio.request_validator import RequestValidator

from calls import addresses
from calls.recorder.spool import damaged, fingerprint, foreign
from calls.rest import RestError, numbers
from calls.rest.numbers import Number
from calls.speech import silero


Level = Literal["ok", "skip", "warn", "FAIL"]

# Seconds for everything that goes over a network.
TIMEOUT = 10
# A clock that is wrong by more makes timelines wrong; by more again, tokens and certificates expire early or late.
SKEW_WARNING = 5
SKEW_FAILURE = 60
# Numbers that lead elsewhere are listed up to here.
MOST_NUMBERS = 10

# No CallSid: the answer to a good signature is 400.
FORM = {"CallSid": "doctor", "From": "+15550100", "CallStatus": "ringing"}


@dataclass(frozen=True)
class Finding:
    level: Level
    text: str
    hint: str = ""


def examine() -> Iterator[Finding]:
    """All findings, beginning with this machine's."""
    yield from check_settings()
    yield from check_database()
    yield from check_layer()
    yield from check_spool()
    yield from check_speech()
    yield from check_mail()
    if settings.TWILIO_AUTH_TOKENS and urlsplit(settings.PUBLIC_URL).hostname:
        yield from asyncio.run(_all(check_server()))
    else:
        yield Finding("skip", "The server was not asked: that takes PUBLIC_URL and TWILIO_AUTH_TOKEN.")
    yield from asyncio.run(_all(check_clock()))
    yield from check_numbers()


async def _all(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


# --- this machine ----------------------------------------------------------------------------------------------------


def check_settings() -> Iterator[Finding]:
    messages = run_checks()
    for message in messages:
        yield Finding("FAIL" if message.is_serious() else "warn", f"{message.msg} ({message.id})", message.hint or "")
    if not messages:
        yield Finding("ok", "The settings are in order.")


def check_database() -> Iterator[Finding]:
    connection = connections["default"]
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding(
            "FAIL",
            f"The database does not answer: {_line(error)}",
            "Check DATABASE_URL, and that the server runs and lets us in.",
        )
        return
    if missing:
        yield Finding("FAIL", f"{len(missing)} migrations are missing.", "Run `manage.py migrate`.")
    else:
        yield Finding("ok", f"The database answers ({connection.display_name}), and has all migrations.")


def check_layer() -> Iterator[Finding]:
    """A message to ourselves through Redis. Without Redis, only the live pages of other processes are missing."""
    if not settings.REDIS_URL:
        yield Finding("skip", "REDIS_URL is not set: the channel layer is in memory, for one process.")
        return
    try:
        async_to_sync(_round_trip)()
    except Exception as error:  # redis has exceptions of its own, and the layer lets them through
        yield Finding(
            "FAIL", f"Redis does not answer: {_line(error)}", "Check REDIS_URL. Calls do not need it; live pages do."
        )
        return
    yield Finding("ok", "Redis answers, and the channel layer carries messages.")


async def _round_trip() -> None:
    layer = get_channel_layer()
    channel = f"doctor.{secrets.token_hex(8)}"
    try:
        async with asyncio.timeout(TIMEOUT):
            await layer.send(channel, {"type": "doctor"})
            await layer.receive(channel)
    finally:
        # The layer's own connections outlive a loop that is not asked to close them.
        await layer.close_pools()


def check_speech() -> Iterator[Finding]:
    """Nobody needs it whose handlers ask for no turns and play nothing that may be interrupted."""
    try:
        silero.load()
    except silero.Missing as error:
        yield Finding(
            "skip",
            f"Speech is told by its loudness: {_line(error)}",
            "Noise interrupts what is played with `barge_in` then, and makes turns of `stream.speech()`.",
        )
    else:
        yield Finding("ok", "Speech is told from noise by Silero's model.")


def check_mail() -> Iterator[Finding]:
    """Whether its server lets us in; nothing is sent."""
    if not settings.EMAIL_URL:
        yield Finding("skip", "EMAIL_URL is not set: alerts are not sent by mail.")
        return
    connection = mail.get_connection()
    try:
        connection.open()
        connection.close()
    except (OSError, UnicodeError) as error:
        yield Finding("FAIL", f"The mail server does not let us in: {_line(error)}", "Check EMAIL_URL.")
        return
    yield Finding("ok", "The mail server lets us in.")


def check_spool() -> Iterator[Finding]:
    """System checks say whether it can be written."""
    database = fingerprint(settings.DATABASES["default"])
    # Paths as a shell takes them, to be copied after --from.
    if paths := shlex.join(str(file) for file in foreign(settings.SPOOL_DIR, database)):
        yield Finding(
            "warn",
            f"SPOOL_DIR has recordings of another database, which nobody writes: {paths}",
            f"If the database was moved or renamed (this one's files begin with {database}), "
            "see what they hold and write it with `manage.py replay_spool`.",
        )
    # Without SQLite's companion files.
    files = (file for file in damaged(settings.SPOOL_DIR) if file.suffix == ".damaged")
    if paths := shlex.join(str(file) for file in files):
        yield Finding(
            "warn",
            f"SPOOL_DIR has files that were damaged and set aside: {paths}",
            "They hold calls, perhaps some that are to be erased. Keep what is left of each with "
            "`manage.py replay_spool --from FILE`, and delete it.",
        )
    try:
        free = shutil.disk_usage(settings.SPOOL_DIR).free // 2**20
    except OSError:
        return
    if free < settings.SPOOL_MAX_MB:
        yield Finding(
            "warn",
            f"SPOOL_DIR has {free} MB free, and the spool may grow to {settings.SPOOL_MAX_MB} MB.",
            "Make room there, name a larger disk, or lower SPOOL_MAX_MB.",
        )
    else:
        yield Finding("ok", f"SPOOL_DIR can be written, and has {free} MB free.")


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
            reason = f"{type(error).__name__}: {_line(error)}"
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
            f"{settings.TWILIO_API_URL} did not tell the time: {_line(error)}",
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


def _line(error: Any) -> str:
    """The first line of an exception, fit for a terminal."""
    return ascii(str(error).strip().partition("\n")[0])[1:-1][:200] or type(error).__name__
