"""What every test of a view has: a browser behind the proxy that speaks https, because the settings insist on it."""

import pytest
from django.conf import settings
from django.db import connection
from django.test import AsyncClient, Client

from calls.recorder import recorder
from calls.server.switchboard import switchboard


HTTPS = {"X-Forwarded-Proto": "https"}


def pytest_configure(config):
    # WhiteNoise finds files without collectstatic (WHITENOISE_USE_FINDERS), and says so each time it starts.
    config.addinivalue_line("filterwarnings", "ignore:No directory at:UserWarning")


def pytest_collection_modifyitems(config, items):
    """Tests of what only PostgreSQL, SQLite or Redis does belong to the runs on it; elsewhere nothing is skipped."""
    fits = {"postgres": connection.vendor == "postgresql", "sqlite": connection.vendor == "sqlite"}
    fits["redis"] = bool(settings.REDIS_URL)
    elsewhere = [item for item in items if not all(fits.get(mark.name, True) for mark in item.iter_markers())]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.fixture
def client():
    return Client(headers=HTTPS)


@pytest.fixture
def async_client():
    # Its constructor takes header names as they come: `headers=` would make HTTP_X_FORWARDED_PROTO of this one.
    return AsyncClient(**HTTPS)


@pytest.fixture
def process():
    """What a server process holds is idle before and after: nobody on the line, nothing left to write, no thread."""
    idle()
    yield
    idle()


def idle():
    recorder.close()
    switchboard.finished.clear()
    switchboard.leaving = switchboard.draining = False
    assert switchboard.live == {}
