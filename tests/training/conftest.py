"""What the tests of whole runs share."""

from pathlib import Path

import pytest


@pytest.fixture
def corpus(tmp_path: Path, tiny_text: str) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(tiny_text, encoding="utf-8")
    return path


@pytest.fixture
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training a small network: leave it to the tests that look at it."""
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")
