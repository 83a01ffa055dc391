"""Progress on standard error: a bar on a terminal, plain lines elsewhere; results alone go to standard output."""

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unrolled.models.predictor import Answer

IS_HEARD = os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"
"""Of the processes that torchrun starts, the first speaks for all."""
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BEFORE_PROGRESS = 1.0


def say(message: str) -> None:
    """One line to standard error, for the person."""
    if IS_HEARD:
        print(message, file=sys.stderr, flush=True)


def program() -> str:
    """How this command was called, so that the commands we print can be run as they stand."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m unrolled"
    found = shutil.which(called.name)
    is_on_path = found is not None and called.exists() and Path(found).samefile(called)
    return shlex.quote(called.name if is_on_path else sys.argv[0])


def print_json(record: dict[str, Any]) -> None:
    """One JSON object as a line on standard output."""
    if IS_HEARD:
        print(json.dumps(record, ensure_ascii=False, allow_nan=True), flush=True)


def print_answers(answers: "Sequence[Answer]", *, as_json: bool) -> None:
    """What a model says to lines, at once, for nobody knows how long the next ones take to come."""
    for answer in answers:
        if as_json:
            print_json(answer.as_dict())
        else:
            print("\n".join(answer.lines()))
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """A time for a person: 4 s, 1:05, 2:00:00."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class ProgressBar:
    """Shows how far a piece of work is, once it has taken a second; to be used in a `with` statement.

    Args:
        title: what is being done.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._began = time.perf_counter()
        self._shown = self._began
        self._bar: Any = None
        self._task: Any = None
        self._on_terminal = sys.stderr.isatty()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, share: float | None, text: str) -> None:
        """Show the share done, from 0 to 1, or None where nobody knows, and a text beside it."""
        text = text if share is None else f"{share:4.0%}  {text}"
        now = time.perf_counter()
        if not IS_HEARD or now - self._began < SECONDS_BEFORE_PROGRESS:
            return
        if self._on_terminal:
            if self._bar is None or now - self._shown > 0.1:
                self._shown = now
                self._draw(share, text)
        elif now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            say(f"{self._title}: {text}".rstrip())

    def _draw(self, share: float | None, text: str) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}", markup=False)
            # Results may be on their way to a file: only on a terminal may they be written by way of the bar.
            self._bar = Progress(
                *columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
            )
            self._task = self._bar.add_task(self._title, total=None if share is None else 1.0, text=text)
            self._bar.start()
        self._bar.update(self._task, completed=share or 0.0, text=text)
