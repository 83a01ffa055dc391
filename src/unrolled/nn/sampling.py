"""An output layer that looks at some tokens of a large vocabulary: the targets of a batch and others drawn at random.

What the whole layer costs in a step grows with the vocabulary; most of its tokens teach a batch next to nothing.

Sources: Bengio and Senecal 2008 (IEEE Transactions on Neural Networks 19); Jean et al., arXiv:1412.2007. The tokens are
drawn as often as Zipf's law says, for vocabularies that begin with what is frequent, as those of words do.
"""

import math
from typing import NamedTuple

import torch
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


def saves(vocabulary_size: int, count: int, targets: int) -> bool:
    """Whether a sample is at most half of the vocabulary, so that it is worth being drawn."""
    return count > 0 and 2 * (count + targets) <= vocabulary_size


def draw(targets: Tensor, vocabulary_size: int, count: int, generator: torch.Generator | None = None) -> Sample:
    """The targets and `count` tokens drawn with replacement, token k with a chance of log((k+2)/(k+1)) / log(V+1).

    With scores less the logarithms of the chances, a softmax over the sample says which of its tokens is the target:
    who learns that comes close to the scores of the whole vocabulary, at smaller losses. All targets of the batch serve
    each of them, and count as if they had been drawn, which is as near as words come to Zipf's law.

    Args:
        targets: token ids, (N,).
        vocabulary_size: V.
        count: of draws.
        generator: source of randomness; torch's own if None.
    """
    device, whole = targets.device, math.log(vocabulary_size + 1)
    levels = torch.rand(count, generator=generator, device=device)
    drawn = (torch.exp(levels * whole) - 1).long().clamp_(max=vocabulary_size - 1)
    is_there = torch.zeros(vocabulary_size, dtype=torch.bool, device=device)
    is_there[drawn] = True
    is_there[targets] = True
    tokens = is_there.nonzero().flatten()
    chances = torch.log1p(1 / (tokens + 1.0)) / whole
    log_chances = torch.log(-torch.expm1((count + len(targets)) * torch.log1p(-chances)))
    places = torch.cumsum(is_there, 0) - 1
    return Sample(tokens, log_chances, places[targets])
