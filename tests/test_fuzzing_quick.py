"""calls/quick under gcc's sanitizers, for some seconds; tests/trials/fuzz_quick.py goes on for as long as you like."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.quick import IS_REQUIRED
from tests.trials.fuzz_quick import libasan


HERE = Path(__file__).parent.parent


@pytest.mark.process
@pytest.mark.skipif(not (IS_REQUIRED or libasan()), reason="there is no gcc here, or no libasan")
def test_sanitizers_find_nothing_in_mutated_frames():
    command = [sys.executable, "-m", "tests.trials.fuzz_quick", "--frames=4000", "--seed=7"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 7: 4," in done.stdout
