"""Prepared sounds: uploaded, listened to, renamed and deleted here; played to callers from a call's page."""

from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from calls.admin.base import ModelAdmin, asks_worker, staff
from calls.admin.cells import precise, time_tag
from calls.admin.paging import Pages
from calls.media import audio
from calls.models import Sound
from calls.sounds import PLAYABLE, sound
from calls.sounds.conversion import MOST_BYTES, convert


if TYPE_CHECKING:
    Form = forms.ModelForm[Sound]
else:
    Form = forms.ModelForm


class SoundField(forms.FileField):
    """A WAV or MP3 file, as µ-law once it is cleaned; None if there is none."""

    def __init__(self, **facts: Any) -> None:
        widget = forms.FileInput(attrs={"accept": ".wav,.mp3,audio/wav,audio/mpeg", "data-most": MOST_BYTES})
        help_text = f"WAV or MP3, at most 60 seconds and {MOST_BYTES // 1_000_000} MB."
        super().__init__(**{"widget": widget, "help_text": help_text, "max_length": 200, **facts})

    def to_python(self, data: Any) -> Any:
        file = super().to_python(data)
        if file is None:
            return None
        if (file.size or 0) > MOST_BYTES:
            raise ValidationError(f"This file is too large: it may have {MOST_BYTES // 1_000_000} MB.")
        try:
            return convert(file.read())
        except ValueError as error:
            raise ValidationError(str(error)) from None


class UploadForm(Form):
    file = SoundField(label="File")

    class Meta:
        model = Sound
        fields = ("name",)

    def save(self, commit: bool = True) -> Sound:
        self.instance.payload = self.cleaned_data["file"]
        self.instance.samples = len(self.instance.payload)
        return super().save(commit)


def may_hear(request: HttpRequest) -> bool:
    """Who may play them to a caller listens to them first."""
    return request.user.has_perm("calls.view_sound") or request.user.has_perm("calls.supervise_call")


@admin.register(Sound)
class SoundAdmin(ModelAdmin[Sound]):
    list_display = ("name", "play", "length", "uploaded")
    list_select_related = ("uploaded_by",)
    readonly_fields = ("play", "length", "uploaded")
    search_fields = ("name",)
    show_full_result_count = False
    actions = None
    change_list_template = "admin/calls/sound/change_list.html"
    change_form_template = "admin/calls/sound/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sound]:
        return super().get_queryset(request).defer("payload")

    def get_fields(self, request: HttpRequest, obj: Sound | None = None) -> Any:
        return ["name", "play", "length", "uploaded"] if obj else ["name", "file"]

    def get_form(self, request: HttpRequest, obj: Sound | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **({} if obj else {"form": UploadForm}), **kwargs)

    def save_model(self, request: HttpRequest, obj: Sound, form: Any, change: bool) -> None:
        if not change:
            obj.uploaded_by = staff(request)
        obj.save(update_fields=["name"] if change else None)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        shipped = [(name, play_button(name, shipped_url(name), len(sound(name)))) for name in PLAYABLE]
        return super().changelist_view(request, {"shipped": shipped, **(extra_context or {})})

    @asks_worker("POST")
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        return super().add_view(request, form_url, extra_context)

    def get_urls(self) -> list[URLPattern]:
        wrap = partial(self.admin_site.admin_view, cacheable=True)
        own = [
            path("<int:pk>/sound.wav", wrap(self.wav), name="calls_sound_wav"),
            path("shipped/<slug:name>.wav", wrap(self.shipped_wav), name="calls_sound_shipped"),
        ]
        return [*own, *super().get_urls()]

    @method_decorator(require_safe)
    def wav(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        if not may_hear(request):
            raise PermissionDenied
        return _wav(bytes(get_object_or_404(Sound, pk=pk).payload))

    @method_decorator(require_safe)
    def shipped_wav(self, request: HttpRequest, name: str) -> HttpResponseBase:
        if not may_hear(request):
            raise PermissionDenied
        if name not in PLAYABLE:
            raise Http404
        return _wav(sound(name))

    @admin.display(description="Listen")
    def play(self, sound: Sound) -> SafeString:
        return play_button(sound.name, sound_url(sound.pk), sound.samples)

    @admin.display(description="Length", ordering="samples")
    def length(self, sound: Sound) -> str:
        return precise(sound.samples)

    @admin.display(description="Uploaded", ordering="uploaded_at")
    def uploaded(self, sound: Sound) -> SafeString:
        return format_html("{} by {}", time_tag(sound.uploaded_at), sound.uploaded_by or "a deleted user")


def play_button(name: str, url: str, samples: int) -> SafeString:
    """A link to the file, which sounds.js plays on the spot."""
    return format_html(
        '<a class="call-play" href="{}" data-seconds="{}" aria-label="Play {}">▶</a>',
        *(url, f"{samples / audio.SAMPLE_RATE:.3f}", name),
    )


def sound_url(pk: int) -> str:
    return reverse("admin:calls_sound_wav", args=[pk])


def shipped_url(name: str) -> str:
    return reverse("admin:calls_sound_shipped", args=[name])


def _wav(mulaw: bytes) -> HttpResponse:
    """As every browser plays it."""
    response = HttpResponse(audio.wav_header(len(mulaw), 1) + audio.mulaw_to_pcm16(mulaw), content_type="audio/wav")
    response["Cache-Control"] = "no-store, private"
    return response
