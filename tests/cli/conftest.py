"""How the tests call the command line: in this process where it makes no difference, else in one of its own."""

import io
import os
import re
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).parent / "unrolled"


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    def error(self, status: int, *, lines: int = 0) -> str:
        """The line with which the command failed, after "unrolled: error: "; so many were printed before it."""
        assert self.status == status, self.errors
        assert len(self.lines) == lines
        assert self.errors.count("\n") == 1, self.errors
        start, _, message = self.errors.strip().partition("error: ")
        assert start == "unrolled: "
        assert message
        return message


Call = Callable[..., Outcome]


@pytest.fixture
def unrolled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line in this process, with `stdin` bytes as standard input."""
    from unrolled.cli.app import run

    # Commands tell their time from the start of their process, which here is that of all tests.
    monkeypatch.setattr("unrolled.cli.train.STARTED", time.perf_counter())

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", [str(PROGRAM)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                status = run([str(argument) for argument in arguments])
            except SystemExit as end:
                status = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Run a shell command in a process of its own; `unrolled` is on its path."""
    folder = tmp_path_factory.mktemp("commands")

    def call(command: str, *arguments: object, **environment: str) -> Outcome:
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        finished = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command, "bash", *(str(argument) for argument in arguments)],
            cwd=folder,
            env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    return call


@pytest.fixture
def corpus(tmp_path: Path, tiny_text: str) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(tiny_text, encoding="utf-8")
    return path


SMALL: tuple[Any, ...] = ("--hidden", 6, "--batch", 8, "--window", 16, "--threads", 1)
"""Options that make training quick."""


def weights_of(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


def printed(outcome: Outcome, before: str) -> list[str]:
    """The words of the `unrolled` command that follows `before` on a line of its own."""
    (line,) = re.findall(rf"^{before} with (.*)$", outcome.errors, re.MULTILINE)
    program, *words = shlex.split(line)
    assert Path(program).name == "unrolled"
    return words
