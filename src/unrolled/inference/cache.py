"""What was said before, beside a model: a word that has been written in a like place is likely to come again.

A continuous cache (Grave, Joulin & Usunier 2017, arXiv:1612.04426) keeps the last N outputs h_i of a network, each with
the token w_i that came then. At a place t it gives a token w

    p_cache(w) = sum of exp(theta h_t . h_i) over i with w_i = w, divided by the same sum over all i

and both together give (1 - lambda) p_model + lambda p_cache. Theta and lambda are not tuned: a mixture of all pairs of
a grid, and of the model alone, is weighted by what each has given to the tokens so far. Since a pair that fits one part
of a text may not fit the next, some of the weight is dealt out anew at each token (fixed share, Herbster & Warmuth
1998). What a token is given depends on those before it alone, and all tokens together are given 1.
"""

import numpy as np
import numpy.typing as npt

from unrolled.engines.contract import Doubles, Floats, Tokens
from unrolled.errors import UsageError

THETAS = (4.0, 8.0, 16.0, 32.0)
"""Over the mean of |h|^2 so far, so that there is one for outputs of any size; each is twice the one before."""
LAMBDAS = (0.03, 0.06, 0.12, 0.25, 0.5)
DEALT = 1e-3
"""Share of the weight that is dealt out anew at each token."""
LEAST = 1e-300
"""What stands for zero where one has to divide or to take the logarithm."""
ROWS_AT_ONCE = 256
NUMBERS_AT_ONCE = 1 << 23
"""Pairs of an output and one that is kept, that are held against each other together."""


class Cache:
    """The last outputs of a network and the tokens that came after them; empty at first.

    Args:
        size: N, how many are kept.

    Raises:
        UsageError: it is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UsageError(f"cache is {size}: give a whole number of at least 1")
        self._size = size
        self._outputs: Floats | None = None
        self._tokens = np.empty(0, np.int64)
        self._squares, self._seen = 0.0, 0
        self._weights = np.full(1 + len(THETAS) * len(LAMBDAS), 1 / (1 + len(THETAS) * len(LAMBDAS)))

    def mix(self, outputs: Floats, tokens: Tokens, losses: Doubles) -> Doubles:
        """Losses of the next tokens of the text by model and cache together, in nats; then they are kept, too.

        Args:
            outputs: (M, H) from which the network told them.
            tokens: (M,) the tokens.
            losses: (M,) -log p(token) by the network.
        """
        mixed, rows = [np.empty(0)], max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // self._size))
        for start in range(0, len(tokens), rows):
            part = slice(start, start + rows)
            mixed.append(self._mix(outputs[part], tokens[part], losses[part]))
        return np.concatenate(mixed)

    def _mix(self, outputs: Floats, tokens: Tokens, losses: Doubles) -> Doubles:
        count, kept = len(tokens), len(self._tokens)
        keys = outputs if self._outputs is None else np.concatenate([self._outputs, outputs])
        words = np.concatenate([self._tokens, tokens])
        squares = self._squares + np.cumsum(np.square(outputs, dtype=np.float64).sum(axis=1))
        means = squares / (self._seen + 1 + np.arange(count))
        queries = (outputs / np.maximum(means, LEAST)[:, None]).astype(keys.dtype)
        back = kept + np.arange(count)[:, None] - np.arange(kept + count)
        is_there = (back > 0) & (back <= self._size)
        said = _said(queries @ keys.T, is_there, words == tokens[:, None])
        mixed = self._weigh(losses, said, np.any(is_there, axis=1))
        self._outputs, self._tokens = keys[-self._size :], words[-self._size :]
        self._squares, self._seen = float(squares[-1]), self._seen + count
        return mixed

    def _weigh(self, losses: Doubles, said: Doubles, is_filled: npt.NDArray[np.bool_]) -> Doubles:
        """Losses of the mixture, whose weights follow what each part of it gives, token by token."""
        model = np.maximum(np.exp(-losses), LEAST)  # nothing is quite impossible, or no weight would be left
        lambdas = np.where(is_filled[:, None], np.array(LAMBDAS), 0.0)[:, None]
        pairs = (1 - lambdas) * model[:, None, None] + lambdas * said[:, :, None]
        parts = np.concatenate([model[:, None], pairs.reshape(len(model), -1)], axis=1)
        weights, dealt, mixed = self._weights, DEALT / parts.shape[1], np.empty(len(model))
        for row, given in enumerate(parts):
            weights = weights * given
            total = weights.sum()
            mixed[row] = -np.log(total)
            weights = weights * ((1 - DEALT) / total) + dealt
        self._weights = weights
        return mixed


def _said(likeness: Floats, is_there: npt.NDArray[np.bool_], is_same: npt.NDArray[np.bool_]) -> Doubles:
    """p_cache of each row's token, for each theta: (M, thetas); 0 where nothing is kept."""
    highest = np.max(likeness, axis=1, keepdims=True, where=is_there, initial=-np.inf)
    powers = np.exp(THETAS[0] * np.where(is_there, likeness - highest, -np.inf), dtype=np.float64)
    said = []
    for number in range(len(THETAS)):
        powers = powers * powers if number else powers
        said.append(np.sum(powers, axis=1, where=is_same) / np.maximum(powers.sum(axis=1), LEAST))
    return np.stack(said, axis=1)
