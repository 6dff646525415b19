"""All settings, read from the environment (and from `.env`), top to bottom. `.env.example` explains each one.

Wrong values of ours are reported by the system checks in calls/checks.py, with a hint. Nothing here that concerns
security looks at DEBUG.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from calls import archive_url
from calls.addresses import CALL_STATUS, HEALTH, INCOMING, READINESS, STREAM_ENDED, STREAM_STATUS


BASE_DIR = Path(__file__).resolve().parent.parent

# What this process was given, before .env adds to it: what `make run` starts reads .env for itself.
STARTED_WITH = dict(os.environ)
# Also reads NAME_FILE (Docker and Kubernetes secrets).
env = environ.FileAwareEnv()
# daphne would print that there is none, before LOG_FORMAT is known.
if (BASE_DIR / ".env").exists():
    env.read_env(BASE_DIR / ".env")


def read(cast: Callable[..., Any], name: str, default: Any) -> Any:
    """Reads a setting; one that cannot be read is named, with what was wrong, instead of a traceback.

    One that is set and empty counts as not set: that is how Compose and CI leave a variable out.
    """
    try:
        return cast(name) if env.str(name, default="") else default
    except (ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"{name}: {env.str(name)!r} cannot be used: {error}") from error


SECRET_KEY = env.str("SECRET_KEY", default="").strip()
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. `make run` writes a .env with a fresh one; "
        "in production set it in the environment (or SECRET_KEY_FILE)."
    )
DEBUG = read(env.bool, "DEBUG", False)

# --- Twilio ---------------------------------------------------------------------------------------------------------

# The origin that Twilio sees. Every URL in TwiML and every signature uses it, never a header.
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")
_public = urlsplit(PUBLIC_URL)

TWILIO_ACCOUNT_SID = env.str("TWILIO_ACCOUNT_SID", default="")
# Several while tokens rotate; the first one is the primary and signs REST requests.
TWILIO_AUTH_TOKENS = [token.strip() for token in env.list("TWILIO_AUTH_TOKEN", default=[]) if token.strip()]
# Sign our REST requests instead of the token, which Twilio's requests are still checked with.
TWILIO_API_KEY = env.str("TWILIO_API_KEY", default="")
TWILIO_API_SECRET = env.str("TWILIO_API_SECRET", default="")
TWILIO_API_URL: str = read(env.str, "TWILIO_API_URL", "https://api.twilio.com").rstrip("/")

# name=dotted.path,… added to echo, voicemail, monitor and realtime.
STREAM_HANDLERS = read(env.dict, "STREAM_HANDLERS", {})
DEFAULT_STREAM_HANDLER: str = read(env.str, "DEFAULT_STREAM_HANDLER", "voicemail")
DEFAULT_FROM_NUMBER = env.str("DEFAULT_FROM_NUMBER", default="")
MONITOR_DIAL = env.str("MONITOR_DIAL", default="")
FAILED_HANDLER_TWIML = env.str("FAILED_HANDLER_TWIML", default="")
MASK_DTMF = read(env.bool, "MASK_DTMF", False)

# --- The handler `realtime` -----------------------------------------------------------------------------------------

REALTIME_URL: str = read(env.str, "REALTIME_URL", "wss://api.openai.com/v1/realtime?model=gpt-realtime")
REALTIME_KEY = env.str("REALTIME_KEY", default="").strip()
REALTIME_VOICE = env.str("REALTIME_VOICE", default="")
REALTIME_INSTRUCTIONS: str = read(
    env.str,
    "REALTIME_INSTRUCTIONS",
    "You answer the telephone. Be friendly and brief, and speak the caller's language.",
)
# name=number,…: whom the model may connect callers to.
REALTIME_TRANSFER_TO = read(env.dict, "REALTIME_TRANSFER_TO", {})

# --- Recording ------------------------------------------------------------------------------------------------------

RECORDER_FLUSH_SECONDS = read(env.float, "RECORDER_FLUSH_SECONDS", 0.2)
RECORDER_MAX_BUFFER_MB = read(env.int, "RECORDER_MAX_BUFFER_MB", 256)
SPOOL_DIR = BASE_DIR / read(env.str, "SPOOL_DIR", "var/spool")
SPOOL_MAX_MB = read(env.int, "SPOOL_MAX_MB", 1024)
RECORDING_RETENTION_DAYS = read(env.int, "RECORDING_RETENTION_DAYS", 0) or None
# name:base64 of 32 bytes: the first one wraps the keys that audio is sealed with, the others still unwrap theirs.
RECORDING_KEYS = env.str("RECORDING_KEYS", default="").replace(",", " ").split()
MAX_STREAMS = read(env.int, "MAX_STREAMS", 200)
DRAIN_SECONDS = read(env.float, "DRAIN_SECONDS", 20.0)
# Whether this server's machine does the chores too, in a process of their own (calls/chores).
CHORES = read(env.bool, "CHORES", True)

# --- Archive --------------------------------------------------------------------------------------------------------

# Where `manage.py archive_calls` moves audio: file:///folder, or s3://bucket/prefix?region=…&endpoint=…
ARCHIVE_URL = env.str("ARCHIVE_URL", default="").strip()
# Who we are at s3://; without them, whoever AWS's own programs would be.
AWS_ACCESS_KEY_ID = env.str("AWS_ACCESS_KEY_ID", default="") or None
AWS_SECRET_ACCESS_KEY = env.str("AWS_SECRET_ACCESS_KEY", default="") or None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
with suppress(ValueError):  # the system checks say what is wrong: calls are taken all the same
    STORAGES |= archive_url.storages(ARCHIVE_URL)

# --- Metrics --------------------------------------------------------------------------------------------------------

# What Prometheus sends to be told them; /metrics is not there while it is not set.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="").strip()

# --- Webhooks of ours -----------------------------------------------------------------------------------------------

# Whether they may go to private addresses, and over http.
WEBHOOKS_MAY_BE_PRIVATE = read(env.bool, "WEBHOOKS_MAY_BE_PRIVATE", False)

# --- Words ----------------------------------------------------------------------------------------------------------

# deepgram, vosk, pocketsphinx, or the dotted path of an async generator function (calls/speech/transcribers.py).
TRANSCRIBER = env.str("TRANSCRIBER", default="").strip()
TRANSCRIBER_URL = env.str("TRANSCRIBER_URL", default="").strip()
TRANSCRIBER_KEY = env.str("TRANSCRIBER_KEY", default="").strip()
TRANSCRIBER_LANGUAGE = env.str("TRANSCRIBER_LANGUAGE", default="").strip()

# --- Mail -----------------------------------------------------------------------------------------------------------

# Alerts go out by it; without it none is sent, and the admin says so.
EMAIL_URL = env.str("EMAIL_URL", default="").strip()
try:
    _mail = env.email_url_config(EMAIL_URL or "dummymail://")
except (ImproperlyConfigured, ValueError) as error:
    # Without the URL, which has a password in it.
    raise ImproperlyConfigured(f"EMAIL_URL cannot be used: {error}") from None
# EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT and so on.
globals().update({name: value for name, value in _mail.items() if name.startswith("EMAIL_")})
# Seconds for each step of sending one.
EMAIL_TIMEOUT = 10
_host = _public.hostname if _public.scheme == "https" and _public.hostname else "localhost"
DEFAULT_FROM_EMAIL: str = read(env.str, "DEFAULT_FROM_EMAIL", f"callstream@{_host}")

# --- Django ---------------------------------------------------------------------------------------------------------

# Loopback too: health checks and `simulate_call` of this machine use these names, and no browser elsewhere can.
ALLOWED_HOSTS = read(env.list, "ALLOWED_HOSTS", [_public.hostname or "", "127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = read(env.list, "CSRF_TRUSTED_ORIGINS", [PUBLIC_URL] if PUBLIC_URL else [])

INSTALLED_APPS = [
    "daphne",  # before staticfiles: its runserver speaks ASGI
    "config.apps.StaffAdminConfig",  # django.contrib.admin, with a login that is throttled
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "ninja",  # for its static files: the API's page of documentation asks nobody else
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "calls",
]

MIDDLEWARE = [
    "calls.process.scraping.metrics_middleware",
    "calls.health.health_middleware",
    "calls.middleware.PagePolicyMiddleware",  # before whatever answers: static files and errors are pages too
    "calls.middleware.webhook_middleware",  # before whatever only pages need
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "calls.middleware.GateMiddleware",  # needs all of those above
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
# Webhook paths are exact; a redirected POST would lose its body.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# SQLite: only IMMEDIATE with WAL and a timeout survived eight concurrent writers (0 errors of 800; WAL alone 681).
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=FAST",
}
# PostgreSQL: a frozen server must end in an error after 3 s rather than block a thread for ever.
POSTGRES_OPTIONS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 3000,
    "options": "-c statement_timeout=5000 -c lock_timeout=2000 -c idle_in_transaction_session_timeout=10000",
}
# The writer waits for nobody's row lock: the rows of that call are set aside, so that no other call's wait with them.
WRITER_OPTIONS = {
    **POSTGRES_OPTIONS,
    "options": "-c statement_timeout=5000 -c lock_timeout=100 -c idle_in_transaction_session_timeout=10000",
}


def _databases(database: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`default` for requests and commands, `recorder` for the one writer thread: the same database, no pool."""
    options = dict(database.get("OPTIONS", {}))
    if "sqlite3" in database["ENGINE"]:
        default = recorder = {**database, "OPTIONS": {**SQLITE_OPTIONS, **options}}
    else:
        common = {**database, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True}
        pool = {"min_size": 1, "max_size": 8, "timeout": 3}
        default = {**common, "OPTIONS": {**POSTGRES_OPTIONS, "pool": pool, **options}}
        # The writer keeps its connection, and opens a new one itself after an error.
        recorder = {**common, "OPTIONS": {**WRITER_OPTIONS, **options}, "CONN_MAX_AGE": None}
    return {"default": default, "recorder": {**recorder, "TEST": {"MIRROR": "default"}}}


