"""Progress and times for people."""

import io

import pytest

from unrolled.cli import console
from unrolled.cli.console import ProgressBar, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (65, "1:05"),
        (119.6, "2:00"),
        (3599.6, "1:00:00"),
        (7261, "2:01:01"),
    ],
)
def test_a_time_for_people(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize("share", [0.25, None])
def test_a_bar_shows_title_share_and_text(share: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(console, "SECONDS_BEFORE_PROGRESS", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar("working") as bar:
        bar.update(share, "on [it]")
    shown = terminal.getvalue()
    assert "working" in shown
    assert "on [it]" in shown
    assert ("25%" in shown) is (share is not None)
    assert "0%" not in shown.replace("25%", "")


def test_what_is_soon_done_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with ProgressBar("working") as bar:
        bar.update(0.5, "quickly")
    assert terminal.getvalue() == ""
