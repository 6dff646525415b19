"""pytest fixtures for your handlers: `call = await phone.call(my_handler, says="Hello.", keys="1")`.

`pytest_plugins = ["calls.testing"]` in a test's module or in the top conftest.py, or `-p calls.testing`. It needs no
database, no server and no Twilio account; with `records=True` a call is stored, for which a test asks for
`transactional_db`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.api import PhoneNumber, TwilioApi
from simulator.pytest_plugin import pytest_runtest_makereport as pytest_runtest_makereport


if TYPE_CHECKING:
    from calls.rehearsal import HandlerPhone
    from calls.served import ServedPhone


def pytest_configure(config: pytest.Config) -> None:
    """Behind every plugin that is installed: the simulator's own, for any server, has a fixture of this name too."""
    config.pluginmanager.register(Fixtures(), "calls.testing.fixtures")


class Fixtures:
    """What tests ask for by name."""

    @pytest.fixture
    def phone(self, request: pytest.FixtureRequest) -> Iterator["HandlerPhone"]:
        """Calls a handler in memory, on a clock that jumps: see calls.rehearsal.HandlerPhone.call."""
        # Not above: models are there once pytest-django has set Django up.
        from calls.rehearsal import HandlerPhone

        with HandlerPhone() as phone:
            if "twilio_api" in request.fixturenames:
                phone.api = request.getfixturevalue("twilio_api")
            yield phone

    @pytest.fixture
    def twilio_api(self, settings: Any) -> Iterator[TwilioApi]:
        """Twilio's REST API on loopback, in a thread of its own, where the settings' account has one number.

        Handlers and tests that place or change calls reach it; calls of `phone` are calls of this account.
        """
        number, account = PhoneNumber("+14155550199"), settings.TWILIO_ACCOUNT_SID
        with TwilioApi(account, settings.TWILIO_AUTH_TOKENS[0], [number]).running() as api:
            settings.TWILIO_API_URL, settings.DEFAULT_FROM_NUMBER = api.url, number.phone_number
            yield api

    @pytest.fixture
    def callstream_server(self, transactional_db: None, tmp_path: Path) -> Iterator[Callable[..., "ServedPhone"]]:
        """Starts a real server process for these handlers: `call = await callstream_server(pizza).call(pizza)`.

        For the few tests that need one: it takes seconds, and calls go by the clock.
        """
        from calls.served import ServedPhone

        started: list[ServedPhone] = []

        def start(*handlers: Any) -> ServedPhone:
            folder = tmp_path / f"server-{len(started)}"
            folder.mkdir()
            started.append(ServedPhone(folder, {handler.__name__: handler for handler in handlers}))
            started[-1].start()
            return started[-1]

        yield start
        for server in started:
            server.stop()
