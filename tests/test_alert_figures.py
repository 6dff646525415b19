"""What alert rules look at: each figure at the edges of its window, and found without reading the table."""

import datetime as dt
import re

import pytest
from django.db import connection
from django.utils import timezone

from calls.alerts.figures import Figure, figure
from calls.models import Call, Stream, Turn
from tests.support.factories import START, make_call, make_rule, make_stream, make_turn


pytestmark = pytest.mark.django_db

WINDOW = dt.timedelta(minutes=15)
NOW = START + dt.timedelta(hours=1)
BEGAN = NOW - WINDOW
SECOND = dt.timedelta(seconds=1)


def ended(at=NOW - SECOND, *responses, **facts):
    """A call that ended then, with answers that took so many ms."""
    call = make_call(**{"ended_at": at, "created_at": at - dt.timedelta(minutes=1), **facts})
    stream = make_stream(call)
    for number, response in enumerate(responses):
        make_turn(stream, start=number * 20_000, response_ms=response)
    return call


def found(metric, **facts):
    return figure(make_rule(metric, **facts), BEGAN, NOW)


def test_the_95th_percentile_is_what_19_answers_of_20_stay_within():
    ended(NOW - SECOND, *range(100, 2100, 100))
    assert found("response") == Figure(1.9, 20)


def test_the_percentile_of_few_answers_is_the_slowest():
    ended(NOW - SECOND, 300, 4000)
    assert found("response", percentile=95) == Figure(4.0, 2)
    assert found("response", percentile=50) == Figure(0.3, 2)


def test_a_turn_that_answers_nothing_is_no_answer():
    make_turn(make_stream(ended()), response_ms=None)
    make_turn(make_stream(ended()), "caller")
    assert found("response") == Figure(None, 0)


@pytest.mark.parametrize(
    ("at", "counts"), [(BEGAN - SECOND / 1000, 0), (BEGAN, 1), (NOW - SECOND / 1000, 1), (NOW, 0), (None, 0)]
)
@pytest.mark.parametrize("metric", ["response", "first-audio", "dead-air", "failures", "warnings", "unanswered"])
def test_a_call_counts_that_ended_within_the_window(metric, at, counts):
    facts = {"first_audio_ms": 500, "dead_air_ms": 10, "audio_samples": 800}
    ended(NOW, 500, **facts)
    Call.objects.update(ended_at=at)
    assert found(metric).counted == counts


@pytest.mark.parametrize(("at", "counts"), [(BEGAN - SECOND, 0), (BEGAN, 1), (NOW - SECOND, 1), (NOW, 0)])
def test_too_few_calls_are_those_that_began_within_the_window(at, counts):
    make_call(created_at=at, ended_at=None)
    assert found("calls") == Figure(counts, counts)


def test_one_handler_s_rule_looks_at_its_calls_only():
    ended(NOW - SECOND, 500, handler="pizza")
    ended(NOW - SECOND, 9000, handler="echo")
    assert found("response", handler="pizza") == Figure(0.5, 1)
    assert found("calls", handler="pizza") == Figure(1, 1)
    assert found("warnings", handler="tea") == Figure(None, 0)


def test_first_audio_is_told_of_calls_that_have_one():
    for ms in (200, 700, None):
        ended(first_audio_ms=ms)
    assert found("first-audio") == Figure(0.7, 2)


def test_dead_air_is_a_share_of_the_time_recorded():
    ended(dead_air_ms=3000, audio_samples=8000 * 9)
    ended(dead_air_ms=0, audio_samples=8000 * 3)
    ended(dead_air_ms=None, audio_samples=8000 * 100)
    ended(dead_air_ms=0, audio_samples=0)
    assert found("dead-air") == Figure(25.0, 2)


def test_a_handler_that_failed_twice_in_a_call_failed_in_one_of_those_that_were_answered():
    call = ended()
    Stream.objects.update(handler_failed=True)
    make_stream(call, handler_failed=True)
    ended()
    ended(answered_at=None)
    assert found("failures") == Figure(50.0, 2)


def test_warnings_and_unanswered_calls_are_shares_of_all():
    ended(has_warning=True)
    ended(answered_at=None)
    ended()
    ended()
    assert found("warnings") == found("unanswered") == Figure(25.0, 4)


def test_without_calls_there_is_nothing_to_tell():
    assert [found(name) for name in ("response", "dead-air", "failures")] == [Figure(None, 0)] * 3


@pytest.mark.parametrize(
    "metric", ["response", "first-audio", "dead-air", "failures", "warnings", "unanswered", "calls"]
)
def test_each_figure_is_one_query(metric, django_assert_num_queries):
    rule = make_rule(metric)
    with django_assert_num_queries(1):
        figure(rule, BEGAN, NOW)


# --- at size ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def many():
    """Thousands of old calls with their streams and turns, and one of just now."""
    long_ago = timezone.now() - dt.timedelta(days=90)
    calls = Call.objects.bulk_create(
        Call(sid=f"CAff{number:030x}", handler="voicemail", status="completed", ended_at=at, created_at=at)
        for number, at in ((number, long_ago + dt.timedelta(minutes=number)) for number in range(3000))
    )
    streams = Stream.objects.bulk_create(
        Stream(call=call, sid=f"MZff{call.pk:030x}", nonce=f"ff{call.pk:030x}", started_at=call.created_at)
        for call in calls
    )
    Turn.objects.bulk_create(Turn(stream=stream, speaker="us", start=0, length=1, response_ms=9) for stream in streams)
    ended(timezone.now(), 700)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def plan(rule):
    with connection.execute_wrapper(kept := Kept()):
        figure(rule, timezone.now() - WINDOW, timezone.now() + WINDOW)
    sql, params = kept.asked[0]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}", params)
        return "\n".join(str(row) for row in cursor.fetchall())


class Kept:
    def __init__(self):
        self.asked = []

    def __call__(self, execute, sql, params, many, context):
        self.asked.append((sql, params))
        return execute(sql, params, many, context)


def test_the_calls_of_a_window_are_found_by_an_index_and_all_else_by_theirs(many):
    for metric in ("response", "first-audio", "dead-air", "failures", "warnings", "unanswered"):
        for handler in ("", "voicemail"):
            found = plan(make_rule(metric, handler=handler))
            assert "call_ended" in found, metric
            assert not re.search("Seq Scan on calls_|SCAN calls_", found), metric


def test_too_few_calls_are_counted_by_an_index(many):
    assert "call_newest" in plan(make_rule("calls"))
