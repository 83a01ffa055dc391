"""Choosing the next token from a distribution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unrolled.errors import EngineError, UsageError

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Applied in this order: temperature, top_k, top_p; then one draw. All in float64.

    Attributes:
        temperature: divides the scores; below 1 sharpens, above 1 flattens the distribution.
        top_k: only the k most probable tokens; 0 means all.
        top_p: only the fewest most probable tokens that together have at least this probability (nucleus sampling,
            arXiv:1904.09751); 1 means all.
        greedy: always the most probable token; ties go to the lowest id, and the rest is not looked at.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}: give a number above 0 (or use greedy)")
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}: give 0 (all tokens) or a positive count")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}: give a share above 0 and at most 1")

    def probabilities(self, scores: npt.NDArray[np.floating], forbidden: Sequence[int]) -> Doubles:
        """The distribution that is drawn from: scores (B, V), before softmax, to probabilities (B, V).

        Raises:
            EngineError: a row leaves no token to choose, because all are forbidden or its scores are not numbers.
        """
        allowed = _allowed(scores, forbidden)
        with np.errstate(over="ignore"):  # a score too far down for its temperature becomes -inf, as it should
            allowed = (allowed - allowed.max(axis=1, keepdims=True)) / self.temperature
        if 0 < self.top_k < allowed.shape[1]:
            _keep_first(allowed, np.full(len(allowed), self.top_k))
        if self.top_p < 1:
            descending = -np.sort(-_normalised(allowed), axis=1)
            together = np.cumsum(descending, axis=1)
            _keep_first(allowed, 1 + np.sum(together[:, :-1] < self.top_p, axis=1))
        return _normalised(allowed)

    def choose(
        self,
        scores: npt.NDArray[np.floating],
        forbidden: Sequence[int],
        generators: Sequence[np.random.Generator],
    ) -> npt.NDArray[np.int64]:
        """Choose one token a row: scores (B, V), before softmax, to ids (B,); row b draws once from generators[b].

        Raises:
            EngineError: as `probabilities`.
        """
        if self.greedy:
            best: npt.NDArray[np.int64] = _allowed(scores, forbidden).argmax(axis=1)
            return best
        cumulative = np.cumsum(self.probabilities(scores, forbidden), axis=1)
        # Scaling by the last sum, not by 1, keeps rounding from choosing a token past the last possible one.
        draws = np.array([generator.random() for generator in generators]) * cumulative[:, -1]
        chosen: npt.NDArray[np.int64] = np.count_nonzero(cumulative <= draws[:, None], axis=1)
        return chosen


def _allowed(scores: npt.NDArray[np.floating], forbidden: Sequence[int]) -> Doubles:
    """The scores in float64, with -inf in place of the forbidden ones."""
    allowed = scores.astype(np.float64)
    allowed[:, list(forbidden)] = -np.inf
    best = allowed.max(axis=1)
    if not np.isfinite(best).all():
        row = int(np.argmin(np.isfinite(best)))
        raise no_token_to_choose(row, best[row])
    return allowed


def no_token_to_choose(row: int, best: float) -> EngineError:
    """The error for a row of which no token can be chosen, because all are forbidden or scores are not numbers."""
    return EngineError(
        f"row {row} of the scores leaves no token to choose (highest allowed score {best}): "
        f"allow at least one token, and check the model's weights"
    )


def _normalised(scores: Doubles) -> Doubles:
    exponentials: Doubles = np.exp(scores)
    exponentials /= exponentials.sum(axis=1, keepdims=True)
    return exponentials


def _keep_first(scores: Doubles, counts: npt.NDArray[np.integer]) -> None:
    """Rule out, in each row, all but its `counts` highest scores; among equals the lower id comes first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1])[None, :], axis=1)
    scores[ranks >= counts[:, None]] = -np.inf
