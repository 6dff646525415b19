"""Fails unless the test file of each pure module covers all of its branches by itself."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
MODULES = {"audio": "calls/media", "playback": "calls/media", "protocol": "calls/media", "security": "calls"}


def is_covered(module: str, folder: str) -> bool:
    environment = {**os.environ, "COVERAGE_FILE": f"{folder}/{module}"}
    coverage = [sys.executable, "-m", "coverage"]
    # `source` of pyproject.toml beats --include, so the report picks the module.
    run = [*coverage, "run", "--branch", "-m", "pytest", "-q", "-p", "no:randomly", f"tests/test_{module}.py"]
    report = [*coverage, "report", "--show-missing", f"--include={MODULES[module]}/{module}.py", "--fail-under=100"]
    print(f"{MODULES[module]}/{module}.py by tests/test_{module}.py alone", flush=True)
    return all(subprocess.run(command, cwd=ROOT, env=environment).returncode == 0 for command in (run, report))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        failed = [module for module in MODULES if not is_covered(module, folder)]
    if failed:
        print(f"Below 100 % of branches, or failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
