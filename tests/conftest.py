"""What all tests share."""

import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run code in a fresh interpreter, warnings as errors; the result is what it printed, and it has to succeed."""

    def run(code: str, *arguments: str) -> str:
        command = [sys.executable, "-W", "error", "-c", code, *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run
