"""Sizes of a network and how its weights begin: settings that all tasks have in common."""

import math
from dataclasses import dataclass

from unrolled import cells
from unrolled.errors import UsageError
from unrolled.nn.initialization import NAMES as INITIALIZATIONS
from unrolled.nn.initialization import Beginning
from unrolled.settings import check_choice, option


@dataclass(frozen=True)
class ModelSettings:
    """Shape of the network and how its weights begin."""

    cell: str | None = option(
        None, "Recurrent cell (default: gru, but lstm for a language model of words)", choices=cells.names()
    )
    hidden: int | None = option(
        None, "Units in each recurrent layer (default of a language model: 256 for characters, else 200)"
    )
    embedding: int | None = option(None, "Size of token vectors (default of a language model: as hidden)")
    layers: int | None = option(None, "Recurrent layers (default: 1)")
    tied: bool | None = option(None, "Use one matrix for token vectors and output layer; needs equal sizes")
    factored: bool | None = option(
        None,
        "While training, make the vector of a word a sum of its own and of those that it shares with words spelt alike "
        "(default: no, with --minutes yes where tokens are words)",
    )
    most_parameters: int | None = option(None, "Most weights in all that a plan for --minutes may come to")
    initialization: str = option("uniform", "How recurrent weights begin", choices=INITIALIZATIONS)
    initial_range: float | None = option(
        None, "Bound of weights that begin uniform (default: 1 over the root of hidden; 0.1 for token vectors)"
    )
    forget_bias: float = option(1.0, "Where the bias of a forget gate begins")

    def beginning(self) -> Beginning:
        """How the weights begin, as networks take it."""
        return {
            "initialization": self.initialization,
            "initial_range": self.initial_range,
            "forget_bias": self.forget_bias,
        }

    def __post_init__(self) -> None:
        if self.cell is not None:
            check_choice("cell", self.cell, cells.names())
        check_choice("initialization", self.initialization, INITIALIZATIONS)
        for name, size in (
            ("hidden", self.hidden),
            ("embedding", self.embedding),
            ("layers", self.layers),
            ("most_parameters", self.most_parameters),
        ):
            if size is not None and size < 1:
                raise UsageError(f"{name} is {size}: give a whole number of at least 1")
        if self.tied and None not in {self.hidden, self.embedding} and self.hidden != self.embedding:
            raise UsageError(f"tied weights need equal sizes: embedding is {self.embedding}, hidden is {self.hidden}")
        if self.initial_range is not None and not 0 < self.initial_range < math.inf:
            raise UsageError(f"initial_range is {self.initial_range}: give a number above 0")
        if not math.isfinite(self.forget_bias):
            raise UsageError(f"forget_bias is {self.forget_bias}: give a number, such as 1")
