"""Log-probabilities of sequences of token ids: each from a zero state, or a text as one sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor, Reading
from unrolled.inference.cache import Cache

Ids = npt.NDArray[np.integer]
LINES_AT_ONCE = 2048
"""Lines that are read together, so that any number of them can stream through."""
WINDOW = 2048
"""Tokens of one sequence that are read at once, so that memory does not grow with its length."""


@dataclass(frozen=True)
class TokenLosses:
    """What a sequence's tokens cost.

    Attributes:
        losses: (N,) negative log-probability of each token in nats.
        ranks: (N,) place of each token among all tokens by probability, 1 the most probable; None unless asked for.
    """

    losses: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.int64] | None


def score_sequences(
    predictor: Predictor, sequences: Sequence[Ids], *, first_input: int, batch_size: int | None, ranks: bool
) -> list[TokenLosses]:
    """Score sequences of token ids, in their order.

    Args:
        predictor: the model.
        sequences: one array of at least one id each.
        first_input: the token that stands before each sequence.
        batch_size: most sequences at once; None: what is fast.
        ranks: whether each token's rank is wanted.
    """
    read, ends = _read(predictor, sequences, first_input, ranks=ranks, batch_size=batch_size)
    assert read.losses is not None
    losses = np.split(read.losses, ends[:-1])
    places = [None] * len(losses) if read.ranks is None else np.split(read.ranks, ends[:-1])
    return [TokenLosses(*pair) for pair in zip(losses, places, strict=True)]


def _read(
    predictor: Predictor, sequences: Sequence[Ids], first_input: int, **options: Any
) -> tuple[Reading, npt.NDArray[np.int64]]:
    """Read sequences, each from a zero state; and where each ends among all tokens."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    targets = np.concatenate(sequences).astype(np.int64)
    inputs, ends = np.roll(targets, 1), np.cumsum(lengths)
    inputs[ends - lengths] = first_input
    return predictor.read(inputs, lengths, targets=targets, **options), ends


def stream_losses(
    predictor: Predictor, ids: Ids, *, end_of_line_id: int, cache: Cache | None = None
) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read as one sequence, in nats, a window at a time; the state is carried between windows.

    With a cache they are those of model and cache together.
    """
    state, previous = None, end_of_line_id
    for start in range(0, len(ids), WINDOW):
        targets = ids[start : start + WINDOW].astype(np.int64)
        inputs = np.concatenate([[previous], targets[:-1]])
        lengths = np.array([len(inputs)])
        read = predictor.read(inputs, lengths, state, targets=targets, outputs=cache is not None)
        state, previous = read.state, int(targets[-1])
        yield _losses(read, targets, cache)


def sentence_losses(
    predictor: Predictor, ids: Ids, *, end_of_line_id: int, cache: Cache | None = None
) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read line by line, each from a zero state, in nats, some lines at a time; ids end a line.

    With a cache, which goes from line to line, they are those of model and cache together.
    """
    ends = np.flatnonzero(ids == end_of_line_id) + 1
    sentences = np.split(ids, ends[:-1])
    for start in range(0, len(sentences), LINES_AT_ONCE):
        lines = sentences[start : start + LINES_AT_ONCE]
        read, _ = _read(predictor, lines, end_of_line_id, outputs=cache is not None)
        yield _losses(read, np.concatenate(lines), cache)


def _losses(read: Reading, targets: Ids, cache: Cache | None) -> npt.NDArray[np.float64]:
    assert read.losses is not None
    if cache is None:
        return read.losses
    assert read.outputs is not None
    return cache.mix(read.outputs, targets.astype(np.int64), read.losses)
