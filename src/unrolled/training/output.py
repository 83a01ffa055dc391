"""What a run writes: the log, the best weights so far, the curve, and what resuming needs."""

import math
import time
from dataclasses import replace
from pathlib import Path

import torch

from unrolled import model_directory
from unrolled.model_directory.files import system_errors_explained
from unrolled.models.network import Shape
from unrolled.models.task import Data
from unrolled.settings import command_line
from unrolled.training.curve import draw_curve
from unrolled.training.events import Record
from unrolled.training.learner import Learner, Tensors
from unrolled.training.record import config_of
from unrolled.training.settings import Settings, TrainingSettings

SECONDS_BETWEEN_SAVES = 30.0
"""Improved weights are written at most so often; they are always written at the end."""


class Output:
    """The model directory of a run.

    Attributes:
        folder: where it lies.
        started: when the run began, by time.perf_counter; of a resumed run, as if it had never stopped.
        writes: whether this process writes at all; of several, one does.
        best: validation loss of the weights that are kept, in nats per token; infinite before there was one.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        shape: Shape,
        data: Data,
        started: float,
        *,
        writes: bool = True,
    ) -> None:
        self.writes = writes
        self.folder, self.started, self.best = folder, started, math.inf
        self._settings, self._shape, self._data = settings, shape, data
        self._tensors: Tensors = {}
        self._is_newer = False
        self._saved_at = self._checkpoint_at = -math.inf

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self.started

    def keep(self, tensors: Tensors, loss: float) -> None:
        """These weights, with this validation loss, are the ones to write."""
        self._tensors, self.best, self._is_newer = tensors, loss, True

    def log(self, record: Record) -> None:
        """Append a record to the log, with the time."""
        if self.writes:
            model_directory.append_log(self.folder, record | {"seconds": self.seconds})

    def save_if_due(self, steps: int) -> None:
        """Write the weights that are kept, unless that was done a moment ago."""
        if time.perf_counter() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save(steps)

    def save(self, steps: int, *, repeat: str | None = None) -> None:
        """Write the weights that are kept, after so many steps; a finished run says how to repeat it, or ""."""
        self._is_newer = False
        if not self.writes:
            return
        results = {
            "finished": repeat is not None,
            "steps": steps,
            "validation_loss": None if math.isinf(self.best) else self.best,
            "uniform_loss": self._data.uniform,
            "unigram_loss": self._data.unigram,
            "seconds": self.seconds,
            "repeat": repeat or None,
        }
        config = config_of(self._shape, self._data, self._settings, results)
        model_directory.save(self.folder, config=config, tensors=self._tensors, **self._data.tokenizers())
        self._saved_at = time.perf_counter()

    def checkpoint(self, learner: Learner) -> None:
        """Write what the next step depends on; and before it a model, if there are better weights than those there."""
        state, tensors = learner.capture()  # by all processes, before one of them writes; refuses what is not finite
        if math.isinf(self.best):  # never validated: what there is so far is the model
            self.keep(learner.network.tensors(), math.inf)
        if self._is_newer:
            self.save(learner.position.steps)
        if self.writes:
            model_directory.save_training(self.folder, state=state | {"seconds": self.seconds}, tensors=tensors)
        self._checkpoint_at = time.perf_counter()

    def checkpoint_is_due(self) -> bool:
        """Whether the last one is so many minutes old."""
        return time.perf_counter() - self._checkpoint_at > 60 * self._settings.training.checkpoint_every

    def repeat(self, plan: str) -> str:
        """Options that repeat the run: what was left to defaults or to the clock is spelled out."""
        settings = self._settings
        options = replace(
            settings.training,
            epochs=None,
            minutes=None,
            threads=torch.get_num_threads(),
            anneal=plan,
            checkpoint_every=TrainingSettings().checkpoint_every,  # which makes no difference
        )
        task = "" if settings.task == "language" else f"--task {settings.task} "
        return task + command_line(settings.text, settings.model, settings.regularization, *settings.own, options)

    def draw(self, title: str) -> None:
        """Draw the log as a curve."""
        if not self.writes:
            return
        records = model_directory.read_log(self.folder)
        picture = draw_curve(
            records, uniform=self._data.uniform, unigram=self._data.unigram, title=title, counted=self._data.counted
        )
        path = self.folder / "curve.png"
        with system_errors_explained(path):
            path.unlink(missing_ok=True)  # if it is a link, the link
            path.write_bytes(picture)
