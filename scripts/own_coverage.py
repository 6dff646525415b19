"""Fails unless each pure module has full branch coverage by its own test file alone."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
MODULES = [*sorted((ROOT / "calls" / "media").glob("[a-z]*.py")), ROOT / "calls" / "security.py"]
# Rows are for the writer, and lanes are what a tape has.
TESTED_BY = {"rows": "writer", "lane": "tape"}


def tests_of(module: Path) -> str:
    return f"tests/test_{TESTED_BY.get(module.stem, module.stem)}.py"


def miss(folder: str, module: Path) -> str:
    """What the module's own test file does not reach, or what fails in it; nothing if all is well."""
    environment = {
        **os.environ,
        "COVERAGE_FILE": f"{folder}/{module.stem}",
        # All of them run at the same time.
        "TEST_DB": f"{folder}/{module.stem}.sqlite3",
    }
    coverage = [sys.executable, "-m", "coverage"]
    # `source` of pyproject.toml beats --include, so the report picks the module.
    run = [*coverage, "run", "-m", "pytest", "-q", "-p", "no:randomly", tests_of(module)]
    report = [*coverage, "report", f"--include={module.relative_to(ROOT)}", "--fail-under=100", "--precision=2"]
    for command in (run, report):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            return done.stdout + done.stderr
    return ""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        missed = dict(zip(MODULES, pool.map(partial(miss, folder), MODULES), strict=True))
    for module, what in missed.items():
        name = module.relative_to(ROOT)
        print(f"{name} by {tests_of(module)} alone: {'FAILED' if what else 'every branch'}")
        print(what, end="")
    return 1 if any(missed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
