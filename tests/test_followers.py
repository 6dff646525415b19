"""Who follows a call from this process is told what there is to tell, whatever the layer does to the letters."""

import contextlib
from functools import partial

import pytest
from channels.layers import get_channel_layer
from django.db import OperationalError
from hypothesis import given, settings
from hypothesis import strategies as st

from calls.models import Stream
from calls.post.post import mailbox
from calls.supervision import followers as module
from calls.supervision.audience import group
from calls.supervision.followers import Followers
from tests.support.factories import make_live_call, make_stream
from tests.support.line import stored
from tests.support.post import CAPACITY, Taken, layers, process, working


class Page:
    """A page that follows a call, and writes down what it is told."""

    def __init__(self, call_sid="CA1", listens=False):
        self.call_sid, self.listens = call_sid, listens
        self.heard, self.looks = [], 0

    def told(self, entry):
        self.heard.append(entry["end"])

    def changed(self):
        self.looks += 1


class Broken(Page):
    def told(self, entry):
        raise ValueError("a defect")

    changed = told


def letter(number, *entries, owner="one"):
    streams = [{"call": sid, "end": end} for sid, end in entries]
    return {"type": "audience.told", "from": owner, "number": number, "streams": streams}


def following(*pages, owner="one"):
    """Followers who have said that they follow calls which that process holds."""
    followers = Followers()
    for page in pages:
        followers.add(page)
        followers._holders[page.call_sid] = {owner}
    followers._owners.add(owner)
    return followers


def test_each_call_is_told_to_those_who_follow_it():
    one, other = Page("CA1"), Page("CA2")
    following(one, other).told(letter(1, ("CA1", 160), ("CA3", 320)))
    assert (one.heard, other.heard) == ([160], [])


def test_a_letter_that_comes_twice_is_told_once():
    page = Page()
    followers = following(page)
    for number, end in ((1, 160), (2, 320), (1, 160), (2, 320)):
        followers.told(letter(number, ("CA1", end)))
    assert (page.heard, page.looks) == ([160, 320], 0)


def test_a_letter_that_comes_late_is_told_and_nothing_is_missed_any_more():
    page = Page()
    followers = following(page)
    for number in (1, 3, 2, 4):
        followers.told(letter(number, ("CA1", number)))
    assert (page.heard, page.looks) == ([1, 3, 2, 4], 1)


def test_after_a_lost_letter_the_pages_of_that_process_look_again_and_no_others():
    page, elsewhere = Page("CA1"), Page("CA2")
    followers = following(page)
    followers.add(elsewhere)
    followers._holders["CA2"] = {"two"}
    followers.told(letter(7, ("CA1", 160)))
    followers.told(letter(9))
    assert (page.looks, elsewhere.looks) == (1, 0)


def test_a_page_that_fails_costs_the_others_nothing(caplog):
    page = Page()
    followers = following(Broken(), page)
    followers.told(letter(1, ("CA1", 160)))
    followers.changed({"call": "CA1"})
    assert (page.heard, page.looks) == ([160], 1)
    assert caplog.text.count("follower_failed call=CA1") == 2


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["from", "number", "streams", "call", "calls", "end"])


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(FIELDS, ANYTHING | st.just([{"call": "CA1", "end": 1}]) | st.just("one")))
def test_no_letter_keeps_the_next_one_from_being_told(rubbish):
    page = Page()
    followers = following(page)
    for take in (followers.told, followers.changed):
        with contextlib.suppress(TypeError, KeyError, ValueError):  # which the post logs
            take(rubbish)
    page.heard.clear()
    followers.told(letter(-1, ("CA1", 160)))
    assert page.heard == [160]


# --- over the layer, with rows ----------------------------------------------------------------------------------------


@pytest.fixture
async def this(settings, monkeypatch):
    """The post of this process, which is the followers' too."""
    settings.CHANNEL_LAYERS = layers()
    async with process("here") as (post, _):
        monkeypatch.setattr(module, "post", post)
        yield post


def make_running(owner, sid="CA1"):
    return make_stream(make_live_call(sid=sid), lease_owner=owner)


@contextlib.asynccontextmanager
async def asked(owner, followers):
    """A process that holds calls, and what it is asked, while these followers are at work."""
    async with process(owner) as (holder, _):
        said = Taken()
        holder.take("audience.follow", said)
        async with working(followers.run()):
            yield holder, said


@pytest.mark.django_db(transaction=True)
async def test_the_process_that_holds_the_call_learns_who_follows_and_who_listens(this):
    await stored(partial(make_running, "holder"))
    followers = Followers()
    async with asked("holder", followers) as (_, said):
        page = Page()
        followers.add(page)
        assert (await said.next())["calls"] == {"CA1": False}
        page.listens = True
        followers.add(page)
        assert (await said.next())["calls"] == {"CA1": True}
        followers.remove(page)
        assert (await said.next())["calls"] == {}


@pytest.mark.django_db(transaction=True)
async def test_a_call_that_moves_is_followed_there_and_its_page_looks_again(this):
    stream = await stored(partial(make_running, "old"))
    followers, page = Followers(), Page()
    async with process("old") as (old, _), process("new") as (new, _):
        there, here = Taken(), Taken()
        old.take("audience.follow", there)
        new.take("audience.follow", here)
        async with working(followers.run()):
            followers.add(page)
            await there.next()
            await Stream.objects.filter(pk=stream.pk).aupdate(lease_owner="new")
            followers.changed({"call": "CA1"})
            assert (await here.next())["calls"] == {"CA1": False}
            assert (await there.next())["calls"] == {}
    assert page.looks == 2


@pytest.mark.django_db(transaction=True)
async def test_who_holds_a_call_is_remembered_while_the_database_is_away(this, monkeypatch):
    await stored(partial(make_running, "holder"))
    followers = Followers()
    async with asked("holder", followers) as (_, said):
        followers.add(Page())
        await said.next()
        monkeypatch.setattr(module, "_holders", _away)
        followers.add(Page())
        assert (await said.next())["calls"] == {"CA1": False}


def _away(sids):
    raise OperationalError("the database is away")


@pytest.mark.django_db(transaction=True)
async def test_a_dead_process_whose_mailbox_is_full_keeps_nobody_from_following_others(this):
    await stored(partial(make_running, "dead", "CA1"))
    await stored(partial(make_running, "alive", "CA2"))
    for _ in range(CAPACITY):
        await this.send(mailbox("dead"), {"type": "word"})
    followers = Followers()
    async with asked("alive", followers) as (_, said):
        followers.add(Page("CA1"))
        followers.add(Page("CA2"))
        assert (await said.next())["calls"] == {"CA2": False}


@pytest.mark.django_db(transaction=True)
async def test_a_layer_that_has_forgotten_who_is_in_a_group_is_told_again(this, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.05)
    await stored(partial(make_running, "holder"))
    followers, heard = Followers(), Taken()
    this.take("audience.told", heard)
    async with asked("holder", followers) as (holder, said):
        followers.add(Page())
        await said.next()
        get_channel_layer().groups.clear()
        # The second of these was begun after that.
        await said.next()
        await said.next()
        await holder.publish(group("holder"), letter(1, ("CA1", 160), owner="holder"))
        assert (await heard.next())["number"] == 1
