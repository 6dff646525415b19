"""Names a further handler in `.env`, and leaves everything else in it as it is."""

import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


SETTING = "STREAM_HANDLERS"
# As django-environ reads it: of two lines the last one counts, and a whole value may stand in quotes.
_LINE = re.compile(rf"""^((?:export )?{SETTING}=)(['"]?)(.*?)(\2)$""", re.MULTILINE)


def add_handler(path: Path, name: str, where: str) -> bool:
    """Adds `name=where` to the file's STREAM_HANDLERS. False, and nothing is written, if that would change more."""
    # Line ends are kept as they are.
    text = path.read_bytes().decode()
    added = with_handler(text, name, where)
    try:
        if handlers_in(added) != {**handlers_in(text), name: where}:
            return False
    except ImproperlyConfigured:  # the value is another variable's
        return False
    _replace(path, added.encode())
    return True


def with_handler(text: str, name: str, where: str) -> str:
    """The file's text with that handler named in it."""
    pair = f"{name}={where}"
    if not (lines := list(_LINE.finditer(text))):
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{SETTING}={pair}\n"
    line = lines[-1]
    named = line[3].rstrip()
    at = line.start(3)
    return text[:at] + (f"{named.rstrip(',')},{pair}" if named else pair) + text[at + len(named) :]


def handlers_in(text: str) -> dict[str, str]:
    """What the settings read of such a file, by name."""

    class Read(environ.Env):
        # Not this process's.
        ENVIRON: Any = {}

    Read.read_env(io.StringIO(text))
    read = Read()  # type: ignore[no-untyped-call]
    return dict(read.dict(SETTING)) if Read.ENVIRON.get(SETTING) else {}


def _replace(path: Path, content: bytes) -> None:
    """Whole or not at all, and for the same eyes as before."""
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".env.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
