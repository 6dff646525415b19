"""Writes requirements.txt and requirements-dev.txt: what pip chooses today for the ranges in pyproject.toml.

Plain `name==version` lines. requirements.txt is what runs in production; requirements-dev.txt adds what development
needs on top, and every extra. requirements.lock is the first one once more, with the sha256 of each wheel that an image
may be made of. Nothing is installed: pip only says what it would install. `--lock` writes requirements.lock alone (some
minutes: pip is asked for every Python and machine).
"""

import json
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
# What the image may be built on.
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
# Versions of glibc that wheels are made for: all up to Debian 12's. pip knows those of this machine only.
GLIBC = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 24, 27, 28, 31, 34, 35, 36)))
HEADER = "# Written by `make requirements` from the ranges in pyproject.toml. Do not edit.\n"


def resolve(requirements: list[str]) -> dict[str, str]:
    """The versions, by name, of these packages and of all that they need."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    output = subprocess.run([*command, *requirements], check=True, capture_output=True, text=True).stdout
    metadata = [package["metadata"] for package in json.loads(output)["install"]]
    return {package["name"].lower().replace("_", "-"): package["version"] for package in metadata}


def wheels(pins: dict[str, str], python: str, machine: str) -> dict[str, str]:
    """The sha256 of the wheel for it, by name; packages without one are left out."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command += ["--no-deps", "--only-binary=:all:", "--target", "nowhere", "--implementation", "cp"]
    command += ["--python-version", python, *(f"--platform={glibc}_{machine}" for glibc in GLIBC)]
    asked = subprocess.run(
        [*command, *(f"{name}=={version}" for name, version in pins.items())], capture_output=True, text=True
    )
    if lacking := re.search(r"No matching distribution found for ([\w.-]+)==", asked.stderr):
        return wheels({name: pins[name] for name in pins if name != lacking[1]}, python, machine)
    asked.check_returncode()
    found = {each["metadata"]["name"]: each["download_info"] for each in json.loads(asked.stdout)["install"]}
    return {name.lower().replace("_", "-"): info["archive_info"]["hashes"]["sha256"] for name, info in found.items()}


def lock(pins: dict[str, str]) -> str:
    """The lines of requirements.lock; what a kind of machine has no wheel of, it does without."""
    hashes: dict[str, set[str]] = defaultdict(set)
    served: dict[str, set[str]] = defaultdict(set)
    on = list(product(PYTHONS, MACHINES))
    with ThreadPoolExecutor(4) as asking:
        for (_, machine), known in zip(on, asking.map(lambda where: wheels(pins, *where), on), strict=True):
            for name, sha256 in known.items():
                hashes[name].add(sha256)
                served[name].add(machine)
    lines = []
    for name, version in sorted(pins.items()):
        machines = "" if len(served[name]) == len(MACHINES) else f' ; platform_machine == "{min(served[name])}"'
        lines.append(
            " \\\n    ".join([f"{name}=={version}{machines}", *(f"--hash=sha256:{h}" for h in sorted(hashes[name]))])
        )
    return "\n".join(lines) + "\n"


def lines(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))


def pinned() -> dict[str, str]:
    """What requirements.txt says."""
    stated = (line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in stated)


def main() -> None:
    if "--lock" not in sys.argv:
        choose()
    (ROOT / "requirements.lock").write_text(HEADER + lock(pinned()))


def choose() -> None:
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
