"""An output layer that looks at some tokens of a large vocabulary: the targets of a batch and others drawn at random.

What the whole layer costs in a step grows with the vocabulary; most of its tokens teach a batch next to nothing.

Sources: Bengio and Senecal 2008 (IEEE Transactions on Neural Networks 19); Jean et al., arXiv:1412.2007.
"""

from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor


class Sample(NamedTuple):
    """Tokens that stand for the vocabulary.

    Attributes:
        tokens: ids, each once, in order, (S,).
        log_chances: logarithm of the chance that each is among them, (S,).
        targets: the place of each target among the tokens, (N,).
    """

    tokens: Tensor
    log_chances: Tensor
    targets: Tensor


class Sampler:
    """Draws tokens as often as a text has them.

    Args:
        counts: how often the text has each token, (V,); none is taken for once.
        draws: tokens drawn for a batch, with replacement.
        device: of the targets.
    """

    def __init__(self, counts: ArrayLike, draws: int, device: torch.device | None = None) -> None:
        often = torch.as_tensor(counts, dtype=torch.float64).clamp(min=1)
        self._draws, self._size = draws, len(often)
        self._below = (often.cumsum(0) / often.sum())[:-1].to(device)
        self._log_misses = torch.log1p(-often / often.sum()).float().to(device)

    def saves(self, targets: int) -> bool:
        """Whether what is drawn for so many targets is at most half of the vocabulary, so that it is worth it."""
        return 2 * (self._draws + targets) <= self._size

    def draw(self, targets: Tensor, generator: torch.Generator | None = None) -> Sample:
        """The targets and tokens drawn at random.

        With scores less the logarithms of the chances, a softmax over the sample says which of its tokens is the
        target: who learns that comes close to the scores of the whole vocabulary, at smaller losses. All targets of the
        batch serve each of them, and count as if they had been drawn.

        Args:
            targets: token ids, (N,).
            generator: source of randomness; torch's own if None.
        """
        device = targets.device
        levels = torch.rand(self._draws, generator=generator, device=device, dtype=torch.float64)
        is_there = torch.zeros(self._size, dtype=torch.bool, device=device)
        is_there[torch.searchsorted(self._below, levels, right=True)] = True
        is_there[targets] = True
        tokens = is_there.nonzero().flatten()
        log_chances = torch.log(-torch.expm1((self._draws + len(targets)) * self._log_misses[tokens]))
        places = torch.cumsum(is_there, 0) - 1
        return Sample(tokens, log_chances, places[targets])
