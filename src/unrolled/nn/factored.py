"""Token vectors that are sums: a token's own, and those of the factors that it shares with others."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

SHARE = 0.25
"""Of a factor's vector in the sum: a token has several, which all learn at the rate of its own."""


class FactoredEmbedding(nn.Embedding):
    """An embedding whose vectors are weight[token] + SHARE * the sum of factors[number] (after arXiv:1405.4273).

    It is a way to learn; what is learnt is a table like any other (`table`).

    Args:
        numbers: (V, K) of the factors of each token, from 1 on; 0 stands for none.
        embedding_size: E.

    Attributes:
        factors: (F + 1, E), zero at first; the first row stands for none and stays so.
    """

    numbers: Tensor

    def __init__(self, numbers: ArrayLike, embedding_size: int) -> None:
        table = torch.as_tensor(numbers, dtype=torch.int64)
        super().__init__(len(table), embedding_size)
        self.register_buffer("numbers", table, persistent=False)
        self.factors = nn.Parameter(torch.zeros(int(table.max()) + 1 if table.numel() else 1, embedding_size))

    def rows(self, tokens: Tensor, *, sparse: bool = False) -> Tensor:
        """Vectors of tokens (N,), each best there once: (N, E).

        Args:
            tokens: ids.
            sparse: whether gradients are sparse tensors of the rows that the tokens use.
        """
        own = nn.functional.embedding(tokens, self.weight, sparse=sparse)
        numbers = self.numbers[tokens]
        is_there = torch.zeros(len(self.factors), dtype=torch.bool, device=tokens.device)
        is_there[numbers] = True
        is_there[0] = True
        places = torch.cumsum(is_there, 0) - 1
        factors = nn.functional.embedding(is_there.nonzero().flatten(), self.factors, sparse=sparse)
        return own + self._sums(places[numbers], factors)

    def table(self) -> Tensor:
        """The vectors of all tokens, (V, E)."""
        return self.weight + self._sums(self.numbers, self.factors)

    def _sums(self, numbers: Tensor, factors: Tensor) -> Tensor:
        if not numbers.shape[1]:
            return torch.zeros(len(numbers), self.embedding_dim, dtype=factors.dtype, device=factors.device)
        return SHARE * nn.functional.embedding_bag(numbers, factors, mode="sum", padding_idx=0)


def rows_of(vectors: Tensor | FactoredEmbedding, tokens: Tensor, *, sparse: bool = False) -> Tensor:
    """Rows (N, E) of a table of vectors; see `FactoredEmbedding.rows`."""
    if isinstance(vectors, FactoredEmbedding):
        return vectors.rows(tokens, sparse=sparse)
    return nn.functional.embedding(tokens, vectors, sparse=sparse)


def all_rows(vectors: Tensor | FactoredEmbedding) -> Tensor:
    """A table of vectors, (V, E)."""
    return vectors.table() if isinstance(vectors, FactoredEmbedding) else vectors
