"""What staff write about a call, so that of two who have its page open neither undoes the other's work unawares."""

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.http import HttpRequest, QueryDict
from django.utils import timezone

from calls.admin.base import CallMixin
from calls.models import Call


if TYPE_CHECKING:
    Form = forms.ModelForm[Call]
else:
    Form = forms.ModelForm

CHANGED = (
    "Somebody has changed the notes since you opened this page. Put both together and save again. Theirs are: “{}”"
)


class NotesForm(Form):
    """The page also holds what was in each field when it was shown: only the difference is this user's, and is written.

    Only notes can conflict: a tag and the review are either on or off.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.show_hidden_initial = True

    def clean(self) -> dict[str, Any]:
        super().clean()
        given, data = self.cleaned_data, cast(QueryDict, self.data).copy()
        # Without this Django would take what was chosen for what had been shown, if that was nothing.
        self.shown_tags = data.getlist("initial-tags")
        data.setlist("initial-tags", self.shown_tags)
        # Locked until they are saved, which is in the same transaction.
        now = Call.objects.select_for_update().only("notes", "reviewed").get(pk=self.instance.pk)
        changed = [name for name in ("notes", "reviewed") if name in self.changed_data and name in given]
        self.writes = [name for name in changed if _plain(given[name]) != _plain(getattr(now, name))]
        if "notes" in self.writes and _plain(data.get("initial-notes")) != _plain(now.notes):
            self.add_error("notes", CHANGED.format(now.notes))
            # Whoever has read them may overwrite them.
            data["initial-notes"] = now.notes
        self.data = data
        return given

    def save_tags(self) -> None:
        tags, chosen = self.instance.tags, list(self.cleaned_data["tags"])
        tags.add(*(tag for tag in chosen if str(tag.pk) not in self.shown_tags))
        tags.remove(*(tag for tag in tags.all() if str(tag.pk) in self.shown_tags and tag not in chosen))


class Notes(CallMixin):
    """Adds this to the admin of calls."""

    form = NotesForm

    def save_model(self, request: HttpRequest, obj: Call, form: Any, change: bool) -> None:
        """Who reviewed a call and when, and only the fields that staff own: a running call's facts move meanwhile."""
        if "reviewed" in form.writes:
            obj.reviewed_at = timezone.now() if obj.reviewed else None
            obj.reviewed_by_id = request.user.pk if obj.reviewed else None
            form.writes += ["reviewed_at", "reviewed_by"]
        obj.save(update_fields=form.writes)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        form.save_tags()


def _plain(value: str | bool | None) -> list[str]:
    """As it is compared: a browser ends lines with CR LF, whatever is stored."""
    return str(value or "").strip().splitlines()
