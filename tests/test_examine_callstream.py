"""Callstream under examination; and each of the two, the simulator and the server, finds a defect in the other."""

import asyncio

import pytest
from django.conf import settings

from calls.models import Stream
from simulator import messages, webhooks
from simulator.examine import Target, Verdict, examine
from tests.support.callers import Calls
from tests.support.recorded import stored_to_the_end
from tests.support.servers import Server


pytestmark = [
    pytest.mark.process,
    pytest.mark.clock,
    pytest.mark.once,
    pytest.mark.django_db(transaction=True),
]

SERVERS = "tests.support.media_servers"
HANDLERS = f"parrot={SERVERS}.callstream_handlers.parrot,unmoved={SERVERS}.callstream_handlers.unmoved"


@pytest.fixture(scope="module")
def server(django_db_setup, tmp_path_factory):
    with Server("uvicorn", tmp_path_factory.mktemp("right"), STREAM_HANDLERS=HANDLERS) as server:
        yield server


@pytest.fixture(scope="module")
def examined(server, tmp_path_factory):
    """What is found with three handlers, the last of them on a server that has a defect."""
    folder, planted = tmp_path_factory.mktemp("defective"), f"parrot={SERVERS}.defective.parrot"

    async def all_at_once(defective):
        where = {"parrot": server, "unmoved": server, "defective": defective}
        targets = [target(at, "parrot" if name == "defective" else name) for name, at in where.items()]
        return dict(zip(where, await asyncio.gather(*map(examine, targets)), strict=True))

    with Server("uvicorn", folder, STREAM_HANDLERS=planted) as defective:
        return asyncio.run(all_at_once(defective), debug=False)


def target(server, handler):
    return Target(
        voice_url=f"{server.public_url}/incoming/{handler}",
        auth_token=settings.TWILIO_AUTH_TOKENS[0],
        account_sid=settings.TWILIO_ACCOUNT_SID,
        status_callback=f"{server.public_url}/call-status",
    )


def objections(results):
    return {result.check.id: result.verdict for result in results if result.verdict in (Verdict.WARN, Verdict.FAIL)}


def test_callstream_is_not_accused(examined):
    assert objections(examined["parrot"]) == {}


def test_a_handler_that_does_not_mind_its_caller_is_found(examined):
    assert objections(examined["unmoved"]) == {"interruption": Verdict.WARN}


def test_a_defect_of_the_server_is_found_by_the_simulator(examined):
    assert objections(examined["defective"]) == {"extra-fields": Verdict.FAIL}


def test_sequence_numbers_that_the_simulator_skips_are_counted_by_the_server(server, monkeypatch):
    right = messages.media
    monkeypatch.setattr(messages, "media", lambda sequence, *rest: right(sequence + (sequence > 30), *rest))
    reports = Calls(server, handler="parrot", duration=1).result()
    stored_to_the_end(reports)
    assert Stream.objects.get(sid=reports[0].stream_sids[0]).sequence_gaps == 1


def test_a_signature_that_the_simulator_gets_wrong_is_refused_by_the_server(server, monkeypatch):
    monkeypatch.setattr(webhooks, "signed_url", lambda url: f"{url}/")
    (report,) = Calls(server, handler="parrot", duration=1).result()
    assert "was answered 403" in report.reason
