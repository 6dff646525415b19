"""What the list says of a measured conversation, a column for each figure that it is sorted by."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from calls.admin import cells
from calls.admin.base import CallMixin
from calls.models import Call


# Ms of dead air in a whole call from which on it is worth a look, and from which on it is bad.
QUIET, SILENT = 5000, 15_000


class Figures(CallMixin):
    """Adds these columns to the admin of calls."""

    figures = ("first_audio", "response", "worst", "dead_air")

    @admin.display(description="First audio", ordering="first_audio_ms")
    def first_audio(self, call: Call) -> SafeString:
        return _cell(call.first_audio_ms)

    @admin.display(description="Response", ordering="response_ms")
    def response(self, call: Call) -> SafeString:
        return _cell(call.response_ms)

    @admin.display(description="Worst response", ordering="response_ms_max")
    def worst(self, call: Call) -> SafeString:
        return _cell(call.response_ms_max)

    @admin.display(description="Dead air", ordering="dead_air_ms")
    def dead_air(self, call: Call) -> SafeString:
        ms = call.dead_air_ms or 0
        return _cell(call.dead_air_ms, "bad" if ms >= SILENT else "warn" if ms >= QUIET else "good")


def _cell(ms: int | None, tone: str = "") -> SafeString:
    """Only what is bad has a colour: a page of green says nothing. To the millisecond for whoever points at it."""
    if ms is None:
        return format_html('<span class="call-none" title="{}">–</span>', "Not measured, or there was none")
    return format_html(
        *('<span class="call-wait call-{}" title="{} ms">{}</span>', tone or cells.wait_tone(ms), f"{ms:,}"),
        cells.wait(ms),
    )
