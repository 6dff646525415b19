"""Lines of the log: what stands in them, and in which form."""

import asyncio
import io
import json
import logging
import threading

import pytest

from calls.about import about, note
from calls.process import lines
from calls.process.lines import MOST_BYTES, formatter


CALL, STREAM = "CA7b1e09d4c2a85f6390d1e4b7a2c8f056", "MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"


class Log:
    """A logger of its own, and what it writes."""

    def __init__(self, form="json", *, masks=False, name="calls.server.talker"):
        self._text = io.StringIO()
        handler = logging.StreamHandler(self._text)
        handler.setFormatter(formatter(form, masks=masks))
        self.logger = logging.Logger(name)
        self.logger.addHandler(handler)

    @property
    def text(self):
        return self._text.getvalue()

    def one(self):
        """The one line, read by a parser that takes no more than JSON allows."""
        (line,) = self.text.splitlines()
        assert line.isascii()
        assert line.isprintable()
        assert len(line) <= MOST_BYTES
        return json.loads(line, parse_constant=pytest.fail)


def test_a_line_is_an_object_with_what_it_names(monkeypatch):
    monkeypatch.setitem(lines.process, "worker", "9f2c")
    log = Log()
    log.logger.warning("handler_cut call=%s stream=%s after=%.1f reason=none: %s", CALL, STREAM, 2.5, "still there")
    found = log.one()
    assert found.pop("time").endswith("Z")
    assert found.pop("pid") > 1
    assert found == {
        "level": "warning",
        "logger": "calls.server.talker",
        "event": "handler_cut",
        "message": f"handler_cut call={CALL} stream={STREAM} after=2.5 reason=none: still there",
        "call_sid": CALL,
        "stream_sid": STREAM,
        "worker": "9f2c",
        "after": 2.5,
        "reason": "none",
    }


@pytest.mark.parametrize("name", ["handlers.desk", "uvicorn.error", "daphne.server"])
def test_what_others_log_has_no_event_but_the_sids_of_its_task(name):
    log = Log(name=name)
    with about(CALL, STREAM):
        log.logger.info("mail_sent order=%s", 7, extra={"order": 7, "event": "forged", "level": "forged"})
    found = log.one()
    assert (found["call_sid"], found["stream_sid"], found["order"]) == (CALL, STREAM, 7)
    assert (found["level"], "event" in found) == ("info", False)


def test_sids_go_with_tasks_and_not_with_threads():
    log = Log("line")

    async def handler():
        note(CALL, STREAM)
        await asyncio.create_task(asyncio.to_thread(log.logger.info, "inside"))
        thread = threading.Thread(target=log.logger.info, args=("outside",))
        thread.start()
        thread.join()

    async def two():
        await asyncio.create_task(handler())
        log.logger.info("after")

    asyncio.run(two())
    said = [line.partition(": ")[2] for line in log.text.splitlines()]
    assert said == [f"inside call={CALL} stream={STREAM}", "outside", "after"]


def test_no_sid_stands_twice_in_a_line():
    log = Log("line")
    with about(CALL, STREAM):
        log.logger.info("beat_failed stream=%s", STREAM)
    assert log.text.endswith(f"beat_failed stream={STREAM} call={CALL}\n")


def test_what_a_line_says_of_a_call_goes_before_what_its_task_is_about():
    log, other = Log(), "CA" + "0" * 32
    with about(CALL, STREAM):
        log.logger.info("row_locked call=%s", other)
    assert log.one()["call_sid"] == other


def test_a_traceback_is_inside_its_line():
    log = Log()
    try:
        raise ValueError("no table\nfor two")
    except ValueError:
        log.logger.exception("handler_failed call=%s", CALL)
    found = log.one()["exception"]
    assert found.startswith("Traceback")
    assert found.endswith("ValueError: no table\nfor two")


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\r\x00\x1b[31m\x7f\x85\u2028",
        "\ud83d lone \udc80",
        '"} {"event": "forged',
        "é 日本 🙂",
        "x" * 100_000,
        "\x01" * 50_000,
    ],
)
def test_whatever_comes_from_outside_stays_text(text):
    log = Log()
    log.logger.info("frame_rejected kind=%s: %s", text, text, extra={"more": text})
    found = log.one()
    assert (found["event"], found["logger"]) == ("frame_rejected", "calls.server.talker")


class Broken:
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("message", "args", "extra"),
    [
        ("two %s %s", ("one",), {}),
        ("its words %s", (Broken(),), {}),
        (Broken(), (), {}),
        ("handed", (), {"one": Broken(), "two": float("nan"), "three": 10**5000, "four": {"a": b"\xff"}, "five": None}),
        ("many", (), {f"a{number}": "é" * 500 for number in range(100)}),
        ("named %(it)s", ({"it": "so"},), {}),
    ],
)
def test_a_line_that_somebody_writes_wrongly_is_one_all_the_same(message, args, extra):
    log = Log(name="handlers.desk")
    log.logger.info(message, *args, extra=extra)
    assert log.one()["level"] == "info"


@pytest.mark.parametrize("form", ["line", "json"])
def test_no_number_is_in_any_part_of_a_masked_line(form):
    log = Log(form, masks=True)
    try:
        raise ValueError("no table for +14155550123")
    except ValueError:
        more = {"order": "of +1 415 555 0123", "number": "14155550123", "place": CALL}
        log.logger.exception("not_back call=%s to=%s from %r", CALL, "14155550123", "+14155550123", extra=more)
    assert "5550" not in log.text
    assert "555 0" not in log.text
    assert CALL in log.text
