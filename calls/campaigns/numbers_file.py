"""A file of numbers as people have them: CSV of whatever spreadsheet. All that is wrong with it is said at once."""

import csv
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calls import rest
from calls.campaigns.quiet import Place, QuietHours
from calls.media.storable import storable


# What the column of numbers may be called.
NUMBER = ("number", "to")
# What spreadsheets put between two cells: which of them depends on the country.
_SEPARATORS = ",;\t"
# A first line that tells Excel so.
_TOLD = re.compile(r'"?sep=(.)"?\r?\n?')
_EXPONENT = re.compile(r"\d[.,]?\d*E\+?\d+", re.IGNORECASE)
# To see whether there is an hour at which somebody may be called at all.
_ANY_DAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)


class WrongFile(Exception):
    """What is wrong with a file: a sentence for each line that is."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = list(sentences)


@dataclass(frozen=True)
class Line:
    """Somebody to be called: where it is in the file (the first line is 1), the number in E.164, the other columns."""

    line: int
    number: str
    columns: dict[str, str]

    @property
    def parameters(self) -> dict[str, str]:
        return given(self.columns)


def given(columns: Mapping[str, str]) -> dict[str, str]:
    """What a handler is told of a row: an empty cell says nothing."""
    return {name: value for name, value in columns.items() if value}


@dataclass
class NumbersFile:
    """What was read, and what was wrong with it."""

    name: str
    columns: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def digest(self, handler: str) -> str:
        """The same for the same rows and handler, however the file is written."""
        rows = [[line.line, line.number, list(line.columns.items())] for line in self.lines]
        return hashlib.sha256(json.dumps([handler, self.columns, rows]).encode()).hexdigest()


def read(
    path: Path,
    *,
    encoding: str = "utf-8",
    near: str = "",
    hours: QuietHours | None = None,
    allow_duplicates: bool = False,
) -> NumbersFile:
    """WrongFile names all lines that cannot be called. `near` is a number in whose country national ones are."""
    rows = _rows(_text(path, encoding))
    first = next(rows, None)
    if first is None:
        raise WrongFile([f"{path.name} is empty."])
    header = _Header.of(path.name, first[1])
    found = NumbersFile(storable(path.name, 200), header.columns)
    wrong, seen = list[str](), dict[str, int]()
    for number, cells in rows:
        try:
            line = header.line(number, cells, near)
            _check(line, hours, {} if allow_duplicates else seen)
        except (ValueError, rest.RestError) as error:
            wrong.append(f"line {number}: {error}")
        else:
            seen.setdefault(line.number, number)
            found.lines.append(line)
    if wrong:
        raise WrongFile(wrong)
    if not found.lines:
        raise WrongFile([f"{path.name} has no line below its header."])
    return found


def _text(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WrongFile([f"{path} cannot be read: {error.strerror}."]) from None
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise WrongFile([f"There is no encoding {encoding}."]) from None
    except UnicodeError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        advice = "save it as “CSV UTF-8”, or say how it is encoded, like --encoding cp1252"
        raise WrongFile([f"{path.name} is not {encoding.upper()} (line {line}): {advice}."]) from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, cells) of each row that has any."""
    told = _TOLD.match(text)
    above = 1 if told else 0
    text = text[told.end() :] if told else text
    # No cell has more than 131,072 characters, and the last one ends: else a quotation mark is open, and hides rows.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=told[1] if told else _separator(text), strict=True)
    begins = above + 1
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise WrongFile([f"line {begins}: this is no CSV ({error}): is a quotation mark left open?"]) from None
        if any(cells):
            yield begins, cells
        begins = above + reader.line_num + 1


def _separator(text: str) -> str:
    header = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip()), ""))
    return max(_SEPARATORS, key=header.count)


@dataclass(frozen=True)
class _Header:
    """Which cell is the number, and what the others are called."""

    at: int
    names: dict[int, str]
    width: int

    @classmethod
    def of(cls, file: str, cells: list[str]) -> "_Header":
        at = [index for index, cell in enumerate(cells) if cell.lower() in NUMBER]
        if len(at) != 1:
            many = "more than one column" if at else "no column"
            seen = ", ".join(cell[:40] or "(empty)" for cell in cells[:20])
            raise WrongFile(
                [f"{file} has {many} called number (or to): its first line names the columns, and has {seen}."]
            )
        names = {index: cell for index, cell in enumerate(cells) if cell and index != at[0]}
        if twice := sorted({name for name in names.values() if list(names.values()).count(name) > 1}):
            raise WrongFile([f"{file} has two columns called {twice[0]}."])
        try:
            for name in names.values():
                rest.checked_parameters({name: "x"})
        except rest.RestError as error:
            raise WrongFile([f"line 1: {error}"]) from None
        return cls(at[0], names, len(cells))

    @property
    def columns(self) -> list[str]:
        return list(self.names.values())

    def line(self, number: int, cells: list[str], near: str) -> Line:
        """ValueError says what is wrong with it."""
        nameless = [cell for index, cell in enumerate(cells) if cell and index != self.at and index not in self.names]
        if nameless:
            raise ValueError(f"“{nameless[0][:40]}” stands in a column without a name.")
        text = cells[self.at].removeprefix("'") if self.at < len(cells) else ""
        columns = {name: cells[index] if index < len(cells) else "" for index, name in self.names.items()}
        return Line(number, _e164(text, near), columns)


def _e164(text: str, near: str) -> str:
    if not text:
        raise ValueError("there is no number.")
    if _EXPONENT.fullmatch(text):
        raise ValueError(f"“{text[:40]}” is what a spreadsheet makes of a number: format the column as text first.")
    try:
        return rest.e164(text, near)
    except ValueError as error:
        advice = "Write it with + and its country code, like +14155550100."
        raise ValueError(f"“{text[:40]}” cannot be called: {error}. {advice}") from None


def _check(line: Line, hours: QuietHours | None, seen: dict[str, int]) -> None:
    if line.number in seen:
        raise ValueError(f"{line.number} is in line {seen[line.number]} already; --allow-duplicates calls it twice.")
    rest.checked_parameters(line.parameters)
    if hours is not None and (place := Place.of(line.number)).free_from(_ANY_DAY, hours) is None:
        raise ValueError(
            f"at no hour it is not quiet ({hours}) in one of the {len(place.zones)} zones of {line.number}."
        )
