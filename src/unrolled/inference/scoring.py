"""Log-probabilities of token sequences: each from a zero state, batched by length, padding never counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unrolled.engines import Engine, LanguageModelWeights
from unrolled.inference.network import Floats, StackState, Tokens, advance, zero_state

WINDOW = 128
"""Time steps run at once, so that memory does not grow with the length of a line."""
BATCH_SIZE = 64
"""Most lines in one batch, unless another size is asked for."""
LINES_AT_ONCE = 512
"""Lines that are sorted by length together, so that any number of them can stream through."""
TOKENS_AT_ONCE = 4096
"""Tokens in one batch, padding included."""


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
    engine: Engine,
    weights: LanguageModelWeights,
    sequences: Sequence[npt.NDArray[np.integer]],
    *,
    first_input: int,
    batch_size: int,
    ranks: bool,
) -> list[TokenLosses]:
    """Score sequences of token ids, in their order.

    Args:
        engine: does the work.
        weights: the model.
        sequences: one array of at least one id each.
        first_input: the token that stands before each sequence.
        batch_size: most sequences at once.
        ranks: whether each token's rank is wanted.
    """
    results: list[TokenLosses | None] = [None] * len(sequences)
    by_length = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    while by_length:
        longest = min(len(sequences[by_length[0]]), WINDOW)
        count = max(1, min(batch_size, TOKENS_AT_ONCE // longest))
        chosen, by_length = by_length[:count], by_length[count:]
        batch = _score_batch(engine, weights, [sequences[index] for index in chosen], first_input, ranks)
        for index, result in zip(chosen, batch, strict=True):
            results[index] = result
    return [result for result in results if result is not None]


def _score_batch(
    engine: Engine,
    weights: LanguageModelWeights,
    sequences: Sequence[npt.NDArray[np.integer]],
    first_input: int,
    ranks: bool,
) -> list[TokenLosses]:
    """Score sequences given longest first: those that have ended leave the batch at the next window."""
    lengths = np.array([len(sequence) for sequence in sequences])
    targets = np.full((lengths[0], len(sequences)), first_input, np.int64)
    for column, sequence in enumerate(sequences):
        targets[: len(sequence), column] = sequence
    inputs = np.concatenate([np.full((1, len(sequences)), first_input), targets[:-1]])
    losses, places = np.zeros(targets.shape), np.zeros(targets.shape, np.int64)
    state = zero_state(weights, len(sequences))
    for start in range(0, lengths[0], WINDOW):
        active = int(np.sum(lengths > start))
        state = tuple(tuple(part[:active] for part in layer) for layer in state)
        window = (slice(start, min(start + WINDOW, lengths[0])), slice(0, active))
        left = np.minimum(lengths[:active] - start, WINDOW)
        outputs, state = advance(engine, weights, inputs[window], state, left)
        counts = np.arange(len(outputs))[:, None] < left[None, :]
        wanted = targets[window][counts]
        losses[window][counts] = _losses(engine, weights, outputs[counts], wanted)
        if ranks:
            places[window][counts] = _ranks(weights, outputs[counts], wanted)
    return [
        TokenLosses(losses[:length, column], places[:length, column] if ranks else None)
        for column, length in enumerate(lengths)
    ]


def stream_losses(
    engine: Engine, weights: LanguageModelWeights, ids: npt.NDArray[np.integer], *, end_of_line_id: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read as one sequence, in nats, a window at a time; the state is carried between windows."""
    state: StackState = zero_state(weights, 1)
    previous = end_of_line_id
    for start in range(0, len(ids), WINDOW):
        targets = ids[start : start + WINDOW].astype(np.int64)
        inputs = np.concatenate([[previous], targets[:-1]])
        outputs, state = advance(engine, weights, inputs[:, None], state)
        previous = int(targets[-1])
        yield _losses(engine, weights, outputs[:, 0], targets)


def sentence_losses(
    engine: Engine, weights: LanguageModelWeights, ids: npt.NDArray[np.integer], *, end_of_line_id: int
) -> Iterator[npt.NDArray[np.float64]]:
    """Losses of a text read line by line, each from a zero state, in nats, some lines at a time; ids end a line."""
    ends = np.flatnonzero(ids == end_of_line_id) + 1
    sentences = np.split(ids, ends[:-1])
    for start in range(0, len(sentences), LINES_AT_ONCE):
        lines = sentences[start : start + LINES_AT_ONCE]
        results = score_sequences(
            engine, weights, lines, first_input=end_of_line_id, batch_size=BATCH_SIZE, ranks=False
        )
        yield np.concatenate([result.losses for result in results])


def _losses(engine: Engine, weights: LanguageModelWeights, outputs: Floats, targets: Tokens) -> npt.NDArray[np.float64]:
    losses, _ = engine.linear_cross_entropy(outputs, weights.output_weight, weights.output_bias, targets, keep=False)
    return np.asarray(losses, np.float64)


def _ranks(weights: LanguageModelWeights, outputs: Floats, targets: Tokens) -> npt.NDArray[np.int64]:
    scores = outputs @ weights.output_weight.T + weights.output_bias
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    ranks: npt.NDArray[np.int64] = 1 + np.sum(scores > own, axis=1)
    return ranks
