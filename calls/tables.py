"""Rows as CSV: cells that no spreadsheet takes for a formula, and times in UTC."""

import csv
import datetime as dt
import io
import re
from typing import Any


# A cell that begins like this is a formula to a spreadsheet, even after blanks, which it strips.
_FORMULA = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]*[=+\-@\t\r＝＋－＠]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def harmless(cell: Any) -> str:
    """A cell on one line that no spreadsheet takes for a formula; phone numbers are quoted too, and keep their plus."""
    text = _CONTROL.sub(" ", str(cell))
    # Also what begins one only when the control characters before it are gone.
    return f"'{text}" if _FORMULA.match(str(cell)) or _FORMULA.match(text) else text


def table(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def utc(at: dt.datetime | None) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}" if at else ""
