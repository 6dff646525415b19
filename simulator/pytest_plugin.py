"""Fixtures for tests of a Media Streams server: `call = await phone.call(says="Hello.", keys="1")`.

Override `media_streams_app` with your ASGI application (called in memory, on a clock that jumps: a minute takes less
than a second) or the address of a server that runs (a call takes as long as on the phone). Who is called is asked for
its voice URL, `/voice` unless the call says otherwise. Needs no plugin for asyncio of its own, and works with
pytest-asyncio and with anyio's.
"""

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from simulator.api import PhoneNumber, TwilioApi
from simulator.phone import ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL, Account, Phone


# What of it is asked for in pytest's own configuration, and in the environment.
SETTINGS = {
    "twilio_account_sid": ("TWILIO_ACCOUNT_SID", ACCOUNT_SID, "the account of the fixtures phone and twilio_api"),
    "twilio_auth_token": ("TWILIO_AUTH_TOKEN", AUTH_TOKEN, "its token, with which every request is signed"),
    "twilio_public_url": ("PUBLIC_URL", PUBLIC_URL, "the address under which Twilio would know the server"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, (variable, default, what) in SETTINGS.items():
        parser.addini(name, f"{what} (default: ${variable}, else {default})", default="")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails tells what happened on the phone."""
    report = yield
    phone = getattr(item, "funcargs", {}).get("phone")
    if report.when == "call" and report.failed and isinstance(phone, Phone):
        told = [(f"phone call {n}", call.story()) for n, call in enumerate(phone.calls, 1)]
        # This hook is that of calls.testing too.
        report.sections += [section for section in told if section not in report.sections]
    return report


@pytest.fixture
def twilio_account(pytestconfig: pytest.Config) -> Account:
    """Whose calls these are: from the ini file, or the environment, or made up."""

    def read(name: str) -> str:
        variable, default, _ = SETTINGS[name]
        return pytestconfig.getini(name) or os.environ.get(variable, "").partition(",")[0].strip() or default

    return Account(
        sid=read("twilio_account_sid"), auth_token=read("twilio_auth_token"), public_url=read("twilio_public_url")
    )


@pytest.fixture
def media_streams_app() -> Any:
    """Override it: your ASGI application, or the address of a server, whose calls take real time."""
    return None


@pytest.fixture
def twilio_api(twilio_account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwilioApi]:
    """Twilio's REST API on loopback, in a thread of its own; `TWILIO_API_URL` is its address meanwhile.

    Calls of `phone` are calls of this account, and can be changed through it.
    """
    with TwilioApi(twilio_account.sid, twilio_account.auth_token, [PhoneNumber("+14155550199")]).running() as api:
        monkeypatch.setenv("TWILIO_API_URL", api.url)
        yield api


@pytest.fixture
def phone(request: pytest.FixtureRequest, media_streams_app: Any, twilio_account: Account) -> Iterator[Phone]:
    """Calls your server: `call = await phone.call(…)`, then plain asserts on what was heard and when.

    `await phone.at(app).call(…)` calls another one. A call to an ASGI application takes no time to speak of, and one to
    an address as long as on the phone.
    """
    with Phone(media_streams_app, twilio_account) as phone:
        if "twilio_api" in request.fixturenames:
            phone.api = request.getfixturevalue("twilio_api")
        yield phone
