"""A language model ready for use, put together from an engine's operations: what any engine can offer."""

from collections.abc import Iterator, Sequence

import numpy as np

from unrolled.engines.arrays import log_softmax
from unrolled.engines.checks import check_choices, check_language_model, check_read, check_rows
from unrolled.engines.contract import (
    Doubles,
    Engine,
    Floats,
    InputWeights,
    LanguageModelWeights,
    Reading,
    StackState,
    Tokens,
)
from unrolled.engines.sampling import Sampling

WINDOW = 128
"""Time steps run at once, so that memory does not grow with the length of a sequence."""
BATCH_SIZE = 64
"""Most sequences side by side, unless another size is asked for."""
TOKENS_AT_ONCE = 4096
"""Tokens in one batch, padding included."""
SCORES_AT_ONCE = 1 << 22
"""Scores, (rows, V), that are there at once where ranks are wanted."""


class PlainPredictor:
    """See `contract.Predictor`.

    Args:
        engine: what does the work.
        weights: NumPy arrays.

    Raises:
        ShapeError: the weights do not fit together.
    """

    def __init__(self, engine: Engine, weights: LanguageModelWeights) -> None:
        check_language_model(weights)
        self.engine, self.weights = engine, weights

    def read(
        self,
        inputs: Tokens,
        lengths: Tokens,
        state: StackState | None = None,
        *,
        targets: Tokens | None = None,
        ranks: bool = False,
        outputs: bool = False,
        batch_size: int | None = None,
    ) -> Reading:
        """Batches of sequences of like length, a window at a time; see `contract.Predictor.read`."""
        check_read(self.weights, inputs, lengths, state, targets)
        state = zero_state(self.weights, len(lengths)) if state is None else state
        last = tuple(tuple(part.copy() for part in layer) for layer in state)
        losses = None if targets is None else np.empty(len(inputs))
        places = np.empty(len(inputs), np.int64) if targets is not None and ranks else None
        vectors = np.empty((len(inputs), len(state[-1][0][0])), self.weights.embedding.dtype) if outputs else None
        starts = np.cumsum(lengths) - lengths
        by_length = np.argsort(-lengths, kind="stable")
        while len(by_length):
            longest = min(int(lengths[by_length[0]]), WINDOW)
            count = max(1, min(batch_size or BATCH_SIZE, TOKENS_AT_ONCE // longest))
            rows, by_length = by_length[:count], by_length[count:]
            self._read_batch(rows, starts[rows], lengths[rows], inputs, targets, last, losses, places, vectors)
        return Reading(losses, places, vectors, last)

    def _read_batch(
        self,
        rows: Tokens,
        starts: Tokens,
        lengths: Tokens,
        inputs: Tokens,
        targets: Tokens | None,
        last: StackState,
        losses: Doubles | None,
        places: Tokens | None,
        vectors: Floats | None,
    ) -> None:
        """Read sequences given longest first: those that have ended leave the batch at the next window.

        `last`, the state of all sequences, and losses, places and vectors are written where these sequences stand.
        """
        for first in range(0, lengths[0], WINDOW):
            active = int(np.sum(lengths > first))
            rows, starts, lengths = rows[:active], starts[:active], lengths[:active]
            left = np.minimum(lengths - first, WINDOW)
            steps = np.arange(left[0])[:, None]
            counts = steps < left
            at = np.where(counts, starts + first + steps, starts)  # past the end of a sequence anything that is there
            state = tuple(tuple(part[rows] for part in layer) for layer in last)
            outputs, state = self._advance(inputs[at], state, left)
            for layer, new in zip(last, state, strict=True):
                for part, values in zip(layer, new, strict=True):
                    part[rows] = values
            if vectors is not None:
                vectors[at[counts]] = outputs[counts]
            if targets is None or losses is None:
                continue
            live, wanted = outputs[counts], targets[at[counts]]
            losses[at[counts]] = self._losses(live, wanted)
            if places is not None:
                places[at[counts]] = self._ranks(live, wanted)

    def _advance(self, ids: Tokens, state: StackState, lengths: Tokens | None) -> tuple[Floats, StackState]:
        """Read tokens: ids (T, B) to the last layer's outputs (T, B, H) and the state after the last token."""
        weights, engine = self.weights, self.engine
        first, *others = weights.layers
        inputs = InputWeights(weights.embedding, first.weight_ih, first.bias_ih)
        outputs, final, _ = engine.unroll_tokens(
            weights.cell, ids, inputs, first.weight_hh, first.bias_hh, state[0], lengths=lengths, keep=False
        )
        last = [final]
        for layer, before in zip(others, state[1:], strict=True):
            rows, _ = engine.linear(outputs.reshape(ids.size, -1), layer.weight_ih, layer.bias_ih, keep=False)
            x = rows.reshape(*ids.shape, -1)
            outputs, final, _ = engine.unroll(
                weights.cell, x, layer.weight_hh, layer.bias_hh, before, lengths=lengths, keep=False
            )
            last.append(final)
        return outputs, tuple(last)

    def _losses(self, outputs: Floats, targets: Tokens) -> Doubles:
        weight, bias = self.weights.output_weight, self.weights.output_bias
        losses, _ = self.engine.linear_cross_entropy(outputs, weight, bias, targets, keep=False)
        return np.asarray(losses, np.float64)

    def _scores(self, outputs: Floats) -> Floats:
        weight, bias = self.weights.output_weight, self.weights.output_bias
        scores: Floats = self.engine.linear(np.ascontiguousarray(outputs), weight, bias, keep=False)[0]
        return scores

    def _ranks(self, outputs: Floats, targets: Tokens) -> Tokens:
        ranks = np.empty(len(outputs), np.int64)
        at_once = max(1, SCORES_AT_ONCE // len(self.weights.output_weight))
        for start in range(0, len(outputs), at_once):
            part = slice(start, start + at_once)
            scores = self._scores(outputs[part])
            own = np.take_along_axis(scores, targets[part, None], axis=1)
            ranks[part] = 1 + np.sum(scores > own, axis=1)
        return ranks

    def log_probabilities(self, state: StackState) -> Doubles:
        """From the last layer's h; see `contract.Predictor.log_probabilities`."""
        check_rows(self.weights, state, None)
        logs: Doubles = log_softmax(self._scores(state[-1][0]).astype(np.float64))
        return logs

    def decode(
        self,
        state: StackState,
        tokens: Tokens,
        *,
        sampling: Sampling,
        generators: Sequence[np.random.Generator],
        forbidden: Sequence[int] = (),
        stop: int | None = None,
        max_tokens: int | None = None,
    ) -> Iterator[Tokens]:
        """Step, choose, yield, one token at a time; see `contract.Predictor.decode`."""
        check_rows(self.weights, state, len(generators), tokens)
        check_choices(self.weights, forbidden, stop)
        return self._decode(state, tokens, sampling, list(generators), forbidden, stop, max_tokens)

    def _decode(
        self,
        state: StackState,
        tokens: Tokens,
        sampling: Sampling,
        generators: list[np.random.Generator],
        forbidden: Sequence[int],
        stop: int | None,
        max_tokens: int | None,
    ) -> Iterator[Tokens]:
        rows, count, made = np.arange(len(tokens)), len(tokens), 0
        while len(rows) and (max_tokens is None or made < max_tokens):
            outputs, state = self._advance(tokens[None], state, None)
            tokens = sampling.choose(self._scores(outputs[0]), forbidden, [generators[row] for row in rows])
            made += 1
            piece = np.full((1, count), -1, np.int64)
            piece[0, rows] = tokens
            yield piece
            if stop is not None:
                live = tokens != stop
                rows, tokens = rows[live], tokens[live]
                state = tuple(tuple(part[live] for part in layer) for layer in state)


def zero_state(weights: LanguageModelWeights, batch: int) -> StackState:
    """The state before the first token: zeros, (B, H) for each part of each layer."""
    dtype = weights.embedding.dtype
    return tuple(
        tuple(np.zeros((batch, layer.hidden_size), dtype) for _ in weights.cell.state) for layer in weights.layers
    )
