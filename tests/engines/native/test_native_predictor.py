"""What only the native predictor has: interruption, the choice of threads, and a long run that does not drift."""

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from unrolled import cells, engines, reference
from unrolled.engines import LanguageModelWeights, LayerWeights, Sampling
from unrolled.engines.native.predictor import PIECE_SECONDS, PIECES_A_TRIAL, Pace


def make_weights(name: str, V: int, H: int, dtype: str) -> LanguageModelWeights:
    """Two layers, weights such as training leaves them: states neither die nor run away from each other."""
    random = np.random.default_rng(5)

    def draw(*shape: int) -> Any:
        return (random.normal(size=shape) / np.sqrt(shape[-1])).astype(dtype)

    rows = len(cells.get(name).gates) * H
    layers = tuple(LayerWeights(draw(rows, H), draw(rows, H), draw(rows), draw(rows)) for _ in range(2))
    return LanguageModelWeights(cells.get(name), draw(V, H), layers, 3 * draw(V, H), draw(V))


@pytest.mark.parametrize(("sequences", "length"), [(2000, 100), (1, 200_000)], ids=["many", "one"])
def test_reading_ends_soon_after_an_interrupt_and_leaves_the_predictor_usable(sequences: int, length: int) -> None:
    weights = make_weights("lstm", 500, 128, "float32")
    predictor = engines.get("native").predictor(weights)
    ids = np.random.default_rng(1).integers(0, 500, sequences * length)
    before = predictor.read(ids[:50], np.array([50]), targets=ids[:50])
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        predictor.read(ids, np.full(sequences, length), targets=ids)
    timer.join()
    assert time.monotonic() - began < 3
    after = predictor.read(ids[:50], np.array([50]), targets=ids[:50])
    np.testing.assert_array_equal(after.losses, before.losses)


def test_decoding_goes_alone_only_while_the_team_takes_more_than_twice_as_long() -> None:
    pace = Pace()
    asked = [pace.next(4) for _ in range(PIECES_A_TRIAL)]
    assert asked[:-1] == [(4, PIECE_SECONDS)] * (PIECES_A_TRIAL - 1)
    assert asked[-1] == (1, PIECE_SECONDS / 10), "a short trial with one thread"
    pace.note(1, 6e-6)
    pace.note(4, 11e-6)
    assert pace.next(4)[0] == 4
    pace.note(4, 500e-6)
    assert {pace.next(4)[0] for _ in range(8)} == {1, 4}, "alone, and now and then a trial with all"
    pace.note(4, 4e-6)
    assert pace.next(4) == (4, PIECE_SECONDS)


def check_that_nothing_drifts(tokens: int) -> None:
    """The last of many generated tokens are those that the reference would draw, and the states are the same."""
    double = make_weights("gru", 40, 8, "float64")
    generator, start = np.random.default_rng(3), np.array([1])
    pieces = (
        engines.get("native")
        .predictor(double)
        .decode(engines.zero_state(double, 1), start, sampling=Sampling(), generators=[generator], max_tokens=tokens)
    )
    made = np.concatenate(list(pieces))[:, 0]
    assert len(np.unique(made)) > 20
    fed, last = np.concatenate([start, made[:-1]]), 50
    state: list[Any] = [None, None]
    outputs = np.empty((0, 1, 8))
    for begin in range(0, tokens, 10_000):
        h = double.embedding[fed[begin : begin + 10_000]][:, None]
        for number, layer in enumerate(double.layers):
            weights = reference.Weights(layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
            done = reference.unroll(double.cell, h, weights, initial_state=state[number])
            h, state[number] = done.outputs, done.last
        outputs = h
    again = np.random.default_rng(3)
    again.random(tokens - last)
    scores = outputs[-last:, 0] @ double.output_weight.T + double.output_bias
    expected = [int(Sampling().choose(row[None], [], [again])[0]) for row in scores]
    assert made[-last:].tolist() == expected
    single = engines.get("native").predictor(make_weights("gru", 40, 8, "float32"))
    read = single.read(fed, np.array([tokens]))
    for got, want in zip(read.state, state, strict=True):
        np.testing.assert_allclose(got[0], want[0], rtol=0, atol=1e-5)


def test_the_state_does_not_drift() -> None:
    check_that_nothing_drifts(5_000)


@pytest.mark.slow
def test_the_state_does_not_drift_in_a_million_tokens() -> None:
    check_that_nothing_drifts(1_000_000)
