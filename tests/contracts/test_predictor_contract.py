"""Every engine's predictor: what it reads, predicts and draws, against the reference network and against itself."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unrolled import reference
from unrolled.engines import LanguageModelWeights, Sampling, StackState
from unrolled.engines.native import predictor as native
from unrolled.errors import EngineError, ShapeError

from .contract_cases import CELLS, ENGINES, TOLERANCE, each_dtype, each_engine
from .test_decode_contract import make_weights

each_cell = pytest.mark.parametrize("name", CELLS)
Doubles = npt.NDArray[np.float64]
INVARIANT = [name for name, engine in ENGINES.items() if engine.is_batch_invariant]
LENGTHS = np.array([3, 1, 9, 4, 9, 2, 30])
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(top_k=4),
    Sampling(top_p=0.7),
    Sampling(1.7, top_k=6, top_p=0.8),
    Sampling(top_k=1),
    Sampling(temperature=1e-9),
)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def draw_tokens(weights: LanguageModelWeights, count: int, seed: int = 1) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, len(weights.embedding), count)


def draw_state(weights: LanguageModelWeights, rows: int) -> StackState:
    random, dtype = np.random.default_rng(2), weights.embedding.dtype
    return tuple(
        tuple(random.normal(size=(rows, layer.hidden_size)).astype(dtype) for _ in weights.cell.state)
        for layer in weights.layers
    )


def row_of(state: StackState, row: int) -> StackState:
    return tuple(tuple(part[row : row + 1] for part in layer) for layer in state)


def in_double(weights: LanguageModelWeights) -> LanguageModelWeights:
    """The same numbers in float64."""

    def wide(array: Any) -> Any:
        return None if array is None else array.astype(np.float64)

    layers = tuple(
        replace(layer, **{name: wide(array) for name, array in vars(layer).items()}) for layer in weights.layers
    )
    outputs = wide(weights.output_weight), wide(weights.output_bias)
    return LanguageModelWeights(weights.cell, wide(weights.embedding), layers, *outputs)


def by_reference(
    weights: LanguageModelWeights, ids: npt.NDArray[np.int64], state: StackState | None
) -> tuple[Doubles, StackState, Doubles]:
    """Log-probabilities after each of the ids, (N, V), the last state, and the outputs (N, H), of one sequence."""
    weights = in_double(weights)
    h, last = weights.embedding[ids][:, None], list[tuple[Any, ...]]()
    for number, layer in enumerate(weights.layers):
        fields = layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh
        initial = None if state is None else tuple(part.astype(np.float64) for part in state[number])
        done = reference.unroll(weights.cell, h, reference.Weights(*fields), initial_state=initial)
        h, last = done.outputs, [*last, done.last]
    scores = h[:, 0] @ weights.output_weight.T + weights.output_bias
    above = scores.max(axis=1, keepdims=True)
    return scores - above - np.log(np.exp(scores - above).sum(axis=1, keepdims=True)), tuple(last), h[:, 0]


@each_dtype
@each_engine
@each_cell
@pytest.mark.parametrize("biases", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("from_zero", [True, False], ids=["from_zero", "from_state"])
def test_read_agrees_with_the_reference(from_zero: bool, biases: bool, name: str, engine: str, dtype: str) -> None:
    weights = make_weights(name, dtype, biases)
    predictor = ENGINES[engine].predictor(weights)
    inputs, targets = (draw_tokens(weights, LENGTHS.sum(), seed) for seed in (1, 2))
    state = None if from_zero else draw_state(weights, len(LENGTHS))
    read = predictor.read(inputs, LENGTHS, state, targets=targets, ranks=True, outputs=True)
    assert read.losses is not None
    assert read.ranks is not None
    assert read.outputs is not None
    assert read.losses.dtype == np.float64
    assert read.outputs.dtype == dtype
    tolerance, end = 10 * TOLERANCE[dtype], 0
    for row, length in enumerate(LENGTHS):
        part, end = slice(end, end + length), end + length
        before = None if state is None else row_of(state, row)
        logs, last, outputs = by_reference(weights, inputs[part], before)
        np.testing.assert_allclose(read.outputs[part], outputs, rtol=0, atol=tolerance)
        own = logs[np.arange(length), targets[part]]
        np.testing.assert_allclose(read.losses[part], -own, rtol=0, atol=tolerance * 10)
        clear = np.abs(logs - own[:, None]) > 10 * tolerance  # closer ones may change places
        assert (read.ranks[part] >= 1 + np.sum((logs > own[:, None]) & clear, axis=1)).all()
        assert (read.ranks[part] <= 1 + np.sum((logs > own[:, None]) | ~clear, axis=1)).all()
        for layer, expected in zip(read.state, last, strict=True):
            for got, want in zip(layer, expected, strict=True):
                assert got.dtype == dtype
                np.testing.assert_allclose(got[row], want[0], rtol=0, atol=tolerance)
        predicted = predictor.log_probabilities(row_of(read.state, row))
        np.testing.assert_allclose(predicted[0], logs[-1], rtol=0, atol=tolerance * 10)


@each_engine
@each_cell
def test_reading_in_pieces_is_reading_the_whole(name: str, engine: str) -> None:
    weights = make_weights(name)
    predictor = ENGINES[engine].predictor(weights)
    inputs, targets = draw_tokens(weights, 300, 1), draw_tokens(weights, 300, 2)
    whole = predictor.read(inputs, np.array([300]), targets=targets)
    state, losses = None, []
    for start, end in ((0, 1), (1, 130), (130, 131), (131, 300)):
        piece = predictor.read(inputs[start:end], np.array([end - start]), state, targets=targets[start:end])
        state = piece.state
        losses.append(piece.losses)
    np.testing.assert_allclose(np.concatenate(losses), whole.losses, rtol=0, atol=1e-12)  # type: ignore[arg-type]
    bare = predictor.read(inputs, np.array([300]), outputs=True)
    assert (bare.losses, bare.ranks, whole.outputs) == (None, None, None)
    assert bare.outputs is not None
    np.testing.assert_array_equal(bare.outputs[-1], bare.state[-1][0][0])


@pytest.mark.parametrize("alike", [True, False], ids=["begin_alike", "begin_anyhow"])
@pytest.mark.parametrize("engine", INVARIANT)
@each_cell
def test_bits_depend_neither_on_neighbours_nor_on_order_batch_or_threads(name: str, engine: str, alike: bool) -> None:
    weights = make_weights(name, "float32")
    predictor = ENGINES[engine].predictor(weights)
    random = np.random.default_rng(3)
    lengths = random.integers(1, 20, 700)
    inputs, targets = draw_tokens(weights, lengths.sum(), 1), draw_tokens(weights, lengths.sum(), 2)
    if alike:
        inputs[np.cumsum(lengths) - lengths] = 3
    whole = predictor.read(inputs, lengths, targets=targets, ranks=True, outputs=True)
    assert whole.losses is not None
    assert whole.ranks is not None
    assert whole.outputs is not None
    for threads, batch_size in ((1, None), (3, None), (2, 1), (1, 7), (2, 64), (2, 5000)):
        torch.set_num_threads(threads)
        again = predictor.read(inputs, lengths, targets=targets, batch_size=batch_size)
        np.testing.assert_array_equal(again.losses, whole.losses)
    ends = np.cumsum(lengths)
    for row in (0, 5, 699):
        part = slice(ends[row] - lengths[row], ends[row])
        own = lengths[row : row + 1]
        alone = predictor.read(inputs[part], own, targets=targets[part], ranks=True, outputs=True)
        np.testing.assert_array_equal(alone.losses, whole.losses[part])
        np.testing.assert_array_equal(alone.ranks, whole.ranks[part])
        np.testing.assert_array_equal(alone.outputs, whole.outputs[part])
        for layer, all_rows in zip(alone.state, whole.state, strict=True):
            for got, want in zip(layer, all_rows, strict=True):
                np.testing.assert_array_equal(got[0], want[row])
    order = random.permutation(700)
    pieces = [np.arange(ends[row] - lengths[row], ends[row]) for row in order]
    shuffled = predictor.read(inputs[np.concatenate(pieces)], lengths[order], targets=targets[np.concatenate(pieces)])
    np.testing.assert_array_equal(shuffled.losses, whole.losses[np.concatenate(pieces)])


@pytest.mark.parametrize("engine", [name for name in ENGINES if name.startswith("native")])
@each_cell
def test_tokens_that_the_table_does_not_keep_are_read_all_the_same(
    name: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_weights(name, "float32")
    inputs, lengths = draw_tokens(weights, LENGTHS.sum()), LENGTHS
    results = []
    for table_bytes in (1 << 20, 3000, 0):  # all tokens, a few, none
        monkeypatch.setattr(native, "TABLE_BYTES", table_bytes)
        predictor = ENGINES[engine].predictor(weights)
        for _ in range(2):
            losses = predictor.read(inputs, lengths, targets=inputs).losses
            tokens = np.concatenate(list(decode(engine, weights, Sampling(), 40)))
            results.append((losses, tokens))
    for losses, tokens in results[1:]:
        np.testing.assert_array_equal(losses, results[0][0])
        np.testing.assert_array_equal(tokens, results[0][1])


def decode(
    engine: str, weights: LanguageModelWeights, sampling: Sampling, count: int, rows: int = 5
) -> Iterator[npt.NDArray[np.int64]]:
    return (
        ENGINES[engine]
        .predictor(weights)
        .decode(
            draw_state(weights, rows),
            np.arange(rows),
            sampling=sampling,
            generators=[np.random.default_rng(row) for row in range(rows)],
            forbidden=[0],
            max_tokens=count,
        )
    )


def large(dtype: str = "float64") -> LanguageModelWeights:
    """A vocabulary so large that threads share the scores of a row."""
    weights, random = make_weights("gru", dtype), np.random.default_rng(8)

    def draw(*shape: int) -> Any:
        return random.normal(size=shape).astype(dtype)

    return replace(weights, embedding=draw(5003, 3), output_weight=draw(5003, 5), output_bias=draw(5003))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@each_engine
def test_decode_draws_from_the_probabilities_of_sampling(engine: str, sampling: Sampling) -> None:
    """The same generators give the same tokens as `Sampling.choose` on the scores of the reference."""
    for weights, rows, count in ((make_weights("lstm"), 5, 60), (large(), 2, 25)):
        tokens = np.concatenate(list(decode(engine, weights, sampling, count, rows)))
        for row in range(rows):
            generator, state = np.random.default_rng(row), row_of(draw_state(weights, rows), row)
            fed, expected = np.array([row]), []
            for _ in range(count):
                logs, state, _ = by_reference(weights, fed, state)
                fed = sampling.choose(logs, [0], [generator])
                expected.append(int(fed[0]))
            assert tokens[:, row].tolist() == expected


@each_engine
def test_decode_is_the_same_for_any_number_of_threads(engine: str) -> None:
    for weights in (make_weights("gru_reset_before", "float32"), large("float32")):
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(np.concatenate(list(decode(engine, weights, Sampling(top_p=0.95), 30))))
        np.testing.assert_array_equal(found[1], found[0])
        np.testing.assert_array_equal(found[2], found[0])


@each_dtype
@each_engine
@pytest.mark.parametrize("what", ["nan", "inf", "forbidden"])
def test_where_no_token_can_be_chosen_it_says_which_row_and_why(what: str, engine: str, dtype: str) -> None:
    weights = make_weights("lstm", dtype)
    forbidden = list(range(11)) if what == "forbidden" else []
    if what != "forbidden":
        weights.output_bias[3] = float(what)
    highest = {"nan": "nan", "inf": "inf", "forbidden": "-inf"}[what]
    for sampling in (Sampling(), Sampling(greedy=True), Sampling(top_k=2), Sampling(top_p=0.5)):
        tokens = (
            ENGINES[engine]
            .predictor(weights)
            .decode(
                draw_state(weights, 2),
                np.array([1, 2]),
                sampling=sampling,
                generators=[np.random.default_rng(0)] * 2,
                forbidden=forbidden,
            )
        )
        with pytest.raises(
            EngineError, match=rf"^row 0 of the scores leaves no token.* \(highest allowed score {highest}\)"
        ):
            next(tokens)


@each_engine
def test_a_predictor_can_be_used_after_decoding_was_given_up(engine: str) -> None:
    weights = make_weights("lstm")
    predictor = ENGINES[engine].predictor(weights)

    def begin() -> Iterator[npt.NDArray[np.int64]]:
        return predictor.decode(
            draw_state(weights, 1), np.array([1]), sampling=Sampling(), generators=[np.random.default_rng(1)]
        )

    given_up = begin()
    first = next(given_up)
    given_up.close()  # type: ignore[attr-defined]
    pieces = list(islice(begin(), 3))
    np.testing.assert_array_equal(pieces[0], first)
    assert predictor.read(np.array([1, 2]), np.array([2])).state[0][0].shape == (1, 4)


@pytest.mark.parametrize("options", [{"forbidden": [11]}, {"forbidden": [3, -1]}, {"stop": 11}], ids=str)
@each_engine
def test_tokens_outside_the_vocabulary_are_refused(engine: str, options: dict[str, Any]) -> None:
    weights = make_weights("tanh")
    with pytest.raises(ShapeError, match=r"reach from -?\d+ to \d+: each must be 0 to 10"):
        ENGINES[engine].predictor(weights).decode(
            draw_state(weights, 1),
            np.array([1]),
            sampling=Sampling(),
            generators=[np.random.default_rng(1)],
            **options,
        )
