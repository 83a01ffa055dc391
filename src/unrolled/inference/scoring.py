"""Log-probabilities of sequences of token ids: each from a zero state, or a text as one sequence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor

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
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    targets = np.concatenate(sequences).astype(np.int64)
    inputs, ends = np.roll(targets, 1), np.cumsum(lengths)
    inputs[ends - lengths] = first_input
    read = predictor.read(inputs, lengths, targets=targets, ranks=ranks, batch_size=batch_size)
    assert read.losses is not None
    losses = np.split(read.losses, ends[:-1])
    places = [None] * len(losses) if read.ranks is None else np.split(read.ranks, ends[:-1])
    return [TokenLosses(*pair) for pair in zip(losses, places, strict=True)]


def stream_losses(predictor: Predictor, ids: Ids, *, end_of_line_id: int) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read as one sequence, in nats, a window at a time; the state is carried between windows."""
    state, previous = None, end_of_line_id
    for start in range(0, len(ids), WINDOW):
        targets = ids[start : start + WINDOW].astype(np.int64)
        inputs = np.concatenate([[previous], targets[:-1]])
        read = predictor.read(inputs, np.array([len(inputs)]), state, targets=targets)
        state, previous = read.state, int(targets[-1])
        assert read.losses is not None
        yield read.losses


def sentence_losses(predictor: Predictor, ids: Ids, *, end_of_line_id: int) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read line by line, each from a zero state, in nats, some lines at a time; ids end a line."""
    ends = np.flatnonzero(ids == end_of_line_id) + 1
    sentences = np.split(ids, ends[:-1])
    for start in range(0, len(sentences), LINES_AT_ONCE):
        lines = sentences[start : start + LINES_AT_ONCE]
        results = score_sequences(predictor, lines, first_input=end_of_line_id, batch_size=None, ranks=False)
        yield np.concatenate([result.losses for result in results])
