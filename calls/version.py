"""Which version of Callstream this is."""

import os
import tomllib
from functools import cache
from pathlib import Path


@cache
def version() -> str:
    """What the image was tagged with (CALLSTREAM_VERSION), else what pyproject.toml says."""
    if tagged := os.environ.get("CALLSTREAM_VERSION", "").strip():
        return tagged
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])
