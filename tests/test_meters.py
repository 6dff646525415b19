"""What a process tells of its calls to those who watch the list of running ones, and who passes it on."""

import asyncio
import datetime as dt
from functools import partial

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer

from calls.media.audio import SILENCE, tone
from calls.media.rows import ChunkRow, DtmfRow, EventRow, GapRow, MarkRow, StreamChange
from calls.models import Stream
from calls.post.post import mailbox, post
from calls.server.switchboard import switchboard
from calls.supervision.list_page import ListPage
from calls.supervision.meters import CALLER, FORGOTTEN, US, Meters, event_of
from calls.supervision.watchers import Watchers
from tests.support.factories import START, make_live_call, make_stream
from tests.support.line import stored
from tests.support.phone import CALL, STREAM, Phone


WORD = tone(300, 200, level=0.5)
WATCH = {"type": "meters.watch", "from": "mailbox.browser", "watches": True}


def chunk(audio, start=0, track="inbound"):
    return ChunkRow(STREAM, track, 0, start, audio)


@pytest.fixture
async def phone():
    """A call of this process."""
    phone = Phone()
    switchboard.live[STREAM] = phone.live
    yield phone
    switchboard.live.clear()


@pytest.fixture
def meters():
    """Somebody watches."""
    meters = Meters("worker")
    meters.watch(WATCH)
    return meters


def told(meters, phone):
    """Of the only call, a moment later."""
    [call] = meters.letter(phone.live.clock._start / -8000 + 1)["calls"]
    return call


def test_nothing_is_asked_of_the_streams_while_nobody_watches():
    meters = Meters("worker")
    assert not meters.is_needed
    meters.watch(WATCH)
    assert meters.is_needed
    meters.watch({**WATCH, "watches": False})
    assert not meters.is_needed


async def test_a_letter_has_the_levels_of_both_sides_and_who_speaks(phone, meters):
    meters.hear(phone.live, [chunk(WORD, 4800), chunk(SILENCE * 1600, 4800, "outbound")])
    call = told(meters, phone)
    assert call["call"] == CALL
    assert call["levels"][0][0] > 50
    assert call["levels"][1] == b"\0"
    assert call["speak"] == CALLER


async def test_both_may_speak_at_once(phone, meters):
    meters.hear(phone.live, [chunk(WORD, 4800), chunk(WORD, 4800, "outbound")])
    assert told(meters, phone)["speak"] == CALLER | US


async def test_the_wait_is_told_in_ms(phone, meters):
    meters.hear(phone.live, [chunk(WORD, 0, "outbound"), chunk(WORD)])
    meters.hear(phone.live, [chunk(WORD, 1600)])
    assert told(meters, phone)["wait"] == 600


async def test_what_was_played_before_anybody_watched_is_known(phone, meters):
    phone.tape.outbound.put(0, WORD)
    meters.hear(phone.live, [])
    assert "wait" not in told(meters, phone)


async def test_nothing_is_guessed_while_the_recording_is_paused(phone, meters):
    phone.live.pause_recording()
    meters.hear(phone.live, [])
    call = told(meters, phone)
    assert call["is_paused"]
    assert "wait" not in call


async def test_nobody_waits_for_us_where_we_only_listen(meters):
    phone = Phone(bidirectional=False)
    switchboard.live[STREAM] = phone.live
    meters.hear(phone.live, [chunk(WORD)])
    assert "wait" not in told(meters, phone)
    switchboard.live.clear()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (DtmfRow(STREAM, 0, "5", 100), "key"),
        (EventRow(CALL, STREAM, "stream", "barge-in", "k", START), "barge-in"),
        (MarkRow(STREAM, 0, "asked", START, 0, "played"), "mark-played"),
        (MarkRow(STREAM, 0, "callstream:0", START, 0, "cleared"), "play-cleared"),
        (MarkRow(STREAM, 0, "asked", START, 0, "pending"), ""),
        (GapRow(STREAM, "inbound", 0, 160, "timestamp"), ""),
        (StreamChange(STREAM, {"length": 1}), ""),
    ],
)
def test_an_event_has_a_word_and_never_a_digit(row, kind):
    assert event_of(row) == kind


async def test_the_last_event_stays_until_there_is_another(phone, meters):
    meters.hear(phone.live, [DtmfRow(STREAM, 0, "5", 100)])
    meters.hear(phone.live, [chunk(WORD)])
    assert told(meters, phone)["event"][0] == "key"


async def test_a_call_that_is_over_is_in_no_letter(phone, meters):
    meters.hear(phone.live, [chunk(WORD)])
    phone.live.fall_silent()
    assert meters.letter(0)["calls"] == []


async def test_of_two_streams_of_a_call_the_one_on_which_we_speak_counts(phone, meters):
    other = Phone(bidirectional=False)
    other.live.sid = "MZ-listens"
    switchboard.live["MZ-listens"] = other.live
    meters.hear(phone.live, [chunk(WORD)])
    meters.hear(other.live, [])
    assert [len(call["levels"][0].strip(b"\0")) for call in meters.letter(0)["calls"]] == [0, 1]


