"""What holds for every input: the decoder, the order of messages, the playback mirror and the clock."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from calls.media.playback import ADJACENT, STALL, Playback, StreamClock
from calls.media.protocol import Message, ProtocolError, State, StateError, StreamProtocol, Unknown, decode, excerpt


# What Twilio sends.
MESSAGES = [
    '{"event":"connected","protocol":"Call","version":"1.0.0"}',
    '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978",'
    '"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056",'
    '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
    '"customParameters":{"token":"q3Zr8"}},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}',
    '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"153",'
    '"payload":"/39+/g=="},"streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}',
    '{"event":"dtmf","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687","sequenceNumber":"2",'
    '"dtmf":{"track":"inbound_track","digit":"5"}}',
    '{"event":"mark","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"mark":{"name":"greeting-3"}}',
    '{"event":"hold","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687"}',
    '{"event":"stop","sequenceNumber":"2","streamSid":"MZ5d2f8e1a7c3b9046e8f1d2c3b4a59687",'
    '"stop":{"accountSid":"AC3f0c6a1d2b4e58790f1e2d3c4b5a6978","callSid":"CA7b1e09d4c2a85f6390d1e4b7a2c8f056"}}',
]
SURROGATES = st.text(st.characters(categories=("Cs", "Cc", "Nd", "So", "Po")))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A message of Twilio with a piece replaced."""
    text = draw(st.sampled_from(MESSAGES))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    return text[:start] + draw(st.text(max_size=12) | SURROGATES) + text[end:]


@st.composite
def reshaped(draw: st.DrawFn) -> str:
    """A message of Twilio, one of whose fields has any value of JSON."""
    message = json.loads(draw(st.sampled_from(MESSAGES)))
    inside = [message, *(value for value in message.values() if isinstance(value, dict))]
    target = draw(st.sampled_from(inside))
    target[draw(st.sampled_from([*target, "more"]))] = draw(JSON)
    return json.dumps(message)


TEXTS = st.text() | SURROGATES | mutated() | reshaped() | JSON.map(json.dumps)
INPUTS = TEXTS | st.binary() | mutated().map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=400)
@given(INPUTS)
def test_any_input_is_a_message_or_a_protocol_error(text):
    outcome = outcome_of(text)
    if isinstance(outcome, ProtocolError):
        assert outcome.kind in ("json", "shape", "size")
        assert outcome.reason.isprintable()
        assert len(outcome.reason) <= 200
    else:
        assert isinstance(outcome, Message | Unknown)


def outcome_of(text: str | bytes) -> object:
    try:
        return decode(text)
    except ProtocolError as error:
        return error


@settings(deadline=None)
@given(INPUTS)
def test_an_excerpt_is_short_printable_ascii_whatever_the_text_is(text):
    shown = excerpt(text)
    assert len(shown) <= 120
    assert shown.isascii()
    assert shown.isprintable()


@settings(deadline=None)
@given(mutated(), st.text("ABCDEFGHabcdefgh+/", min_size=17, max_size=400))
def test_an_excerpt_holds_no_long_secret_wherever_it_stands(text, secret):
    for place in range(0, len(text), 40):
        assert secret[4:20] not in excerpt(f'{text[:place]}"{secret}"{text[place:]}')


@settings(deadline=None)
@given(st.sampled_from(MESSAGES), st.text(max_size=9), JSON)
def test_a_message_survives_a_field_that_does_not_exist_yet(text, name, value):
    more = json.dumps({f"x-{name}": value})[1:-1]
    assert decode(f"{text[:-1]},{more}}}") == decode(text)


