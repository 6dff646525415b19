"""Letters between processes: what comes, what is lost, and what is known of a layer that is away."""

import asyncio
import logging

import pytest
from channels.layers import get_channel_layer

from calls.post import post as module
from calls.post.post import MailboxFull, PostAway, mailbox
from tests.support.post import CAPACITY, Taken, layers, process
from tests.support.supervised import OwnRedis


@pytest.fixture(scope="module")
def own_redis():
    with OwnRedis() as redis:
        yield redis


@pytest.fixture(params=["memory", "redis"])
async def layer(request, settings):
    """Channels' layer, as it is where there is one process, and where there are several."""
    url = request.getfixturevalue("own_redis").url if request.param == "redis" else ""
    settings.CHANNEL_LAYERS = layers(url)
    layer = get_channel_layer()
    await layer.flush()
    yield layer
    await layer.flush()


async def test_a_letter_comes_to_whoever_takes_its_kind(layer):
    async with process() as (post, taken):
        await post.send(mailbox("one"), {"type": "word", "said": "hello", "sound": b"\xff\x00"})
        assert await taken.next() == {"type": "word", "said": "hello", "sound": b"\xff\x00"}


async def test_a_group_gets_what_is_published_until_it_is_left(layer):
    async with process() as (post, taken):
        await post.join("group")
        await post.publish("group", {"type": "word", "number": 1})
        assert (await taken.next())["number"] == 1
        await post.leave("group")
        await post.publish("group", {"type": "word", "number": 2})
        await post.send(post.address, {"type": "word", "number": 3})
        assert (await taken.next())["number"] == 3


async def test_who_asks_is_answered(layer):
    async with process() as (post, _):
        post.take("question", lambda letter: asyncio.create_task(post.send(letter["answer_to"], {"sum": 2})))
        assert await post.ask(mailbox("one"), {"type": "question"}, 5) == {"sum": 2}


async def test_who_asks_somebody_silent_waits_no_longer_than_they_want(layer):
    async with process() as (post, _):
        with pytest.raises(TimeoutError):
            await post.ask(mailbox("nobody"), {"type": "question"}, 0.05)
        assert not post.is_away


async def test_a_full_mailbox_is_no_layer_that_is_away(layer):
    async with process() as (post, _):
        for _ in range(CAPACITY):
            await post.send(mailbox("dead"), {"type": "word"})
        with pytest.raises(MailboxFull):
            await post.send(mailbox("dead"), {"type": "word"})
        assert not post.is_away


@pytest.mark.parametrize("letter", [{}, {"type": None}, {"type": ["word"]}, {"type": "x" * 1000}, {"type": "bad"}])
async def test_no_letter_ends_the_post(layer, letter):
    async with process() as (post, taken):
        post.take("bad", lambda letter: letter["nothing"])
        await layer.send(post.address, letter)
        await post.send(post.address, {"type": "word"})
        assert await taken.next() == {"type": "word"}
        assert not post.is_away


async def test_what_no_letter_is_ends_the_post_as_little(own_redis, settings):
    settings.CHANNEL_LAYERS = layers(own_redis.url)
    layer = get_channel_layer()
    async with process() as (post, taken):
        for rubbish in (b"", b"twelve bytes", b"twelve bytes\xc1", b"twelve bytes\x05", b"twelve bytes\x81\x01"):
            await layer.connection(0).zadd(f"asgi{post.address}", {rubbish: 1})
        await post.send(post.address, {"type": "word"})
        assert await taken.next() == {"type": "word"}
        assert not post.is_away
    await layer.flush()


async def test_letters_that_go_wrong_by_the_thousand_are_logged_once(layer, caplog):
    async with process() as (post, taken):
        post.take("bad", lambda letter: letter["nothing"])
        for _ in range(5):
            await post.send(post.address, {"type": "bad"})
            await post.send(post.address, {"type": "new"})
        await post.send(post.address, {"type": "word"})
        await taken.next()
    ours = [record for record in caplog.records if record.name == "calls.post.post"]
    assert [record.getMessage() for record in ours if record.levelno > logging.INFO] == [
        "letter_failed type=bad; going on"
    ]


async def test_what_cannot_be_sent_says_nothing_of_the_layer(layer):
    async with process() as (post, _):
        with pytest.raises(PostAway):
            await post.send("no name!!", {"type": "word"})
        assert not post.is_away


async def test_a_layer_that_dies_and_is_back_empty_is_told_once_each_way(settings, caplog):
    with OwnRedis() as redis:
        settings.CHANNEL_LAYERS = layers(redis.url)
        async with process() as (post, taken):
            weather = Taken()
            unwatch = post.watch(weather)
            await post.send(post.address, {"type": "word", "number": 1})
            assert (await taken.next())["number"] == 1
            redis.kill()
            assert await weather.next() is True
            with pytest.raises(PostAway):
                await post.send(post.address, {"type": "word"})
            redis.start()
            assert await weather.next() is False
            await post.send(post.address, {"type": "word", "number": 2})
            assert (await taken.next())["number"] == 2
            unwatch()
            assert weather.rest == []
        await get_channel_layer().flush()
    lines = [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "calls.post.post"]
    assert lines == ["layer_down", "layer_up"]


async def test_a_layer_that_is_frozen_is_found_out_while_somebody_watches(settings, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "PROBE_EVERY", 0.05)
    with OwnRedis() as redis:
        settings.CHANNEL_LAYERS = layers(redis.url)
        async with process() as (post, _):
            weather = Taken()
            post.watch(weather)
            redis.freeze()
            assert await weather.next() is True
            redis.thaw()
            assert await weather.next() is False
        await get_channel_layer().flush()


async def test_nobody_who_watches_keeps_it_from_the_others(layer, caplog):
    async with process() as (post, _):
        post.watch(lambda is_away: 1 / 0)
        weather = Taken()
        post.watch(weather)
        post._note(OSError("gone"))
        assert await weather.next() is True
    assert "watcher_failed" in caplog.text


async def test_a_post_that_has_lost_its_loop_goes_on_in_another(own_redis, settings):
    """As in tests, and after `runserver` has reloaded: a connection belongs to the loop that opened it."""
    settings.CHANNEL_LAYERS = layers(own_redis.url)

    async def once():
        async with process("two") as (post, taken):
            await post.send(post.address, {"type": "word"})
            await taken.next()

    await asyncio.to_thread(asyncio.run, once())
    await once()
    await get_channel_layer().flush()
