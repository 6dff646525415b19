"""Two timelines of the same caller, and what is different between them. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from calls.media.conversation import Speaker
from calls.replays.alignment import aligned, farness
from calls.replays.timelines import Figures, Happened, Kind, Spoken, Timeline


#: How two pieces of µ-law are told apart: whether they are the same words in the same voice.
Alike = Callable[[bytes, bytes], bool]
#: What can be different. `moved` and `length` are in ms (later and longer are positive), and so is `talk-over`, of how
#: long one side went on while the other spoke.
What = Literal["gone", "new", "moved", "length", "talk-over", "sound", "words", "value"]
#: What a line is about: who spoke, or what happened.
Subject = Speaker | Kind

# The order of what happens at the same moment.
_SUBJECTS: tuple[Subject, ...] = ("caller", "key", "us", "mark", "clear", "data", "note", "dial", "failure", "end")
#: What can be left out of a comparison: subjects, and kinds of change.
IGNORABLE = frozenset([*_SUBJECTS, "sound", "words", "talk-over", "length", "moved", "value"])

# The clears are all one thing, and so are the ends, whoever ended it.
_NAMELESS = ("clear", "end")
# When data was set is not known, and what ends a stream comes with its `end`.
_TIMELESS = ("data", "dial", "failure")


class Change(msgspec.Struct, frozen=True):
    what: What
    by_ms: int | None = None


class Line(msgspec.Struct, frozen=True):
    """One thing in both, or in one of them; without changes it is the same within the tolerance."""

    subject: Subject
    before: Spoken | Happened | None
    after: Spoken | Happened | None
    changes: tuple[Change, ...] = ()

    @property
    def at_ms(self) -> int:
        return min(one.at_ms for one in (self.before, self.after) if one is not None)

    def by(self, what: What) -> int | None:
        """How much of that changed, in ms."""
        return next((change.by_ms for change in self.changes if change.what == what), None)


class Comparison(msgspec.Struct, frozen=True):
    """All that happened, in order of time, before and after."""

    lines: tuple[Line, ...]
    before: Figures
    after: Figures

    @property
    def differences(self) -> list[Line]:
        return [line for line in self.lines if line.changes]

    @property
    def is_same(self) -> bool:
        return not self.differences

    def counted(self) -> Counter[str]:
        """How many lines there are of each subject that are different."""
        return Counter(line.subject for line in self.differences)

    @property
    def slower_ms(self) -> int:
        """By how much the slowest answer came later than before, at the worst; 0 if none did."""
        moves = (line.by("moved") or 0 for line in self.differences if line.subject == "us")
        return max(moves, default=0)


def compare(
    before: Timeline,
    after: Timeline,
    *,
    alike: Alike,
    tolerance_ms: int = 200,
    ignored: Iterable[str] = (),
) -> Comparison:
    """Whatever is further apart than the tolerance, missing, new, or other words is different.

    `ignored`: subjects (`mark`) and kinds of change (`sound`) that are none.
    """
    lines = [*_speech(before, after, tolerance_ms, alike), *_events(before, after, tolerance_ms)]
    if after.end_ms is not None:
        lines = [_heard_out(line, after.end_ms - tolerance_ms) for line in lines]
    left_out = frozenset(ignored)
    return Comparison(
        lines=tuple(sorted((_silent(_without(line, left_out)) for line in lines), key=_in_order)),
        before=before.figures,
        after=after.figures,
    )


def _in_order(line: Line) -> tuple[bool, int, int]:
    return line.subject == "end", line.at_ms, _SUBJECTS.index(line.subject)


def _heard_out(line: Line, end_ms: int) -> Line:
    """What a caller did who was hung up by then is the same: they would have done it."""
    edges = [one.end_ms if isinstance(one, Spoken) else one.at_ms for one in (line.before, line.after) if one]
    if line.subject not in ("caller", "key") or max(edges) < end_ms or line.before is None:
        return line
    changes = tuple(change for change in line.changes if change.what not in ("gone", "length"))
    return msgspec.structs.replace(line, changes=changes)


def _without(line: Line, ignored: frozenset[str]) -> Line:
    changes = () if line.subject in ignored else line.changes
    return msgspec.structs.replace(line, changes=tuple(change for change in changes if change.what not in ignored))


def _silent(line: Line) -> Line:
    """Without the audio: of a thousand calls that would be a gigabyte."""
    before, after = (
        msgspec.structs.replace(one, audio=b"") if isinstance(one, Spoken) else one for one in (line.before, line.after)
    )
    return msgspec.structs.replace(line, before=before, after=after)


def _presence(before: object | None, after: object | None) -> tuple[Change, ...]:
    if before is None:
        return (Change("new"),)
    return (Change("gone"),) if after is None else ()


def _beyond(what: What, ms: int, tolerance_ms: int) -> Iterator[Change]:
    if abs(ms) > tolerance_ms:
        yield Change(what, ms)


# --- what was said ----------------------------------------------------------------------------------------------------


def _speech(before: Timeline, after: Timeline, tolerance_ms: int, alike: Alike) -> Iterator[Line]:
    speakers: tuple[Speaker, ...] = ("caller", "us")
    for speaker in speakers:
        one, other = ([said for said in line.spoken if said.speaker == speaker] for line in (before, after))
        for was, is_now in aligned(one, other, _apart, _joined):
            changes = _presence(was, is_now)
            if was is not None and is_now is not None:
                changes = tuple(_changes_of_speech(was, is_now, tolerance_ms, alike))
            yield Line(speaker, was, is_now, changes)


def _apart(one: Spoken, other: Spoken) -> float:
    """Both edges count, and so do words: the same ones are nearer, wherever they are, than others in their place."""
    far = (farness(other.start_ms - one.start_ms) + farness(other.end_ms - one.end_ms)) / 2
    if not one.words or not other.words:
        return far
    return far / 3 if _plain(one.words) == _plain(other.words) else (far + 1) / 2


def _joined(one: Spoken, two: Spoken) -> Spoken:
    """Two in a row as one turn, with the pause between them, and the response of the first."""
    talked_on = [said.talked_on_ms for said in (one, two) if said.talked_on_ms is not None]
    return msgspec.structs.replace(
        one,
        end_ms=two.end_ms,
        talked_on_ms=sum(talked_on) if talked_on else None,
        words=f"{one.words} {two.words}".strip(),
        audio=one.audio + two.audio,
    )


def _changes_of_speech(one: Spoken, other: Spoken, tolerance_ms: int, alike: Alike) -> Iterator[Change]:
    yield from _beyond("moved", other.start_ms - one.start_ms, tolerance_ms)
    yield from _beyond("length", other.length_ms - one.length_ms, tolerance_ms)
    yield from _beyond("talk-over", (other.talked_on_ms or 0) - (one.talked_on_ms or 0), tolerance_ms)
    if one.speaker == "caller":
        # They say the same, whatever a transcriber understands.
        return
    # A speech service never says the same words in the same way: where both are known in words, these count.
    if one.words and other.words:
        if _plain(one.words) != _plain(other.words):
            yield Change("words")
    elif one.audio and other.audio and not alike(one.audio, other.audio):
        yield Change("sound")


def _plain(words: str) -> list[str]:
    """Without case and punctuation."""
    return "".join(letter if letter.isalnum() else " " for letter in words.casefold()).split()


# --- what happened ----------------------------------------------------------------------------------------------------


def _events(before: Timeline, after: Timeline, tolerance_ms: int) -> Iterator[Line]:
    """Two are never the same if they have other names; of one name they are in order of time."""
    for kind, name in dict.fromkeys(_key(event) for event in (*before.events, *after.events)):
        one, other = ([event for event in line.events if _key(event) == (kind, name)] for line in (before, after))
        for was, is_now in aligned(one, other, _distance):
            changes = _presence(was, is_now)
            if was is not None and is_now is not None:
                changes = tuple(_changes_of_event(was, is_now, tolerance_ms))
            yield Line(kind, was, is_now, changes)


def _key(event: Happened) -> tuple[Kind, str]:
    return event.kind, "" if event.kind in _NAMELESS else event.name


def _distance(one: Happened, other: Happened) -> float:
    return farness(other.at_ms - one.at_ms)


def _changes_of_event(one: Happened, other: Happened, tolerance_ms: int) -> Iterator[Change]:
    if one.kind not in _TIMELESS:
        yield from _beyond("moved", other.at_ms - one.at_ms, tolerance_ms)
    yield from _beyond("length", other.length_ms - one.length_ms, tolerance_ms)
    if (one.name, one.value) != (other.name, other.value):
        yield Change("value")
