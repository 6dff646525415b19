"""What the probes have found, for the checks to judge."""

from dataclasses import dataclass, field

from simulator.documents import StreamNoun, TwimlError, Verb, parse_twiml, read_stream
from simulator.examine.line import ORDERLY, Heard
from simulator.examine.talks import Talk
from simulator.examine.target import Exchange, Target, stream_verb
from simulator.examine.traces import Trace
from simulator.messages import PROTOCOL_ERROR
from simulator.report import Report, StreamReport


def broke_rules(stream: StreamReport) -> bool:
    """Whether the stream ended because the server broke RFC 6455."""
    return any(mistake.startswith(PROTOCOL_ERROR) and "<Start>" not in mistake for mistake in stream.mistakes)


@dataclass
class Facts:
    """What a probe could not find out is missing here; `lines` has the reason instead of a line."""

    target: Target
    answers: dict[str, Exchange] = field(default_factory=dict)  # by who asked: "twilio", "stranger", "get", …
    talk: Talk | None = None  # one call alone
    pair: tuple[Talk, Talk] | None = None  # two at once
    lines: dict[str, Heard | str] = field(default_factory=dict)
    _traces: dict[str, Trace] = field(default_factory=dict)

    def line(self, name: str) -> Heard | None:
        heard = self.lines.get(name)
        return heard if isinstance(heard, Heard) else None

    def why_no(self, name: str) -> str:
        """Why there is no such line."""
        reason = self.lines.get(name)
        return reason if isinstance(reason, str) else "no call could be placed"

    @property
    def early(self) -> set[str]:
        """What the server says as soon as a socket is open, before it can know whose: `before-start` judges that."""
        line = self.line("ending")
        return {text for at, text in line.received if at < line.at.get("start", 0)} if line else set()

    # --- The first document

    @property
    def document(self) -> list[Verb] | None:
        exchange = self.answers.get("twilio")
        if exchange is None or exchange.answer is None or exchange.status != 200:
            return None
        try:
            return parse_twiml(exchange.answer.body, exchange.answer.content_type)
        except TwimlError:
            return None

    @property
    def noun(self) -> StreamNoun | None:
        try:
            return read_stream(stream_verb(self.document or []), self.target.voice_url)
        except TwimlError:
            return None

    @property
    def checks_signatures(self) -> bool:
        """Of webhooks: whether a stranger gets no document."""
        return not self.answers["stranger"].is_document

    # --- The calls

    def trace(self, stream: StreamReport) -> Trace:
        """What the server has said on a stream."""
        if stream.sid not in self._traces:
            self._traces[stream.sid] = Trace(stream)
        return self._traces[stream.sid]

    @property
    def lateness(self) -> float:
        """Seconds that the examination itself was late at worst: this machine was busy, and times mean less."""
        lines = [heard.late for heard in self.lines.values() if isinstance(heard, Heard)]
        return max([report.lateness.worst_ms / 1000 for report in self.reports] + lines, default=0.0)

    @property
    def reports(self) -> list[Report]:
        talks = [self.talk, *(self.pair or ())]
        return [talk.report for talk in talks if talk and talk.report]

    @property
    def streams(self) -> list[StreamReport]:
        """Of all calls that were played."""
        return [stream for report in self.reports for stream in report.streams]

    @property
    def first_streams(self) -> list[StreamReport]:
        """Of the call that was alone: what is wrong there is not for want of a second one."""
        return self.talk.report.streams if self.talk and self.talk.report else []

    @property
    def breaks_calls_off(self) -> bool:
        """Whether the server ended a call badly to which nothing has happened."""
        return any(stream.closed_by == "server" and stream.closed_code not in ORDERLY for stream in self.streams)

    @property
    def is_behind(self) -> bool:
        """Whether the server did not read in time."""
        line = self.line("reading")
        return line is not None and line.is_deaf

    @property
    def has_spoken(self) -> bool:
        return any(self.trace(stream).received for stream in self.streams)
