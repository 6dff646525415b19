"""What programs are told of a call, by the API and by webhooks: the same facts under the same names."""

from typing import Any

from calls.access.numbers import HIDDEN, mask, mask_all
from calls.media.audio import SAMPLES_PER_MS
from calls.models import Call


# What was measured in a recording, in ms: fields of the call.
FIGURES = ("first_audio_ms", "response_ms", "response_ms_max", "dead_air_ms", "talk_over_ms")
NUMBERS = ("from_number", "to_number", "forwarded_from")
_AS_IT_IS = (
    *("sid", "direction", *NUMBERS, "caller_name", "handler", "status", "answered_by"),
    *("created_at", "answered_at", "ended_at", "has_warning", "was_interrupted", *FIGURES, "measured_at"),
    *("price_unit", "reviewed"),
)


def of_call(call: Call) -> dict[str, Any]:
    """With whole numbers. Its tags are asked for, so prefetch them."""
    return {
        **{name: getattr(call, name) for name in _AS_IT_IS},
        "duration_s": call.duration,
        "recording_ms": call.audio_samples // SAMPLES_PER_MS,
        "price": None if call.price is None else f"{call.price.normalize():f}",
        "data": call.data_in_order,
        "tags": sorted(tag.name for tag in call.tags.all()),
    }


def masked(facts: dict[str, Any], call: Call) -> dict[str, Any]:
    """The same without whole numbers and names: as staff see it who may not see them."""
    hidden = {name: mask(str(facts.get(name) or "")) for name in NUMBERS}
    hidden["caller_name"] = HIDDEN if facts.get("caller_name") else ""
    return {**facts, **hidden, **{name: mask_all(facts.get(name), call) for name in ("data", "tags")}}
