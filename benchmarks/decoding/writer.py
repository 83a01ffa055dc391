"""What is asked of everyone who writes: one token after the other, and what the model says of the next. And ours."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch

from decoding.model import Model, engine_weights
from steps.task import Tensors
from unrolled import engines
from unrolled.engines import Sampling, zero_state

Tokens = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
FIRST = 0
"""The token that is fed first."""


class Writer(ABC):
    """A language model at batch 1.

    Attributes:
        name: whose it is.
        variant: which of several ways of doing it.
        threads: how many threads it is to have; who calls it sets torch's.
    """

    name: str
    variant: str
    threads: int

    @abstractmethod
    def generate(self, count: int) -> Tokens:
        """From a zero state feed FIRST, choose a token, feed it, and so on; the (count,) chosen tokens."""

    @abstractmethod
    def log_probabilities(self, tokens: Tokens) -> Doubles:
        """From a zero state feed tokens (N,); log p of the one that comes after each, in nats, (N, V)."""


class OurWriter(Writer):
    """`Predictor.decode`: feeding, stepping, softmax and one draw a token at temperature 1.

    The predictor is made as one that has been in use for a while: it has met every token of the vocabulary.
    """

    name = "unrolled"

    def __init__(self, model: Model, tensors: Tensors, threads: int, engine: str = "auto") -> None:
        self.variant, self.threads = engine, threads
        torch.set_num_threads(threads)  # a predictor is made for so many
        self.predictor = engines.get(engine).predictor(engine_weights(model, tensors))
        self.predictor.read(np.arange(model.vocabulary), np.ones(model.vocabulary, np.int64))
        self._generator = np.random.default_rng(1)

    def generate(self, count: int) -> Tokens:
        """Other tokens at every call: no turn finds the rows of the turn before in the caches."""
        return self.draw(count, self._generator)

    def draw(self, count: int, generator: np.random.Generator) -> Tokens:
        """As `generate`, from a generator of the caller's."""
        pieces = self.predictor.decode(
            zero_state(self.predictor.weights, 1),
            np.array([FIRST]),
            sampling=Sampling(),
            generators=[generator],
            max_tokens=count,
        )
        return np.concatenate([piece[:, 0] for piece in pieces])

    def log_probabilities(self, tokens: Tokens) -> Doubles:
        """Read token by token."""
        state, rows = None, []
        for token in tokens:
            state = self.predictor.read(np.array([token]), np.array([1]), state).state
            rows.append(self.predictor.log_probabilities(state))
        return np.concatenate(rows)
