"""Who spoke when, on a call's page: figures for everybody who sees the call, turns for those who may listen."""

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from calls.admin.cells import wait, wait_tone
from calls.models import Call
from calls.recordings import turns
from calls.recordings.rendering import Recording
from tests.support.factories import (
    make_call,
    make_gap,
    make_live_call,
    make_recording,
    make_staff,
    make_stream,
    make_turn,
)


pytestmark = pytest.mark.django_db


@pytest.fixture
def stream():
    """Ten seconds of a call that was measured."""
    return make_stream(make_measured(), length=80_000)


def make_measured(**facts):
    figures = {"first_audio_ms": 640, "response_ms": 1240, "response_ms_max": 4200}
    figures |= {"dead_air_ms": 0, "talk_over_ms": 90}
    return make_call(**{"audio_samples": 80_000, "measured_at": timezone.now(), **figures, **facts})


def measured_recording():
    call = make_recording(seconds=10)
    Call.objects.filter(pk=call.pk).update(measured_at=timezone.now(), response_ms_max=4200)
    return call


def asked(client, call):
    response = client.get(reverse("admin:calls_call_turns", args=[call.pk]))
    assert response.status_code == 200
    return response.json()


def page(client, call):
    return client.get(reverse("admin:calls_call_change", args=[call.pk])).content.decode()


# --- turns ------------------------------------------------------------------------------------------------------------


def test_turns_are_told_in_order_of_time_with_what_was_waited_for_them(client, listener, stream):
    make_turn(stream, "us", start=24_000, length=16_000, response_ms=1250)
    make_turn(stream, "caller", start=4_000, length=10_000)
    assert asked(client, stream.call)["turns"] == [
        {"at": 0.5, "end": 1.75, "who": "caller", "clock": "0:00.5", "lasted": "1.2 s"},
        {
            **{"at": 3.0, "end": 5.0, "who": "us", "clock": "0:03.0", "lasted": "2.0 s"},
            **{"response_ms": 1250, "wait": "1.2 s", "tone": "warn"},
        },
    ]


def test_a_turn_that_was_interrupted_says_how_long_it_went_on(client, listener, stream):
    make_turn(stream, "us", length=16_000, interrupted=True, talked_on_ms=900)
    (turn,) = asked(client, stream.call)["turns"]
    assert (turn["interrupted"], turn["talked_on_ms"], turn["talked_on"]) == (True, 900, "0.9 s")


def test_turns_lie_on_the_recordings_clock(client, listener):
    call = make_measured(audio_samples=88_000)
    make_stream(call, length=8_000)
    make_turn(make_stream(call, after=10, length=8_000), start=4_000, length=4_000)
    assert [(turn["at"], turn["end"]) for turn in asked(client, call)["turns"]] == [(10.5, 11.0)]


def test_what_two_streams_heard_at_once_is_one_turn(client, listener):
    call = make_measured()
    whole = make_stream(call, length=80_000)
    beside = make_stream(call, after=1, length=80_000, bidirectional=False, name="desk-start")
    make_turn(whole, start=16_000)
    make_turn(beside, start=8_100)
    make_turn(beside, start=76_000)
    assert [turn["at"] for turn in asked(client, call)["turns"]] == [2.0, 10.5]


def test_dead_air_and_talk_over_are_told(client, listener, stream):
    make_turn(stream, "us", length=16_000)
    make_turn(stream, "caller", start=12_000, length=12_000)
    make_turn(stream, "us", start=52_000, length=28_000, response_ms=3500)
    found = asked(client, stream.call)
    assert found["dead"] == [{"at": 3.0, "end": 6.5, "lasted": "3.5 s"}]
    assert found["over"] == [{"at": 1.5, "end": 2.0, "lasted": "0.5 s"}]


def test_what_was_not_recorded_is_no_dead_air(client, listener, stream):
    make_turn(stream, "us", length=8_000)
    make_turn(stream, "us", start=72_000, length=8_000)
    make_gap(stream, start=10_000, length=60_000, reason="paused")
    assert asked(client, stream.call)["dead"] == []


