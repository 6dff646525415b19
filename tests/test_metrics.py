"""Figures for Prometheus: who is told, what is counted once, and what several processes have counted together."""

import os
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from django.core.management import CommandError
from django.test import AsyncClient, Client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from calls import metrics
from calls.checks import check_metrics
from calls.measuring.measurement import measure
from calls.media.audio import tone
from calls.metrics.sharing import Figures
from calls.models import Call
from calls.process.scraping import serve, tell_of_this_process
from calls.recorder.aside import Held
from calls.recorder.queue import Recorder
from calls.server.tally import Tally
from calls.summaries.summary import note_call
from tests.support.batches import chunk
from tests.support.factories import make_call, make_chunk, make_live_call, make_stream
from tests.support.servers import free_port
from tests.support.sounds import CALLER
from tests.support.webhooks import CALL, COMPLETED, INCOMING, SIGNATURE, post, signature


TOKEN = "0123456789abcdef0123"


@pytest.fixture
def token(settings):
    settings.METRICS_TOKEN = TOKEN
    settings.ALLOWED_HOSTS = []
    return TOKEN


def told(text):
    """Each series by its name and the values of its labels."""
    families = text_string_to_metric_families(text.decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def figures():
    return told(metrics.figures.text())


def risen(before):
    """What has changed since then, without how the loop does and how long things take."""
    now = figures()
    return {
        name: now[name] - before.get(name, 0)
        for name in now
        if now[name] != before.get(name, 0) and "_seconds" not in name[0]
    }


# --- /metrics ---------------------------------------------------------------------------------------------------------


# No test here has the database: a query would raise.
def test_whoever_has_the_token_is_told_whatever_host_they_ask_for(token):
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {token}", "Host": "10.0.0.7:8000"})
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'callstream_media_frames_total{direction="inbound"}' in response.content


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer no", f"Basic {TOKEN}", f"{TOKEN}", "Bearer ünsigned"])
def test_nobody_else_is(token, sent):
    response = Client().get("/metrics", headers={"Authorization": sent})
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert b"callstream" not in response.content


def test_without_a_token_there_is_no_such_address(settings):
    settings.METRICS_TOKEN = ""
    for sent in ("Bearer", "Bearer "):
        assert Client().get("/metrics", headers={"Authorization": sent}).status_code == 404


async def test_they_are_told_under_asgi_too(token):
    response = await AsyncClient().get("/metrics", headers={"Authorization": f"bearer {token}"})
    assert (response.status_code, b"callstream_calls_total" in response.content) == (200, True)


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "ümlaute sind hier nicht erlaubt"])
def test_a_token_that_no_header_carries_or_that_is_guessed_is_an_error(settings, token):
    settings.METRICS_TOKEN = token
    assert [message.id for message in check_metrics()] == ["calls.E044"]
    settings.METRICS_TOKEN = TOKEN
    assert [*check_metrics()] == []


# --- what is counted --------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_call_counts_once_though_its_end_is_told_twice(client, process):
    before = figures()
    for _ in range(2):
        post(client, "/call-status", COMPLETED)
    post(client, "/call-status", {**COMPLETED, "CallStatus": "failed", "SequenceNumber": "4"})
    assert risen(before) == {("callstream_calls_total", "outbound-api", "completed"): 1}


