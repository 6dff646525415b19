"""The fixtures for any Media Streams server, in tests of their own."""

import pytest


pytest_plugins = ["pytester"]

SERVER = """
import pytest
from simulator.audio import tone
from tests.support.answering import Answering, echo

@pytest.fixture
def media_streams_app():
    return Answering(echo)
"""


@pytest.fixture
def run(pytester):
    """Runs tests with the plugin: what they are, and options."""

    def run(text, *options):
        pytester.makepyfile(text)
        pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
        others = ("no:django", "no:randomly", "no:xdist", "no:cacheprovider", "simulator.pytest_plugin")
        return pytester.runpytest_inprocess(*(part for name in others for part in ("-p", name)), *options)

    return run


def test_a_server_is_called(run):
    result = run(
        SERVER
        + """
async def test_call(phone):
    call = await phone.call(says=tone(440, 1), keys="1")
    assert call.ok
    assert call.heard_at_ms(tone(440, 1)) == 0
""",
    )
    result.assert_outcomes(passed=1)


def test_anyio_runs_such_tests_too(run):
    result = run(
        SERVER
        + """
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_call(phone):
    assert (await phone.call(says=tone(440, 1))).ok
""",
        "-o",
        "asyncio_mode=strict",
    )
    result.assert_outcomes(passed=1)


def test_a_test_that_fails_tells_what_happened_on_the_phone(run):
    result = run(
        SERVER
        + """
async def test_call(phone):
    call = await phone.call(says=tone(440, 1))
    assert call.clears == 1
""",
    )
    result.stdout.fnmatch_lines(
        [
            "E*assert 0 == 1",
            "E*where 0 = <PhoneCall * s, heard 0.00-1.00 s, ended by caller>.clears",
            "* phone call 1 *",
            "*  0.000 s  the caller hears something until   1.000 s",
        ]
    )


def test_a_test_that_says_not_whom_to_call_is_told_how_to(run):
    result = run("async def test_call(phone):\n    await phone.call()")
    result.stdout.fnmatch_lines(["E*NobodyToCall: there is nobody to call: override the fixture `media_streams_app`*"])


def test_the_account_is_read_from_pytests_configuration(run):
    result = run(
        SERVER
        + """
def test_account(phone):
    assert phone.account.auth_token == "secret"
""",
        "-o",
        "twilio_auth_token=secret",
    )
    result.assert_outcomes(passed=1)


def test_a_call_can_be_hung_up_through_the_api(run):
    result = run(
        """
import asyncio, os
from twilio.rest import Client
from twilio.http.http_client import TwilioHttpClient
from tests.support.answering import Answering

async def test_call(phone, twilio_api, twilio_account):
    def hang_up(sid):
        client = Client(twilio_account.sid, twilio_account.auth_token)
        client.api.base_url = os.environ["TWILIO_API_URL"]
        client.calls(sid).update(status="completed")
        client.http_client.session.close()

    async def talk(line):
        await line.started()
        await asyncio.sleep(3)
        await asyncio.to_thread(hang_up, [*twilio_api.calls][0])
        while await line.message():
            pass

    call = await phone.at(Answering(talk)).call(seconds=60, silence_timeout=0)
    assert call.report.ended == "the caller was hung up on by the API after 3.0 s"
    assert twilio_api.calls[call.sid].status == "completed"
""",
    )
    result.assert_outcomes(passed=1)