_database = read(env.str, "DATABASE_URL", f"sqlite:///{BASE_DIR / 'var' / 'callstream.sqlite3'}")
DATABASES = _databases(env.db_url_config(_database))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
(BASE_DIR / "var").mkdir(exist_ok=True)

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL:
    # redis-py 8's default socket_timeout of 5 s ends healthy consumers (django/channels_redis#422).
    _redis = {"address": REDIS_URL, "socket_timeout": 15, "socket_connect_timeout": 2}
    # Who follows calls says so every few seconds; a process that has died is soon sent nothing any more.
    _layer = {"hosts": [_redis], "group_expiry": 120, "capacity": 200}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": _layer}}
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- Who gets in ----------------------------------------------------------------------------------------------------

# off, listeners (whoever may listen, download, export or supervise) or all (staff): who has to have a second factor.
REQUIRE_SECOND_FACTOR: str = read(env.str, "REQUIRE_SECOND_FACTOR", "off")
# What the app on the telephone calls it.
OTP_TOTP_ISSUER = f"Callstream ({_public.hostname})" if _public.hostname else "Callstream"

# Single sign-on by OpenID Connect; the rest is read from the provider. Needs the extra `sso`.
OIDC_ISSUER: str = env.str("OIDC_ISSUER", default="").strip().rstrip("/")
OIDC_RP_CLIENT_ID = env.str("OIDC_CLIENT_ID", default="").strip()
OIDC_RP_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", default="").strip()
# On the button.
OIDC_NAME: str = read(env.str, "OIDC_NAME", "single sign-on")
OIDC_RP_SCOPES: str = read(env.str, "OIDC_SCOPES", "openid email profile")
OIDC_USERNAME_CLAIM: str = read(env.str, "OIDC_USERNAME_CLAIM", "preferred_username")
OIDC_GROUPS_CLAIM: str = read(env.str, "OIDC_GROUPS_CLAIM", "groups")
# value of the claim=name of our group,…
OIDC_GROUPS: dict[str, str] = read(env.dict, "OIDC_GROUPS", {})
# The value of the claim that makes superusers; nobody becomes one while it is empty.
OIDC_SUPERUSERS = env.str("OIDC_SUPERUSERS", default="").strip()
# The provider asks for a second factor, so that we do not.
OIDC_HAS_SECOND_FACTOR = read(env.bool, "OIDC_HAS_SECOND_FACTOR", False)
PASSWORD_LOGIN = read(env.bool, "PASSWORD_LOGIN", True)
# mozilla-django-oidc's own.
OIDC_AUTHENTICATION_CALLBACK_URL = "admin:sso_callback"
OIDC_USE_PKCE, OIDC_TIMEOUT = True, 5

