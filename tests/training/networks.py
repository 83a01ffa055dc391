"""Small networks in float64 and batches, for the tests of single steps and of the loop."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Regularization
from unrolled.text.batches import Batch
from unrolled.training import optimizers
from unrolled.training.loop import Limits, Position, Step, train_steps
from unrolled.training.schedule import Schedule, legs_of_length

V, E, H, T, B = 7, 3, 4, 5, 3
CPU = torch.device("cpu")


def network_of(
    cell: str = "lstm",
    *,
    layers: int = 1,
    words: int = V,
    tied: bool = False,
    sparse: bool = False,
    **regularization: Any,
) -> LanguageModelNetwork:
    """A network whose weights are all different, biases too."""
    generator = torch.Generator().manual_seed(2)
    network = LanguageModelNetwork(
        LanguageModelShape(cell, words, H if tied else E, H, layers, tied),
        regularization=Regularization(**regularization),
        sparse_gradients=sparse,
        generator=generator,
    )
    with torch.no_grad():
        network.output.bias.uniform_(-0.5, 0.5, generator=generator)
    return network.double()


@dataclass
class Batches:
    """The same batches in every pass."""

    content: list[Batch]

    def __len__(self) -> int:
        return len(self.content)

    def batches(self, pass_index: int = 0, start: int = 0) -> Iterator[Batch]:
        return iter(self.content[start:])


def windows(*, carried: bool) -> Batches:
    """Two windows; with `carried` the second goes on where the first ended, one sequence being shorter."""
    ids = np.random.default_rng(1).integers(0, V, (2 * T + 1, B))
    first = Batch(ids[:T], ids[1 : T + 1], None, starts=True)
    lengths = np.array([5, 3, 1])
    return Batches([first, Batch(ids[T:-1], ids[T + 1 :], lengths, starts=not carried)])


def schedule_of(rate: float, steps: int) -> Schedule:
    """What a run of so many steps has by default."""
    schedule = Schedule(rate)
    schedule.legs = legs_of_length(steps, schedule.hold)
    return schedule


def steps_of(
    network: LanguageModelNetwork,
    reader: Any,
    *,
    optimizer: str = "sgd",
    rate: float = 0.0,
    steps: int,
    clip: float = 0.0,
) -> Iterator[Step]:
    """A run of the loop."""
    made = optimizers.make(optimizer, network.parameters(), 0.1)
    return train_steps(
        network, reader, made, schedule_of(rate, steps), Position(), limits=Limits(norm=clip), device=CPU
    )
