"""What every test of a view has: a browser behind the proxy that speaks https, because the settings insist on it."""

import os
import threading

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import AsyncClient, Client

from calls.recorder import recorder
from calls.server.switchboard import switchboard
from calls.webhooks import keeping
from simulator import PhoneNumber, TwilioApi
from tests.support.emptying import use_quick_emptying
from tests.support.factories import make_staff
from tests.support.line import PATIENCE
from tests.support.templates import use_template


# Its fixtures are for all tests with a browser.
pytest_plugins = ("tests.support.browser",)
HTTPS = {"X-Forwarded-Proto": "https"}


def pytest_configure(config):
    # WhiteNoise finds files without collectstatic (WHITENOISE_USE_FINDERS), and says so each time it starts.
    config.addinivalue_line("filterwarnings", "ignore:No directory at:UserWarning")


# What a test asks for a database with. pytest-django refuses every query of one that asks for none, so that no test of
# a database can be forgotten here.
DATABASE = {"db", "transactional_db", "django_db_reset_sequences", "django_db_serialized_rollback"}


# What these try is made of rows that are read and written as everywhere else: what a page, a form or a request says of
# them is the same on both databases.
PAGES = {
    *("test_admin_alerts", "test_admin_notices", "test_admin_outbound", "test_admin_ranges", "test_admin_stream_rows"),
    *("test_admin_wording", "test_api_clients", "test_doctor", "test_inquiry", "test_place_call", "test_problems"),
    *("test_realtime_calls", "test_measured_calls", "test_rest", "test_stepping_in", "test_admin_takeovers"),
    *("test_taking_over", "test_voice_page", "test_listening_in", "test_sounds", "test_outlines", "test_call_page"),
    *("test_meters", "test_control", "test_pages", "test_admin_turns", "test_saved_views", "test_scorecards"),
    *("test_admin_comments", "test_admin_reviews", "test_admin_workers", "test_draining", "test_sessions", "test_sso"),
    "test_simulating",
}


# Where both are at hand (scripts/test says so), these have PostgreSQL, as several processes do in production. So has
# what is marked `once`: servers, handlers and networks that fail. How daphne and runserver end is tried on SQLite only.
PROCESSES = {
    "test_calls_end_to_end",
    "test_carrying",
    "test_controlled_calls",
    "test_monitored_calls",
    "test_supervised_browser",
    "test_supervised_calls",
}


def pytest_collection_modifyitems(config, items):
    """Leaves the tests that belong on this database: on PostgreSQL those that use one at all, but for the browser's.

    SQL, locks, JSON, text and connections differ there. What touches none of it is tested on SQLite and would do the
    same again, as the pages would that a browser draws. What only PostgreSQL, SQLite or Redis does is marked so.
    """
    elsewhere = [item for item in items if not belongs_here(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


def belongs_here(item):
    marks = {mark.name for mark in item.iter_markers()}
    if connection.vendor == "sqlite":
        if (item.path.stem in PROCESSES or "once" in marks) and os.environ.get("BOTH_DATABASES"):
            return False
        return "postgres" not in marks and ("redis" not in marks or bool(settings.REDIS_URL))
    if "sqlite" in marks or ("redis" in marks and not settings.REDIS_URL):
        return False
    if "browser" in marks and item.path.stem not in PROCESSES:
        return False
    if item.path.stem == "test_endings" and "once" not in marks:
        return False
    if item.path.stem in PAGES and not marks & {"postgres", "redis"}:
        return False
    return "postgres" in marks or "django_db" in marks or not DATABASE.isdisjoint(item.fixturenames)


@pytest.fixture
def client():
    return Client(headers=HTTPS)


@pytest.fixture
def listener(client):
    """Staff who may listen to recordings, logged in."""
    user = make_staff("view_call", "listen_call")
    client.force_login(user)
    return user


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings):
    use_template()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Empties it quickly, and drops it in the end, though a thread may still hold a connection to it."""
    with django_db_blocker.unblock():
        use_quick_emptying()
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock():
            connections.close_all()
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            connections.close_all()


@pytest.fixture
def async_client():
    # Its constructor takes header names as they come: `headers=` would make HTTP_X_FORWARDED_PROTO of this one.
    return AsyncClient(**HTTPS)


@pytest.fixture
def api(settings):
    """Twilio's REST API: the account of the settings, which has one number."""
    number, account = PhoneNumber("+14155550199"), settings.TWILIO_ACCOUNT_SID
    with TwilioApi(account, settings.TWILIO_AUTH_TOKENS[0], [number]).running() as api:
        settings.TWILIO_API_URL = api.url
        settings.DEFAULT_FROM_NUMBER = number.phone_number
        yield api


@pytest.fixture
def process():
    """What a server process holds is idle before and after: nobody on the line, nothing left to write, no thread."""
    idle()
    yield
    idle()


def idle():
    # What a webhook of an earlier test has brought is written: threads that are all here write nothing. A test that has
    # threads of its own has waited for them.
    if not keeping._database._shutdown:
        here = threading.Barrier(keeping._database._max_workers)
        for thread in [keeping._database.submit(here.wait, PATIENCE) for _ in range(here.parties)]:
            thread.result()
    recorder.close()
    switchboard.finished.clear()
    switchboard.departures.clear()
    switchboard.leaving = switchboard.draining = False
    assert switchboard.live == {}
