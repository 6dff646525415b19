"""Calls that go on beside us (<Start><Stream>, <Dial>): their stream is started again when it was lost.

Each starts servers of its own, since it ends one, and waits until another has missed it: 4 to 10 s.
"""

import signal

import pytest

from calls.models import Call, CallEvent, Gap, Stream
from tests.support.balancer import Balancer
from tests.support.callers import Calls
from tests.support.recorded import loss, stored_to_the_end, verify
from tests.support.servers import SPEECH, Server, free_port, until


pytestmark = [pytest.mark.process, pytest.mark.clock, pytest.mark.django_db(transaction=True)]

# Orphans are closed sooner than in production: a test does not wait 20 s.
SOON = {"DJANGO_SETTINGS_MODULE": "tests.support.child_settings", "LEASE": "4"}
TWO_PEOPLE = {"audio": SPEECH * 10, "callee_audio": SPEECH * 10, "silence_timeout": 0}


def monitoring(folder, front, port, api_port, **environment):
    return Server(
        "uvicorn",
        folder,
        public_url=front.url,
        port=port,
        MONITOR_DIAL="+14155550142",
        TWILIO_API_URL=f"http://127.0.0.1:{api_port}",
        **environment,
    )


def on_their_second_stream(calls):
    until(lambda: len(calls.calls[0].report.streams) == 2, "the stream to be started again")
    return calls.talk(calls.calls[0].seconds + 1.0)


def whole(calls, first_end):
    """Nothing is missing but the time between the two streams, and that is said."""
    (report,) = calls.hang_up().result()
    assert report.errors == []
    stored_to_the_end([report])
    assert loss([report]).holes == 0
    until(lambda: Call.objects.filter(status="completed").exists(), "the call's end to be known")
    verify()
    one, two = Stream.objects.order_by("started_at")
    assert (one.end_reason, two.end_reason) == (first_end, "stop")
    assert (one.name, one.tracks, two.name, two.tracks) == ("monitor-start", ["inbound", "outbound"]) * 2
    between = round((two.started_at - one.started_at).total_seconds() * 8000) - one.length
    lanes = list(Gap.objects.filter(reason="no_stream").values_list("stream", "track", "start", "length"))
    assert lanes == [(one.pk, track, one.length, between) for track in ("inbound", "outbound")]
    return Call.objects.get()


@pytest.mark.parametrize(
    ("number", "first_end"), [(signal.SIGTERM, "shutdown"), (signal.SIGKILL, "interrupted")], ids=["drain", "crash"]
)
def test_a_monitored_call_goes_on_at_another_worker(tmp_path, number, first_end):
    api_port, ports = free_port(), [free_port(), free_port()]
    with Balancer() as front:
        front.targets = [*ports]
        with (
            monitoring(tmp_path, front, ports[0], api_port, **SOON) as first,
            monitoring(tmp_path, front, ports[1], api_port, **SOON) as second,
        ):
            calls = Calls(first, handler="monitor", api_port=api_port, **TWO_PEOPLE).talk(1.0)
            first.send(number)
            on_their_second_stream(calls)
            call = whole(calls, first_end)
            assert second.errors == []
    assert CallEvent.objects.get(kind="listen-again").data["outcome"] == "Twilio opens another stream."
    assert call.audio_samples > 8000


def test_a_monitored_call_goes_on_at_the_same_worker_when_its_socket_breaks(tmp_path):
    api_port, port = free_port(), free_port()
    with Balancer() as front:
        front.targets = [port]
        with monitoring(tmp_path, front, port, api_port) as server:
            calls = Calls(server, handler="monitor", api_port=api_port, cut_after=1.0, **TWO_PEOPLE)
            on_their_second_stream(calls)
            whole(calls, "disconnect")


def test_where_twilio_cannot_be_asked_the_call_stays_open_and_says_what_is_missing(tmp_path):
    ports = [free_port(), free_port()]
    with Balancer() as front:
        front.targets = [*ports]
        nobody = free_port()
        with monitoring(tmp_path, front, ports[0], nobody) as first, monitoring(tmp_path, front, ports[1], nobody):
            calls = Calls(first, handler="monitor", **TWO_PEOPLE).talk(1.0)
            first.send(signal.SIGTERM)
            first.wait()
            assert Call.objects.get().ended_at is None
            assert Call.objects.get().dialing
            calls.hang_up().result()
            until(lambda: Call.objects.filter(status="completed").exists(), "the call's end to be known")
    verify()
    # The socket may close between the two frames of one moment.
    assert set(Gap.objects.filter(length__gt=160).values_list("reason", flat=True)) == {"no_stream"}
