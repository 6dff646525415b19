"""What an exported call has to look like. The types are those of the models: what they store is exported and imported.

A field that is missing was exported by a version before it, and has its default; one that is not known here would be
lost, and is refused.
"""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.models import (
    AutoField,
    BooleanField,
    DateTimeField,
    DecimalField,
    Field,
    FloatField,
    ForeignKey,
    IntegerField,
    JSONField,
    Model,
)
from msgspec import NODEFAULT, DecodeError, Meta, Struct, ValidationError, convert, defstruct, field, json

from calls.media.audio import SAMPLE_RATE
from calls.models import Call, CallEvent, Comment, Dtmf, Gap, Mark, Stream, Turn, Utterance
from calls.models.call_queries import LONGEST_CALL
from calls.recordings.export import FORMAT, KEPT_BACK, VERSION
from calls.recordings.imports.errors import Unimportable


# The words of a day with their places are less than half of that.
MOST_BYTES = 64 << 20
# What handlers and requests say is cut to a few levels, which lie within five.
MOST_DEPTH = 40
# No position and no length is beyond it: twice as long as Twilio lets a call be.
MOST_SAMPLES = 2 * int(LONGEST_CALL.total_seconds()) * SAMPLE_RATE
_SAMPLES = ("start", "length", "absent", "heard", "position", "at_samples", "audio_samples")
_Samples = Annotated[int, Meta(ge=0, le=MOST_SAMPLES)]
_JSON: dict[str, Any] = {
    "tracks": list[Literal["inbound", "outbound"]],
    "words": list[tuple[str, _Samples, _Samples]],
    "data_at": dict[str, int],
    **dict.fromkeys(("data", "parameters", "custom_parameters", "media_format"), dict[str, Any]),
}
_PARTS = {"gaps": Gap, "marks": Mark, "dtmf": Dtmf, "utterances": Utterance, "turns": Turn}


Member = tuple[str, Any, Any]


class Format(Struct, rename={"where": "from"}):
    """What an export says of itself."""

    name: str
    version: int
    where: Annotated[str, Meta(max_length=300)] = ""
    by: Annotated[str, Meta(max_length=100)] = ""
    at: dt.datetime | None = None


def read(data: bytes) -> tuple[Any, Format]:
    """The facts of a call, as `_shape` has them, and their format. Unimportable says what is wrong, and where."""
    if len(data) > MOST_BYTES:
        raise Unimportable(f"its facts are longer than {MOST_BYTES >> 20} MB")
    try:
        found = json.decode(data)
        if not isinstance(found, dict) or "sid" not in found:
            raise Unimportable("its facts are not those of an exported call")
        if (fault := next(_faults(found, "$"), None)) is not None:
            raise Unimportable(f"its facts {fault}")
        form = _format(found.pop("format", {"name": FORMAT, "version": 1}))
        return convert(found, _shape()), form
    except ValidationError as error:
        raise Unimportable(f"its facts are not as they should be: {error}") from error
    except (DecodeError, RecursionError) as error:
        raise Unimportable(f"its facts are no JSON, or not all of it: {error}") from error


def _format(found: Any) -> Format:
    form = convert(found, Format)
    if form.name != FORMAT:
        raise Unimportable(f"it is a {form.name!r}, and no exported call")
    if form.version > VERSION:
        raise Unimportable(
            f"it was exported by a newer Callstream ({form.by or 'unknown'}, format {form.version}); this one reads "
            f"up to {VERSION}: update it"
        )
    return form


def _faults(value: Any, place: str, depth: int = 0) -> Iterator[str]:
    """What PostgreSQL would refuse, or whoever shows it stumble over."""
    if depth > MOST_DEPTH:
        yield f"are nested too deeply, at {place[:200]}"
    elif isinstance(value, str) and "\x00" in value:
        yield f"have a NUL character at {place[:200]}"
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _faults(item, f"{place}[{at}]", depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _faults(name, f"{place}, in a name")
            yield from _faults(item, f"{place}.{name}", depth + 1)


@cache
def _shape() -> Any:
    parts: list[Member] = [
        (name, _list(_struct(model, "stream")), field(default_factory=list)) for name, model in _PARTS.items()
    ]
    stream = defstruct("Stream", [*_fields(Stream, *KEPT_BACK), *parts], kw_only=True, forbid_unknown_fields=True)
    tag = Annotated[str, Meta(min_length=1, max_length=50)]
    rest: list[Member] = [
        ("streams", _list(stream), NODEFAULT),
        ("events", _list(_struct(CallEvent)), NODEFAULT),
        ("tags", _list(tag), field(default_factory=list)),
        ("comments", _list(_struct(Comment, "call")), field(default_factory=list)),
        ("accesses", list[dict[str, Any]], field(default_factory=list)),
    ]
    return defstruct("Call", [*_fields(Call), *rest], kw_only=True, forbid_unknown_fields=True)


def _list(of: Any) -> Any:
    return list[of]


def _struct(model: type[Model], *left_out: str) -> Any:
    return defstruct(model.__name__, _fields(model, *left_out), kw_only=True, forbid_unknown_fields=True)


def _fields(model: type[Model], *left_out: str) -> list[Member]:
    fields = (field for field in model._meta.concrete_fields if field.name not in left_out)
    return [(field.attname, _type(field), _default(field)) for field in fields]


def _default(column: "Field[Any, Any]") -> Any:
    if column.null:
        return None
    is_known = column.has_default() or (column.empty_strings_allowed and column.blank)
    # When something was is never made up.
    return NODEFAULT if isinstance(column, DateTimeField) or not is_known else field(default_factory=column.get_default)


def _type(column: "Field[Any, Any]") -> Any:
    found = _type_of_value(column)
    return found | None if column.null else found


def _type_of_value(column: "Field[Any, Any]") -> Any:
    match column:
        case JSONField():
            return _JSON[column.name]
        case BooleanField():
            return bool
        case DateTimeField():
            return Annotated[dt.datetime, Meta(tz=True)]
        case DecimalField():
            return Decimal
        case FloatField():
            return Annotated[float, Meta(ge=0)]
        case ForeignKey() | AutoField():
            return int
    if column.flatchoices:
        return Literal[(*(value for value, _ in column.flatchoices), *([""] if column.blank else []))]
    if isinstance(column, IntegerField):
        return _Samples if column.name in _SAMPLES else _number(column)
    return Annotated[str, Meta(max_length=column.max_length)]


def _number(column: "IntegerField[Any, Any]") -> Any:
    # PostgreSQL's: SQLite would take more.
    least, most = BaseDatabaseOperations.integer_field_ranges[column.get_internal_type()]
    return Annotated[int, Meta(ge=least, le=most)]
