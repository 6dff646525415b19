"""Comments as somebody may see them: on a call's page, in the list, and in its search."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from calls.access import numbers
from calls.admin.base import staff
from calls.admin.cells import precise, time_tag
from calls.media.audio import SAMPLE_RATE
from calls.models import Call, Comment


# How many a page shows, the latest.
MOST = 500
# Words are looked for until this many comments are found that hold them, the newest first.
MOST_FOUND = 1000
# Trigrams find nothing shorter inside of a text: a shorter one is all of a comment.
SHORT = 3


def may_comment(request: HttpRequest) -> bool:
    """Comments quote what was said: they are for those who may hear it."""
    return request.user.has_perm("calls.listen_call")


@dataclass(frozen=True)
class Shown:
    """A comment as somebody may see it, and what they may do with it."""

    comment: Comment
    text: str
    may_edit: bool
    may_delete: bool

    @classmethod
    def to(cls, request: HttpRequest, call: Call, comment: Comment) -> "Shown":
        text = comment.text if numbers.may_see(request) else numbers.mask_all(comment.text, call)
        is_mine = comment.user_id == staff(request).pk and comment.resolved_at is None
        # Who sees a number masked would write the mask.
        may_edit = is_mine and text == comment.text
        return cls(comment, text, may_edit, is_mine or request.user.has_perm("calls.delete_comment"))

    @property
    def seconds(self) -> str:
        return "" if self.comment.at_samples is None else f"{self.comment.at_samples / SAMPLE_RATE:.2f}"

    @property
    def clock(self) -> str:
        return "" if self.comment.at_samples is None else precise(self.comment.at_samples)

    @property
    def created(self) -> str | SafeString:
        return time_tag(self.comment.created_at)

    @property
    def resolved(self) -> str | SafeString:
        return time_tag(self.comment.resolved_at)


def panel(request: HttpRequest, call: Call) -> dict[str, Any]:
    """What a call's page shows of them, in one query."""
    rows = list(Comment.objects.filter(call=call).select_related("resolved_by").order_by("-pk")[: MOST + 1])
    shown = [Shown.to(request, call, row) for row in reversed(rows[:MOST])]
    return {
        "open": [one for one in shown if not one.comment.resolved_at],
        "resolved": [one for one in shown if one.comment.resolved_at],
        "cut": len(rows) > MOST,
        "version": _version(shown),
    }


def _version(shown: Sequence[Shown]) -> str:
    """Changes with whatever a page shows of them; the day is a part of it, since times say "Today"."""
    facts = [(one.comment.pk, one.text, one.comment.edited_at, one.may_edit, one.may_delete) for one in shown]
    times = [(one.created, one.resolved) for one in shown]
    return hashlib.sha256(repr((facts, times)).encode()).hexdigest()[:16]


def with_comments(request: HttpRequest, calls: QuerySet[Call], term: str) -> Iterator[int]:
    """The newest calls of a list in whose comments that is written, as far as who asks may read them."""
    if not may_comment(request):
        return
    found = saying(term).filter(call__in=calls).order_by("-pk")
    if numbers.may_see(request):
        yield from found.values_list("call", flat=True)[:MOST_FOUND]
        return
    for comment in found.select_related("call")[:MOST_FOUND]:
        if term.lower() in numbers.mask_all(comment.text, comment.call).lower():
            yield comment.call_id


def saying(term: str) -> QuerySet[Comment]:
    return Comment.objects.filter(**{f"text__{'icontains' if len(term) >= SHORT else 'iexact'}": term})


def count_open(request: HttpRequest, calls: Sequence[Any]) -> None:
    """Finds out how many open comments each call of a page has, for those who may read them. One query."""
    if may_comment(request):
        found = Counter(Comment.objects.open().filter(call__in=calls).order_by().values_list("call", flat=True))
        for call in calls:
            vars(call)["open_comments"] = found[call.pk]


def chip(call: Call) -> list[tuple[str, str, str]]:
    """What the list says of them: class, explanation and words."""
    count = vars(call).get("open_comments", 0)
    words = f"{count} comment{'' if count == 1 else 's'}"
    return [("call-label call-comments-open", "Comments that nobody has resolved yet", words)] if count else []
