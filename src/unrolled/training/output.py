"""What a run writes: the log, the best weights so far, the curve, and what resuming needs."""

import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from unrolled import model_directory
from unrolled.models import LanguageModelShape
from unrolled.settings import command_line
from unrolled.training.checkpoint import Tensors
from unrolled.training.curve import draw_curve
from unrolled.training.data import TrainingData
from unrolled.training.events import Record
from unrolled.training.record import config_of
from unrolled.training.settings import Settings

SECONDS_BETWEEN_SAVES = 30.0
"""Improved weights are written at most so often; they are always written at the end."""


class Output:
    """The model directory of a run.

    Attributes:
        folder: where it lies.
        started: when the run began, by time.perf_counter; of a resumed run, as if it had never stopped.
        best: validation loss of the weights that are kept, in nats per token; infinite before there was one.
    """

    def __init__(
        self, folder: Path, settings: Settings, shape: LanguageModelShape, data: TrainingData, started: float
    ) -> None:
        self.folder, self.started, self.best = folder, started, math.inf
        self._settings, self._shape, self._data = settings, shape, data
        self._tensors: Tensors = {}
        self._saved_at = -math.inf

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self.started

    def keep(self, tensors: Tensors, loss: float) -> None:
        """These weights, with this validation loss, are the ones to write."""
        self._tensors, self.best = tensors, loss

    def log(self, record: Record) -> None:
        """Append a record to the log, with the time."""
        model_directory.append_log(self.folder, record | {"seconds": self.seconds})

    def save_if_due(self, steps: int) -> None:
        """Write the weights that are kept, unless that was done a moment ago."""
        if time.perf_counter() - self._saved_at > SECONDS_BETWEEN_SAVES:
            self.save(steps)

    def save(self, steps: int, *, plan: str | None = None) -> None:
        """Write the weights that are kept, after so many steps; a run that is finished gives its plan."""
        results = {
            "finished": plan is not None,
            "steps": steps,
            "validation_loss": None if math.isinf(self.best) else self.best,
            "uniform_loss": self._data.uniform,
            "unigram_loss": self._data.unigram,
            "seconds": self.seconds,
            "repeat": None if plan is None else self.repeat(plan),
        }
        config = config_of(self._shape, self._data, asdict(self._settings), results)
        tokenizer = self._data.tokenizer.to_json()
        model_directory.save(self.folder, config=config, tensors=self._tensors, tokenizer_json=tokenizer)
        self._saved_at = time.perf_counter()

    def save_for_resuming(self, tensors: Tensors, steps: int, plan: str) -> None:
        """Write what the next step depends on."""
        state = {"steps": steps, "plan": plan, "seconds": self.seconds}
        model_directory.save_training(self.folder, state=state, tensors=tensors)

    def repeat(self, plan: str) -> str:
        """Options that repeat the run: what was left to defaults or to the clock is spelled out."""
        settings = self._settings
        options = replace(settings.training, epochs=None, minutes=None, threads=torch.get_num_threads(), anneal=plan)
        return command_line(settings.text, settings.model, settings.regularization, options)

    def draw(self, title: str) -> None:
        """Draw the log as a curve."""
        records = model_directory.read_log(self.folder)
        picture = draw_curve(records, uniform=self._data.uniform, unigram=self._data.unigram, title=title)
        (self.folder / "curve.png").write_bytes(picture)
