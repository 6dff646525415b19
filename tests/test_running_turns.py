"""Turns of a call that runs, for whoever has its page open: made bit by bit, and replaced when the call is over."""

import datetime as dt

import pytest
from django.urls import reverse
from django.utils import timezone

from calls.chores import running
from calls.chores.running import FOLLOWED, LEASE, Following
from calls.measuring.measurement import measure
from calls.measuring.running import MOST, RunningTurns
from calls.media.audio import SAMPLE_RATE, SILENCE, tone
from calls.models import AudioChunk, Call, Erasure, Turn
from calls.models.calls import FOLLOWED_EVERY
from calls.post.post import post
from calls.recordings.rendering import Recording
from tests.support.factories import START, make_call, make_live_call, make_staff, make_stream, make_turn
from tests.support.talks import Talk


pytestmark = pytest.mark.django_db

SECOND = dt.timedelta(seconds=1)
# A row of the recorder's, here: 1 s.
ROW = SAMPLE_RATE


@pytest.fixture
def rounds():
    """A round of the chore of one machine, with no rest before it."""
    return machine()


def machine():
    following = Following()

    def go_round():
        following._rests_until = 0.0
        following.go_round()

    return go_round


@pytest.fixture(autouse=True)
def in_this_thread(monkeypatch):
    """Another one would have a connection of its own, which sees nothing of a test's transaction."""
    monkeypatch.setattr(running, "politely", lambda do: do())


@pytest.fixture(autouse=True)
def hints(monkeypatch):
    """The calls of which pages are told."""
    told = []

    async def publish(group, letter):
        told.append(letter["call"])

    monkeypatch.setattr(post, "publish", publish)
    return told


def followed(**facts):
    call = make_live_call(**{"followed_at": timezone.now(), **facts})
    make_stream(call)
    return call


def grow(call, caller, ours, *, start=0):
    """More of both lanes, from that sample on."""
    stream = call.streams.get()
    lanes = (("inbound", caller), ("outbound", ours))
    AudioChunk.objects.bulk_create(
        AudioChunk(
            stream=stream, track=track, index=(start + at) // ROW, start=start + at, length=len(lane[at : at + ROW]),
            payload=lane[at : at + ROW],
        )
        for track, lane in lanes
        for at in range(0, len(lane), ROW)
    )  # fmt: skip


def lanes(talk):
    return talk.lane("caller", talk.length), talk.lane("us", talk.length)


def talking(**facts):
    """A call that runs, in which a caller has waited 800 ms for us."""
    call = followed(**facts)
    grow(call, *lanes(exchange()))
    return call


def exchange():
    return Talk().wait(500).caller().answer(800)


def long_talk():
    """A minute with pauses and interruptions."""
    talk = Talk()
    for wait in (900, 2600, 400):
        talk.us().wait(600).caller().answer(wait).back(300).caller("No, wait.").wait(2500).caller("Hello?")
    return talk


def kept(call=None):
    rows = Turn.objects.filter(stream__call=call) if call else Turn.objects.all()
    return [(turn.speaker, turn.start, turn.start + turn.length, turn.response_ms) for turn in rows.order_by("start")]


# --- what is heard ----------------------------------------------------------------------------------------------------


def test_a_followed_call_has_turns_while_it_runs(rounds):
    call = talking()
    rounds()
    assert [(speaker, response) for speaker, *_, response in kept()] == [
        ("caller", None),
        ("us", pytest.approx(800, abs=60)),
    ]
    assert Call.objects.get(pk=call.pk).measured_at is None


def test_bit_by_bit_the_turns_are_those_of_the_whole_call():
    talk, call = long_talk(), followed()
    caller, ours = lanes(talk)
    turns = RunningTurns()
    for start in range(0, talk.length, 3 * ROW):
        grow(call, caller[start : start + 3 * ROW], ours[start : start + 3 * ROW], start=start)
        turns.hear(call)
    turns.keep(call)
    so_far = kept()
    Call.objects.filter(pk=call.pk).update(ended_at=timezone.now(), audio_samples=Recording.of(call).samples)
    assert measure(Call.objects.get(pk=call.pk))
    assert so_far == [
        (
            speaker,
            pytest.approx(start, abs=480),
            pytest.approx(end, abs=480),
            response and pytest.approx(response, abs=60),
        )
        for speaker, start, end, response in kept()
    ]


