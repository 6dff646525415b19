"""One call on the page: what was wrong, its sound as a picture and to hear, and everything that came about."""

from base64 import b64encode
from os.path import relpath
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element

from simulator.audio import SAMPLE_RATE, mulaw_wav
from simulator.report import Event, Finding
from simulator.reports.markup import Child, el, scrolled, table
from simulator.reports.measuring import Sound
from simulator.reports.results import Fault, Result
from simulator.reports.waveform import Flag, waveform
from simulator.reports.words import counted


# Of one call; a server can send a thousand marks a second.
EVENTS, LINES, CHARACTERS, REQUESTS = 200, 400, 8000, 100


def details(result: Result, wav: str, is_open: bool) -> Element:
    """`wav`: the address of its sound; empty if there is none to hear."""
    planned, flags = result.planned, _flags(result)
    verdict = el("strong", "failed" if result.failed else result.status, class_=result.status)
    title = f" #{planned.number} {planned.title}"
    summary = el("summary", verdict, title, el("span", f" {result.reason}", class_="reason"))
    body: list[Child] = [
        el("span", id=anchor(result), class_="target"),
        *_faults(result),
        _findings(result),
        _picture(result, flags),
        _sound(wav),
        _timeline(flags, len(result.report.events)),
        _requests(result),
        *(_text(f"TwiML, document {n}", text) for n, text in enumerate(result.report.twiml, 1)),
        _log(result),
    ]
    attributes = {"open": "open"} if is_open else {}
    return el("details", summary, *body, class_="call", **attributes)


def anchor(result: Result) -> str:
    """Lies within what is folded, so that a link to it unfolds that."""
    return f"call-{result.planned.number}"


def data_url(sound: Sound) -> str:
    """Both sides, as the µ-law that they are, which browsers play."""
    sides = bytearray(2 * len(sound.said))
    sides[0::2], sides[1::2] = sound.said, sound.heard
    return "data:audio/wav;base64," + b64encode(mulaw_wav(bytes(sides), channels=2)).decode()


def file_url(path: str, folder: Path) -> str:
    """As a page in that folder names it."""
    return quote(Path(relpath(path, folder)).as_posix())


def _faults(result: Result) -> list[Element]:
    if not result.report.errors:
        return []
    items = (el("li", fault.text, " ", el("span", _where(fault), class_="where")) for fault in result.faults)
    facts = f"{result.report.call_sid}; {result.report.ended or 'the call came to no end'}"
    return [el("h3", "What was wrong"), el("ul", *items, class_="faults"), el("p", facts, class_="where")]


def _where(fault: Fault) -> str:
    """Unless the fault itself says so."""
    return "" if Path(fault.where).name in fault.text else fault.where


def _findings(result: Result) -> Element | None:
    findings = result.report.findings
    if not findings:
        return None
    rows: list[list[Child]] = [
        [f.what, "yes" if f.ok else el("strong", "no", class_="failed"), f.found, "" if f.line is None else str(f.line)]
        for f in findings
    ]
    return table("What was expected", ["Expected", "Held", "Found", "Line"], rows)


def _picture(result: Result, flags: list[Flag]) -> Element:
    if result.sound is None:
        why = "There is no picture: " + (
            "the call never got a stream." if not result.report.streams else "nothing came over the line."
        )
        return el("p", why, class_="where")
    seconds = len(result.sound.said) / SAMPLE_RATE
    name = f"Waveform of {seconds:.1f} s: above the caller, below what the caller heard"
    return scrolled(name, waveform(result.sound, flags, f"{name}; {counted(len(flags), 'numbered event')}"))


def _sound(wav: str) -> Element | None:
    if not wav:
        return None
    player = el("audio", controls="controls", preload="none", src=wav, aria_label="Left the caller, right the server")
    link = None if wav.startswith("data:") else el("a", "the WAV file", href=wav)
    return el("p", player, " ", link, class_="sound")


def _flags(result: Result) -> list[Flag]:
    """What came about, and at the steps that it was expected of, what did not."""
    broken = {finding.line or 0: finding for finding in result.report.findings if not finding.ok}
    events = sorted(result.report.events, key=lambda event: event.at_ms)[:EVENTS]
    return [_flag(n, event, broken) for n, event in enumerate(events, 1)]


def _flag(number: int, event: Event, broken: dict[int, Finding]) -> Flag:
    line = event.facts.get("line") if event.kind == "step" else None
    finding = broken.get(line) if isinstance(line, int) else None
    missed = f"; expected was {finding.what}: {finding.found}" if finding else ""
    return Flag(number, event.at_ms, _in_words(event) + missed, is_broken=bool(finding))


def _in_words(event: Event) -> str:
    kind, facts = event.kind.replace("_", " "), dict(event.facts)
    if kind == "step":  # of the scenario, in its own words
        facts = {"": facts.get("says"), "line": facts.get("line")}
    told = ", ".join(_fact(name, value) for name, value in facts.items() if value not in (None, ""))
    return f"{kind}: {told}" if told else kind


def _fact(name: str, value: object) -> str:
    shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"{name} {shown}".strip()


def _timeline(flags: list[Flag], events: int) -> Element | None:
    if not flags:
        return None
    rows: list[list[Child]] = [[_number(flag), f"{flag.at_ms / 1000:.3f} s", flag.text] for flag in flags]
    caption = "What came about" + (f"; the first {EVENTS} of {events:,}" if events > EVENTS else "")
    return _folded(caption, table(caption, ["No.", "At", "What"], rows))


def _number(flag: Flag) -> Child:
    return el("strong", flag.label, class_="failed") if flag.is_broken else flag.label


def _requests(result: Result) -> Element | None:
    requests = result.report.requests
    if not requests:
        return None
    rows: list[list[Child]] = [
        [url, str(status) if 200 <= status < 300 else el("strong", str(status), class_="failed")]
        for url, status in requests[:REQUESTS]
    ]
    caption = "Requests" + (f"; the first {REQUESTS} of {len(requests):,}" if len(requests) > REQUESTS else "")
    return _folded(caption, table(caption, ["Address", "Answered"], rows))


def _log(result: Result) -> Element | None:
    lines = [f"{line.at:8.3f} {line.text}" for line in result.log]
    if len(lines) > LINES:
        lines = [*lines[: LINES // 2], f"… {len(lines) - LINES:,} lines …", *lines[-LINES // 2 :]]
    return _text("Log", "\n".join(lines)) if lines else None


def _text(name: str, text: str) -> Element:
    """The beginning of it, if it is long."""
    if len(text) > CHARACTERS:
        text = f"{text[:CHARACTERS]}\n… and {len(text) - CHARACTERS:,} characters"
    return _folded(name, scrolled(name, el("pre", text)))


def _folded(name: str, content: Element) -> Element:
    return el("details", el("summary", name), content)
