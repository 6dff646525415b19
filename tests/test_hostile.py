"""Ten thousand mutated messages into a live stream: it goes on, and what it hears afterwards is in the recording."""

import json
import logging
import os
import random

import pytest

from calls.media.audio import tone
from calls.models import AudioChunk, CallEvent, Stream
from tests.support.line import CONNECTED, DTMF, MARK, MEDIA, START, STOP, Line, stored


pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "recorder"]),
    pytest.mark.usefixtures("process"),
]

MESSAGES = 10_000
# Where the later audio lies, in ms of Twilio's clock: mutated messages that are legal and lie there are not sent.
LATER = 30_000
VALUES = [
    "",
    "0",
    "-1",
    "1e999",
    "9" * 400,
    None,
    True,
    1.5,
    [],
    {},
    [[]],
    "\x00",
    "\ud800",
    "١٢",
    "MZ" + "0" * 32,
    "🎵",
]
BYTES = [b"\x00", b"\xff\xfe", b'"', b"\\", b"{", b"}", b"[", b",", b"\\u0000", b"\\ud800", b"1", b"e9"]


class Mutations:
    """Messages of one stream with something wrong about most of them; the same seed makes the same ones."""

    def __init__(self, line, seed):
        self.line = line
        self.random = random.Random(seed)

    def __iter__(self):
        return (text for _ in range(MESSAGES) if not self._ends_the_test(text := self._one()))

    def _one(self):
        message = self._message()
        for _ in range(self.random.randint(0, 3)):
            message = self.random.choice([self._flip, self._cut, self._insert, self._swap, self._repeat])(message)
        return message

    def _message(self):
        template = self.random.choice([MEDIA, MEDIA, MEDIA, DTMF, MARK, START, STOP, CONNECTED])
        facts = {"timestamp": self.random.randint(0, 20_000), "payload": "VVVV" * self.random.randint(0, 60)}
        facts |= {"digit": self.random.choice("0123456789*#"), "name": "callstream:0"}
        text = CONNECTED if template is CONNECTED else self.line.fill(template, **{**self.line.opening, **facts})
        return text.encode()

    def _flip(self, text):
        at = self.random.randrange(len(text) + 1)
        return text[:at] + bytes([self.random.randrange(256)]) + text[at + 1 :]

    def _cut(self, text):
        return text[: self.random.randrange(len(text) + 1)]

    def _insert(self, text):
        at = self.random.randrange(len(text) + 1)
        return text[:at] + self.random.choice(BYTES) * self.random.choice([1, 1, 1, 500]) + text[at:]

    def _swap(self, text):
        """Puts a value of another kind somewhere."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return text
        body = message
        while isinstance(body, dict) and body:
            key = self.random.choice(list(body))
            if not isinstance(body[key], dict) or self.random.random() < 0.3:
                body[key] = self.random.choice(VALUES)
                break
            body = body[key]
        return json.dumps(message).encode()

    def _repeat(self, text):
        """Twice or more: a message of up to 1 MB, above which the server refuses them."""
        times = self.random.choice([2, 2, 200])
        return text * times if len(text) * times <= 2**20 else text

    def _ends_the_test(self, text):
        """Whether this one is legal, and stops the stream or takes the place of the later audio."""
        try:
            message = json.loads(text)
            if message["event"] == "stop":
                return True
            # Up to 20 s of audio may follow a timestamp.
            return message["event"] == "media" and int(message["media"]["timestamp"]) > LATER - 20_000 - 1000
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return False


def later_audio():
    """What is stored after LATER, put together."""
    first = Stream.objects.get().first_timestamp
    runs = AudioChunk.objects.filter(track="inbound", start__gte=(LATER - first) * 8).order_by("start")
    return b"".join(bytes(run) for run in runs.values_list("payload", flat=True))


async def listens(stream):
    async for _ in stream:
        pass


async def test_ten_thousand_mutated_messages_end_nothing_and_spoil_nothing(settings, caplog):
    seed = int(os.environ.get("HOSTILE_SEED", random.SystemRandom().randrange(10**9)))
    print(f"HOSTILE_SEED={seed}")
    settings.STREAM_HANDLERS = {"listens": "tests.test_hostile.listens"}
    caplog.set_level(logging.DEBUG)
    speech = [tone(200 + number, 20) for number in range(100)]
    async with Line("listens") as line:
        line.say(b"\x55" * 160)
        for text in Mutations(line, seed):
            if line.number % 10 == 0:
                line.send_bytes(text)
            else:
                line.send(text.decode("utf-8", "surrogateescape"))
        line.timestamp = LATER
        for frame in speech:
            line.say(frame)
    stream = await stored(Stream.objects.get)
    assert (stream.end_reason, stream.handler_failed) == ("stop", False)
    assert stream.frames_rejected > MESSAGES / 4
    assert await stored(later_audio) == b"".join(speech)
    assert await stored(CallEvent.objects.filter(kind="handler-failed").count) == 0
    check_log(caplog, line)


def check_log(caplog, line):
    """No traceback, no secret, and one line for each kind of illegal message."""
    assert "Traceback" not in caplog.text
    # A mutation may cut anything into pieces; what is logged whole is 16 characters at most.
    for secret in (line.token[:24], "0123456789abcdef", line.headers["x-twilio-signature"], "V" * 17):
        assert secret not in caplog.text
    kinds = [message.split()[1] for message in caplog.messages if message.startswith("frame_rejected")]
    assert len(kinds) == len(set(kinds))
    assert all(record.levelno < logging.ERROR for record in caplog.records)
