"""Builds calls/quick for the Python that runs this, if there is a C compiler; without one, everything works in Python.

Usage: quick.py [--required]
"""

import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path


SOURCE = Path(__file__).resolve().parent.parent / "calls" / "quick" / "_quick.c"
# No -march: an image is built on one machine and runs on another.
FLAGS = ["-O2", "-std=c11", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wno-cast-function-type", "-fno-strict-aliasing"]
# With AddressSanitizer, for tests/trials/fuzz_quick.py.
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]


def target(folder: Path = SOURCE.parent) -> Path:
    return folder / f"_quick{sysconfig.get_config_var('EXT_SUFFIX')}"


def compiler() -> str | None:
    """The C compiler, where Python's headers are there too."""
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None) if has_headers else None


def build(to: Path, *more: str) -> None:
    """CalledProcessError if it cannot be compiled."""
    program = compiler()
    assert program is not None
    half = to.with_suffix(".half")
    headers = sorted({sysconfig.get_path(name) for name in ("include", "platinclude")})
    source = f'-DSOURCE="{sha256(SOURCE.read_bytes()).hexdigest()}"'
    options = [*FLAGS, *more, source, *(f"-I{path}" for path in headers)]
    subprocess.run([program, *options, str(SOURCE), "-lm", "-o", str(half)], check=True)
    # A process that runs has the old one open.
    half.replace(to)


def main() -> int:
    is_required = "--required" in sys.argv
    if sys.implementation.name != "cpython" or compiler() is None:
        print("No C compiler, or no headers of Python's: frames go their way in Python, which takes twice the CPU.")
        return int(is_required)
    if target().exists() and target().stat().st_mtime >= SOURCE.stat().st_mtime:
        return 0
    try:
        build(target())
    except subprocess.CalledProcessError:
        print("calls/quick cannot be compiled: frames go their way in Python, which takes twice the CPU.")
        return int(is_required)
    return 0


if __name__ == "__main__":
    sys.exit(main())
