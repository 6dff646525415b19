"""What is measured of a recording: waits within 60 ms of what was said when, and nothing that was not said."""

import datetime as dt
import os

import numpy as np
import pytest
from django.db import DatabaseError, OperationalError
from django.utils import timezone

from calls.measuring import backlog, edges, measurement, playback, voices
from calls.measuring.backlog import CLAIMED, measure_next
from calls.measuring.courtesy import politely
from calls.measuring.line import Line
from calls.measuring.listening import listen
from calls.measuring.measurement import measure
from calls.media.audio import SAMPLE_RATE, SILENCE, tone
from calls.media.turns import Span
from calls.models import AudioChunk, Call, Erasure, Turn
from calls.recordings.retention import erase
from calls.speech.detector import Loudness
from calls.summaries.summary import summarise
from tests.support import sounds
from tests.support.factories import START, make_call, make_gap, make_recording, make_stream, make_turn
from tests.support.talks import Talk, lane_of, line_noise, linear, mulaw
from tests.trials.conversations import Chance, errors


EXACT = 60


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(backlog, "_told", set())


def heard(talk, *, beneath=0.0, unknown=(), caller=None):
    lanes = caller or talk.lane("caller", talk.length, beneath), talk.lane("us", talk.length)
    return listen(*map(lane_of, lanes), list(unknown), somebody_else=[], answered=0)


def waits(conversation):
    return [turn.response_ms for turn in conversation.turns if turn.speaker == "us"]


def said(audio):
    """Who is heard in a lane of the caller's."""
    return edges.refined(lane_of(audio), voices.spans(lane_of(audio)))


def store(stream, audio, track="inbound"):
    """In rows of 2 s, as the recorder never makes them longer than 10 s."""
    size = 2 * SAMPLE_RATE
    AudioChunk.objects.bulk_create(
        AudioChunk(
            stream=stream,
            track=track,
            index=nth,
            start=at,
            length=len(audio[at : at + size]),
            payload=audio[at : at + size],
        )
        for nth, at in enumerate(range(0, len(audio), size))
    )


def recorded(talk, **facts):
    """A call that is over, in which that was said."""
    call = make_call(**{"audio_samples": talk.length, "created_at": START, "ended_at": timezone.now(), **facts})
    stream = make_stream(call, length=talk.length, ended_at=call.ended_at, started_at=START)
    for track, side in (("inbound", "caller"), ("outbound", "us")):
        store(stream, talk.lane(side, talk.length), track)
    return call


def exchange():
    """The caller waits 800 ms."""
    return Talk().wait(500).caller().answer(800)


# --- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [300, 800, 1500, 4000])
def test_a_wait_is_known_to_60_ms(gap):
    talk = Talk().wait(500).us().wait(400).caller().answer(gap).wait(500).caller("Yes.").answer(gap)
    assert waits(heard(talk)) == [None, pytest.approx(gap, abs=EXACT), pytest.approx(gap, abs=EXACT)]


@pytest.mark.parametrize("word", ["Yes.", "Six.", "Turn left.", "That is enough."])
@pytest.mark.parametrize("voice", ["en-us", "en-gb", "en-us+f3", "en-us+m7"])
def test_a_last_soft_consonant_belongs_to_the_word(voice, word):
    assert waits(heard(Talk().wait(800).caller(word, voice).answer(800))) == [pytest.approx(800, abs=EXACT)]


@pytest.mark.parametrize("decibels", [-35, -25, -15])
@pytest.mark.parametrize("below", [25, 40])
def test_a_caller_may_be_loud_or_soft_on_a_noisy_line(decibels, below):
    talk = Talk().wait(800).caller("It was last week, I think.", decibels=decibels).answer(1500)
    noise = line_noise(talk.length, decibels - below)
    assert waits(heard(talk, beneath=noise)) == [pytest.approx(1500, abs=EXACT)]


@pytest.mark.parametrize("noise", ["keyboard", "music", "breath"])
def test_a_softer_noise_in_the_pauses_moves_no_wait_far(noise):
    talk = Talk().wait(800).caller().answer(1500)
    beneath = 0.03 * np.tile(linear(sounds.NOISES[noise]()), 3)[: talk.length]
    assert waits(heard(talk, beneath=beneath)) == [pytest.approx(1500, abs=EXACT)]


def test_conversations_that_are_made_by_chance_are_known_to_60_ms():
    chance = Chance(seed=11)
    for talk, decibels in [chance.talk() for _ in range(4)]:
        assert all(abs(error) <= EXACT for error in errors(talk, chance.beneath(talk, decibels, "line")))


def test_where_we_begin_is_known_to_5_ms():
    talk = exchange()
    [turn] = [turn for turn in heard(talk).turns if turn.speaker == "us"]
    assert abs(turn.start - talk.spans("us")[0].start) <= 40


