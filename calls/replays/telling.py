"""Differences as text for a terminal, and as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import msgspec

from calls.replays.differences import Change, Comparison, Line
from calls.replays.timelines import Figures, Happened, Spoken


# As Call's own help texts call them.
FIGURES = {
    "first_audio_ms": "first audio",
    "response_ms": "response, median",
    "response_ms_max": "response, longest",
    "dead_air_ms": "dead air",
    "talk_over_ms": "both at once",
}
_WORDS = {
    "gone": "gone",
    "new": "new",
    "sound": "sounds different",
    "words": "says something else",
    "value": "changed",
}
_SIGNED = {"moved": ("later", "earlier"), "length": ("longer", "shorter"), "talk-over": ("more", "less")}
# Columns of what one side has, at least and at most.
NARROW, WIDE = 28, 60


class Compared(NamedTuple):
    """A call that was played again, by its SID; `remark` says what of it was not."""

    sid: str
    comparison: Comparison
    remark: str = ""


# --- one call ---------------------------------------------------------------------------------------------------------


def lines(comparison: Comparison, columns: int = 100) -> Iterator[str]:
    """Both sides beside each other, a line each thing, in order of time: = the same, ± changed, - gone, + new."""
    width = min(max((columns - 34) // 2, NARROW), WIDE)
    yield f"           {'before':<{width}}  after"
    for line in comparison.lines:
        before, after = (_cut(_side(one), width) for one in (line.before, line.after))
        text = f"{_sign(line)}  {line.subject:<7} {before:<{width}}  {after:<{width}}  {_changes(line)}"
        yield text.rstrip()


def figures(before: Figures, after: Figures) -> Iterator[str]:
    for name, label in FIGURES.items():
        one, other = getattr(before, name), getattr(after, name)
        if one is not None or other is not None:
            by = f"  {other - one:+,} ms" if None not in (one, other) and one != other else ""
            yield f"{label:<18} {_ms(one):>10} → {_ms(other):>10}{by}"


def _sign(line: Line) -> str:
    if not line.changes:
        return "="
    return {"gone": "-", "new": "+"}.get(line.changes[0].what, "±")


def _side(one: Spoken | Happened | None) -> str:
    if one is None:
        return ""
    if isinstance(one, Happened):
        return " ".join(filter(None, (_seconds(one.at_ms), _name(one), one.value, _unheard(one))))
    waited = f"after {one.response_ms:,} ms" if one.response_ms is not None else ""
    talked = f"both {one.talked_on_ms:,} ms" if one.talked_on_ms else ""
    words = f"“{one.words}”" if one.words else ""
    edges = f"{_seconds(one.start_ms)}–{_seconds(one.end_ms)}"
    return " ".join(filter(None, (edges, waited, talked, words)))


def _name(event: Happened) -> str:
    return f"by {event.name}" if event.kind == "end" else event.name


def _unheard(event: Happened) -> str:
    return f"{event.length_ms:,} ms unheard" if event.length_ms else ""


def _changes(line: Line) -> str:
    return ", ".join(_change(change) for change in line.changes)


def _change(change: Change) -> str:
    if change.by_ms is None:
        return _WORDS[change.what]
    more, less = _SIGNED[change.what]
    both = " of both at once" if change.what == "talk-over" else ""
    return f"{abs(change.by_ms):,} ms {more if change.by_ms > 0 else less}{both}"


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.2f}"


def _ms(ms: int | float | None) -> str:
    return "–" if ms is None else f"{ms:,.0f} ms"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


# --- many calls -------------------------------------------------------------------------------------------------------


def worst_first(compared: Iterable[Compared]) -> list[Compared]:
    """By how much is different in them, and by how much slower they are."""
    return sorted(compared, key=lambda one: (-len(one.comparison.differences), -one.comparison.slower_ms, one.sid))


def table(compared: Sequence[Compared]) -> Iterator[str]:
    yield f"{'call':<34}  {'response':<18}  {'first audio':<18}  different"
    for one in compared:
        before, after = one.comparison.before, one.comparison.after
        response = _both(before.response_ms, after.response_ms)
        first = _both(before.first_audio_ms, after.first_audio_ms)
        yield f"{one.sid:<34}  {response:<18}  {first:<18}  {_counted(one.comparison)}"


def summary(compared: Sequence[Compared], skipped: dict[str, str], tolerance_ms: int) -> Iterator[str]:
    """Of all of them; `skipped` says why some were not played, by their SIDs."""
    same = sum(one.comparison.is_same for one in compared)
    yield (
        f"{_number(len(compared), 'call')} played again: {same} the same within {tolerance_ms} ms, "
        f"{len(compared) - same} different."
    )
    for name in ("response_ms", "response_ms_max", "first_audio_ms"):
        sides = [[getattr(side, name) for side in _sides(one)] for one in compared]
        if known := [pair for pair in sides if None not in pair]:
            before, after = (median(pair[nth] for pair in known) for nth in (0, 1))
            typical = f"{_ms(before):>10} → {_ms(after):>10}"
            yield f"{FIGURES[name]:<18} {typical}  (the median of {_number(len(known), 'call')})"
    if counted := sum((one.comparison.counted() for one in compared), Counter[str]()):
        yield "different: " + ", ".join(f"{subject} {count}" for subject, count in counted.most_common())
    if skipped:
        yield f"{_number(len(skipped), 'call')} not played:"
        for why, count in Counter(skipped.values()).most_common(10):
            yield f"  {count} × {why}"


def _sides(one: Compared) -> tuple[Figures, Figures]:
    return one.comparison.before, one.comparison.after


def _both(before: int | None, after: int | None) -> str:
    return _ms(before) if before == after else f"{'–' if before is None else f'{before:,}'} → {_ms(after)}"


def _counted(comparison: Comparison) -> str:
    counted = ", ".join(f"{subject} {count}" for subject, count in comparison.counted().most_common())
    slower = f"; answers up to {comparison.slower_ms:,} ms later" if comparison.slower_ms else ""
    return (counted + slower) or "–"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# --- for programs -----------------------------------------------------------------------------------------------------


def plain(compared: Compared) -> dict[str, Any]:
    """As JSON."""
    comparison = compared.comparison
    return {
        "call_sid": compared.sid,
        "is_same": comparison.is_same,
        "remark": compared.remark,
        "figures": {"before": msgspec.to_builtins(comparison.before), "after": msgspec.to_builtins(comparison.after)},
        "lines": [_plain_line(line) for line in comparison.lines],
    }


def _plain_line(line: Line) -> dict[str, Any]:
    changes = [{"what": change.what, "by_ms": change.by_ms} for change in line.changes]
    sides = {"before": _plain_side(line.before), "after": _plain_side(line.after)}
    return {"at_ms": line.at_ms, "subject": line.subject, **sides, "changes": changes}


def _plain_side(one: Spoken | Happened | None) -> dict[str, Any] | None:
    if one is None:
        return None
    names = (name for name in one.__struct_fields__ if name not in ("audio", "kind", "speaker"))
    return {name: getattr(one, name) for name in names}
