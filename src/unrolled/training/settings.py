"""Settings of a model and of its training, checked on construction; every default stands here once.

The command line makes its options from these fields; `help` and `choices` in a field's metadata are what it shows.
"""

import math
from dataclasses import dataclass

from unrolled import cells, engines
from unrolled.errors import UsageError
from unrolled.settings import check_choice, option
from unrolled.text.settings import TextSettings

OPTIMIZERS = {"adamw": 0.01, "sgd": 10.0, "momentum": 1.0, "rmsprop": 0.005, "adagrad": 0.05}
"""Optimizers by name, each with its default learning rate."""


@dataclass(frozen=True)
class ModelSettings:
    """Shape of the network. None leaves a choice to the unit of text."""

    cell: str | None = option(None, "Recurrent cell (default: gru for characters, else lstm)", choices=cells.names())
    hidden: int | None = option(None, "Units in each recurrent layer (default: 256 for characters, else 200)")
    embedding: int | None = option(None, "Size of token vectors (default: as hidden)")
    layers: int = option(1, "Recurrent layers")
    tied: bool = option(False, "Use one matrix for token vectors and output layer; needs equal sizes")
    dropout: float = option(0.0, "Share of elements dropped before, between and after the layers while training")

    def __post_init__(self) -> None:
        if self.cell is not None:
            check_choice("cell", self.cell, cells.names())
        for name, size in (("hidden", self.hidden), ("embedding", self.embedding), ("layers", self.layers)):
            if size is not None and size < 1:
                raise UsageError(f"{name} is {size}: give a whole number of at least 1")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is {self.dropout}: give a share of at least 0 and below 1")
        if self.tied and None not in {self.hidden, self.embedding} and self.hidden != self.embedding:
            raise UsageError(f"tied weights need equal sizes: embedding is {self.embedding}, hidden is {self.hidden}")

    def cell_for(self, unit: str) -> str:
        """The cell, with the default filled in: in a few minutes each did better at its unit (docs/results.md)."""
        return self.cell or ("gru" if unit == "char" else "lstm")

    def sizes_for(self, unit: str) -> tuple[int, int]:
        """(hidden, embedding) with defaults filled in."""
        hidden = self.hidden or (self.embedding if self.tied else None) or (256 if unit == "char" else 200)
        return hidden, self.embedding or hidden


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained. Exactly one of epochs, minutes and anneal says for how long; 10 epochs if none."""

    epochs: float | None = option(None, "Passes over the training text (default: 10, unless --minutes is given)")
    minutes: float | None = option(None, "Wall time of the whole command; the rate is annealed to its end by then")
    batch: int | None = option(None, "Sequences trained side by side (default: 32 for characters, else 16)")
    window: int | None = option(
        None, "Time steps after which backpropagation through time is cut (default: 64 for characters, else 32)"
    )
    optimizer: str = option("adamw", "Optimizer", choices=tuple(OPTIMIZERS))
    learning_rate: float | None = option(
        None, f"Highest learning rate (default: {', '.join(f'{rate:g} {name}' for name, rate in OPTIMIZERS.items())})"
    )
    clip: float = option(1.0, "Norm to which gradients are clipped; 0 does not clip")
    engine: str = option("auto", "Engine", choices=("auto", *engines.names()))
    device: str = option("cpu", "Device as torch names it: cpu, cuda, cuda:1, mps")
    threads: int | None = option(None, "CPU threads (default: as many as the process may use)")
    seed: int = option(1, "Seed of initial weights, dropout and order")
    anneal: str | None = option(
        None, "Repeat a --minutes run exactly: the plan it printed, as step:end pairs such as 120:3000,900:3100"
    )

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.epochs, self.minutes, self.anneal)) > 1:
            raise UsageError("epochs, minutes and anneal exclude each other: give one of them")
        for name, value in (("epochs", self.epochs), ("minutes", self.minutes), ("learning_rate", self.learning_rate)):
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} is {value}: give a number above 0")
        for name, count in (("batch", self.batch), ("window", self.window), ("threads", self.threads)):
            if count is not None and count < 1:
                raise UsageError(f"{name} is {count}: give a whole number of at least 1")
        if not 0 <= self.clip < math.inf:
            raise UsageError(f"clip is {self.clip}: give a norm above 0, or 0 to leave gradients as they are")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}: give a whole number from 0 to 2^63 - 1")
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("engine", self.engine, ("auto", *engines.names()))

    def sizes_for(self, unit: str) -> tuple[int, int]:
        """(batch, window) with defaults filled in: words tell more than characters, so fewer make a good step."""
        batch, window = (32, 64) if unit == "char" else (16, 32)
        return self.batch or batch, self.window or window

    @property
    def highest_rate(self) -> float:
        """The learning rate before annealing."""
        return self.learning_rate or OPTIMIZERS[self.optimizer]


@dataclass(frozen=True)
class Settings:
    """Everything a run is asked to do."""

    text: TextSettings
    model: ModelSettings
    training: TrainingSettings
