"""What a request may ask for, and where its next page begins."""

import datetime as dt
from typing import Annotated, Any, Literal

from django.core import signing
from ninja import Schema
from pydantic import AfterValidator, AwareDatetime, Field, ValidationInfo, model_validator

from calls.api.answers import bad_parameter
from calls.models import Call


MOST = 200
_FIRST, _LAST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)


def _moment(value: dt.datetime) -> dt.datetime:
    if not _FIRST <= value < _LAST:
        raise ValueError("is no time between 1970 and 2200")
    return value.astimezone(dt.UTC)


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("has a character that no text has")
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
Text = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_text)]


class Parameters(Schema):
    """Of a query. One that is not known is refused: a filter that is misspelt would find everything."""

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, values: Any, info: ValidationInfo) -> Any:
        query = (info.context or {})["request"].GET
        for name in query:
            if name not in cls.model_fields:
                raise ValueError(f"{name[:60]}: there is no such parameter; there are {', '.join(cls.model_fields)}")
            if len(query.getlist(name)) > 1:
                raise ValueError(f"{name}: is given more than once")
        return values


class Paged(Parameters):
    limit: int = Field(50, ge=1, le=MOST, description="How many at most.")
    cursor: str | None = Field(None, max_length=400, description="`next` of the page before.")


class CallFilters(Paged):
    since: Moment | None = Field(None, description="Began at this time or later, as in 2026-03-14T15:00:00Z.")
    until: Moment | None = Field(None, description="Began before this time.")
    ended: bool | None = Field(None, description="Whether it is over.")
    handler: Text | None = None
    status: Call.Status | None = Field(None, description="Twilio's word.")
    direction: Literal["inbound", "outbound"] | None = None
    number: Text | None = Field(
        None, description="Who called or was called, whole, as in +14155550100. Needs see_numbers."
    )
    tag: Text | None = None
    has_recording: bool | None = None
    order: Literal["newest", "oldest"] = Field("newest", description="By when they began.")


class Sound(Parameters):
    channel: Literal["stereo", "inbound", "outbound"] = Field(
        "stereo", description="Stereo has the caller left and us right; inbound is the caller alone, outbound are we."
    )
    encoding: Literal["pcm16", "mulaw"] = "pcm16"


def cursor(what: str, *place: int) -> str:
    """Where a list goes on; `what` is the list, for which alone it is good."""
    return signing.dumps(place, salt=f"calls.api {what}")


def place(text: str | None, what: str) -> tuple[int, int] | None:
    """What a cursor says, or None if there is none. Raises Refused for one that is not of this list."""
    if text is None:
        return None
    try:
        first, second = signing.loads(text, salt=f"calls.api {what}")
    except (signing.BadSignature, ValueError) as error:
        raise bad_parameter("cursor", "is not the `next` of a page of this list") from error
    return first, second