def test_silence_that_twilio_did_not_send_is_dead_air(client, listener, stream):
    make_turn(stream, "us", length=8_000)
    make_turn(stream, "us", start=72_000, length=8_000)
    make_gap(stream, start=10_000, length=60_000, reason="timestamp")
    assert [part["at"] for part in asked(client, stream.call)["dead"]] == [1.0]


def test_time_without_a_stream_is_no_dead_air(client, listener):
    call = make_measured()
    make_turn(make_stream(call, length=8_000), length=8_000)
    make_turn(make_stream(call, after=9, length=8_000), length=8_000)
    assert asked(client, call)["dead"] == []


def test_a_call_that_was_not_measured_has_no_dead_air_either(client, listener):
    call = make_call(audio_samples=80_000)
    make_stream(call, length=80_000)
    found = asked(client, call)
    assert (found["measured"], found["turns"], found["dead"]) == (False, [], [])


def test_turns_of_a_call_without_a_stream_are_none(client, listener):
    assert asked(client, make_measured())["turns"] == []


def test_very_many_turns_are_cut_and_that_is_said(client, listener, stream, monkeypatch):
    monkeypatch.setattr(turns.turns, "__defaults__", (3,))
    for number in range(4):
        make_turn(stream, start=number * 16_000)
    found = asked(client, stream.call)
    assert [turn["at"] for turn in found["turns"]] == [0, 2, 4]
    assert found["cut"] == "Only the first 3 turns are shown."
    assert found["dead"] == []


def test_turns_cost_the_same_however_many_there_are(client, listener, django_assert_num_queries):
    few, many = make_stream(make_measured(), length=8_000), make_stream(make_measured(), length=80_000_000)
    for number in range(500):
        make_turn(many, ("us", "caller")[number % 2], start=number * 16_000, interrupted=True)
        make_gap(many, start=number * 16_000, reason="sequence")
    for call in (few.call, many.call):
        client.get(reverse("admin:calls_call_turns", args=[call.pk]))
        # Session, user, two of permissions, the call, its recording, turns, lost audio, pauses.
        with django_assert_num_queries(9):
            asked(client, call)


def test_a_calls_page_costs_the_same_however_many_turns_it_has(client, listener, django_assert_num_queries):
    few, many = make_stream(make_measured(), length=8_000), make_stream(make_measured(), length=80_000_000)
    for number in range(200):
        make_turn(many, start=number * 16_000, interrupted=True)
    page(client, few.call)
    with CaptureQueriesContext(connection) as queries:
        page(client, few.call)
    with django_assert_num_queries(len(queries)):
        page(client, many.call)


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        ([("us", 0, 8_000), ("caller", 8_000, 9_000)], []),
        ([("us", 0, 8_000), ("caller", 6_000, 9_000)], [(0.75, 1.0)]),
        ([("us", 0, 8_000), ("caller", 2_000, 3_000), ("caller", 4_000, 9_000)], [(0.25, 0.375), (0.5, 1.0)]),
        ([("us", 0, 8_000), ("us", 6_000, 9_000)], []),
    ],
)
def test_talk_over_is_where_both_speak(client, listener, stream, spoken, expected):
    for speaker, start, end in spoken:
        make_turn(stream, speaker, start=start, length=end - start)
    assert [(part["at"], part["end"]) for part in asked(client, stream.call)["over"]] == expected


# --- who may see them -------------------------------------------------------------------------------------------------


def test_who_may_not_listen_gets_figures_and_no_turns(client, stream):
    client.force_login(make_staff("view_call"))
    make_turn(stream)
    assert client.get(reverse("admin:calls_call_turns", args=[stream.call_id])).status_code == 403
    html = page(client, stream.call)
    assert "4.2 s" in html
    assert "turns.json" not in html


def test_who_may_listen_gets_both(client, listener):
    call = measured_recording()
    assert "turns.json" in page(client, call)


def test_turns_lead_nowhere_once_the_audio_is_erased(client, listener, stream):
    make_turn(stream)
    html = page(client, stream.call)
    assert "4.2 s" in html
    assert "turns.json" not in html


def test_who_is_not_logged_in_is_asked_to(client, stream):
    assert client.get(reverse("admin:calls_call_turns", args=[stream.call_id])).status_code == 302