# --- interruptions ----------------------------------------------------------------------------------------------------


def test_a_caller_interrupts_us_and_we_talk_on():
    found = heard(Talk().wait(500).us("I can tell you all about our opening hours.").back(600).caller("Please stop."))
    [ours] = [turn for turn in found.turns if turn.speaker == "us"]
    assert (ours.interrupted, ours.talked_on_ms) == (True, pytest.approx(600, abs=EXACT))
    assert found.talk_over_ms == pytest.approx(600, abs=EXACT)


def test_we_interrupt_a_caller():
    found = heard(Talk().wait(500).caller().back(600).us())
    [theirs] = [turn for turn in found.turns if turn.speaker == "caller"]
    assert (theirs.interrupted, theirs.talked_on_ms) == (True, pytest.approx(600, abs=EXACT))
    assert waits(found) == [None]


# --- what is not known ------------------------------------------------------------------------------------------------


def test_a_hole_in_which_twilio_sent_nothing_is_silence():
    talk = exchange()
    end = talk.spans("caller")[0].end
    lane = talk.lane("caller", talk.length, line_noise(talk.length, -55))
    assert waits(heard(talk, caller=lane[:end] + SILENCE * (len(lane) - end))) == [pytest.approx(800, abs=EXACT)]


def test_speech_that_ends_in_lost_audio_has_no_known_end():
    talk = exchange()
    end = talk.spans("caller")[0].end
    lane = bytearray(talk.lane("caller", talk.length))
    lane[end - 1600 : end] = SILENCE * 1600
    assert waits(heard(talk, caller=bytes(lane), unknown=[Span(end - 1600, end)])) == [None]
    assert waits(heard(talk, unknown=[Span(end - 9600, end - 8000)])) == [pytest.approx(800, abs=EXACT)]


# --- what is no speech ------------------------------------------------------------------------------------------------


def hum(seconds, decibels):
    at = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    return 10 ** (decibels / 20) * (np.sin(2 * np.pi * 50 * at) + 0.3 * np.sin(2 * np.pi * 150 * at))


FIVE_MINUTES = 300 * SAMPLE_RATE
LINES = {
    "a quiet line": lambda: line_noise(FIVE_MINUTES, -60),
    "a noisy line": lambda: line_noise(FIVE_MINUTES, -45),
    "hiss": lambda: line_noise(FIVE_MINUTES, -30),
    "hum": lambda: hum(300, -30) + line_noise(FIVE_MINUTES, -60),
    "clicks": lambda: linear(sounds.clicks(300)),
    "comfort noise": lambda: np.convolve(line_noise(FIVE_MINUTES, -40), np.ones(4) / 4, "same"),
}


@pytest.mark.parametrize("line", LINES)
def test_no_turn_is_heard_in_five_minutes_of(line):
    assert said(mulaw(LINES[line]())) == []


def test_an_hour_of_silence_is_dead_air_and_nothing_else():
    lane = SILENCE * 3600 * SAMPLE_RATE
    found = listen(lane_of(lane), lane_of(lane), [], somebody_else=[], answered=0)
    assert (found.turns, found.dead_air_ms) == ([], 3_600_000)


@pytest.mark.parametrize("samples", [0, 1, 800])
def test_a_call_may_be_over_at_once(samples):
    lane = tone(440, 1000)[:samples]
    found = listen(lane_of(lane), lane_of(b""), [], somebody_else=[], answered=0)
    assert (found.turns, found.dead_air_ms) == ([], 0)


def test_near_silence_between_our_sentences_is_no_speech_of_ours():
    talk = Talk().us().wait(3000).us()
    lane = talk.lane("us", talk.length, line_noise(talk.length, -52))
    turns = playback.sounds(lane_of(lane))
    for span, true in zip([turns[0], turns[-1]], talk.spans("us"), strict=True):
        assert true.start - 160 <= span.start <= true.start + 160
    assert not any(talk.spans("us")[0].end + 400 < span.start < talk.spans("us")[1].start - 400 for span in turns)


def test_a_soft_beginning_of_ours_is_heard():
    talk = Talk().wait(500).us("Six.", decibels=-35)
    assert playback.sounds(lane_of(talk.lane("us", talk.length)))[0].start == pytest.approx(4000, abs=80)


