"""Work in a thread of its own, which tells how far it is while the caller stays awake."""

import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from unrolled.models.task import Report
from unrolled.training.events import Reading

Result = TypeVar("Result")
SECONDS_BETWEEN_EVENTS = 0.2


class _AbandonedError(Exception):
    """Nobody waits for the work any more."""


class _Work(Generic[Result]):
    """Something that is being done, and how far it is."""

    def __init__(self, do: Callable[[Report], Result]) -> None:
        self.told: Reading | None = None
        self.abandoned = False
        self._do = do
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)  # which a read that never ends does not hold up
        self._thread.start()

    def is_done(self, seconds: float) -> bool:
        """Whether it is done after so many seconds at the latest."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Result:
        """What came of it; what it raised is raised here."""
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _report(self, what: str, share: float) -> None:
        if self.abandoned:
            raise _AbandonedError
        self.told = Reading(what, share)

    def _run(self) -> None:
        try:
            self._result.append(self._do(self._report))
        except BaseException as error:
            self._error = error


def in_background(do: Callable[[Report], Result]) -> Generator[Reading, None, Result]:
    """Do something that takes a while; the generator yields how far it is and returns the result.

    Closing the generator ends the work at its next report.
    """
    work = _Work(do)
    try:
        while not work.is_done(SECONDS_BETWEEN_EVENTS):
            if work.told is not None:
                yield work.told
    finally:
        work.abandoned = True
    return work.result()
