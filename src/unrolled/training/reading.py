"""A run's text: read in the background, and of several processes by the first before the others."""

from collections.abc import Generator, Sequence
from pathlib import Path

from unrolled import models
from unrolled.errors import UnrolledError, UsageError
from unrolled.models.task import Data, Report
from unrolled.text.corpus import STANDARD_INPUT
from unrolled.training.background import in_background
from unrolled.training.events import Reading
from unrolled.training.ranks import Ranks
from unrolled.training.resuming import Saved
from unrolled.training.settings import Settings


def read_text(
    sources: Sequence[str | Path], settings: Settings, saved: Saved | None, ranks: Ranks
) -> Generator[Reading, None, Data]:
    """The text; of several processes the others find in the cache what the first has kept there.

    Args:
        sources: of the corpus.
        settings: of the run.
        saved: of the run that goes on, if one does.
        ranks: the processes.

    Raises:
        UnrolledError: one of them could not read it, or they read different texts.
    """
    task = models.get(settings.task)

    def read(report: Report) -> Data:
        if saved is None:
            return task.prepare(sources, settings.text, settings.own, report)
        return task.prepare_again(saved.data, sources, settings.text, settings.own, report)

    if ranks.count == 1:
        return (yield from in_background(read))
    if STANDARD_INPUT in map(str, sources):
        raise UsageError("standard input (-) can be read by one process only: give several of them a file")
    data, error = None, None
    for turn in ("first", "others"):
        if ranks.is_first == (turn == "first"):
            try:
                data = yield from in_background(read)
            except UnrolledError as raised:
                error = raised
        ranks.agree("", error)
    assert data is not None
    ranks.agree(data.fingerprint())
    return data
