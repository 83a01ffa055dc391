"""Three ways to turn a gradient into new weights; each is two pure functions, `start` and `update`.

The learning rate is handed in: whoever trains decides how it changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from unrolled.errors import UsageError
from unrolled.reference.arrays import Array

Parameters = dict[str, Array]


class Optimizer(Protocol):
    """What training asks of an optimizer; its memory is a value that comes in and goes out."""

    def start(self, parameters: Mapping[str, Array]) -> Parameters:
        """Return the memory before the first update, one array a parameter."""

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], memory: Parameters, learning_rate: float
    ) -> tuple[Parameters, Parameters]:
        """Return new parameters and new memory; the old ones stay as they were."""


def _zeros(parameters: Mapping[str, Array]) -> Parameters:
    return {name: np.zeros_like(value) for name, value in parameters.items()}


def _check_decay(decay: float) -> None:
    if not 0 <= decay < 1:
        raise UsageError(f"decay is {decay}: expected 0 or more and less than 1")


@dataclass(frozen=True)
class SGD:
    """theta' = theta - rate * g."""

    def start(self, parameters: Mapping[str, Array]) -> Parameters:
        """Return no memory."""
        return {}

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], memory: Parameters, learning_rate: float
    ) -> tuple[Parameters, Parameters]:
        """Go one step against the gradient."""
        return {name: value - learning_rate * gradients[name] for name, value in parameters.items()}, memory  # (37)


@dataclass(frozen=True)
class Momentum:
    """v' = decay * v + g, theta' = theta - rate * v' (Polyak 1964; torch.optim.SGD's convention for the rate)."""

    decay: float = 0.9

    def __post_init__(self) -> None:
        _check_decay(self.decay)

    def start(self, parameters: Mapping[str, Array]) -> Parameters:
        """Return the velocity v, zero."""
        return _zeros(parameters)

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], memory: Parameters, learning_rate: float
    ) -> tuple[Parameters, Parameters]:
        """Go one step against the velocity."""
        v = {name: self.decay * old + gradients[name] for name, old in memory.items()}  # (38)
        return {name: value - learning_rate * v[name] for name, value in parameters.items()}, v  # (38)


@dataclass(frozen=True)
class RMSprop:
    """m' = decay * m + (1 - decay) * g^2, theta' = theta - rate * g / sqrt(m' + floor) (Tieleman and Hinton 2012).

    The floor stands inside the root, as in the tutorial; PyTorch adds its eps to the root.
    """

    decay: float = 0.9
    floor: float = 1e-6

    def __post_init__(self) -> None:
        _check_decay(self.decay)
        if self.floor <= 0:
            raise UsageError(f"floor is {self.floor}: expected more than 0, it keeps a zero gradient from 0/0")

    def start(self, parameters: Mapping[str, Array]) -> Parameters:
        """Return the mean square m of each gradient, zero."""
        return _zeros(parameters)

    def update(
        self, parameters: Mapping[str, Array], gradients: Mapping[str, Array], memory: Parameters, learning_rate: float
    ) -> tuple[Parameters, Parameters]:
        """Go one step against the gradient in units of its own size."""
        m = {name: self.decay * old + (1 - self.decay) * gradients[name] ** 2 for name, old in memory.items()}  # (39)
        moved = {
            name: value - learning_rate * gradients[name] / np.sqrt(m[name] + self.floor)  # (39)
            for name, value in parameters.items()
        }
        return moved, m
