"""Dropout whose randomness can be handed in: of elements, of the same ones at all steps, of weights, of tokens.

An element takes 16 random bits, which is several times as fast as torch's bernoulli_; shares are kept to 1/65536.
"""

import torch
from torch import Tensor, nn

from unrolled.engines.checks import check_tokens
from unrolled.errors import UsageError

_LEVELS = 2**16
_A_DRAW = 4
"""Elements that share one 64-bit draw."""


def check_share(name: str, p: float) -> None:
    """Refuse what is no probability of being dropped.

    Raises:
        UsageError: p is outside 0 <= p < 1.
    """
    if not 0 <= p < 1:
        raise UsageError(f"{name} is {p}: give a probability of at least 0 and below 1")


def keep_mask(shape: tuple[int, ...], p: float, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Zero with probability p, else what keeps the mean at 1; in the dtype and on the device of `like`."""
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    count = torch.Size(shape).numel()
    bits = torch.empty(-(-count // _A_DRAW), dtype=torch.int64, device=like.device)
    bits.random_(-(2**63), None, generator=generator)
    keeps = bits.view(torch.int16)[:count] >= dropped - _LEVELS // 2
    return keeps.to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped)).view(shape)


class Dropout(nn.Module):
    """Zero each element with probability p while training and scale the rest by 1 / (1 - p).

    Sources: Srivastava et al., JMLR 15 (2014); in time Zaremba et al., arXiv:1409.2329 (others at each step) or, with
    `locked`, Gal & Ghahramani, arXiv:1512.05287 (the same at all steps). Unlike nn.Dropout it draws from a generator of
    its own where one is given, so that a run can be repeated and resumed whatever else draws random numbers.

    Args:
        p: the probability.
        locked: whether one mask serves all of the first axis, which is time: (T, B, ...).
        generator: source of the randomness; torch's own if None.

    Raises:
        UsageError: p is outside 0 <= p < 1.
    """

    def __init__(self, p: float, *, locked: bool = False, generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_share("dropout", p)
        self.p, self.locked, self.generator = p, locked, generator

    def forward(self, x: Tensor) -> Tensor:
        """X with elements dropped; x itself when evaluating or p = 0."""
        if not self.training or self.p == 0:
            return x
        return x * keep_mask(tuple(x.shape[1:] if self.locked else x.shape), self.p, x, self.generator)

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"p={self.p}" + (", locked=True" if self.locked else "")


def dropped_rows(
    ids: Tensor,
    embedding: Tensor,
    *,
    of_tokens: float = 0.0,
    of_elements: float = 0.0,
    sparse: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The vectors of tokens with some dropped, each that occurs once: `rows[index]` is what embedding[ids] becomes.

    Whole vectors are dropped for all places of a token (embedding dropout, Gal & Ghahramani, arXiv:1512.05287),
    elements for all steps of a sequence (locked dropout). So there is one row for each token that occurs or, where
    elements are dropped, for each token that occurs in a sequence: products with the rows are as few as can be.

    Args:
        ids: (T, B).
        embedding: (V, E).
        of_tokens, of_elements: probabilities of being dropped; the rest is scaled to keep the mean.
        sparse: whether the gradient of the embedding is a sparse tensor of the rows that occur.
        generator: source of the randomness; torch's own if None.

    Returns:
        index (T, B) and rows (U, E).

    Raises:
        ShapeError: an id is not in the vocabulary.
    """
    check_tokens("ids", ids, tuple(ids.shape), len(embedding))
    vocabulary, batch = len(embedding), ids.shape[1]
    keys = ids
    if of_elements > 0:
        keys = ids + vocabulary * torch.arange(batch, device=ids.device)
    occurring, index = torch.unique(keys, return_inverse=True)
    tokens = occurring % vocabulary
    rows = nn.functional.embedding(tokens, embedding, sparse=sparse)
    if of_tokens > 0:
        rows = rows * keep_mask((vocabulary, 1), of_tokens, embedding, generator)[tokens]
    if of_elements > 0:
        masks = keep_mask((batch, embedding.shape[1]), of_elements, embedding, generator)
        rows = rows * masks[occurring // vocabulary]
    return index, rows


def read_as_unknown(
    ids: Tensor, share: float, unknown_id: int | None, generator: torch.Generator | None = None
) -> Tensor:
    """Token ids of any shape, some of them replaced by the unknown token, so that a network learns what to make of it.

    Args:
        ids: of tokens.
        share: probability of being replaced.
        unknown_id: id of the unknown token; None where there is none: the ids stay as they are.
        generator: source of the randomness; torch's own if None.
    """
    if unknown_id is None or share == 0:
        return ids
    drawn = torch.rand(ids.shape, generator=generator, device=ids.device)
    return torch.where(drawn < share, torch.full_like(ids, unknown_id), ids)