def test_only_what_is_new_is_heard_again(monkeypatch):
    call, heard = followed(), []
    read = Recording.lanes
    monkeypatch.setattr(
        Recording, "lanes", lambda self, start, stop, tracks: heard.append(start) or read(self, start, stop, tracks)
    )
    grow(call, *[SILENCE * 200 * ROW] * 2)
    turns = RunningTurns()
    turns.hear(call)
    heard.clear()
    grow(call, *[SILENCE * ROW] * 2, start=200 * ROW)
    turns.hear(call)
    assert min(heard) == 180 * ROW


def test_music_that_never_ends_is_not_heard_again_from_its_beginning():
    call, turns = followed(), RunningTurns()
    music = tone(440, 1000) * 200
    grow(call, SILENCE * len(music), music)
    turns.hear(call)
    grow(call, SILENCE * 2 * ROW, music[: 2 * ROW], start=len(music))
    turns.hear(call)
    turns.keep(call)
    assert turns._settled > len(music) - MOST
    assert [(start, end) for _, start, end, _ in kept()] == [(0, len(music) + 2 * ROW)]


def test_a_turn_that_goes_on_grows(rounds):
    call = followed()
    grow(call, SILENCE * 2 * ROW, tone(440, 2000))
    rounds()
    grow(call, SILENCE * ROW, tone(440, 1000), start=2 * ROW)
    rounds()
    assert kept() == [("us", 0, 3 * ROW, None)]


def test_a_stream_that_came_to_light_late_moves_what_was_heard():
    call, turns = followed(), RunningTurns()
    grow(call, SILENCE * 41 * ROW, SILENCE * 20 * ROW + tone(440, 1000) + SILENCE * 20 * ROW)
    turns.hear(call)
    make_stream(call, after=-5, length=ROW)
    turns.hear(call)
    turns.keep(call)
    (turn,) = Turn.objects.all()
    assert (turn.stream.started_at, turn.start) == (START, 20 * ROW)


# --- who is heard -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    [
        {"followed_at": None},
        {"followed_at": timezone.now() - FOLLOWED - SECOND},
        {"ended_at": timezone.now(), "status": "completed"},
    ],
)
def test_nobody_listens_to_a_call_that_nobody_follows_or_that_is_over(rounds, facts):
    talking(**facts)
    rounds()
    assert not Turn.objects.exists()


def test_of_two_machines_one_hears_a_call(rounds):
    talking()
    rounds()
    (turn,) = Turn.objects.filter(speaker="us")
    other = machine()
    other()
    assert Turn.objects.get(speaker="us").pk == turn.pk


