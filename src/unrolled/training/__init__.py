"""Training: the loop, schedules, checkpoints, and a whole run from a corpus to a model directory.

`train` is the door; `training.run.run` gives the same as a stream of events. Importing this package loads settings
only; torch comes with the first run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.models.settings import ModelSettings
from unrolled.nn.regularization import Regularization
from unrolled.text.settings import TextSettings
from unrolled.training.settings import Settings, TrainingSettings

if TYPE_CHECKING:
    from unrolled.training.events import Event, Finished, Stopped

__all__ = ["ModelSettings", "Regularization", "Settings", "TextSettings", "TrainingSettings", "train"]


def train(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    text: TextSettings | None = None,
    model: ModelSettings | None = None,
    training: TrainingSettings | None = None,
    regularization: Regularization | None = None,
    task: str = "language",
    own: Any = (),
    resume: bool = False,
    overwrite: bool = False,
    watch: Callable[["Event"], None] | None = None,
) -> "Finished | Stopped":
    """Train a model on data and write a model directory.

    Args:
        data: a file, a folder, several of them, "-" for standard input, or ":embedded:".
        out: the model directory to write.
        text: unit of text, vocabulary, way of reading, split.
        model: cell, sizes and initial weights.
        training: how long, how fast, with what.
        regularization: what is dropped and penalised.
        task: what to learn, a key of `models.TASKS`.
        own: the task's own settings, such as `models.translate.TranslationSettings`; what is left out is filled in.
        resume: go on with the run in `out` that was stopped; other settings may be left out.
        overwrite: replace a model that is in `out`.
        watch: called with each event (see `training.events`).

    Returns:
        What the run came to: its directory, steps, and validation loss in nats per token. Ctrl-C and SIGTERM end it
        early with a `Stopped` that can be resumed; while the text is still being read, with a KeyboardInterrupt.

    Raises:
        UsageError, CorpusError, TokenizerError, ModelDirectoryError, EngineError, TrainingError: each says what to do.
    """
    from unrolled.training.events import Finished, Reading, Stopped
    from unrolled.training.interrupts import stop_on_signals
    from unrolled.training.run import run

    sources = [data] if isinstance(data, str | Path) else list(data)
    settings = Settings(
        text or TextSettings(),
        model or ModelSettings(),
        training or TrainingSettings(),
        regularization or Regularization(),
        task,
        tuple(own) if isinstance(own, Sequence) else (own,),
    )
    with stop_on_signals() as request:
        events = run(sources, Path(out), settings, resume=resume, overwrite=overwrite, should_stop=request)
        for event in events:
            if watch is not None:
                watch(event)
            if isinstance(event, Reading) and request():  # there is nothing to save yet
                raise KeyboardInterrupt
    assert isinstance(event, Finished | Stopped)
    return event
