"""Every engine's `decode` against the reference network, softmax and choice, one step at a time."""

from typing import Any

import numpy as np
import pytest

from unrolled import cells, reference
from unrolled.engines import LanguageModelWeights, LayerWeights, Sampling, StackState

from .contract_cases import CELLS, ENGINES, each_dtype, each_engine

VOCABULARY, EMBEDDING, SIZES, BATCH, STEPS = 11, 3, (4, 5), 3, 25
FORBIDDEN = (0, 7)
START = np.array([1, 5, 9])
each_cell = pytest.mark.parametrize("name", CELLS)


def make_weights(name: str, dtype: str = "float64", biases: bool = True) -> LanguageModelWeights:
    """Two layers of different sizes, weights large enough that the choice hangs on the state."""
    random = np.random.default_rng(20)

    def draw(*shape: int) -> Any:
        return random.normal(size=shape).astype(dtype)

    layers, width = [], EMBEDDING
    for size in SIZES:
        rows = len(cells.get(name).gates) * size
        bias_ih, bias_hh = (draw(rows), draw(rows)) if biases else (None, None)
        layers.append(LayerWeights(3 * draw(rows, width), draw(rows, size) / 2, bias_ih, bias_hh))
        width = size
    return LanguageModelWeights(
        cells.get(name), draw(VOCABULARY, EMBEDDING), tuple(layers), 3 * draw(VOCABULARY, width), draw(VOCABULARY)
    )


def make_state(weights: LanguageModelWeights, dtype: str = "float64") -> StackState:
    random = np.random.default_rng(4)
    return tuple(
        tuple(random.normal(size=(BATCH, layer.hidden_size)).astype(dtype) for _ in weights.cell.state)
        for layer in weights.layers
    )


def make_generators() -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in (10, 20, 30)]


def by_reference(weights: LanguageModelWeights, sampling: Sampling) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(STEPS, BATCH) tokens: one step of each layer, softmax without the forbidden tokens, highest or drawn."""
    state, tokens, generators, chosen = list(make_state(weights)), START, make_generators(), []
    for _ in range(STEPS):
        h = weights.embedding[tokens]
        for index, layer in enumerate(weights.layers):
            done = reference.unroll(
                weights.cell, h[None], reference.Weights(*_fields(layer)), initial_state=state[index]
            )
            state[index], h = done.last, done.outputs[0]
        scores = h @ weights.output_weight.T + weights.output_bias
        scores[:, FORBIDDEN] = -np.inf
        shares = np.exp((scores - scores.max(axis=1, keepdims=True)) / sampling.temperature)
        if sampling.greedy:
            tokens = shares.argmax(axis=1)
        else:
            draws = [generator.random() * row.sum() for generator, row in zip(generators, shares, strict=True)]
            tokens = np.array([np.flatnonzero(row.cumsum() > d)[0] for row, d in zip(shares, draws, strict=True)])
        chosen.append(tokens)
    return np.array(chosen)


def _fields(layer: LayerWeights) -> tuple[Any, ...]:
    return layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh


def decode(engine: str, weights: LanguageModelWeights, sampling: Sampling, **changes: Any) -> Any:
    given: dict[str, Any] = {"state": make_state(weights), "tokens": START, "generators": make_generators()}
    given |= {"sampling": sampling, "forbidden": FORBIDDEN, "max_tokens": STEPS} | changes
    return np.concatenate(list(ENGINES[engine].predictor(weights).decode(**given)))


@each_engine
@each_cell
@pytest.mark.parametrize("biases", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("sampling", [Sampling(greedy=True), Sampling(temperature=0.7)], ids=["greedy", "sampled"])
def test_decode_steps_scores_and_chooses(sampling: Sampling, biases: bool, name: str, engine: str) -> None:
    weights = make_weights(name, biases=biases)
    expected = by_reference(weights, sampling)
    np.testing.assert_array_equal(decode(engine, weights, sampling), expected)
    assert len(np.unique(expected)) >= 3  # otherwise the state would hardly matter
    assert not np.isin(expected, FORBIDDEN).any()


@each_dtype
@each_engine
@each_cell
def test_decode_never_chooses_a_forbidden_token(name: str, engine: str, dtype: str) -> None:
    weights = make_weights(name, dtype)
    weights.output_bias[list(FORBIDDEN)] = 50.0  # what the model wants most
    for sampling in (Sampling(greedy=True), Sampling(temperature=3.0), Sampling(top_k=3), Sampling(top_p=0.9)):
        tokens = decode(engine, weights, sampling, state=make_state(weights, dtype))
        assert tokens.shape == (STEPS, BATCH)
        assert tokens.dtype == np.int64
        assert not np.isin(tokens, FORBIDDEN).any()


@each_engine
@each_cell
def test_decode_of_a_row_does_not_depend_on_its_neighbours(name: str, engine: str) -> None:
    weights = make_weights(name)
    together = decode(engine, weights, Sampling())
    for row in range(BATCH):
        alone = decode(
            engine,
            weights,
            Sampling(),
            state=tuple(tuple(part[row : row + 1] for part in layer) for layer in make_state(weights)),
            tokens=START[row : row + 1],
            generators=make_generators()[row : row + 1],
        )
        np.testing.assert_array_equal(alone[:, 0], together[:, row])


@each_engine
def test_decode_draws_once_a_row_and_leaves_what_it_was_given_alone(engine: str) -> None:
    weights = make_weights("lstm")
    state, generators, fresh = make_state(weights), make_generators(), make_generators()
    decode(engine, weights, Sampling(), state=state, generators=generators)
    for used, other in zip(generators, fresh, strict=True):
        other.random(STEPS)
        assert used.random() == other.random()
    for layer, untouched in zip(state, make_state(weights), strict=True):
        for part, same in zip(layer, untouched, strict=True):
            np.testing.assert_array_equal(part, same)
    np.testing.assert_array_equal(START, [1, 5, 9])


@each_engine
def test_decode_makes_tokens_only_when_asked_and_none_that_it_does_not_yield(engine: str) -> None:
    weights, generators = make_weights("gru"), make_generators()
    pieces = (
        ENGINES[engine]
        .predictor(weights)
        .decode(make_state(weights), START, sampling=Sampling(), generators=generators)
    )
    made = len(next(pieces)) + len(next(pieces))
    assert generators[0].random() == np.random.default_rng(10).random(made + 1)[made]


@each_engine
def test_decode_ends_a_row_at_its_stop_and_itself_when_all_rows_have_ended(engine: str) -> None:
    weights, generators, fresh = make_weights("lstm"), make_generators(), make_generators()
    endless = decode(engine, weights, Sampling(), max_tokens=400)
    stop = int(np.argmax(np.bincount(endless.ravel(), minlength=VOCABULARY)))
    lengths = [int(np.flatnonzero(column == stop)[0]) + 1 for column in endless.T]
    assert len(set(lengths)) > 1, "rows should end at different times"
    stopped = decode(engine, weights, Sampling(), generators=generators, stop=stop, max_tokens=None)
    assert len(stopped) == max(lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(stopped[:length, row], endless[:length, row])
        assert (stopped[length:, row] == -1).all()
        fresh[row].random(length)
        assert generators[row].random() == fresh[row].random()  # nothing was drawn past the end