AUTHENTICATION_BACKENDS = [
    *(["django.contrib.auth.backends.ModelBackend"] if PASSWORD_LOGIN or not OIDC_ISSUER else []),
    *(["calls.access.sso.Backend"] if OIDC_ISSUER else []),
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = read(env.str, "TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Pages render before collectstatic too.
WHITENOISE_USE_FINDERS = True
LOGIN_URL = "admin:login"

# The admin's forms; calls/process/bodies.py refuses more before it is read, and the Caddyfile before that.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000

# --- Security -------------------------------------------------------------------------------------------------------

_https = _public.scheme == "https"
SECURE_SSL_REDIRECT = _https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _https else None
# A webhook is never redirected, and health is answered before.
SECURE_REDIRECT_EXEMPT = [
    rf"^({INCOMING}(/.*)?|{CALL_STATUS}|{STREAM_STATUS}|{STREAM_ENDED}|{HEALTH}|{READINESS})$",
]
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
# Other hosts of the domain may have no https yet, and browsers keep this for a year: including them takes a setting.
SECURE_HSTS_INCLUDE_SUBDOMAINS = read(env.bool, "SECURE_HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = read(env.bool, "SECURE_HSTS_PRELOAD", False)
# Django wants both of them set.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_AGE = 12 * 3600
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Logging --------------------------------------------------------------------------------------------------------

# OpenTelemetry reads more variables of its own; docs/operations.md names those that matter.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="").strip()
OTEL_SERVICE_NAME: str = read(env.str, "OTEL_SERVICE_NAME", "callstream")

# line: for people. json: one object for each line, for machines (calls/process/lines.py).
LOG_FORMAT: str = read(env.str, "LOG_FORMAT", "line").strip().lower()
MASK_NUMBERS_IN_LOGS = read(env.bool, "MASK_NUMBERS_IN_LOGS", False)
# Warnings of Python's own, until calls/process/oversights.py takes them.
logging.captureWarnings(LOG_FORMAT == "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "calls.process.lines.formatter", "name": LOG_FORMAT, "masks": MASK_NUMBERS_IN_LOGS},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": read(env.str, "LOG_LEVEL", "INFO").upper()},
    "loggers": {
        # Their lines say no more than the calls themselves do.
        **{name: {"level": "WARNING"} for name in ("daphne", "django.channels.server")},
        # collector_away says once what this says for each batch of spans.
        "opentelemetry": {"level": "ERROR"},
        # Django gives these two handlers of their own, whose lines would be of another form.
        "django": {"level": "INFO"},
        "django.server": {"level": "WARNING", "propagate": True},
        # A mailbox that nobody empties is full, and who misses letters finds it by their numbers.
        "channels_redis": {"level": "WARNING"},
        # That the database is away is told once (db_down, chore_waits), and not by the pool with each of its tries.
        "psycopg.pool": {"level": "ERROR"},
    },
}
