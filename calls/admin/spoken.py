"""`said:refund` in the list's search: the calls in which somebody said that, and where."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db.models import Model, QuerySet
from django.http import HttpRequest

from calls.files.accesses import note_reading
from calls.media import placement
from calls.media.audio import SAMPLE_RATE
from calls.models import Call, Utterance
from calls.models.utterances import MOST_READ, SHORT


_SAID = re.compile(r"\s*said:\s*(.*?)\s*", re.IGNORECASE | re.DOTALL)
# Words are looked for until this many calls are found, as all words are: "hello" is said in every one.
MOST_FOUND = 1000
# Of a call's lines that hold the words, the first is shown; these are asked for at once, of all calls of a page.
MOST_LINES = 2000
# Characters around the words.
AROUND = 40


@dataclass(frozen=True)
class Hit:
    """Where in a call the words were said first, and the line around them."""

    at: int
    before: str
    words: str
    after: str

    @property
    def seconds(self) -> str:
        return f"{max(0, self.at) / SAMPLE_RATE:.2f}"


def wanted(term: str) -> str | None:
    """The words that are looked for; None if the term is about something else."""
    found = _SAID.fullmatch(term.replace("\0", ""))
    return found[1] if found else None


def calls(request: HttpRequest, queryset: QuerySet[Call], words: str) -> Iterator[int]:
    """The newest calls of a list in which that was said: for those who may listen, since words are as private."""
    if words and request.user.has_perm("calls.listen_call"):
        # Not by a join, of which PostgreSQL would read the newest calls' lines one by one.
        said = queryset.filter(pk__in=Utterance.objects.saying(words).values("stream__call"))
        yield from said.order_by("-pk").values_list("pk", flat=True)[:MOST_FOUND]


def help_text(request: HttpRequest, words: str) -> str:
    if not request.user.has_perm("calls.listen_call"):
        return "Only those who may listen to calls find them by what was said."
    if not words:
        return "Type what was said behind it: said:refund"
    found = f"Calls in which either side said “{words}”. A click leads to that moment."
    if len(words) >= SHORT:
        return found
    return f"{found} So few characters are only looked for in the last {MOST_READ:,} lines."


def quote(request: HttpRequest, found: Sequence[Call], words: str) -> None:
    """Finds out where the words were said first in each of those calls, and puts on record who reads that.

    Three queries; the calls have their streams.
    """
    places = {placed.stream_id: (call, placed.start) for call in found for placed in _placed(call)}
    said = Utterance.objects.saying(words).filter(stream__in=places).order_by("stream", "start")
    for line in said.only("stream", "start", "text", "words")[:MOST_LINES]:
        call, start = places[line.stream_id]
        hit, known = _hit(line, start, words), hit_of(call)
        if known is None or hit.at < known.at:
            vars(call)["hit"] = hit
    note_reading(request, [call for call in found if hit_of(call)], "a line, in the list")


def hit_of(call: Model) -> Hit | None:
    """What `quote` has found of it."""
    return vars(call).get("hit")


def _placed(call: Call) -> tuple[placement.Placed, ...]:
    return placement.place(stream.spell() for stream in call.streams.all())


def _hit(line: Utterance, place: int, words: str) -> Hit:
    begin = max(0, line.text.lower().find(words.lower()))
    end = begin + len(words)
    return Hit(
        place + _moment(line, words), _ending(line.text[:begin]), line.text[begin:end], _opening(line.text[end:])
    )


def _ending(text: str) -> str:
    """Its last words."""
    return text if len(text) <= AROUND else f"…{text[-AROUND:].partition(' ')[2]}"


def _opening(text: str) -> str:
    """Its first words."""
    return text if len(text) <= AROUND else f"{text[:AROUND].rpartition(' ')[0]}…"


def _moment(line: Utterance, words: str) -> int:
    """Where its first word is said, if the transcriber knew; else where the line begins."""
    first = words.lower().split()[0]
    return next((int(start) for word, start, _ in line.words if first in str(word).lower()), line.start)
