"""What a supervisor does to a running call: the form of each act, how it is asked of the call, and what is said of it.

calls/admin/outbound.py asks Twilio to end or transfer a call, whatever our processes do. These ask the process that
holds the call: the caller hears what was said before to its end, and the handler is told.
"""

from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from calls import handlers
from calls.access import numbers
from calls.admin.outbound import PhoneField
from calls.admin.sounds import SoundField, play_button, shipped_url, sound_url
from calls.media.audio import SAMPLES_PER_MS
from calls.media.storable import storable
from calls.models import Sound
from calls.server.control import Remote
from calls.sounds import PLAYABLE, sound


# Choices of sounds: one of the table by its key, or one that ships by its name.
_OWN, _SHIPPED = "own", "shipped"
_GONE = "Somebody has deleted this sound meanwhile."
# Milliseconds that nobody calls a wait.
_NOTICED = 100


class Step(forms.Form):
    """An act; as a form it may have no fields at all."""

    name = word = explanation = ""

    def __init__(self, request: HttpRequest, *, is_sent: bool = False) -> None:
        data, files = (request.POST, request.FILES) if is_sent else (None, None)
        # Several of them stand on a call's page.
        super().__init__(data, files, auto_id=f"id_{self.name}_%s", label_suffix="")
        self.whole = numbers.may_see(request)

    async def take(self, call: Remote) -> dict[str, Any]:
        """Does it. Of what is in the form, nothing has to be fetched any more."""
        raise NotImplementedError

    def done(self, facts: dict[str, Any]) -> str:
        """What came of it."""
        raise NotImplementedError


class Clear(Step):
    name, word = "clear", "Clear"
    explanation = "What is playing stops at once, and nothing that waits behind it is heard. The handler goes on."

    async def take(self, call: Remote) -> dict[str, Any]:
        return await call.clear()

    def done(self, facts: dict[str, Any]) -> str:
        return f"Done: {seconds(facts['cleared_ms'])} were cleared." if facts["cleared_ms"] else "Nothing was playing."


class Play(Step):
    name, word = "play", "Play a sound"
    explanation = "The caller hears it after what is playing now; the handler goes on."

    sound = forms.ChoiceField(label="A prepared sound", required=False, error_messages={"invalid_choice": _GONE})
    file = SoundField(label="Or a file", required=False)

    def __init__(self, request: HttpRequest, *, is_sent: bool = False) -> None:
        super().__init__(request, is_sent=is_sent)
        may_view = request.user.has_perm("calls.view_sound")
        rows = Sound.objects.only("pk", "name", "samples") if may_view else []
        own = {f"{_OWN}:{row.pk}": (row.name, sound_url(row.pk), row.samples) for row in rows}
        shipped = {f"{_SHIPPED}:{name}": (name, shipped_url(name), len(sound(name))) for name in PLAYABLE}
        #: What is played to listen to each choice first, by its value.
        self.buttons = [(value, play_button(*facts)) for value, facts in (own | shipped).items()]
        groups = (("Prepared here", own), ("Always there", shipped))
        choices = [(word, [(value, facts[0]) for value, facts in some.items()]) for word, some in groups if some]
        cast(forms.ChoiceField, self.fields["sound"]).choices = [("", "–"), *choices]

    def clean(self) -> dict[str, Any]:
        found = self.cleaned_data
        if self.errors:
            return found
        if not found["sound"] and not found["file"]:
            raise ValidationError("Choose a sound or a file.")
        if found["sound"] and found["file"]:
            raise ValidationError("Choose a sound or a file, not both.")
        found["name"], found["audio"] = self._uploaded() if found["file"] else self._prepared()
        return found

    def _uploaded(self) -> tuple[str, bytes]:
        name = getattr(self.files["file"], "name", "")
        return storable(name or "a file", 100), self.cleaned_data["file"]

    def _prepared(self) -> tuple[str, bytes]:
        where, _, name = self.cleaned_data["sound"].partition(":")
        if where == _SHIPPED:
            return name, sound(name)
        if (own := Sound.objects.filter(pk=int(name)).first()) is None:
            raise ValidationError(_GONE)
        return own.name, bytes(own.payload)

    async def take(self, call: Remote) -> dict[str, Any]:
        return await call.play(self.cleaned_data["audio"], name=self.cleaned_data["name"])

    def done(self, facts: dict[str, Any]) -> str:
        length = seconds(len(self.cleaned_data["audio"]) // SAMPLES_PER_MS)
        return f"Done: the caller hears “{self.cleaned_data['name']}” ({length}) {when(facts)}."


class HangUp(Step):
    name, word = "hang-up", "Hang up after this"
    explanation = "The caller hears what is playing to its end, and then the call is over. The handler can say no more."

    async def take(self, call: Remote) -> dict[str, Any]:
        return await call.hang_up()

    def done(self, facts: dict[str, Any]) -> str:
        return f"Done: the call ends {when(facts)}."


class Redirect(Step):
    name, word = "redirect", "Redirect"
    explanation = (
        "The caller hears what is playing to its end; then this handler ends, and they are connected to somebody else, "
        "or to another handler."
    )

    where = forms.ChoiceField(
        choices=[("number", "A number"), ("handler", "A handler")],
        initial="number",
        widget=forms.RadioSelect,
        label="To",
    )
    number = PhoneField(label="Number", required=False)
    handler = forms.ChoiceField(label="Handler", required=False)

    def __init__(self, request: HttpRequest, *, is_sent: bool = False) -> None:
        super().__init__(request, is_sent=is_sent)
        cast(forms.ChoiceField, self.fields["handler"]).choices = [(name, name) for name in handlers.names()]
        for name in ("number", "handler"):
            # In the dialog the label beside it is that of a choice between them.
            self.fields[name].widget.attrs["aria-label"] = self.fields[name].label

    def clean(self) -> dict[str, Any]:
        where = self.cleaned_data.get("where", "")
        # Whatever stands in the other field is not asked for.
        self.errors.pop("handler" if where == "number" else "number", None)
        if where and not self.cleaned_data.get(where) and where not in self.errors:
            self.add_error(where, "To which number?" if where == "number" else "To which handler?")
        return self.cleaned_data

    async def take(self, call: Remote) -> dict[str, Any]:
        if self.cleaned_data["where"] == "number":
            return await call.dial(self.cleaned_data["number"])
        return await call.hand_over(self.cleaned_data["handler"])

    def done(self, facts: dict[str, Any]) -> str:
        if self.cleaned_data["where"] == "number":
            to = numbers.shown(self.cleaned_data["number"], self.whole)
        else:
            to = f"the handler {self.cleaned_data['handler']}"
        return f"Done: the caller is connected to {to} {when(facts)}."


STEPS: dict[str, type[Step]] = {step.name: step for step in (Clear, Play, HangUp, Redirect)}


def when(facts: dict[str, Any]) -> str:
    """What the caller is given to hear comes first."""
    wait: int = facts.get("waits_ms") or 0
    return f"in {seconds(wait)}, after what is playing" if wait >= _NOTICED else "now"


def seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"
