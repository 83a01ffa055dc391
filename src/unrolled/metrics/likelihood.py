"""Nats, perplexity, bits per character and per byte: derived here and nowhere else.

A model's loss is its mean negative log-probability in nats per token. Two perplexities may be compared only where the
tokens are the same; bits per character and per byte may be compared whatever the tokens are.
"""

import math

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UsageError


def perplexity(nats_per_token: float) -> float:
    """exp(nats per token): as uncertain as an even choice among so many tokens; inf where that overflows."""
    try:
        return math.exp(nats_per_token)
    except OverflowError:
        return math.inf


def nats_per_token(total_nats: float, tokens: int) -> float:
    """The mean negative log-probability of a text whose tokens have `total_nats` in all.

    Raises:
        UsageError: there are no tokens.
    """
    return total_nats / _count(tokens, "tokens")


def bits(nats: float) -> float:
    """The same uncertainty in bits: nats / log 2."""
    return nats / math.log(2)


def bits_per_character(total_nats: float, characters: int) -> float:
    """What a text of so many characters, ends of lines included, costs in bits for each of them.

    Raises:
        UsageError: there are no characters.
    """
    return bits(total_nats) / _count(characters, "characters")


def bits_per_byte(total_nats: float, size: int) -> float:
    """What a text of so many bytes in UTF-8, ends of lines included, costs in bits for each of them.

    Raises:
        UsageError: there are no bytes.
    """
    return bits(total_nats) / _count(size, "bytes")


def uniform_baseline(vocabulary_size: int) -> float:
    """Nats per token of a model that knows nothing but the vocabulary: log V.

    Raises:
        UsageError: the vocabulary is empty.
    """
    return math.log(_count(vocabulary_size, "tokens in the vocabulary"))


def unigram_baseline(train_counts: NDArray[np.integer], validation_counts: NDArray[np.integer]) -> float:
    """Nats per token of a model that knows how often each token occurs, and nothing of their order.

        p(w) = (count(w) + 1) / (N + V)

    with the counts of the N training tokens: Laplace's rule, so that no token is impossible.

    Args:
        train_counts: (V,) how often each token of the vocabulary occurs in the training text.
        validation_counts: (V,) how often each is to be predicted.

    Raises:
        UsageError: there is nothing to predict.
    """
    predicted = int(validation_counts.sum())
    _count(predicted, "tokens to predict")
    log_probability = np.log(train_counts + 1.0) - math.log(int(train_counts.sum()) + len(train_counts))
    return float(-(validation_counts @ log_probability) / predicted)


def _count(number: int, what: str) -> int:
    if number <= 0:
        raise UsageError(f"there are {number} {what}: a mean over them is not defined: give more text")
    return number
