"""A run that is killed at random times, again and again, loses nothing and ends with the bits of an undisturbed one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "kills.py"


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_times(kills: int, corpus: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(PROGRAM), str(corpus), str(tmp_path), str(kills), "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 5 * kills, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] == kills
    assert result["ends"] >= 1
