"""What is said of calls, as JSON: the documentation is made of these."""

import datetime as dt
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

from calls.models import Call


Speaker = Literal["caller", "us"]


class CallFacts(BaseModel):
    """A call. Numbers are whole, and callers have names, for clients with see_numbers only."""

    sid: str = Field(description="Twilio's CallSid.")
    created_at: dt.datetime
    answered_at: dt.datetime | None
    ended_at: dt.datetime | None = Field(description="Null while it runs.")
    direction: str = Field(description="inbound, outbound-api or outbound-dial.")
    status: Call.Status
    from_number: str
    to_number: str
    caller_name: str = Field(description="••• where it is hidden.")
    forwarded_from: str
    answered_by: str = Field(description="What answering machine detection found.")
    handler: str
    duration_s: int | None = Field(description="As Twilio counts.")
    recording_ms: int = Field(
        description="How long its recording is; while it runs, how long it was when a stream of it last ended."
    )
    has_warning: bool
    was_interrupted: bool = Field(description="The caller spoke or pressed a key into what we played.")
    first_audio_ms: int | None = Field(description="From the answer to the first that was heard of us.")
    response_ms: int | None = Field(description="What the caller waited for our answers: the median.")
    response_ms_max: int | None
    dead_air_ms: int | None = Field(description="While nobody spoke for 2 s and longer.")
    talk_over_ms: int | None = Field(description="While both spoke.")
    measured_at: dt.datetime | None = Field(description="When those five were measured; null if they are not yet.")
    price: Decimal | None = Field(description="As Twilio has it: what was charged is negative.")
    price_unit: str
    reviewed: bool
    tags: list[str]
    data: dict[str, Any] = Field(description="What the handler has set.")


class StreamFacts(BaseModel):
    """A media stream of a call, with what tells how good its line was. A frame is 20 ms."""

    sid: str
    name: str
    tracks: list[str]
    custom_parameters: dict[str, Any]
    started_at: dt.datetime
    ended_at: dt.datetime | None
    end_reason: str = Field(
        description="stop, disconnect, handler, shutdown, interrupted, error, dial; empty while it runs."
    )
    start_ms: int = Field(description="Where it lies in the call's recording.")
    length_ms: int
    frames_received: int
    frames_missing: int
    frames_rejected: int
    sequence_gaps: int
    duplicates: int
    timestamp_jumps: int
    jitter_ms: float
    handler_overruns: int = Field(description="Frames that a slow handler did not get.")
    handler_failed: bool


class Trouble(BaseModel):
    """Something that went wrong with a call, and what can be done about it."""

    word: str
    text: str
    advice: str
    is_warning: bool


class Hold(BaseModel):
    """A legal hold that stands: the call is not erased before it is lifted."""

    placed_at: dt.datetime
    placed_by: str = Field(description="A member of staff by name; empty if they are gone.")
    reason: str


class WholeCall(CallFacts):
    """A call with its streams, the fields of its webhook, and what went wrong."""

    parameters: dict[str, Any]
    streams: list[StreamFacts]
    problems: list[Trouble]
    legal_holds: list[Hold] = Field(description="Those that stand.")


class Turn(BaseModel):
    """What one side said in a row. All times are ms of the call's recording."""

    stream: str = Field(description="Its sid.")
    speaker: Speaker
    start_ms: int
    end_ms: int
    response_ms: int | None = Field(description="Of ours: since the end of what the caller had said.")
    interrupted: bool = Field(description="The other side began to speak before it was over.")
    talked_on_ms: int | None = Field(description="For how long it went on then.")


class Word(BaseModel):
    text: str
    start_ms: int
    end_ms: int


class Line(BaseModel):
    """What one side said between two pauses, as the transcriber understood it."""

    stream: str = Field(description="Its sid.")
    speaker: Speaker
    start_ms: int
    end_ms: int
    text: str
    words: list[Word] = Field(description="Empty if the transcriber did not say where each lies.")


class Mark(BaseModel):
    """A mark that we sent behind audio."""

    stream: str = Field(description="Its sid.")
    name: str
    at_ms: int
    outcome: Literal["pending", "played", "cleared"]
    sent_at: dt.datetime
    returned_at: dt.datetime | None


class Key(BaseModel):
    """A key that the caller pressed."""

    stream: str = Field(description="Its sid.")
    digit: str = Field(description="One key, or • where digits are masked.")
    at_ms: int


class Calls(BaseModel):
    calls: list[CallFacts]
    next: str | None = Field(description="The `cursor` of the next page; null if this is the last one.")


class Turns(BaseModel):
    turns: list[Turn]
    next: str | None


class Lines(BaseModel):
    lines: list[Line]
    next: str | None


class Marks(BaseModel):
    marks: list[Mark]
    next: str | None


class Keys(BaseModel):
    keys: list[Key]
    next: str | None
