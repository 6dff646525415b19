"""Calls that one process holds and that are followed by way of another: what crosses Redis, and what its faults cost.

The pages are daphne's, and the calls are uvicorn's.
"""

import contextlib
import itertools
import re
import signal

import pytest

from calls.models import Stream
from calls.supervision.pages import GOING_AWAY
from tests.support.balancer import Balancer
from tests.support.callers import Calls
from tests.support.factories import make_staff
from tests.support.recorded import stored_to_the_end, verify
from tests.support.servers import Server, until
from tests.support.supervised import OwnRedis, Refused, Spy, Supervisor, page_of


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("supervised")


@pytest.fixture(scope="module")
def redis():
    with OwnRedis() as redis:
        yield redis


@pytest.fixture(scope="module")
def front():
    with Balancer() as front:
        yield front


@pytest.fixture(scope="module")
def calls_there(django_db_setup, folder, redis, front):
    """The process that calls come to. No test ends it."""
    with Server("uvicorn", folder, public_url=front.url, REDIS_URL=redis.url) as server:
        front.targets[:] = [server.port]
        yield server


@pytest.fixture(scope="module")
def pages_there(django_db_setup, folder, redis, front):
    """The process of the pages, likewise."""
    with Server("daphne", folder, public_url=front.url, REDIS_URL=redis.url) as server:
        yield server


@pytest.fixture
def supervisor():
    return make_staff("view_call")


def echoing(server, count=1):
    """Calls that run, and their streams' rows."""
    calls = Calls(server, count, handler="echo", duration=40.0).talk(0.3)
    sids = [call.report.call_sid for call in calls.calls]
    until(lambda: Stream.objects.filter(call__sid__in=sids).count() == count, "the streams' rows")
    return calls, sids


def whole(calls):
    """Hangs up: every echo came back, and every frame is in the recording."""
    reports = calls.hang_up().result()
    assert [error for report in reports for error in report.errors] == []
    stored_to_the_end(reports)
    verify()
    assert {stream.frames_missing for stream in Stream.objects.all()} == {0}


def failures(server):
    """What went wrong there; not that its queries waited for a test to empty the tables."""
    return re.findall(r"Task exception.*|\w+_failed(?<!recorder_failed).*", server.log)


def entries(letters):
    return [entry for letter in letters for entry in letter["streams"]]


def sound(letters, lane):
    """Where each piece of that lane begins, and its µ-law."""
    pieces = [piece for entry in entries(letters) for piece in entry.get("audio", ())]
    return [(start, mulaw) for of, start, mulaw in pieces if of == lane]


def test_redis_carries_nothing_of_a_call_that_nobody_follows_and_audio_only_while_somebody_listens(calls_there, redis):
    calls, (sid, _) = echoing(calls_there, 2)
    letters, size, at = redis.letters, redis.bytes, calls.calls[0].seconds
    calls.talk(at + 2)
    assert redis.letters == letters
    # Two processes that look into their mailboxes; a second of one call's sound is 16,000.
    assert redis.bytes - size < 8000
    owner = Stream.objects.first().lease_owner
    with contextlib.closing(Spy(redis.url)) as spy:
        spy.follow(owner, {sid: False})
        calls.talk(calls.calls[0].seconds + 3)
        told = entries(spy.letters)
        assert {entry["call"] for entry in told} == {sid}
        assert 2 <= len(told) <= 6
        assert not any("audio" in entry for entry in told)

        spy.follow(owner, {sid: True}, *(f"mailbox.{number}" for number in range(9)))
        until(lambda: len(spy.letters) >= 10, "a second of sound and more")
        assert {entry["call"] for entry in entries(spy.letters)} == {sid}
        # Ten who listen, and one letter every 200 ms: the caller's sound, which has no hole, and ours.
        numbers = [letter["number"] for letter in spy.letters]
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        said, answered = (sound(spy.letters, lane) for lane in (0, 1))
        assert all(start + len(mulaw) == following for (start, mulaw), (following, _) in itertools.pairwise(said))
        assert min(sum(len(mulaw) for _, mulaw in lane) for lane in (said, answered)) >= 4000

        spy.follow(owner, {sid: False}, *(f"mailbox.{number}" for number in range(9)))
        until(lambda: any("audio" not in entry for entry in entries(spy.letters)), "a word without sound")
        kinds = ["audio" in entry for entry in entries(spy.letters)]
        assert kinds == sorted(kinds, reverse=True)
    whole(calls)


@pytest.mark.parametrize(("fault", "cure"), [("kill", "start"), ("freeze", "thaw")])
def test_without_redis_calls_go_on_and_their_pages_say_so_and_come_back(
    calls_there, pages_there, redis, supervisor, fault, cure
):
    calls, (sid, *_) = echoing(calls_there, 3)
    with Supervisor(pages_there, page_of(sid), supervisor) as page:
        page.hear("grown")
        before = [server.log.count("layer_down") for server in (calls_there, pages_there)]
        getattr(redis, fault)()
        page.hear("away", 10)
        calls.talk(calls.calls[0].seconds + 1)
        getattr(redis, cure)()
        page.hear("back")
        page.hear("grown")
    whole(calls)
    for server, count in zip((calls_there, pages_there), before, strict=True):
        assert server.log.count("layer_down") - count <= 1
        until(lambda server=server: server.log.count("layer_up") == server.log.count("layer_down"), "it to be back")
        assert failures(server) == []


def test_a_call_whose_process_dies_is_followed_where_it_goes_on(
    folder, calls_there, pages_there, redis, front, supervisor
):
    with Server("uvicorn", folder, public_url=front.url, REDIS_URL=redis.url) as dying:
        front.targets[:] = [dying.port]
        calls, (sid,) = echoing(dying)
        with Supervisor(pages_there, page_of(sid), supervisor) as page:
            first = page.hear("grown")["stream"]
            front.targets[:] = [calls_there.port]
            dying.kill()
            calls.reconnect()
            # Five seconds, in which the page's process looks again, on a machine that may be busy.
            until(lambda: page.hear("grown")["stream"] != first, "the new stream")
        calls.hang_up().result()
    assert failures(pages_there) == []


@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
def test_a_process_that_ends_sends_its_pages_elsewhere_and_waits_for_none(
    folder, calls_there, redis, front, supervisor, kind
):
    calls, (sid,) = echoing(calls_there)
    with Server(kind, folder, public_url=front.url, REDIS_URL=redis.url, DRAIN_SECONDS="20") as ending:
        path = page_of(sid)
        with Supervisor(ending, path, supervisor) as page, Supervisor(ending, path, supervisor) as deaf:
            page.hear("grown")
            ending.send(signal.SIGTERM)
            assert page.closed() == GOING_AWAY
            assert ending.wait(15) in (0, -signal.SIGTERM)
            assert deaf.closed() == GOING_AWAY
        assert failures(ending) == []
    calls.hang_up().result()


def test_who_may_not_see_a_call_learns_nothing_of_it(calls_there, pages_there, supervisor):
    calls, (sid,) = echoing(calls_there)
    path, nobody, other = page_of(sid), None, make_staff("export_call")
    refused = [(path, nobody, ""), (path, other, ""), (f"{path}9999", other, ""), (path, supervisor, None)]
    refused += [(path, supervisor, "https://evil.example"), (f"{path}9999", supervisor, "")]
    for server in (calls_there, pages_there):
        for where, who, origin in refused:
            with pytest.raises(Refused, match="403"), Supervisor(server, where, who, origin=origin):
                pass
    calls.hang_up().result()
