"""Token vectors that are sums: a token's own, and those of the factors that it shares with others."""

from typing import Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SHARE = 0.25
"""Of a factor's vector in the sum: a token has several, which all learn at the rate of its own."""


class FactoredEmbedding(nn.Embedding):
    """An embedding whose vectors are weight[token] + SHARE * the sum of factors[number] (after arXiv:1405.4273).

    It is a way to learn; what is learnt is a table like any other (`table`).

    Args:
        numbers: (V, K) of the factors of each token, from 1 on; 0 stands for none.
        embedding_size: E.

    Attributes:
        factors: (F, E), zero at first; factor number 1 is the first row.
    """

    def __init__(self, numbers: ArrayLike, embedding_size: int) -> None:
        table = torch.tensor(numbers, dtype=torch.int64)
        super().__init__(len(table), embedding_size)
        self._numbers = table  # no buffer, which processes would send to each other in every step
        self.factors = nn.Parameter(torch.zeros(int(table.max()) if table.numel() else 0, embedding_size))
        self._all: Members | None = None

    def rows(self, tokens: Tensor, *, sparse: bool = False) -> Tensor:
        """Vectors of tokens (N,), each best there once: (N, E).

        Args:
            tokens: ids.
            sparse: whether gradients are sparse tensors of the rows that the tokens use.
        """
        own = nn.functional.embedding(tokens, self.weight, sparse=sparse)
        numbers = self._numbers_here()[tokens]
        is_there = torch.zeros(len(self.factors) + 1, dtype=torch.bool, device=tokens.device)
        is_there[numbers] = True
        is_there[0] = False
        places, used = torch.cumsum(is_there, 0), is_there[1:].nonzero().flatten()
        factors = nn.functional.embedding(used, self.factors, sparse=sparse)
        sums: Tensor = _Sums.apply(own, factors, members(places[numbers], len(used)))  # type: ignore[no-untyped-call]
        return sums

    def table(self) -> Tensor:
        """The vectors of all tokens, (V, E)."""
        numbers = self._numbers_here()
        if self._all is None or self._all.of_token.device != numbers.device:
            self._all = members(numbers, len(self.factors))
        sums: Tensor = _Sums.apply(self.weight, self.factors, self._all)  # type: ignore[no-untyped-call]
        return sums

    def _numbers_here(self) -> Tensor:
        """Where the weights are."""
        if self._numbers.device != self.weight.device:
            self._numbers = self._numbers.to(self.weight.device)
        return self._numbers


class Members(NamedTuple):
    """Which factors tokens have, and which tokens have a factor: lists one behind the other, and where each begins."""

    of_token: Tensor
    begins: Tensor
    of_factor: Tensor
    factor_begins: Tensor


def members(numbers: Tensor, factors: int) -> Members:
    """Both ways, of (N, K) numbers from 1 to `factors`; 0 stands for none."""
    there = numbers.flatten().nonzero().flatten()
    of_token, tokens = numbers.flatten()[there] - 1, there // max(1, numbers.shape[1])
    ordered, order = torch.sort(of_token, stable=True)
    return Members(of_token, _begins(tokens, len(numbers)), tokens[order], _begins(ordered, factors))


def _begins(ascending: Tensor, count: int) -> Tensor:
    return torch.searchsorted(ascending, torch.arange(count, device=ascending.device))


class _Sums(torch.autograd.Function):
    """own + SHARE * the sum of each token's factors. Back, what a factor gets is a sum over the tokens that have it."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, factors: Tensor, all_: Members) -> Tensor:
        ctx.all_ = all_
        return _sums(factors, all_.of_token, all_.begins).mul_(SHARE).add_(own)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_sums: Tensor) -> tuple[Tensor, Tensor, None]:
        d_sums = d_sums.contiguous()
        return d_sums, _sums(d_sums, ctx.all_.of_factor, ctx.all_.factor_begins).mul_(SHARE), None


def _sums(rows: Tensor, indices: Tensor, begins: Tensor) -> Tensor:
    """Sums over lists of rows."""
    return nn.functional.embedding_bag(indices, rows, begins, mode="sum")


def rows_of(vectors: Tensor | FactoredEmbedding, tokens: Tensor, *, sparse: bool = False) -> Tensor:
    """Rows (N, E) of a table of vectors; see `FactoredEmbedding.rows`."""
    if isinstance(vectors, FactoredEmbedding):
        return vectors.rows(tokens, sparse=sparse)
    return nn.functional.embedding(tokens, vectors, sparse=sparse)


def all_rows(vectors: Tensor | FactoredEmbedding) -> Tensor:
    """A table of vectors, (V, E)."""
    return vectors.table() if isinstance(vectors, FactoredEmbedding) else vectors
