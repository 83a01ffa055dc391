"""The mean of the weights over the last part of a run, used in place of the weights themselves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

PATIENCE = 5
"""The last validations, which a loss is not compared with, as in the source."""


class Average:
    """Averaging that begins when validation stops improving (the trigger of NT-ASGD).

    It begins at the first validation whose loss is above the best of those before the last `PATIENCE`. From then on the
    mean of the weights after each step stands in for them wherever the network is tried or kept, and validation losses
    are its own; training itself goes on with the weights.

    Source: Merity et al., arXiv:1708.01009, algorithm 1; the mean is Polyak & Juditsky's (1992).

    Args:
        parameters: the weights that are trained.
        triggered: whether it ever begins.
    """

    def __init__(self, parameters: Sequence[Tensor], *, triggered: bool) -> None:
        self.parameters, self.triggered = list(parameters), triggered
        self.means: list[Tensor] = []
        self.count = 0
        self.losses: list[float] = []

    def validated(self, loss: float) -> bool:
        """A validation loss has come; returns whether averaging begins now."""
        begins = self.triggered and not self.means and loss > min(self.losses[:-PATIENCE], default=float("inf"))
        self.losses.append(loss)
        if begins:
            self.means = [parameter.detach().clone() for parameter in self.parameters]
            self.count = 1
        return begins

    @torch.no_grad()
    def stepped(self) -> None:
        """The weights have been updated."""
        if self.means:
            self.count += 1
            torch._foreach_lerp_(self.means, [p.detach() for p in self.parameters], 1 / self.count)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the mean stands where the weights were, if it has begun."""
        if not self.means:
            yield
            return
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._put(self.means)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        torch._foreach_copy_([parameter.detach() for parameter in self.parameters], list(values))
