"""What a call's recording is made of, row by row: streams, and their marks, keys, gaps and pieces of audio.

These tables hold a hundred million rows: a list is read along the primary key or along the index of one stream, nothing
is counted, and no list or page reads audio. A call's page links to its streams, and a stream's page to its rows.
"""

from typing import Any, ClassVar, Generic, TypeVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from calls.access.numbers import mask_all, may_see
from calls.admin import wording
from calls.admin.base import FactsAdmin
from calls.admin.cells import moment, precise, time_tag
from calls.media.audio import SAMPLES_PER_MS
from calls.models import AudioChunk, Call, Dtmf, Gap, Mark, Stream, Utterance


PartT = TypeVar("PartT", bound=Model)


def call_link(call: Call) -> SafeString:
    return format_html(
        '<a href="{}">Call of {}</a>', reverse("admin:calls_call_change", args=[call.pk]), moment(call.created_at)
    )


class PartAdmin(FactsAdmin[PartT], Generic[PartT]):
    """Newest first, or those of one `parent` in their own order: that is what there are indexes for."""

    parent: ClassVar[str]
    order: ClassVar[str]
    #: Texts of a handler or a caller, in which numbers may stand.
    texts: ClassVar[tuple[str, ...]] = ()
    unread: ClassVar[tuple[str, ...]] = ()
    readonly_fields: ClassVar[tuple[str, ...]] = ()
    list_per_page = 100
    sortable_by = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[PartT]:
        return super().get_queryset(request).defer(*self.unread)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return (self.order,) if self.parent in request.GET else ("-pk",)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == self.parent

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        kind = str(self.opts.verbose_name_plural)
        title = f"{kind} of one {self.parent}" if self.parent in request.GET else kind
        return super().changelist_view(request, {"title": title.capitalize(), **(extra_context or {})})

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> PartT | None:
        """With what the user may not see masked; nobody saves it."""
        part = super().get_object(request, *args, **kwargs)
        if part is not None and not may_see(request):
            for name in self.texts:
                setattr(part, name, mask_all(getattr(part, name), self.call_of(part)))
        return part

    def get_fields(self, request: HttpRequest, obj: PartT | None = None) -> Any:
        return self.fields or [name for name in self.list_display if isinstance(name, str)]

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in self.list_display if may_see(request) or name not in self.texts]

    def call_of(self, part: Any) -> Call:
        call: Call = part.stream.call
        return call

    @admin.display(description="Call")
    def whose(self, part: PartT) -> SafeString:
        return call_link(self.call_of(part))


@admin.register(Stream)
class StreamAdmin(PartAdmin[Stream]):
    parent, order, texts = "call", "started_at", ("name", "custom_parameters")
    list_display = ("began", "whose", "name", "lasted", "ending", "frames_missing", "handler", "sid")
    list_select_related = ("call",)
    unread = ("call__parameters",)
    fields = (
        *("whose", "sid", "name", "began", "ended", "lasted", "ending", "close_code", "handler"),
        *("frames_received", "frames_missing", "frames_rejected", "sequence_gaps", "duplicates", "timestamp_jumps"),
        *("jitter_ms", "handler_overruns", "tracks", "media_format", "custom_parameters", "parts"),
    )
    readonly_fields = ("whose", "began", "ended", "lasted", "ending", "handler", "parts")

    def call_of(self, part: Stream) -> Call:
        return part.call

    @admin.display(description="Began")
    def began(self, stream: Stream) -> str:
        return time_tag(stream.started_at)

    @admin.display(description="Ended")
    def ended(self, stream: Stream) -> str:
        return time_tag(stream.ended_at) if stream.ended_at else "still running"

    @admin.display(description="Length")
    def lasted(self, stream: Stream) -> str:
        return precise(stream.length)

    @admin.display(description="Ended by")
    def ending(self, stream: Stream) -> str:
        return wording.of_end(stream) or "–"

    @admin.display(description="Handler")
    def handler(self, stream: Stream) -> str:
        return "failed" if stream.handler_failed else "finished" if stream.handler_finished_at else "–"

    @admin.display(description="Its rows")
    def parts(self, stream: Stream) -> SafeString:
        kinds = {"mark": "marks", "dtmf": "keys", "gap": "gaps", "utterance": "words", "audiochunk": "pieces of audio"}
        links = ((reverse(f"admin:calls_{kind}_changelist"), stream.pk, word) for kind, word in kinds.items())
        return format_html_join(" · ", '<a href="{}?stream={}">{}</a>', links)


class StreamPartAdmin(PartAdmin[PartT]):
    parent = "stream"
    list_select_related = ("stream__call",)
    unread: ClassVar[tuple[str, ...]] = ("stream__call__parameters", "stream__custom_parameters")
    readonly_fields: ClassVar[tuple[str, ...]] = ("of", "whose", "at", "lasts")

    @admin.display(description="Stream")
    def of(self, part: Any) -> SafeString:
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:calls_stream_change", args=[part.stream_id]), part.stream
        )

    @admin.display(description="At")
    def at(self, part: Any) -> str:
        return precise(part.start)

    @admin.display(description="Length")
    def lasts(self, part: Any) -> str:
        return precise(part.length)


@admin.register(Mark)
class MarkAdmin(StreamPartAdmin[Mark]):
    order, texts = "index", ("name",)
    list_display = ("at", "name", "outcome", "sent", "of", "whose")
    readonly_fields = ("of", "whose", "at", "sent", "returned")
    fields = ("whose", "of", "index", "name", "at", "outcome", "sent", "returned")

    @admin.display(description="At")
    def at(self, mark: Mark) -> str:
        return precise(mark.position)

    @admin.display(description="Sent")
    def sent(self, mark: Mark) -> str:
        return time_tag(mark.sent_at)

    @admin.display(description="Came back")
    def returned(self, mark: Mark) -> str:
        return time_tag(mark.returned_at)


@admin.register(Dtmf)
class DtmfAdmin(StreamPartAdmin[Dtmf]):
    order = "index"
    list_display = ("at", "digit", "of", "whose")
    fields = ("whose", "of", "index", "digit", "at")
    readonly_fields = ("of", "whose", "at")

    @admin.display(description="At")
    def at(self, key: Dtmf) -> str:
        return precise(key.timestamp_ms * SAMPLES_PER_MS)


@admin.register(Gap)
class GapAdmin(StreamPartAdmin[Gap]):
    order = "start"
    list_display = ("at", "lasts", "track", "reason", "of", "whose")
    fields = ("whose", "of", "track", "at", "lasts", "reason")


@admin.register(Utterance)
class UtteranceAdmin(StreamPartAdmin[Utterance]):
    """Where they lie; what was said is read on the call's page, which keeps a record of it."""

    order = "start"
    unread = (*StreamPartAdmin.unread, "text", "words")
    list_display = ("at", "lasts", "track", "of", "whose")
    fields = ("whose", "of", "track", "at", "lasts", "start", "length")


@admin.register(AudioChunk)
class AudioChunkAdmin(StreamPartAdmin[AudioChunk]):
    """Where they lie and how long they are; what is in them is heard on the call's page, which keeps a record of it."""

    order = "start"
    unread = (*StreamPartAdmin.unread, "payload", "peaks")
    list_display = ("at", "lasts", "track", "index", "of", "whose")
    fields = ("whose", "of", "track", "index", "at", "lasts", "start", "length")