def test_another_machine_goes_on_once_the_first_one_says_nothing_more(rounds):
    call = talking()
    rounds()
    before = kept()
    Call.objects.update(turns_at=timezone.now() - LEASE - SECOND)
    machine()()
    assert kept() == before
    # The first one has lost it, and writes nothing more.
    grow(call, SILENCE * ROW, tone(440, 1000), start=exchange().length // ROW * ROW + ROW)
    rounds()
    assert kept() == before


def test_a_page_that_is_opened_again_finds_what_was_heard(rounds):
    call = talking()
    rounds()
    Call.objects.update(followed_at=timezone.now() - FOLLOWED - SECOND)
    rounds()
    Call.objects.update(followed_at=timezone.now())
    before = [turn.pk for turn in Turn.objects.all()]
    rounds()
    assert [turn.pk for turn in Turn.objects.filter(stream__call=call)] == before


def test_calls_beyond_a_rounds_time_come_first_in_the_next_one(rounds, monkeypatch):
    monkeypatch.setattr(running, "ROUND", 0.0)
    talking(), talking()
    rounds()
    assert Turn.objects.values("stream__call").distinct().count() == 1
    rounds()
    assert Turn.objects.values("stream__call").distinct().count() == 2


def test_a_round_is_followed_by_a_rest_that_its_cost_decides(monkeypatch):
    monkeypatch.setattr(running, "SHARE", 1e-9)
    talking()
    following = Following()
    following.go_round()
    later = talking()
    following.go_round()
    assert not kept(later)


def test_a_call_that_cannot_be_heard_keeps_no_other_from_it(rounds, monkeypatch, caplog):
    bad, good = talking(), talking()
    hear = RunningTurns.hear
    monkeypatch.setattr(RunningTurns, "hear", lambda self, call: 1 / 0 if call == bad else hear(self, call))
    rounds()
    rounds()
    assert (kept(bad), len(kept(good))) == ([], 2)
    assert [record.message.split(";")[0] for record in caplog.records] == [f"running_turns_failed call={bad.sid}"]


# --- what is written --------------------------------------------------------------------------------------------------


def test_pages_are_told_when_there_is_something_new_and_only_then(rounds, hints):
    call = talking()
    rounds()
    rounds()
    assert hints == [call.sid]


def test_what_has_not_changed_is_not_written_again(rounds):
    call = talking()
    rounds()
    before = [turn.pk for turn in Turn.objects.all()]
    start = exchange().length // ROW * ROW + ROW
    grow(call, SILENCE * ROW, tone(440, 1000), start=start)
    rounds()
    assert [turn.pk for turn in Turn.objects.all()][:-1] == before


def test_what_a_process_has_left_that_died_is_replaced(rounds):
    call = talking(turns_at=timezone.now() - LEASE - SECOND)
    make_turn(call.streams.get(), start=77)
    rounds()
    assert (len(kept()), kept()[0][1] != 77) == (2, True)


def test_nothing_is_written_of_a_call_that_was_measured_meanwhile(rounds, monkeypatch):
    call = talking()
    hear = RunningTurns.hear

    def ends(self, call):
        hear(self, call)
        Call.objects.filter(pk=call.pk).update(ended_at=timezone.now())

    monkeypatch.setattr(RunningTurns, "hear", ends)
    rounds()
    assert not kept(call)


def test_nothing_is_written_of_a_call_that_is_being_erased(rounds):
    call = talking()
    Erasure.objects.create(call_sid=call.sid, reason="asked for")
    rounds()
    assert not kept(call)


def test_the_whole_calls_measurement_replaces_them(rounds):
    call = talking()
    rounds()
    make_turn(call.streams.get(), start=77)
    Call.objects.update(ended_at=timezone.now(), audio_samples=exchange().length)
    assert measure(Call.objects.get())
    call.refresh_from_db()
    assert (len(kept()), call.turns_at, call.response_ms) == (2, None, pytest.approx(800, abs=60))


# --- who sees them ----------------------------------------------------------------------------------------------------


def follow(client, call):
    return client.get(reverse("admin:calls_call_follow", args=[call.pk]))


def turns_of(client, call, **asked):
    return client.get(reverse("admin:calls_call_turns", args=[call.pk]), asked).json()


def test_a_page_that_is_open_says_so(client, listener):
    call = make_live_call()
    follow(client, call)
    assert timezone.now() - Call.objects.get().followed_at < SECOND


def test_it_says_so_every_10_seconds_at_most(client, listener):
    at = timezone.now() - FOLLOWED_EVERY / 2
    call = make_live_call(followed_at=at)
    follow(client, call)
    assert Call.objects.get().followed_at == at
    Call.objects.update(followed_at=at - FOLLOWED_EVERY)
    follow(client, call)
    assert Call.objects.get().followed_at > at


def test_a_page_of_a_call_that_is_over_says_nothing(client, listener):
    follow(client, make_call())
    assert Call.objects.get().followed_at is None


def test_who_may_not_listen_has_no_call_heard(client):
    client.force_login(make_staff("view_call"))
    assert follow(client, make_live_call()).status_code == 200
    assert Call.objects.get().followed_at is None


def test_the_turns_so_far_are_told_as_what_they_are(client, listener, rounds):
    call = talking()
    rounds()
    found = turns_of(client, call)
    assert (found["measured"], [turn["who"] for turn in found["turns"]]) == (False, ["caller", "us"])


def test_silence_that_goes_on_is_no_dead_air_yet(client, listener):
    call = make_live_call(turns_at=timezone.now())
    stream = make_stream(call, length=80_000)
    make_turn(stream, start=0, length=8_000)
    make_turn(stream, start=32_000, length=8_000)
    assert turns_of(client, call)["dead"] == [{"at": 1.0, "end": 4.0, "lasted": "3.0 s"}]


def test_a_page_that_has_them_all_is_told_no_more_than_that(client, listener, rounds):
    call = talking()
    rounds()
    version = turns_of(client, call)["version"]
    assert turns_of(client, call, version=version) == {"version": version}