def test_speech_is_found_where_pieces_and_segments_meet(monkeypatch):
    monkeypatch.setattr("calls.measuring.lanes.PIECE", 10 * SAMPLE_RATE // 256 * 256)
    monkeypatch.setattr(voices, "SEGMENT", 40)
    talk = Talk()
    for _ in range(12):
        talk.wait(1500).caller()
    found = said(talk.lane("caller", talk.length, line_noise(talk.length, -50)))
    for true in talk.spans("caller"):
        near = [span for span in found if span.start < true.end and span.end > true.start]
        assert near[0].start == pytest.approx(true.start, abs=8 * EXACT)
        assert near[-1].end == pytest.approx(true.end, abs=8 * EXACT)


def test_without_the_model_whatever_is_loud_is_speech(monkeypatch):
    monkeypatch.setattr(voices, "_model", Loudness)
    assert waits(heard(exchange())) == [pytest.approx(800, abs=EXACT)]


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_call_has_its_turns_and_its_figures():
    call = recorded(Talk().wait(500).us().wait(600).caller().answer(800))
    assert measure(call)
    call.refresh_from_db()
    assert (call.first_audio_ms, call.measuring_since) == (pytest.approx(500, abs=5), None)
    assert call.response_ms == call.response_ms_max == pytest.approx(800, abs=EXACT)
    assert (call.dead_air_ms, call.talk_over_ms) == (0, 0)
    assert [turn.speaker for turn in Turn.objects.all()] == ["us", "caller", "us"]
    assert call.measured_at


@pytest.mark.django_db
def test_measuring_again_replaces_what_was_measured():
    call = recorded(exchange())
    make_turn(call.streams.get(), start=77)
    assert measure(call)
    before = list(Turn.objects.values("start", "length"))
    assert measure(call)
    assert list(Turn.objects.values("start", "length")) == before
    assert 77 not in [row["start"] for row in before]


@pytest.mark.django_db
def test_the_answer_may_lie_before_the_first_stream():
    call = recorded(Talk().wait(500).us(), answered_at=START - dt.timedelta(seconds=0.4))
    measure(call)
    assert Call.objects.get().first_audio_ms == pytest.approx(900, abs=5)


@pytest.mark.django_db
def test_an_announcement_before_the_stream_is_no_wait_for_us():
    measure(recorded(Talk().wait(500).us(), answered_at=START - dt.timedelta(seconds=8)))
    assert Call.objects.get().first_audio_ms == pytest.approx(500, abs=5)


@pytest.mark.django_db
def test_a_turn_is_on_the_stream_in_which_it_begins():
    talk = Talk().caller()
    call = make_call(audio_samples=2 * talk.length + 3 * SAMPLE_RATE)
    first = make_stream(call, length=talk.length)
    second = make_stream(call, length=talk.length, after=talk.length / SAMPLE_RATE + 3)
    for stream in (first, second):
        store(stream, talk.lane("caller", talk.length))
    assert measure(call)
    rows = [(turn.stream_id, turn.start) for turn in Turn.objects.order_by("stream")]
    assert rows == [(first.pk, pytest.approx(0, abs=480)), (second.pk, pytest.approx(0, abs=480))]


@pytest.mark.django_db
def test_time_without_a_stream_is_unknown_and_so_is_what_was_lost():
    call = make_call(audio_samples=40_000)
    first = make_stream(call, length=16_000)
    make_stream(call, length=16_000, after=3)
    make_gap(first, start=800, length=800, reason="sequence")
    make_gap(first, start=2400, length=800, reason="timestamp")
    make_gap(first, start=4000, length=800, reason="paused")
    unknown = Line(call).unknown()
    assert unknown == [Span(800, 1600), Span(4000, 4800), Span(16_000, 24_000)]


@pytest.mark.django_db
def test_what_a_stream_beside_has_is_not_lost():
    call = make_call(audio_samples=16_000)
    first, beside = (
        make_stream(call, length=16_000),
        make_stream(call, length=16_000, name="x-listen", bidirectional=False),
    )
    make_gap(first, start=800, length=800, reason="crash")
    make_gap(beside, start=4000, length=800, reason="paused")
    assert Line(call).unknown() == [Span(4000, 4800)]


@pytest.mark.django_db
def test_in_a_monitored_call_the_other_person_is_told_from_noise():
    talk = Talk().wait(500).caller().answer(800)
    call = make_call(audio_samples=talk.length)
    stream = make_stream(call, length=talk.length, tracks=["inbound", "outbound"], bidirectional=False)
    store(stream, talk.lane("caller", talk.length))
    store(stream, talk.lane("us", talk.length, line_noise(talk.length, -32)), "outbound")
    assert measure(call)
    assert [turn.speaker for turn in Turn.objects.order_by("start")] == ["caller", "us"]
    assert Call.objects.get().response_ms == pytest.approx(800, abs=EXACT)


@pytest.mark.django_db
def test_a_recording_that_has_grown_meanwhile_is_not_written_over():
    call = recorded(exchange())
    Call.objects.update(audio_samples=call.audio_samples + 160)
    assert not measure(call)
    assert not Turn.objects.exists()
    assert Call.objects.get().measured_at is None


@pytest.mark.django_db
@pytest.mark.parametrize("audio_only", [True, False])
def test_nothing_comes_back_of_what_is_erased(audio_only):
    call = recorded(exchange())
    erase(Call.objects.get(), "asked for", audio_only=audio_only)
    assert not measure(call)
    assert not Turn.objects.exists()


@pytest.mark.django_db
def test_what_is_being_erased_is_not_measured():
    call = recorded(exchange())
    Erasure.objects.create(call_sid=call.sid, audio_only=True, reason="asked for")
    assert not measure(call)
    assert not Turn.objects.exists()
    assert [measure_next(), measure_next()] == [True, False]


@pytest.mark.django_db
def test_a_call_that_grows_is_measured_anew():
    call = recorded(exchange())
    measure_next()
    call.streams.update(length=call.audio_samples + 160)
    summarise(call.pk, using="default")
    assert Call.objects.unmeasured().get() == call


# --- the chore --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_call_that_ended_last_is_the_first():
    older = recorded(exchange(), ended_at=timezone.now() - dt.timedelta(hours=2))
    newer = recorded(exchange())
    assert measure_next()
    assert Call.objects.get(measured_at=None) == older != newer
    assert [measure_next(), measure_next()] == [True, False]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "facts",
    [
        {"ended_at": None, "status": "in-progress"},
        {"ended_at": START},
        {"audio_samples": 0},
        {"measured_at": START},
        {"measuring_since": timezone.now()},
    ],
)
def test_a_call_may_be_none_to_be_measured(facts):
    make_recording(**{"ended_at": timezone.now(), **facts})
    assert not measure_next()


