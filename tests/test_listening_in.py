"""Who listens to a running call: let in, put on record, sent both lanes, and dropped when they do not keep up."""

import pytest
from asgiref.sync import sync_to_async
from django.urls import reverse
from django.utils import timezone

from calls.media import pieces
from calls.models import Call, RecordingAccess
from calls.supervision import audio_page, listens
from calls.supervision.followers import followers
from tests.support.factories import make_call, make_live_call, make_recording, make_staff, make_stream
from tests.support.line import until
from tests.support.pages import browser


pytestmark = pytest.mark.django_db(transaction=True)

SECOND = b"\x20" * 8000


@pytest.fixture
def supervisor():
    return make_staff("view_call", "supervise_call")


@pytest.fixture
def stream():
    return make_stream(make_live_call())


def page(stream):
    return f"/live/calls/{stream.call_id}/audio"


def tell(stream, *audio, **facts):
    """What the process that holds the call tells of one of its streams."""
    entry = {"call": stream.call.sid, "stream": stream.sid, "end": 0, "is_new": False, "is_paused": False}
    entry |= {"is_unrecorded": False, "is_bidirectional": stream.bidirectional, "audio": list(audio), **facts}
    followers.told({"type": "audience.told", "from": "worker", "number": 1, "streams": [entry]})


def following(stream):
    return followers._of(stream.call.sid)


async def listen(own):
    assert await own.open()
    own.say(type="listen")
    assert await own.next() == {"type": "listening"}


