"""Calls that are acted upon from a process which holds none of them: over Redis, with real servers and real callers."""

import pytest
from asgiref.sync import async_to_sync

from calls.media.audio import tone
from calls.models import Call, CallEvent, Stream
from calls.server.control import NotLive, control
from simulator import Dialled
from tests.support.balancer import Balancer
from tests.support.callers import Calls
from tests.support.factories import make_staff
from tests.support.recorded import stored_to_the_end, verify
from tests.support.servers import Server, until


pytestmark = [pytest.mark.process, pytest.mark.redis, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

SOUND, MARKER = tone(600, 500), tone(900, 300)


def test_calls_are_acted_upon_from_another_process_and_go_on_at_another_one(tmp_path):
    anna = make_staff("supervise_call", username="anna")
    with Balancer() as front:
        servers = [Server("uvicorn", tmp_path, public_url=front.url), Server("daphne", tmp_path, public_url=front.url)]
        with servers[0] as first, servers[1] as second:
            front.targets.append(first.port)
            dial = (Dialled("completed", 1),)
            calls = Calls(first, 2, handler="voicemail", dial=dial, hang_up_after=40.0).talk(0.5)
            one, other = (call.report.call_sid for call in calls.calls)
            until(lambda: Stream.objects.live().exclude(lease_owner="").count() == 2, "both streams to be known")

            def act(sid, which, *arguments, **facts):
                return async_to_sync(getattr(control(sid, user=anna), which))(*arguments, **facts)

            assert act(one, "clear")["cleared_ms"] > 0
            act(one, "play", SOUND, name="sound")
            # From here on the other server is asked how calls go on.
            front.targets[:] = [second.port]
            assert act(one, "hand_over", "echo")["handler"] == "echo"
            act(other, "clear")
            act(other, "hang_up")
            until(lambda: Stream.objects.live().filter(call__sid=one, name="echo").exists(), "the other handler")
            act(one, "play", MARKER)
            act(one, "dial", "+14155550177")
            reports = {report.call_sid: report for report in calls.result()}
            with pytest.raises(NotLive):
                act(one, "clear")
        assert first.errors == second.errors == []
    assert [error for report in reports.values() for error in report.errors] == []
    assert [SOUND in reports[one].streams[0].heard_audio, MARKER in reports[one].streams[1].heard_audio] == [True, True]
    assert (reports[one].dialled, len(reports[other].streams)) == (["+14155550177"], 1)
    stored_to_the_end(list(reports.values()))
    verify()
    streams = Stream.objects.filter(call__sid=one)
    assert [(stream.name, stream.end_reason) for stream in streams] == [("voicemail", "dial"), ("echo", "dial")]
    assert (len({stream.lease_owner for stream in streams}), Call.objects.get(sid=one).handler) == (2, "echo")
    done = CallEvent.objects.filter(call__sid=one, source="control", user=anna)
    asked = done.exclude(kind="play-heard").values_list("kind", flat=True)
    assert [*asked] == ["clear", "play", "hand-over", "play", "dial", "clear"]
    assert done.filter(kind="play-heard").count() == 2