def test_turns_are_not_kept_by_the_browser(client, listener, stream):
    response = client.get(reverse("admin:calls_call_turns", args=[stream.call_id]))
    assert response["Cache-Control"] == "no-store, private"


# --- figures ----------------------------------------------------------------------------------------------------------


def figures(client, call):
    response = client.get(reverse("admin:calls_call_change", args=[call.pk]))
    return {figure.key: (figure.value, figure.tone) for figure in response.context["figures"]}


def test_the_page_has_the_figures_of_a_conversation(client, listener, stream):
    make_turn(stream, "us", start=8_000, interrupted=True)
    make_turn(stream, "caller", start=24_000, interrupted=True)
    assert figures(client, stream.call) == {
        **{"first": ("0.6 s", "good"), "median": ("1.2 s", "warn"), "worst": ("4.2 s", "bad")},
        **{"dead": ("0.0 s", ""), "over": ("0.1 s", ""), "interruptions": ("1", "")},
    }


def test_a_conversation_without_an_answer_has_no_response(client, listener):
    call = make_measured(first_audio_ms=None, response_ms=None, response_ms_max=None)
    assert figures(client, call)["worst"] == ("–", "")


def test_interruptions_that_two_streams_heard_count_once():
    call = make_measured()
    make_turn(make_stream(call, length=80_000), start=16_000, interrupted=True)
    make_turn(make_stream(call, after=1, length=80_000, bidirectional=False), start=8_000, interrupted=True)
    assert turns.interruptions(Recording.of(call)) == 1


def test_a_call_that_was_not_measured_says_how_it_is(client, listener):
    call = make_call(audio_samples=80_000)
    make_stream(call, length=80_000)
    call.streams.get().chunks.create(index=0, track="inbound", start=0, length=3, payload=b"abc", peaks=b"a")
    html = page(client, call)
    assert "not measured yet; <code>manage.py measure_calls</code>" in html
    assert "call-measures" not in html


def test_a_running_call_says_when_it_is_measured(client, listener):
    call = make_live_call()
    make_stream(call, length=80_000)
    assert "measured when the call is over" in page(client, call)


def test_a_call_without_a_recording_says_nothing_of_figures(client, listener):
    html = page(client, make_call())
    assert "measure" not in html.replace("call-measures", "")


@pytest.mark.parametrize(
    ("ago", "facts", "expected"),
    [
        (5, {}, "yes"),
        (500, {}, "no"),
        (5, {"measured_at": timezone.now()}, "no"),
        (5, {"ended_at": None, "status": "in-progress"}, "no"),
    ],
)
def test_a_page_waits_for_the_figures_of_a_call_that_has_just_ended(client, listener, ago, facts, expected):
    ended = timezone.now() - dt.timedelta(seconds=ago)
    call = make_call(**{"ended_at": ended, **facts})
    make_stream(call, length=8_000)
    assert f'data-awaited="{expected}"' in page(client, call)


def test_a_call_without_a_recording_is_not_waited_for(client, listener):
    assert 'data-awaited="no"' in page(client, make_call(ended_at=timezone.now()))


def test_the_figures_come_with_what_the_page_asks_for(client, listener):
    call = make_call(ended_at=timezone.now())
    make_stream(call, length=80_000)
    address = reverse("admin:calls_call_follow", args=[call.pk])
    assert client.get(address).json()["awaited"]
    Call.objects.update(measured_at=timezone.now(), response_ms_max=4200)
    found = client.get(address).json()
    assert not found["awaited"]
    assert "4.2 s" in found["html"]["call-figures"]


@pytest.mark.parametrize(
    ("ms", "text", "tone"),
    [
        *((0, "0.0 s", "good"), (349, "0.3 s", "good"), (1049, "1.0 s", "good"), (1051, "1.1 s", "warn")),
        *((2049, "2.0 s", "warn"), (2051, "2.1 s", "bad"), (9949, "9.9 s", "bad"), (9951, "10 s", "bad")),
        *((99_499, "99 s", "bad"), (99_500, "1:39", "bad"), (4_000_000, "1:06:40", "bad"), (None, "–", "quiet")),
    ],
)
def test_a_wait_is_said_as_people_say_it_and_judged_as_it_is_said(ms, text, tone):
    assert (wait(ms), wait_tone(ms)) == (text, tone)
