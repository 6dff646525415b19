"""Writes requirements.txt and requirements-dev.txt: what pip chooses today for the ranges in pyproject.toml.

Plain `name==version` lines. requirements.txt is what runs in production; requirements-dev.txt adds what development
needs on top, and every extra. Nothing is installed: pip only says what it would install.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Written by `make requirements` from the ranges in pyproject.toml. Do not edit.\n"


def resolve(requirements: list[str]) -> dict[str, str]:
    """The versions, by name, of these packages and of all that they need."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    output = subprocess.run([*command, *requirements], check=True, capture_output=True, text=True).stdout
    metadata = [package["metadata"] for package in json.loads(output)["install"]]
    return {package["name"].lower().replace("_", "-"): package["version"] for package in metadata}


def lines(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = resolve(project["project"]["dependencies"])
    extras = [requirement for extra in project["project"]["optional-dependencies"].values() for requirement in extra]
    # Production's versions are fixed: development may only add to them.
    fixed = [f"{name}=={version}" for name, version in runtime.items()]
    # As written, extras too: a pin without its extra would lose what the extra brings.
    development = project["dependency-groups"]["dev"]
    everything = resolve([*project["project"]["dependencies"], *fixed, *extras, *development])
    added = {name: version for name, version in everything.items() if name not in runtime}
    (ROOT / "requirements.txt").write_text(HEADER + lines(runtime))
    (ROOT / "requirements-dev.txt").write_text(HEADER + "-r requirements.txt\n" + lines(added))


if __name__ == "__main__":
    main()
