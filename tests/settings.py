"""The real settings under a fixed environment: a developer's `.env` does not reach the tests."""

import os
from urllib.parse import urlsplit


os.environ.update(
    SECRET_KEY="for the tests only, and therefore as long as a real one has to be",
    PUBLIC_URL="https://voice.example.org",
    TWILIO_ACCOUNT_SID="AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",
    TWILIO_AUTH_TOKEN="0123456789abcdef0123456789abcdef",
    ALLOWED_HOSTS="voice.example.org,testserver,127.0.0.1,localhost",
    DEBUG="false",
    # A test that wants them says so: each server would start a process of its own.
    CHORES="false",
    STREAM_HANDLERS="",
    # `make faults` seals what it records: for the tests' own processes and for the servers that they start.
    RECORDING_KEYS=os.environ.get("TEST_RECORDING_KEYS", ""),
)
for name in (
    "DEFAULT_STREAM_HANDLER",
    "MONITOR_DIAL",
    "FAILED_HANDLER_TWIML",
    "MASK_DTMF",
    "TRANSCRIBER",
    "TRANSCRIBER_URL",
    "TRANSCRIBER_KEY",
    "TRANSCRIBER_LANGUAGE",
    "CSRF_TRUSTED_ORIGINS",
    "EMAIL_URL",
    "DEFAULT_FROM_EMAIL",
    "ARCHIVE_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "LOG_FORMAT",
    "MASK_NUMBERS_IN_LOGS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "REQUIRE_SECOND_FACTOR",
    "OIDC_ISSUER",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "PASSWORD_LOGIN",
):
    os.environ.pop(name, None)

# Of the workers that pytest-xdist starts, each has a database (pytest-django sees to that), a spool and a database of
# Redis to itself: the one that the run is given, or one of those behind it.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
os.environ["SPOOL_DIR"] = f"var/test-spool-{os.environ.get('DATABASE_URL', 'sqlite').partition(':')[0]}{WORKER}"
if WORKER and os.environ.get("REDIS_URL"):
    _redis = urlsplit(os.environ["REDIS_URL"])
    _number = int(_redis.path.strip("/") or 0) + int(WORKER.removeprefix("gw"))
    os.environ["REDIS_URL"] = os.environ["TEST_REDIS_URL"] = _redis._replace(path=f"/{_number}").geturl()

from config.settings import *  # noqa: E402, F403
from config.settings import BASE_DIR, DATABASES  # noqa: E402


# In-memory SQLite breaks across threads, and the recorder has one of its own.
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"].setdefault("TEST", {})["NAME"] = os.environ.get(
        "TEST_DB", str(BASE_DIR / "var" / "test.sqlite3")
    )
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Making and dropping a test database takes longer than a request may, on a busy machine.
if "postgresql" in DATABASES["default"]["ENGINE"]:
    for database in DATABASES.values():
        database["OPTIONS"]["options"] = database["OPTIONS"]["options"].replace("timeout=5000", "timeout=60000")
