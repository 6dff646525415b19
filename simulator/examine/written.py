"""The results in plain words, for a terminal."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from simulator.examine.verdicts import Check, Result, Verdict


WIDEST, MANY = 100, 30
_COLOURS = {Verdict.FAIL: "31;1", Verdict.WARN: "33;1", Verdict.PASS: "32", Verdict.NOT_TESTED: "2"}


def report(results: Sequence[Result], address: str, seconds: float, colours: bool) -> str:
    """What is wrong, worst first; then what is right, and what could not be tested and why."""
    lines = [_summary(results, colours), f"{address}, examined in {seconds:.0f} s", ""]
    for verdict in (Verdict.FAIL, Verdict.WARN):
        for result in _of(results, verdict):
            lines += [*_told(result, colours), ""]
    if good := _of(results, Verdict.PASS):
        lines.append(_painted("passed", Verdict.PASS, colours))
        lines += [*_filled(", ".join(result.check.id for result in good), "  "), ""]
    if skipped := _of(results, Verdict.NOT_TESTED):
        lines.append(_painted("not tested", Verdict.NOT_TESTED, colours))
        lines += _reasons(skipped)
    return "\n".join(lines).rstrip()


def listing(checks: Sequence[Check]) -> str:
    """Every check, a line each."""
    width = max(len(check.id) for check in checks)
    return "\n".join(f"{check.id:{width}}  {check.title}" for check in checks)


def _summary(results: Sequence[Result], colours: bool) -> str:
    counts = Counter(result.verdict for result in results)
    words = {Verdict.FAIL: "failed", Verdict.WARN: "warned", Verdict.PASS: "passed", Verdict.NOT_TESTED: "not tested"}
    return ", ".join(_painted(f"{counts[v]} {word}", v, colours and bool(counts[v])) for v, word in words.items())


def _told(result: Result, colours: bool) -> Iterator[str]:
    check, judgement = result.check, result.judgement
    title = "\n".join(_filled(f"{result.verdict.upper()}  {check.title} ({check.id})", "", "      "))
    yield title.replace(result.verdict.upper(), _painted(result.verdict.upper(), result.verdict, colours), 1)
    yield from _filled(judgement.says, "      ")
    for line in judgement.proof:
        yield from _filled(line, "        ", "          ", cut=True)
    yield from _filled(f"Why: {check.why}", "      ")
    yield f"      See: {check.page}"


def _reasons(results: Sequence[Result]) -> Iterator[str]:
    """Reasons that several checks have are told once."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        reasons.setdefault(result.judgement.says, []).append(result.check.id)
    for reason, ids in reasons.items():
        names = ", ".join(ids) if len(ids) <= MANY else f"the other {len(ids)} checks"
        yield from _filled(f"{names}: {reason}", "  ", "    ")


def _of(results: Sequence[Result], verdict: Verdict) -> list[Result]:
    return [result for result in results if result.verdict is verdict]


def _filled(text: str, indent: str, further: str = "", cut: bool = False) -> list[str]:
    """As wide as the terminal; 80 columns where there is none."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=further or indent, break_long_words=cut,
        break_on_hyphens=False,
    )  # fmt: skip


def _painted(text: str, verdict: Verdict, colours: bool) -> str:
    return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if colours else text
