"""A training run from a corpus to a model directory, as a generator of events.

The run reads the text, makes the network, drives the loop, tries the network on the validation text after each pass,
keeps the weights that did best, and writes the model directory. Whoever iterates over it only watches.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from unrolled import model_directory
from unrolled.training import resuming
from unrolled.training.checks import check_directory
from unrolled.training.course import Course, seconds_to_finish
from unrolled.training.events import DataRead, Event, Finished, Planned
from unrolled.training.joining import joined
from unrolled.training.planning import make_plan
from unrolled.training.ranks import Ranks
from unrolled.training.reading import read_text
from unrolled.training.recipe import filled, most_threads, with_unit
from unrolled.training.settings import Settings


def run(
    sources: Sequence[str | Path],
    out: Path | None,
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    started: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train a network for a task; see `training.train` for the arguments.

    Args:
        out: None plans the run and ends with that.
        started: when the whole command began, by time.perf_counter; now if None.
        should_stop: asked after each update; True ends the run with `Stopped`.
    """
    started = time.perf_counter() if started is None else started
    with ExitStack() as held:
        ranks = held.enter_context(joined())

        def opened() -> resuming.Saved | Finished | None:
            if out is None:
                return None
            held.enter_context(model_directory.locked(out))
            if ranks.has_begun and (end := resuming.finished(out)) is not None:
                return end
            goes_on = resume or ranks.has_begun
            check_directory(out, resume=goes_on, overwrite=overwrite and not ranks.has_begun)
            return resuming.load(out, settings) if goes_on else None

        saved = ranks.from_first(opened)
        if isinstance(saved, Finished):  # and one of the processes died after that
            yield saved
        else:
            yield from _run(sources, out, settings, saved, started, should_stop, ranks)


def _run(
    sources: Sequence[str | Path],
    out: Path | None,
    settings: Settings,
    saved: resuming.Saved | None,
    started: float,
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> Iterator[Event]:
    settings = with_unit(settings) if saved is None else saved.settings
    torch.set_num_threads(settings.training.threads or most_threads(settings) or ranks.threads())
    ranks.device(settings.training)
    data = yield from read_text(sources, settings, saved, ranks)
    yield DataRead(data.report, data.notes(), data.uniform, data.unigram, data.counted)
    if saved is None and (out is None or settings.training.minutes is not None):
        open_, finishing = settings, seconds_to_finish(settings.training.minutes or 0.0)
        plan = ranks.from_first(lambda: make_plan(open_, data, ranks, started=started, finishing=finishing))
        yield Planned(plan)
        settings = plan.settings
    if out is None:
        return
    course = Course(out, filled(settings), data, started=started, saved=saved, ranks=ranks)
    if saved is None:  # not before: settings that cannot be leave an earlier run alone
        ranks.from_first(lambda: model_directory.clear_run(out))
    yield course.prepared()
    yield from course.events(should_stop)