async def test_both_lanes_come_as_they_were_recorded(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        tell(stream, (0, 160, b"\x01" * 160), (1, 0, b"\x02" * 80))
        assert await own.next() == {"type": "stream", "stream": stream.sid}
        assert [await own.next(), await own.next()] == [
            pieces.pack(0, 160, b"\x01" * 160),
            pieces.pack(1, 0, b"\x02" * 80),
        ]


async def test_a_listen_is_on_record_before_the_first_byte(supervisor, stream):
    async with browser(page(stream), supervisor, client="203.0.113.9") as own:
        await listen(own)
        access = await RecordingAccess.objects.select_related("user").aget()
        facts = (access.user, access.call_id, access.call_sid, access.kind, access.detail, access.address)
        assert facts == (supervisor, stream.call_id, stream.call.sid, "listen", "live", "203.0.113.9")
        assert own.left() == []


async def test_what_cannot_be_put_on_record_is_not_heard(supervisor, stream, monkeypatch):
    async with browser(page(stream), supervisor) as own:
        assert await own.open()
        # As if the database went away just then.
        await sync_to_async(Call.objects.filter(pk=stream.call_id).update)(ended_at=None)
        monkeypatch.setattr(listens.RecordingAccess.objects, "create", refuse)
        own.say(type="listen")
        assert await own.next() == {"type": "refused"}
        tell(stream, (0, 0, SECOND))
        assert (own.left(), following(stream)) == ([], [])


def refuse(**_):
    raise listens.DatabaseError("the database is away")


@pytest.mark.parametrize("permissions", [["view_call"], ["supervise_call"], ["view_call", "listen_call"]])
async def test_who_may_not_listen_is_refused_as_if_there_were_no_call(stream, permissions):
    user = await sync_to_async(make_staff)(*permissions)
    async with browser(page(stream), user) as own:
        assert not await own.open()


async def test_no_audio_is_asked_for_before_somebody_listens_and_after_they_stop(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        assert await own.open()
        assert following(stream) == []
        own.say(type="listen")
        await own.next()
        assert [each.listens for each in following(stream)] == [True]
        own.say(type="stop")
        await until(lambda: not following(stream))
    assert own.left() == []


async def test_a_socket_that_is_gone_does_not_listen(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        await own.close()
        assert following(stream) == []


async def test_it_is_on_record_which_seconds_of_the_recording_were_sent_and_played(supervisor, stream):
    # The call was connected again after 10 s: its second stream lies there.
    await sync_to_async(type(stream).objects.filter(pk=stream.pk).update)(ended_at=timezone.now(), length=80_000)
    again = await sync_to_async(make_stream)(stream.call, after=10)
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        tell(again, (0, 16_000, SECOND * 3))
        own.say(type="heard", stream=again.sid, got=40_000, **{"from": 20_000, "to": 32_000})
        own.say(type="stop")
        row = await until(lambda: RecordingAccess.objects.exclude(ranges=[]).first())
    assert (row.ranges, row.played) == ([[12, 15]], [[12, 14]])


async def test_who_goes_on_after_a_moment_is_on_record_once(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        own.say(type="stop")
        own.say(type="listen")
        assert await own.next() == {"type": "listening"}
    assert await RecordingAccess.objects.acount() == 1


async def test_a_browser_that_reads_nothing_is_dropped(supervisor, stream, monkeypatch):
    monkeypatch.setattr(audio_page, "PATIENCE", 0)
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        own.reads.clear()
        tell(stream, (0, 0, SECOND))
        await own.is_stuck.wait()
        tell(stream, (0, 8000, SECOND))
        # Nothing crosses the layer for it from that moment, and nothing waits, whatever becomes of its socket.
        assert following(stream) == []
        own.reads.set()
        assert [await own.next(), await own.next()] == [{"type": "stream", "stream": stream.sid}, 4429]


async def test_one_that_says_how_far_it_is_keeps_its_sound(supervisor, stream, monkeypatch):
    monkeypatch.setattr(audio_page, "PATIENCE", 0)
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        tell(stream, (0, 0, SECOND))
        own.say(type="heard", stream=stream.sid, got=8000)
        (follower,) = following(stream)
        await until(lambda: not follower._unheard)
        tell(stream, (0, 8000, SECOND))
        assert following(stream)


async def test_a_pause_of_the_recording_is_told_of(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        tell(stream, (0, 0, SECOND), is_paused=True)
        assert [await own.next() for _ in range(3)][2] == {"type": "paused", "unrecorded": False}
        tell(stream, (0, 80_000, SECOND))
        assert await own.next() == {"type": "resumed"}


async def test_a_call_that_is_not_recorded_says_so(supervisor, stream):
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        tell(stream, is_paused=True, is_unrecorded=True)
        assert [await own.next() for _ in range(2)][1] == {"type": "paused", "unrecorded": True}


async def test_a_call_that_ends_says_so(supervisor, stream, monkeypatch):
    monkeypatch.setattr(audio_page, "SELDOM", 0)
    async with browser(page(stream), supervisor) as own:
        await listen(own)
        await Call.objects.filter(pk=stream.call_id).aupdate(ended_at=timezone.now())
        followers.changed({"call": stream.call.sid})
        assert [await own.next(), await own.next()] == [{"type": "over"}, 1000]


async def test_an_ended_call_is_over_at_once(supervisor):
    call = await sync_to_async(make_call)()
    async with browser(f"/live/calls/{call.pk}/audio", supervisor) as own:
        assert await own.open()
        assert [await own.next(), await own.next()] == [{"type": "over"}, 1000]


async def test_a_listen_outlasts_a_database_that_is_away_meanwhile(supervisor, stream, monkeypatch):
    monkeypatch.setattr(listens, "AGAIN", (0.0,))
    own = listens.Listen(supervisor, stream.call_id, "198.51.100.7")
    await sync_to_async(own.begin)()
    own.send(stream.sid, 0, 8000)
    with monkeypatch.context() as patch:
        patch.setattr(listens.transaction, "atomic", refuse)
        with pytest.raises(listens.DatabaseError):
            await own.note()
    await own.end()
    assert (await RecordingAccess.objects.aget()).ranges == [[0, 1]]


def test_whoever_listens_to_the_recording_beside_it_does_that_on_a_row_of_its_own(client, listener):
    call = make_recording()
    live = RecordingAccess.objects.create(call=call, user=listener, kind="listen", detail=RecordingAccess.LIVE)
    assert client.get(reverse("admin:calls_call_recording", args=[call.pk])).getvalue()
    client.post(reverse("admin:calls_call_played", args=[call.pk]), {"range": "0-1"})
    live.refresh_from_db()
    own = RecordingAccess.objects.exclude(pk=live.pk).get()
    assert (live.ranges, live.played, own.played) == ([], [], [[0, 2]])


# --- which stream is heard --------------------------------------------------------------------------------------------


def heard(*told):
    """Which of these are: SID, whether we speak on it, and when it was told of."""
    choice = audio_page.Choice()
    return [sid for sid, speaks, at in told if choice.takes({"stream": sid, "is_bidirectional": speaks}, at)]


def test_of_two_streams_at_once_the_one_is_heard_on_which_we_speak():
    assert heard(("start", False, 0), ("connect", True, 0.1), ("start", False, 0.2)) == ["start", "connect"]


def test_another_one_is_heard_when_that_one_has_ended():
    assert heard(("connect", True, 0), ("start", False, 0.9), ("start", False, 1.1)) == ["connect", "start"]


def test_a_stream_that_takes_the_place_of_a_broken_one_is_heard_at_once_and_for_good():
    assert heard(("old", True, 0), ("new", True, 0.1), ("old", True, 0.2), ("new", True, 0.3)) == ["old", "new", "new"]