@pytest.mark.django_db(transaction=True)
def test_a_call_whose_end_could_not_be_written_does_not_count(monkeypatch):
    make_live_call(sid=CALL, direction="to the moon")
    before = figures()
    monkeypatch.setattr(Call, "save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        note_call(CALL, {"status": "completed"}, using="default")
    monkeypatch.undo()
    assert risen(before) == {}
    note_call(CALL, {"status": "completed"}, using="default")
    assert risen(before) == {("callstream_calls_total", "other", "completed"): 1}


REFUSED = [
    ("/incoming", {"MAX_STREAMS": 0}, {}, {}, "full"),
    ("/incoming/nobody", {}, {}, {}, "no such handler"),
    ("/incoming", {"STREAM_HANDLERS": {"voicemail": "nowhere.at.all"}}, {}, {}, "the handler cannot be used"),
    ("/incoming", {}, {"CallSid": "CA17"}, {}, "no usable CallSid"),
    ("/incoming", {}, {}, {SIGNATURE: signature("https://elsewhere.example.org/")}, "signature"),
    ("/incoming", {}, {}, {SIGNATURE: "x"}, "signature"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("path", "given", "asked", "headers", "reason"), REFUSED)
def test_a_call_that_is_refused_counts_by_its_reason(client, process, settings, path, given, asked, headers, reason):
    for name, value in given.items():
        setattr(settings, name, value)
    before = figures()
    post(client, path, {**INCOMING, **asked}, **headers)
    assert risen(before) == {("callstream_refusals_total", reason): 1}


def test_a_streams_counters_are_added_up_as_they_rise_and_holes_that_are_filled_count_as_missing_once():
    tally, before = Tally(), figures()
    counters = {"frames_received": 100, "frames_missing": 5, "frames_rejected": 0, "handler_overruns": 0}
    tally.take(counters, sent=160 * 90)
    tally.take({**counters, "frames_received": 200, "frames_missing": 3}, sent=160 * 190)
    tally.take({**counters, "frames_received": 300, "frames_missing": 6, "frames_rejected": 2}, sent=160 * 190)
    assert risen(before) == {
        ("callstream_media_frames_total", "inbound"): 300,
        ("callstream_media_frames_total", "outbound"): 190,
        ("callstream_frames_missing_total",): 6,
        ("callstream_frames_rejected_total",): 2,
    }


@pytest.mark.django_db
def test_what_callers_waited_counts_once_though_a_call_is_measured_twice():
    after = len(CALLER) + 8000
    call = make_call(audio_samples=after + 8000)
    stream = make_stream(call, length=after + 8000, ended_at=call.ended_at)
    make_chunk(stream, CALLER)
    make_chunk(stream, tone(440, 1000), track="outbound", start=after)
    before = figures()
    for _ in range(2):
        assert measure(Call.objects.get())
    now = figures()
    rose = [now[f"callstream_{name}",] - before[f"callstream_{name}",] for name in WAITS]
    assert rose == [1, 1, pytest.approx(Call.objects.get().response_ms / 1000)]


WAITS = ("first_audio_seconds_count", "response_seconds_count", "response_seconds_sum")


def test_the_lag_is_the_age_of_what_has_waited_longest():
    now = SimpleNamespace(time=100.0)
    recorder = Recorder(threaded=False, clock=lambda: now.time)
    assert recorder.longest_waiting == 0
    recorder.submit([chunk(0)])
    now.time += 3
    recorder.submit([chunk(1)])
    assert recorder.longest_waiting == 3
    recorder._aside.held[CALL] = Held(since=90.0, due=0)
    assert recorder.longest_waiting == 13


def test_a_process_that_takes_calls_tells_how_it_is(process):
    tell_of_this_process()
    own = {name: value for (name, *labels), value in figures().items() if labels[-1:] == [str(os.getpid())]}
    assert own == {
        "callstream_streams_active": 0,
        "callstream_streams_capacity": 200,
        "callstream_ready": 1,
        "callstream_draining": 0,
        "callstream_recorder_lag_seconds": 0,
        "callstream_recorder_queue_bytes": 0,
        "callstream_spool_bytes": 0,
        "callstream_build_info": 1,
    }


# --- several processes ------------------------------------------------------------------------------------------------


class Process:
    """What stands for one: with figures of its own, and a lock that goes with it."""

    def __init__(self, folder, number):
        source = CollectorRegistry()
        self.calls = Counter("calls", "Calls.", ["outcome"], registry=source)
        self.waits = Histogram("waits", "Waits.", buckets=[1, 2], registry=source)
        self.streams = Gauge("streams", "Streams.", registry=source)
        self.figures = Figures(source, number)
        self.figures.join(folder)

    def tells(self):
        return told(self.figures.text())

    def die(self, *, tells=True):
        if tells:
            self.figures.close()
        self.figures._is_over.set()
        if self.figures._lock:
            self.figures._lock.close()


@pytest.fixture
def processes(tmp_path):
    made = []

    def start(number, folder="one"):
        made.append(Process(tmp_path / "root" / folder, number))
        return made[-1]

    yield start
    for each in made:
        each.die()


def test_counters_add_up_and_gauges_are_each_processs_own(processes):
    one, two = processes(1), processes(2)
    one.calls.labels("completed").inc(3)
    two.calls.labels("completed").inc(4)
    two.waits.observe(1.5)
    one.streams.set(5)
    two.streams.set(6)
    one.figures._publish()
    assert two.tells() == {
        ("calls_total", "completed"): 7,
        ("waits_bucket", "1.0"): 0,
        ("waits_bucket", "2.0"): 1,
        ("waits_bucket", "+Inf"): 1,
        ("waits_count",): 1,
        ("waits_sum",): 1.5,
        ("streams", "1"): 5,
        ("streams", "2"): 6,
    }


def test_whoever_answers_has_told_the_others_before(processes):
    one, two = processes(1), processes(2)
    one.calls.labels("busy").inc()
    assert one.tells()["calls_total", "busy"] == 1
    one.die(tells=False)
    assert two.tells()["calls_total", "busy"] == 1


def test_what_dead_processes_have_counted_stays_and_their_gauges_and_files_go(processes):
    left, files = processes(1), []
    for number in range(2, 8):
        other = processes(number)
        other.calls.labels("failed").inc(10)
        other.streams.set(1)
        other.die()
        told_now = left.tells()
        assert told_now["calls_total", "failed"] == 10 * (number - 1) == left.tells()["calls_total", "failed"]
        assert [name for name in told_now if name[0] == "streams"] == [("streams", "1")]
        files.append(len(list(left.figures.folder.iterdir())))
    assert set(files) == {4}


def test_a_dead_process_counts_once_though_whoever_added_it_died_before_its_file_was_gone(processes):
    one, two = processes(1), processes(2)
    two.calls.labels("failed").inc(10)
    two.die()
    kept = {path: path.read_bytes() for path in one.figures.folder.glob("2-*")}
    assert one.tells()["calls_total", "failed"] == 10
    for path, content in kept.items():
        path.write_bytes(content)
    assert one.tells()["calls_total", "failed"] == 10


def test_servers_of_their_own_have_nothing_to_do_with_each_other_and_a_dead_ones_folder_goes(processes, tmp_path):
    dead, other = processes(1, "dead"), processes(2, "other")
    dead.calls.labels("failed").inc(10)
    dead.figures._publish()
    assert ("calls_total", "failed") not in other.tells()
    dead.die()
    processes(3, "third")
    assert {path.name for path in (tmp_path / "root").iterdir()} == {"other", "third", "turn"}


def test_where_nothing_can_be_written_a_process_tells_of_itself_and_the_log_says_so_once(processes, tmp_path, caplog):
    (tmp_path / "root").write_text("no folder")
    one = processes(1)
    one.calls.labels("busy").inc()
    assert one.tells()["calls_total", "busy"] == one.tells()["calls_total", "busy"] == 1
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["metrics_alone"]


def test_a_process_that_serves_nothing_may_answer_at_a_port_of_its_own(token):
    port = free_port()
    serve(port)
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked) as answer:
        assert ("callstream_response_seconds_count",) in told(answer.read())
    for path, status in (("/metrics", 401), ("/admin/", 404)):
        with pytest.raises(urllib.error.HTTPError, match=str(status)) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}")
        refused.value.close()
    with pytest.raises(CommandError, match=f"port {port}"):
        serve(port)
