"""What is asked of everyone who takes part: a network, tokens, and one training step after another."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled import cells
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.text.batches import Batch

Tensors = Mapping[str, npt.NDArray[Any]]
"""Weights or gradients under the names of `LanguageModelNetwork`."""

RATE, CLIP = 10.0, 0.01
"""Learning rate and norm of clipped gradients. Random tokens have small gradients, and clipping is to do something."""


@dataclass(frozen=True)
class Task:
    """A language model and its batches: E = H, untied, no dropout, float32."""

    cell: str
    vocabulary: int
    hidden: int
    layers: int
    batch: int
    times: int

    @property
    def shape(self) -> str:
        """The sizes in the letters of docs/conventions.md."""
        return f"V {self.vocabulary} H {self.hidden} L {self.layers} B {self.batch} T {self.times}"

    @property
    def model(self) -> LanguageModelShape:
        """The same as our network takes it."""
        return LanguageModelShape(self.cell, self.vocabulary, self.hidden, self.hidden, self.layers, tied=False)

    @property
    def operations(self) -> int:
        """Floating-point operations that the mathematics asks of one step, a multiplication and a sum being two.

        Counted are the products alone: of each layer with its input and with its state, and of the output layer. Each
        is needed three times: forward, for the gradient of its input, and for that of its weights. The first layer's
        input is a row of the embedding, of which at most min(V, T*B) differ, so it counts no more rows than that.
        """
        rows = self.times * self.batch
        gates = len(cells.get(self.cell).gates)
        per_row = 2 * gates * self.hidden * self.hidden
        inputs = per_row * (min(self.vocabulary, rows) + (self.layers - 1) * rows)
        recurrent = per_row * self.layers * rows
        output = 2 * rows * self.hidden * self.vocabulary
        return 3 * (inputs + recurrent + output)


class Tokens:
    """New random tokens for every step, the same for the same seed."""

    def __init__(self, task: Task, seed: int = 1) -> None:
        self._task, self._generator = task, np.random.default_rng(seed)

    def take(self, count: int) -> list[Batch]:
        """The next batches of a text that does not end."""
        task = self._task
        ids = self._generator.integers(0, task.vocabulary, (count, 2, task.times, task.batch))
        return [Batch(inputs, targets, None, starts=False) for inputs, targets in ids]


def initial_weights(task: Task, seed: int = 1) -> Tensors:
    """The weights from which everyone starts: those that `unrolled train` would draw."""
    return LanguageModelNetwork(task.model, generator=torch.Generator().manual_seed(seed)).tensors()


class TrainingStep(ABC):
    """A network that trains: SGD with rate RATE, gradients clipped to norm CLIP, the state carried and cut off.

    Attributes:
        name: whose it is.
        variant: which of several ways of doing it.
    """

    name: str
    variant: str

    @abstractmethod
    def ready(self, batch: Batch) -> Any:
        """A batch in the form in which `step` takes it; what that costs is not measured."""

    @abstractmethod
    def step(self, ready: Any) -> None:
        """Forward, backward, clip, update."""

    def finish(self) -> None:
        """Wait until what `step` began is done."""
        return

    @abstractmethod
    def loss(self) -> float:
        """Of the last step, before its update: mean over its tokens, in nats."""

    @abstractmethod
    def gradients(self, batch: Batch) -> tuple[float, Tensors]:
        """Loss and gradients, not clipped, from a zero state; nothing is updated and no state is carried."""

    @abstractmethod
    def weights(self) -> Tensors:
        """A copy of the weights as they are."""
