"""Dropout whose randomness can be handed in."""

import torch
from torch import Tensor, nn

from unrolled.errors import UsageError


class Dropout(nn.Module):
    """Zero each element with probability p while training and scale the rest by 1 / (1 - p).

    Source: Srivastava et al., JMLR 15 (2014). Unlike nn.Dropout it draws from a generator of its own where one is
    given, so that a run can be repeated and resumed whatever else draws random numbers.

    Raises:
        UsageError: p is outside 0 <= p < 1.
    """

    def __init__(self, p: float, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise UsageError(f"dropout is {p}: give a probability of at least 0 and below 1")
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        """X with elements dropped; x itself when evaluating or p = 0."""
        if not self.training or self.p == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.div_(1 - self.p)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"