@pytest.mark.django_db
def test_a_call_with_a_stream_that_goes_on_waits():
    call = recorded(exchange())
    make_stream(call)
    assert not measure_next()


@pytest.mark.django_db
def test_what_a_killed_process_had_begun_is_done_by_another_one():
    call = recorded(exchange(), measuring_since=timezone.now() - CLAIMED - dt.timedelta(seconds=1))
    assert measure_next()
    assert Turn.objects.filter(stream__call=call).exists()


@pytest.mark.django_db
def test_a_call_that_fails_is_put_off_and_keeps_no_other_waiting(monkeypatch, caplog):
    bad, good = recorded(exchange()), recorded(exchange(), ended_at=timezone.now() - dt.timedelta(hours=1))

    def fails(call, **how):
        if call == bad:
            raise ArithmeticError("a defect of ours")
        return measure(call)

    monkeypatch.setattr(backlog, "measure", fails)
    assert [measure_next(), measure_next(), measure_next()] == [True, True, False]
    assert Call.objects.exclude(measured_at=None).get() == good
    assert [record.message.split()[0] for record in caplog.records] == ["measuring_failed"]


@pytest.mark.django_db
def test_of_a_call_that_fails_again_the_log_says_nothing_more(monkeypatch, caplog):
    call = recorded(exchange())
    monkeypatch.setattr(backlog, "measure", lambda call, **how: 1 / 0)
    measure_next()
    Call.objects.update(measuring_since=None)
    measure_next()
    assert len(caplog.records) == 1
    assert call.pk in backlog._told


@pytest.mark.django_db
def test_a_database_that_is_away_is_no_fault_of_the_calls(monkeypatch):
    recorded(exchange())

    def away(call, **how):
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(backlog, "measure", away)
    with pytest.raises(DatabaseError):
        measure_next()


@pytest.mark.django_db
def test_a_call_that_has_grown_is_free_at_once(monkeypatch):
    recorded(exchange())

    def while_it_grows(call, **how):
        Call.objects.update(audio_samples=call.audio_samples + 160)
        return measure(call)

    monkeypatch.setattr(backlog, "measure", while_it_grows)
    assert measure_next()
    assert Call.objects.get().measuring_since is None


@pytest.mark.django_db
def test_what_is_to_be_measured_is_found_by_an_index():
    due = backlog.measurable(Call.objects.unmeasured()).filter(ended_at__gt=timezone.now()).order_by("-ended_at")[:10]
    assert "call_unmeasured" in due.explain()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
@pytest.mark.django_db(transaction=True)
def test_who_listens_runs_only_where_nobody_else_wants_to_and_who_writes_does_not(monkeypatch):
    recorded(exchange())
    policies = []

    def listens(*lanes, **facts):
        policies.append(os.sched_getscheduler(0))
        return listen(*lanes, **facts)

    monkeypatch.setattr(measurement, "listen", listens)
    assert measure_next(gives_way=True)
    assert (policies, os.sched_getscheduler(0)) == ([os.SCHED_IDLE], os.SCHED_OTHER)
    assert Turn.objects.exists()


def test_what_goes_wrong_in_listening_is_raised_where_it_was_asked_for():
    with pytest.raises(ZeroDivisionError):
        politely(lambda: 1 // 0)
