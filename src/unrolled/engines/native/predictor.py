"""A language model in C++: weights packed once, the first layer's input term from a table, no scores kept.

`native/model.h` says how it lies in memory, `reading.h` how sequences are read, `decoding.h` how text is made.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unrolled.engines.arrays import log_softmax
from unrolled.engines.checks import check_choices, check_language_model, check_read, check_rows
from unrolled.engines.contract import Doubles, LanguageModelWeights, Reading, StackState, Tokens
from unrolled.engines.native.arrays import Arrays, address, addresses, threads_of
from unrolled.engines.native.library import Library
from unrolled.engines.sampling import Sampling, no_token_to_choose

TABLE_BYTES = 256 << 20
"""What the first layer makes of each token is kept, a row a token, up to so much memory; the rest is made anew."""
PIECE_SECONDS = 0.02
"""How long decoding goes on before it hands over what it has: so soon can text be shown, and decoding be stopped."""
PIECE_TOKENS = 1024
"""Most tokens a row that are handed over together."""
PIECES_A_TRIAL, PIECES_A_TRIAL_ALONE = 16, 4
"""So often a short piece is made with the other number of threads, to see which is faster now."""
BUSY = 2.0
"""Where all threads together take so many times as long as one alone, other programs hold the cores."""


class Pace:
    """How many threads decoding takes: all, or one alone while other programs hold the cores and meetings take long.

    What is decoded does not depend on it.
    """

    def __init__(self) -> None:
        self._seconds: dict[bool, float] = {}  # a token, by whether one thread made it alone
        self._pieces = 0

    def next(self, most: int) -> tuple[int, float]:
        """Threads for the next piece, at most so many, and the seconds that it may take."""
        self._pieces += 1
        alone = self._seconds.get(True, math.inf) * BUSY < self._seconds.get(False, 0.0)
        if self._pieces % (PIECES_A_TRIAL_ALONE if alone else PIECES_A_TRIAL) == 0:
            return (most if alone else 1), PIECE_SECONDS / 10
        return (1 if alone else most), PIECE_SECONDS

    def note(self, threads: int, seconds_a_token: float) -> None:
        """Remember how long a token took."""
        self._seconds[threads == 1] = seconds_a_token


class NativePredictor:
    """See `contract.Predictor`.

    Args:
        library: the compiled part.
        cell: the compiled cell of the weights.
        weights: dense NumPy arrays, float32 or float64.

    Raises:
        ShapeError: the weights do not fit together, or are not dense.
    """

    def __init__(self, library: Library, cell: Any, weights: LanguageModelWeights) -> None:
        check_language_model(weights)
        self.weights, self._library = weights, library
        self._arrays, self._pace = Arrays(library, weights.embedding), Pace()
        named = [(n, getattr(layer, n)) for layer in weights.layers for n in vars(layer)]
        self._model = self._arrays.functions.Model(
            library.kernels,
            cell,
            [*weights.embedding.shape, threads_of(library), TABLE_BYTES],
            [layer.hidden_size for layer in weights.layers],
            address("embedding", weights.embedding),
            [address(name, array) for name, array in named],
            address("output_weight", weights.output_weight),
            address("output_bias", weights.output_bias),
        )

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
        """Batches of sequences of like length, one a thread; see `contract.Predictor.read`."""
        check_read(self.weights, inputs, lengths, state, targets)
        inputs, lengths = _integers(inputs), _integers(lengths)
        targets = None if targets is None else _integers(targets)
        state = None if state is None else _dense(state)
        count, cell = len(lengths), self.weights.cell
        dtype = self.weights.embedding.dtype
        last = tuple(
            tuple(np.empty((count, layer.hidden_size), dtype) for _ in cell.state) for layer in self.weights.layers
        )
        losses = None if targets is None else np.empty(len(inputs))
        places = np.empty(len(inputs), np.int64) if targets is not None and ranks else None
        vectors = np.empty((len(inputs), self.weights.layers[-1].hidden_size), dtype) if outputs else None
        self._model.read(
            [count, threads_of(self._library), batch_size or 0],
            address("lengths", lengths),
            address("inputs", inputs),
            address("targets", targets),
            [] if state is None else _flat(state),
            _flat(last),
            address("losses", losses),
            address("ranks", places),
            address("outputs", vectors),
        )
        return Reading(losses, places, vectors, last)

    def log_probabilities(self, state: StackState) -> Doubles:
        """From the last layer's h; see `contract.Predictor.log_probabilities`."""
        check_rows(self.weights, state, None)
        outputs = np.ascontiguousarray(state[-1][0])
        scores = np.empty((len(outputs), len(self.weights.output_weight)), outputs.dtype)
        threads = threads_of(self._library)
        self._model.score_next(threads, address("outputs", outputs), len(outputs), address("scores", scores))
        logs: Doubles = log_softmax(scores.astype(np.float64))
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
        """A loop in C++, left whenever there is something to show; see `contract.Predictor.decode`."""
        check_rows(self.weights, state, len(generators), tokens)
        check_choices(self.weights, forbidden, stop)
        state = _dense(state)
        decoding = self._arrays.functions.Decoding(
            self._model,
            _flat(state),
            [int(token) for token in tokens],
            [int(token) for token in forbidden],
            -1 if stop is None else stop,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.greedy,
            [generator.bit_generator.capsule for generator in generators],
        )
        return self._pieces(decoding, list(generators), max_tokens)

    def _pieces(self, decoding: Any, generators: list[np.random.Generator], max_tokens: int | None) -> Iterator[Tokens]:
        """Run decoding piece by piece; the first token by itself. The generators live as long as this."""
        made, most = 0, 1
        while max_tokens is None or made < max_tokens:
            most = most if max_tokens is None else min(most, max_tokens - made)
            piece = np.empty((most, len(generators)), np.int64)
            threads, seconds = self._pace.next(threads_of(self._library))
            began = time.perf_counter()
            count, failed, highest = decoding.run(threads, most, seconds, piece.ctypes.data)
            if made and count:  # the first piece wakes the threads
                self._pace.note(threads, (time.perf_counter() - began) / count)
            made += count
            if count:
                yield piece[:count]
            if failed >= 0:
                raise no_token_to_choose(failed, highest)
            if count == 0:
                return
            most = PIECE_TOKENS


def _integers(values: Tokens) -> Tokens:
    return np.ascontiguousarray(values, np.int64)


def _dense(state: StackState) -> StackState:
    return tuple(tuple(np.ascontiguousarray(part) for part in layer) for layer in state)


def _flat(state: StackState) -> list[int]:
    return [part for layer in state for part in addresses("state", layer)]
