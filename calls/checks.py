"""System checks: what is configured wrongly is said at start, with a hint.

Errors are for what cannot work or is unsafe; the rest warns.
"""

import os
import re
from collections.abc import Callable, Iterator
from email.utils import parseaddr
from importlib.util import find_spec
from inspect import isasyncgenfunction
from typing import Any
from urllib.parse import SplitResult, urlsplit
from xml.etree import ElementTree

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from calls import archive_url, handlers, quick, vault
from calls.access.second_factor import REQUIRED
from calls.addresses import is_loopback
from calls.media.sids import is_sid
from calls.server.mistakes import advice
from calls.server.stalls import sentence_with_line
from calls.speech import transcribers


def is_origin(url: str) -> bool:
    """Whether a URL is a scheme, a host and perhaps a port, and nothing else."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and url.lower() == _origin(parts)
    except ValueError:  # the port is not a number
        return False


def _origin(parts: SplitResult) -> str:
    port = "" if parts.port is None else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def check_public_url() -> Iterator[CheckMessage]:
    if not is_origin(settings.PUBLIC_URL):
        yield Error(
            f"PUBLIC_URL is {settings.PUBLIC_URL!r}, which is not an origin.",
            hint="Set it to what Twilio sees, like https://voice.example.org, without a path.",
            id="calls.E001",
        )
    elif settings.PUBLIC_URL.startswith("http:") and not is_loopback(settings.PUBLIC_URL):
        yield Error(
            "PUBLIC_URL is http on a public host; Twilio streams to wss only.",
            hint="Put the server behind TLS and use https://… here; http is for loopback.",
            id="calls.E002",
        )


def check_tokens() -> Iterator[CheckMessage]:
    if not settings.TWILIO_AUTH_TOKENS:
        yield Error(
            "TWILIO_AUTH_TOKEN is not set: no request could be recognised as Twilio's.",
            hint="Copy it from the Twilio Console. During a rotation it may be a comma-separated list.",
            id="calls.E003",
        )
    if not is_sid(settings.TWILIO_ACCOUNT_SID, "AC"):
        yield Warning(
            "TWILIO_ACCOUNT_SID is not set, or is not AC and 32 hexadecimal digits.",
            hint="Copy it from the Twilio Console; REST requests need it.",
            id="calls.W001",
        )


def check_api_key() -> Iterator[CheckMessage]:
    key, secret = settings.TWILIO_API_KEY, settings.TWILIO_API_SECRET
    if bool(key) != bool(secret):
        yield Error(
            f"{'TWILIO_API_SECRET' if key else 'TWILIO_API_KEY'} is not set, and one is of no use without the other.",
            hint="Set both, from the Twilio Console, or neither: then the first TWILIO_AUTH_TOKEN signs our requests.",
            id="calls.E011",
        )
    elif key and not is_sid(key, "SK"):
        yield Error(
            "TWILIO_API_KEY is not SK and 32 hexadecimal digits.",
            hint="Copy the key's SID from the Twilio Console; its secret belongs in TWILIO_API_SECRET.",
            id="calls.E012",
        )


def check_handlers() -> Iterator[CheckMessage]:
    for name in dict.fromkeys([*settings.STREAM_HANDLERS, settings.DEFAULT_STREAM_HANDLER]):
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
            yield Error(f"{name!r} cannot be a handler's name.", hint="Use 1-40 of a-z 0-9 _ . -", id="calls.E004")
        try:
            found = handlers.find(name)
        except handlers.NotAHandler as error:
            hint = "A handler is written as `async def name(stream: MediaStream) -> None:`."
            yield Error(f"STREAM_HANDLERS: {error}", hint=hint, id="calls.E007")
            continue
        except Exception as error:  # whatever a module raises while it is imported
            yield Error(
                f"STREAM_HANDLERS: {name!r} cannot be imported: {sentence_with_line(error)}",
                hint=advice(error)
                or "Write name=handlers.module.coroutine for a module of the folder handlers/, several by commas.",
                id="calls.E005",
            )
            continue
        if found is None:
            yield Error(
                f"DEFAULT_STREAM_HANDLER names {name!r}, which is not a handler.",
                hint=f"Known are: {', '.join(handlers.names())}.",
                id="calls.E006",
            )


def check_realtime() -> Iterator[CheckMessage]:
    url = settings.REALTIME_URL
    if not _is_websocket(url):
        yield Error(
            f"REALTIME_URL is {url!r}, which is no WebSocket's address.",
            hint="It begins with wss://, or with ws:// in your own network.",
            id="calls.E017",
        )
    elif url.startswith("ws:") and not is_loopback(f"http{url[2:]}"):
        yield Warning(
            "REALTIME_URL is ws: REALTIME_KEY and the sound of calls cross the network unencrypted.",
            hint="Use wss://, unless that network is yours alone.",
            id="calls.W008",
        )
    for name, number in settings.REALTIME_TRANSFER_TO.items():
        if not re.fullmatch(r"\+[1-9]\d{6,14}|sip:\S+@\S+", number):
            yield Error(
                f"REALTIME_TRANSFER_TO: {name!r} is {number!r}, which cannot be dialled.",
                hint="Write name=+14155550100, or name=sip:somebody@example.org; several by commas.",
                id="calls.E018",
            )
    if settings.REALTIME_KEY:
        # Imported now, it costs the first caller no time.
        handlers.find("realtime")
    elif settings.DEFAULT_STREAM_HANDLER == "realtime":
        yield Error(
            "DEFAULT_STREAM_HANDLER is realtime, and REALTIME_KEY is not set.",
            hint="It is the key of the service that REALTIME_URL names.",
            id="calls.E019",
        )


def check_numbers() -> Iterator[CheckMessage]:
    limits: list[tuple[str, Callable[[Any], bool], str]] = [
        ("RECORDER_FLUSH_SECONDS", lambda value: 0.02 <= value <= 5, "0.02 to 5 seconds"),
        ("RECORDER_MAX_BUFFER_MB", lambda value: value >= 1, "at least 1"),
        ("SPOOL_MAX_MB", lambda value: value >= 1, "at least 1"),
        ("MAX_STREAMS", lambda value: value >= 1, "at least 1"),
        ("DRAIN_SECONDS", lambda value: value >= 0, "0 or more seconds"),
        ("RECORDING_RETENTION_DAYS", lambda value: value is None or value >= 1, "at least 1, or empty"),
    ]
    for name, holds, wanted in limits:
        value = getattr(settings, name)
        if not holds(value):
            yield Error(f"{name} is {value}.", hint=f"It has to be {wanted}.", id="calls.E008")
    if settings.RECORDER_FLUSH_SECONDS > 0.3:
        yield Warning(
            f"RECORDER_FLUSH_SECONDS is {settings.RECORDER_FLUSH_SECONDS}: a crash may lose more than 0.5 s.",
            hint="The default, 0.2, keeps the promise.",
            id="calls.W002",
        )


def check_transcriber() -> Iterator[CheckMessage]:
    name, url = settings.TRANSCRIBER, settings.TRANSCRIBER_URL
    try:
        transcribe = transcribers.find()
    except Exception as error:  # whatever a module raises while it is imported
        yield Error(
            f"TRANSCRIBER: {name!r} cannot be used: {error}",
            hint=f"Known are {', '.join(transcribers.PRESETS)}; anything else is the dotted path of a function.",
            id="calls.E013",
        )
        return
    if transcribe is not None and not isasyncgenfunction(transcribe):
        yield Error(
            f"TRANSCRIBER: {name!r} is not an async generator function.",
            hint="Write `async def transcribe(audio)` with `yield Heard(…)` in it; docs/handlers.md has an example.",
            id="calls.E014",
        )
    if url and not _is_websocket(url):
        yield Error(
            f"TRANSCRIBER_URL is {url!r}, which is no WebSocket's address.",
            hint="It begins with wss://, or with ws:// in your own network.",
            id="calls.E015",
        )
    if name == "deepgram" and not (settings.TRANSCRIBER_KEY or url):
        yield Error(
            "TRANSCRIBER_KEY is not set: Deepgram answers nobody without one.",
            hint="Make one in Deepgram's console.",
            id="calls.E016",
        )
    if settings.TRANSCRIBER_KEY and url.startswith("ws:") and not is_loopback(f"http{url[2:]}"):
        yield Warning(
            "TRANSCRIBER_URL is ws: TRANSCRIBER_KEY and the sound of calls cross the network unencrypted.",
            hint="Use wss://, unless that network is yours alone.",
            id="calls.W007",
        )


def check_mail() -> Iterator[CheckMessage]:
    url = settings.EMAIL_URL
    if url.startswith("smtp:") and urlsplit(url).password and not is_loopback(f"http{url[4:]}"):
        yield Warning(
            "EMAIL_URL is smtp with a password, which crosses the network unencrypted.",
            hint="Use smtp+tls://, mostly with port 587, or smtp+ssl:// with 465.",
            id="calls.W030",
        )
    try:
        validate_email(parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
    except ValidationError:
        # Made from PUBLIC_URL, it need not be one where no mail is sent.
        if url:
            yield Error(
                f"DEFAULT_FROM_EMAIL is {settings.DEFAULT_FROM_EMAIL!r}, which is no address that mail can come from.",
                hint="Write callstream@example.org, or Callstream <callstream@example.org>.",
                id="calls.E030",
            )


def _is_websocket(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number
        return False


def check_logs() -> Iterator[CheckMessage]:
    if settings.LOG_FORMAT not in ("line", "json"):
        yield Error(
            f"LOG_FORMAT is {settings.LOG_FORMAT!r}.",
            hint="line is for people, json for machines: one object for each line.",
            id="calls.E031",
        )
    if not settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        return
    if not all(find_spec(name) for name in ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter")):
        yield Error(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed.",
            hint=_hint("tracing", "opentelemetry-exporter-otlp-proto-http"),
            id="calls.E032",
        )
    if not re.match("https?://[^/]", settings.OTEL_EXPORTER_OTLP_ENDPOINT):
        yield Error(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is {settings.OTEL_EXPORTER_OTLP_ENDPOINT!r}, which is no address.",
            hint="It is that of a collector which takes OTLP over HTTP, like http://collector:4318.",
            id="calls.E033",
        )


def check_twiml() -> Iterator[CheckMessage]:
    document = settings.FAILED_HANDLER_TWIML
    try:
        is_response = not document or ElementTree.fromstring(document.encode()).tag == "Response"
    except (ElementTree.ParseError, ValueError):
        is_response = False
    if not is_response:
        yield Error(
            "FAILED_HANDLER_TWIML is not a TwiML document.",
            hint="It begins with <Response>; leave it empty for an apology.",
            id="calls.E010",
        )


def check_spool() -> Iterator[CheckMessage]:
    try:
        settings.SPOOL_DIR.mkdir(parents=True, exist_ok=True)
        probe = settings.SPOOL_DIR / ".probe"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        yield Error(
            f"SPOOL_DIR cannot be written: {error}",
            hint="Audio waits there while the database is away. Name a folder on a local disk.",
            id="calls.E009",
        )


def _hint(extra: str, package: str) -> str:
    return (
        f"pip install 'callstream[{extra}]'; `make install` and the image take it from a line `{package}` in "
        "handlers/requirements.txt."
    )


def check_keys() -> Iterator[CheckMessage]:
    try:
        vault.read_keys(settings.RECORDING_KEYS)
    except vault.NotAKey as error:
        yield Error(
            f"RECORDING_KEYS: {error}.",
            hint="Write name:key, several by commas; `openssl rand -base64 32` makes a key.",
            id="calls.E043",
        )


def check_scale() -> Iterator[CheckMessage]:
    if "sqlite3" in settings.DATABASES["default"]["ENGINE"] and settings.PUBLIC_URL.startswith("https"):
        yield Warning(
            "The database is SQLite: one machine, one writer at a time.",
            hint="Fine for a few dozen calls at once; set DATABASE_URL to PostgreSQL for more.",
            id="calls.W003",
        )
    if settings.PUBLIC_URL.startswith("https") and not settings.REDIS_URL:
        yield Warning(
            "The channel layer is in memory: live pages see only the calls of their own process.",
            hint="Set REDIS_URL if there is more than one process.",
            id="calls.W004",
        )
    if settings.RECORDING_RETENTION_DAYS is None and settings.PUBLIC_URL.startswith("https"):
        yield Warning(
            "RECORDING_RETENTION_DAYS is not set: recordings are kept for ever.",
            hint="Set it: what is older is erased by itself, beside the calls.",
            id="calls.W005",
        )
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning("ALLOWED_HOSTS has a *.", hint="Name the hosts.", id="calls.W006")


def check_webhooks() -> Iterator[CheckMessage]:
    if settings.WEBHOOKS_MAY_BE_PRIVATE and settings.PUBLIC_URL.startswith("https"):
        yield Warning(
            "WEBHOOKS_MAY_BE_PRIVATE is true: whoever may add a receiver reaches what this machine reaches.",
            hint="Leave it out, unless your receivers are in the network of this server.",
            id="calls.W010",
        )


def check_archive() -> Iterator[CheckMessage]:
    try:
        found = archive_url.storages(settings.ARCHIVE_URL)
    except ValueError as error:
        yield Error(
            f"ARCHIVE_URL cannot be used: {error}.",
            hint="Write file:///srv/callstream/archive, or s3://bucket/prefix?region=eu-central-1&endpoint=https://…",
            id="calls.E040",
        )
        return
    if settings.ARCHIVE_URL.startswith("s3:") and find_spec("storages") is None:
        yield Error(
            "ARCHIVE_URL is s3://, and django-storages is not installed.",
            hint=_hint("archive", "django-storages[s3]"),
            id="calls.E041",
        )
    folder = found[archive_url.ALIAS]["OPTIONS"].get("location") if found else None
    if folder and not (os.path.isdir(folder) and os.access(folder, os.R_OK | os.W_OK | os.X_OK)):
        # No error: a disk that is away stops neither `migrate` nor `drain`. Whatever needs the archive says so itself.
        yield Warning(
            f"ARCHIVE_URL names {folder}, which is not a folder that we can read and write.",
            hint="Make it, below where its disk is mounted, and give it to the user that the server runs as.",
            id="calls.W011",
        )


def check_second_factor() -> Iterator[CheckMessage]:
    if settings.REQUIRE_SECOND_FACTOR not in REQUIRED:
        yield Error(
            f"REQUIRE_SECOND_FACTOR is {settings.REQUIRE_SECOND_FACTOR!r}.",
            hint=f"It is one of {', '.join(REQUIRED)}.",
            id="calls.E060",
        )


def check_sso() -> Iterator[CheckMessage]:
    given = {"OIDC_CLIENT_ID": settings.OIDC_RP_CLIENT_ID, "OIDC_CLIENT_SECRET": settings.OIDC_RP_CLIENT_SECRET}
    if not settings.OIDC_ISSUER:
        if any(given.values()):
            hint = "It is the provider's address, without /.well-known/openid-configuration."
            yield Error(
                "OIDC_CLIENT_ID or OIDC_CLIENT_SECRET is set, and OIDC_ISSUER is not.", hint=hint, id="calls.E061"
            )
        if not settings.PASSWORD_LOGIN:
            hint = "Leave it out, or set OIDC_ISSUER: nobody could log in."
            yield Error("PASSWORD_LOGIN is false without single sign-on.", hint=hint, id="calls.E062")
        return
    for name in (name for name, value in given.items() if not value):
        yield Error(f"OIDC_ISSUER is set, and {name} is not.", hint="The provider gives you both.", id="calls.E063")
    if not settings.OIDC_ISSUER.startswith("https://") and not is_loopback(settings.OIDC_ISSUER):
        hint = "Whoever can change what the provider says can log in as anybody: use https://."
        yield Error(f"OIDC_ISSUER is {settings.OIDC_ISSUER!r}, which is not https.", hint=hint, id="calls.E064")
    if find_spec("mozilla_django_oidc") is None:
        yield Error(
            "OIDC_ISSUER is set, and mozilla-django-oidc is not installed.",
            hint=_hint("sso", "mozilla-django-oidc"),
            id="calls.E065",
        )
    if not settings.OIDC_GROUPS and not settings.OIDC_SUPERUSERS:
        hint = "Write value=Ops listener,other=Ops admin: values of the claim, and groups of the admin."
        yield Error("OIDC_GROUPS is not set: single sign-on lets nobody in.", hint=hint, id="calls.E066")


def check_metrics() -> Iterator[CheckMessage]:
    token = settings.METRICS_TOKEN
    if token and not re.fullmatch(r"[!-~]{16,}", token):
        yield Error(
            "METRICS_TOKEN is shorter than 16 characters, or has some that a header cannot carry.",
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe())' makes one.",
            id="calls.E044",
        )


def check_quick() -> Iterator[CheckMessage]:
    if quick.is_stale:
        yield Warning(
            "calls/quick was built of another source, and is not used: frames take twice the CPU.",
            hint="Run `make install`, or `python scripts/quick.py`.",
            id="calls.W012",
        )


@register
def check_settings(**kwargs: object) -> list[CheckMessage]:
    checks = (
        check_public_url,
        check_tokens,
        check_api_key,
        check_handlers,
        check_realtime,
        check_numbers,
        check_transcriber,
        check_mail,
        check_logs,
        check_twiml,
        check_spool,
        check_keys,
        check_scale,
        check_webhooks,
        check_archive,
        check_second_factor,
        check_sso,
        check_metrics,
        check_quick,
    )
    return [message for check in checks for message in check()]