async def test_one_letter_a_second_goes_to_all_who_watch(phone, meters, monkeypatch):
    monkeypatch.setattr("calls.supervision.meters.EVERY", 0.01)
    await get_channel_layer().group_add("meters", "browser")
    meters.hear(phone.live, [chunk(WORD)])
    running = asyncio.create_task(meters.run())
    letter = await get_channel_layer().receive("browser")
    running.cancel()
    assert (letter["type"], letter["from"], letter["number"]) == ("meters.told", "worker", 1)
    assert [call["call"] for call in letter["calls"]] == [CALL]


async def test_that_a_stream_has_ended_is_told_before_the_second_is_over(phone, meters, monkeypatch):
    monkeypatch.setattr("calls.supervision.meters.EVERY", 60)
    monkeypatch.setattr("calls.supervision.meters.LOOK", 0)
    await get_channel_layer().group_add("meters", "browser")
    meters.hear(phone.live, [chunk(WORD)])
    switchboard.live.clear()
    running = asyncio.create_task(meters.run())
    letter = await get_channel_layer().receive("browser")
    running.cancel()
    assert letter["calls"] == []


async def test_who_has_not_said_again_that_they_watch_is_forgotten(phone, meters, monkeypatch):
    monkeypatch.setattr("calls.supervision.meters.EVERY", 0)
    meters.hear(phone.live, [chunk(WORD)])
    meters._watchers["mailbox.browser"] -= FORGOTTEN
    running = asyncio.create_task(meters.run())
    while meters.is_needed:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0)
    running.cancel()
    assert meters._number == 0


# --- on the other side -----------------------------------------------------------------------------------------------


class Watcher:
    def __init__(self):
        self.heard = []

    def told(self, calls, gone):
        self.heard.append(([call["call"] for call in calls], gone))


@pytest.fixture
def watching():
    watchers, watcher = Watchers(), Watcher()
    watchers.add(watcher)
    return watchers, watcher


def letter(number, *calls):
    return {"type": "meters.told", "from": "worker", "number": number, "calls": [{"call": sid} for sid in calls]}


def test_a_page_learns_which_calls_have_gone(watching):
    watchers, watcher = watching
    watchers.told(letter(1, "CA1", "CA2"))
    watchers.told(letter(2, "CA2"))
    watchers.told(letter(3))
    assert watcher.heard == [(["CA1", "CA2"], []), (["CA2"], ["CA1"]), ([], ["CA2"])]


def test_a_letter_that_comes_twice_is_told_once(watching):
    watchers, watcher = watching
    watchers.told(letter(1, "CA1"))
    watchers.told(letter(1, "CA1"))
    assert len(watcher.heard) == 1


def test_a_process_without_calls_is_not_heard_of(watching):
    watchers, watcher = watching
    watchers.told(letter(1))
    assert watcher.heard == []


@pytest.mark.django_db(transaction=True)
async def test_every_process_that_holds_a_stream_is_told_once_who_watches(watching, monkeypatch):
    watchers, watcher = watching
    monkeypatch.setattr(post, "address", "mailbox.browser")
    await stored(partial(hold, "one", "one", "another"))
    await watchers._say()
    for owner in ("one", "another"):
        assert await get_channel_layer().receive(mailbox(owner)) == WATCH
    watchers.remove(watcher)
    await watchers._say()
    assert await get_channel_layer().receive(mailbox("one")) == {**WATCH, "watches": False}


@pytest.mark.django_db(transaction=True)
async def test_a_dead_process_whose_mailbox_is_full_keeps_no_other_from_being_told(watching, monkeypatch):
    watchers, _ = watching
    monkeypatch.setattr(post, "address", "mailbox.browser")
    layer = InMemoryChannelLayer(capacity=1)
    monkeypatch.setattr("calls.post.post.get_channel_layer", lambda: layer)
    await stored(partial(hold, "full", "other"))
    await layer.send(mailbox("full"), {})
    await watchers._say()
    assert await layer.receive(mailbox("other")) == WATCH


def hold(*owners):
    for owner in owners:
        make_stream(make_live_call(), lease_owner=owner)
    long_ago = Stream.objects.first().lease_at - dt.timedelta(minutes=1)
    make_stream(make_live_call(), lease_owner="dead", lease_at=long_ago)


def test_a_page_gets_levels_as_numbers():
    page = ListPage({"url_route": {"kwargs": {}}}, None, None)
    page.told([{"call": "CA1", "levels": [b"\x05", b"\0\x07"], "speak": 2}], ["CA2"])
    [(message, _)] = page._outgoing._waiting
    assert message["text"] == (
        '{"type": "figures", "calls": {"CA1": {"levels": [[5], [0, 7]], "speak": 2}}, "gone": ["CA2"]}'
    )
