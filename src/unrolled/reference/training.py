"""The tutorial's training: one update a sequence, and a learning rate that halves when the loss rises."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import TrainingError, UsageError
from unrolled.reference.forward_pass import Inputs, sequence_loss
from unrolled.reference.gradients import bptt, naive_bptt
from unrolled.reference.network import TutorialNetwork
from unrolled.reference.optimizers import SGD, Optimizer

Example = tuple[Inputs, ArrayLike]
"""The inputs and the targets of one sequence."""


@dataclass(frozen=True)
class Settings:
    """How to train.

    Raises:
        UsageError: a value is out of range.
    """

    epochs: int = 10
    """Passes over the training set."""
    learning_rate: float = 0.005
    """At the start; halved after each epoch at whose end the loss on the training set has risen."""
    optimizer: Optimizer = field(default_factory=SGD)
    truncate: int | None = None
    """As in `naive_bptt`; None means the true gradient, by `bptt`."""
    mean: bool = False
    """Follow the gradient of each sequence's mean loss, instead of its sum."""

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise UsageError(f"epochs is {self.epochs}: expected 0 or more")
        if not self.learning_rate > 0:
            raise UsageError(f"learning_rate is {self.learning_rate}: expected more than 0")


class Epoch(NamedTuple):
    """Where training stands after an epoch."""

    number: int
    """0 before the first update."""
    loss: float
    """On the whole training set, in nats per token."""
    learning_rate: float
    """For the next epoch."""
    network: TutorialNetwork


def corpus_loss(network: TutorialNetwork, examples: Sequence[Example]) -> float:
    """Cross entropy over all sequences, in nats per token: their summed loss by their number of tokens."""
    if not examples:
        raise TrainingError("there is no sequence to take the loss of: expected one or more")
    total = sum(sequence_loss(network, inputs, targets) for inputs, targets in examples)
    return total / sum(len(np.asarray(targets)) for _, targets in examples)


def train(
    network: TutorialNetwork,
    examples: Sequence[Example],
    settings: Settings,
    *,
    random: np.random.Generator | None = None,
) -> Iterator[Epoch]:
    """Train, yielding the state before the first update and after each epoch; stop whenever you stop reading.

    Args:
        network: where to start; it stays as it is.
        examples: the training set.
        settings: how to train.
        random: shuffles the order anew each epoch; None keeps it.

    Raises:
        TrainingError: there is nothing to train on, or the loss is no longer finite.
        ShapeError: an example does not fit the network.
    """
    rate, memory = settings.learning_rate, settings.optimizer.start(network.parameters)
    loss = corpus_loss(network, examples)
    yield Epoch(0, loss, rate, network)
    for number in range(1, settings.epochs + 1):
        order = range(len(examples)) if random is None else random.permutation(len(examples))
        for i in order:
            inputs, targets = examples[i]
            if settings.truncate is None:
                backward = bptt(network, inputs, targets, mean=settings.mean)
            else:
                backward = naive_bptt(network, inputs, targets, truncate=settings.truncate, mean=settings.mean)
            parameters, memory = settings.optimizer.update(network.parameters, backward.gradients, memory, rate)
            network = network.with_parameters(parameters)
        loss_before, loss = loss, corpus_loss(network, examples)
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} after epoch {number}: start again with a learning rate below {rate}"
            )
        if loss > loss_before:
            rate /= 2  # (40)
        yield Epoch(number, loss, rate, network)