class Conversation(RuleBasedStateMachine):
    """One stream that is sent anything in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = StreamProtocol()
        self.state = State.CONNECTING
        self.received = self.rejected = 0

    def receive(self, text: str | bytes) -> None:
        self.received += 1
        try:
            self.protocol.receive(text)
        except ProtocolError:
            self.rejected += 1

    @rule(text=st.sampled_from(MESSAGES[:2]))
    def open(self, text):
        self.receive(text)

    @rule(text=st.sampled_from(MESSAGES[2:-1]), number=st.integers(0, 12) | st.integers(0, 2**60))
    def say(self, text, number):
        self.receive(text.replace('"sequenceNumber":"2"', f'"sequenceNumber":"{number}"'))

    @rule(text=INPUTS)
    def say_anything(self, text):
        self.receive(text)

    @rule(ends=st.booleans())
    def stop(self, ends):
        if ends:
            self.receive(MESSAGES[-1])

    @rule()
    def send(self):
        try:
            text = self.protocol.media(b"\xff" * 160)
        except StateError:
            assert self.protocol.state is not State.STREAMING
        else:
            assert self.protocol.state is State.STREAMING
            assert json.loads(text)["streamSid"] == self.protocol.stream_sid

    @invariant()
    def holds(self):
        protocol = self.protocol
        assert protocol.state >= self.state
        self.state = protocol.state
        assert protocol.frames_rejected == self.rejected
        assert (protocol.stream_sid != "") or protocol.state in (State.CONNECTING, State.CONNECTED)
        assert max(protocol.duplicates, protocol.unknown) <= self.received
        assert 0 <= protocol.sequence_gaps < protocol.next_sequence


class Mirror(RuleBasedStateMachine):
    """A play buffer to which anything happens, while its clock only goes forward."""

    def __init__(self) -> None:
        super().__init__()
        self.playback = Playback()
        self.now = 0
        self.heard_until = 0
        self.heard_bytes = 0
        self.sent_names: list[str] = []

    def note(self, heard: list[tuple[int, bytes]]) -> None:
        for position, audio in heard:
            assert position >= self.heard_until
            self.heard_until = position + len(audio)
            self.heard_bytes += len(audio)

    @rule(samples=st.integers(0, 20_000) | st.integers(0, 600))
    def wait(self, samples):
        self.now += samples

    @rule(frames=st.integers(1, 60))
    def play(self, frames):
        self.playback.play(self.now, b"\xff" * 160 * frames)

    @rule(name=st.sampled_from("abc"))
    def mark(self, name):
        mark = self.playback.mark(self.now, name)
        assert mark.index == len(self.sent_names)
        self.sent_names.append(name)

    @rule(name=st.sampled_from("abcd"))
    def echo(self, name):
        expected = next((mark for mark in self.playback.pending_marks if mark.name == name), None)
        assert self.playback.returned(self.now, name) is expected

    @rule()
    def advance(self):
        self.note(self.playback.advance(self.now))

    @rule()
    def clear(self):
        pending = self.playback.pending
        before = self.heard_bytes
        heard, lost = self.playback.clear(self.now)
        self.note(heard)
        assert self.heard_bytes - before + lost == pending
        assert self.playback.pending == 0
        assert all(mark.cleared for mark in self.playback.pending_marks)

    @invariant()
    def balances(self):
        books = self.playback
        assert books.sent == books.heard + books.cleared + books.pending
        assert books.heard == self.heard_bytes
        assert min(books.heard, books.cleared, books.pending) >= 0
        assert [mark.index for mark in books.pending_marks] == sorted(mark.index for mark in books.pending_marks)

    def teardown(self):
        self.now += 10**9
        self.note(self.playback.advance(self.now))
        assert self.playback.pending == 0


class Twilio(RuleBasedStateMachine):
    """The mirror beside Twilio: one queue of audio and marks, played in real time and echoed at the right moment."""

    def __init__(self) -> None:
        super().__init__()
        self.playback = Playback()
        self.now = 0
        self.queue: list[int | str] = []
        self.played = self.heard_before = 0

    @rule(frames=st.integers(1, 40))
    def play(self, frames):
        self.queue.append(160 * frames)
        self.playback.play(self.now, b"\xff" * 160 * frames)

    @rule()
    def mark(self):
        name = f"m{self.playback.marks_sent}"
        self.queue.append(name)
        self.playback.mark(self.now, name)

    @rule(samples=st.integers(1, 9000))
    def wait(self, samples):
        until = self.now + samples
        while self.queue:
            match self.queue[0]:
                case str(name):
                    assert not self.playback.returned(self.now, name).cleared
                    self.queue.pop(0)
                case left if left <= until - self.now:
                    self.now += left
                    self.played += left
                    self.queue.pop(0)
                case left:
                    self.played += until - self.now
                    self.queue[0] = left - (until - self.now)
                    break
        self.now = until

    @rule()
    def clear(self):
        self.playback.clear(self.now)
        marks = [item for item in self.queue if isinstance(item, str)]
        assert [self.playback.returned(self.now, name).cleared for name in marks] == [True] * len(marks)
        self.queue, self.played, self.heard_before = [], 0, self.playback.heard

    @invariant()
    def agrees_within_60_ms(self):
        self.playback.advance(self.now)
        assert 0 <= self.playback.heard - self.heard_before - self.played <= ADJACENT


LIMITS = settings(deadline=None, max_examples=60, stateful_step_count=40)
for machine in (Conversation, Mirror, Twilio):
    machine.TestCase.settings = LIMITS
TestConversation = Conversation.TestCase
TestMirror = Mirror.TestCase
TestTwilio = Twilio.TestCase


@settings(deadline=None)
@given(st.floats(0, 1e6), st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2**56), st.booleans()), max_size=30))
def test_the_clock_is_monotone_and_never_ahead_of_the_wall(started, steps):
    clock, at, last = StreamClock(started), started, 0
    for seconds, end, arrives in steps:
        at += seconds
        if arrives:
            clock.arrived(end, at)
        now = clock.now(at)
        assert last <= now <= max(last, clock.elapsed(at))
        assert now <= clock.elapsed(at) + 1
        last = now


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(STALL + 1, 40_000))
def test_one_stall_delays_everything_after_it_by_its_length(frames, late):
    playback, ends, end = Playback(), [], 0
    for index, count in enumerate(frames):
        playback.play(0, bytes([index]) * 160 * count)
        playback.mark(0, f"m{index}")
        end += 160 * count
        ends.append(end)
    for index, position in enumerate(ends):
        assert not playback.returned(position + late, f"m{index}").cleared
    starts = [start for start, _ in playback.advance(10**6)]
    assert starts == [0, *(position + late for position in ends[:-1])]
