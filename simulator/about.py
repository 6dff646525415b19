"""Which version of the simulator this is."""

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path


DISTRIBUTION = "twilio-media-streams-simulator"


@cache
def version() -> str:
    """Of the installed distribution; of a checkout, what its pyproject.toml says."""
    try:
        return f"{DISTRIBUTION} {version_of(DISTRIBUTION)}"
    except PackageNotFoundError:
        project = Path(__file__).with_name("pyproject.toml")
        number = tomllib.loads(project.read_text())["project"]["version"] if project.exists() else ""
        return f"{DISTRIBUTION} {number} (not installed)".replace("  ", " ")
