"""What the lab says of networks whose answer is known."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.cell import Operands
from unrolled.engines.contract import LanguageModelWeights, LayerWeights
from unrolled.engines.through_time import record
from unrolled.lab import truncation
from unrolled.lab.flow import flow
from unrolled.lab.gates import SIDES, activations, gates
from unrolled.lab.selectivity import SELECTIVE, STRETCH, features, selective_units
from unrolled.lab.spectra import spectra
from unrolled.lab.truncation import gradient
from unrolled.reference import TutorialNetwork, naive_bptt
from unrolled.reference.unrolling import Weights, unroll, unroll_backward

from .networks import H, V, subject_of, tokens, weights_of


class Linear(Cell):
    """h = a: what the last step was, times W, and the input."""

    name = "linear for tests"
    gates = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        """One time step."""
        return a, ()

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        """Undo it."""
        return d_state, (), (0.0,)


def rotation(size: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(4).standard_normal((size, size)))[0]


def with_recurrent(weights: LanguageModelWeights, weight_hh: np.ndarray) -> LanguageModelWeights:
    (layer,) = weights.layers
    changed = LayerWeights(layer.weight_ih, weight_hh, layer.bias_ih, layer.bias_hh)
    return LanguageModelWeights(weights.cell, weights.embedding, (changed,), weights.output_weight, weights.output_bias)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
def test_a_scaled_rotation_grows_by_the_logarithm_of_its_scale(factor: float) -> None:
    subject = subject_of(Linear(), steps=25)
    weights = with_recurrent(subject.weights, factor * rotation(H))
    subject = type(subject)(subject.name, subject.text_name, weights, subject.tokenizer, subject.ids)
    (layer,) = spectra(subject).layers
    np.testing.assert_allclose(layer.rates, math.log(factor), atol=1e-10)
    np.testing.assert_allclose(layer.product_logs, math.log(factor) * np.arange(1, 26), atol=1e-9)
    np.testing.assert_allclose(layer.singular_values, factor, rtol=1e-10)
    expected = math.log(factor) * np.repeat(layer.looked_at[:, None], H, 1)
    np.testing.assert_allclose(layer.product_value_logs, expected, atol=1e-9)
    np.testing.assert_allclose(layer.radii, factor, rtol=1e-10)
    assert layer.bound == pytest.approx(factor)
    words = {0.5: "vanishes", 1.0: "keeps lengths", 1.3: "explodes"}[factor]
    assert layer.verdict.startswith(words)
    curve = flow(subject).by_lag(0, relative=True)
    np.testing.assert_allclose(curve.median, factor ** np.arange(25.0), rtol=1e-9)
    np.testing.assert_allclose(curve.upper, curve.lower, rtol=1e-9)


def test_rates_of_a_matrix_that_is_not_normal_are_its_eigenvalues_not_its_norm() -> None:
    matrix = np.triu(np.full((H, H), 3.0), 1) + np.diag([0.9, 0.7, 0.5, 0.3])
    subject = subject_of(Linear(), steps=90)
    weights = with_recurrent(subject.weights, matrix)
    subject = type(subject)(subject.name, subject.text_name, weights, subject.tokenizer, subject.ids)
    (layer,) = spectra(subject).layers
    assert layer.singular_values[0, 0] > 5
    np.testing.assert_allclose(layer.rates, np.log([0.9, 0.7, 0.5, 0.3]), atol=1e-3)
    np.testing.assert_allclose(layer.radii, 0.9, rtol=1e-9)
    np.testing.assert_allclose(layer.product_radius_logs, np.log(0.9) * layer.looked_at, rtol=1e-6)
    assert layer.verdict.startswith("vanishes")


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, math.ceil(math.log(0.01) / math.log(0.5))), (1.0, None), (0.99, None)]
)
def test_effective_memory_of_a_scaled_rotation(factor: float, expected: int | None) -> None:
    subject = subject_of(Linear(), steps=25)
    weights = with_recurrent(subject.weights, factor * rotation(H))
    subject = type(subject)(subject.name, subject.text_name, weights, subject.tokenizer, subject.ids)
    assert flow(subject).effective_memory(0) == expected


def test_a_gru_that_keeps_everything_feels_errors_for_ever() -> None:
    subject = subject_of("gru", steps=30)
    bias: Any = subject.weights.layers[0].bias_ih
    bias[H : 2 * H] = 50.0  # z = 1 keeps the past
    curve = flow(subject).by_lag(0, relative=True)
    np.testing.assert_allclose(curve.median, 1.0, rtol=1e-12)
    assert flow(subject).effective_memory(0) is None
    update = next(each for each in gates(subject).layers[0].activations if each.name == "update")
    assert update.saturated == (0.0, 1.0)
    assert len(update.stuck) == H


def test_a_layer_that_hands_nothing_on_vanishes_at_once() -> None:
    subject = subject_of("tanh", steps=10)
    subject.weights.layers[0].weight_hh[:] = 0
    (layer,) = spectra(subject).layers
    assert layer.verdict == "vanishes at once: a step's Jacobian is zero"
    assert flow(subject).effective_memory(0) == 1
    assert spectra(subject).as_dict()["layers"][0]["growth_rates"] == [None] * H


@pytest.mark.parametrize(
    ("cell", "slope"), [("tanh", 1.0), ("relu", 1.0), ("sigmoid", 0.25), ("gru", None), ("lstm", None)]
)
def test_theory_bounds_cells_with_one_gate(cell: str, slope: float | None) -> None:
    subject = subject_of(cell, steps=12)
    (layer,) = spectra(subject).layers
    if slope is None:
        assert layer.bound is None
        return
    expected = slope * np.linalg.norm(subject.weights.layers[0].weight_hh, 2)
    assert layer.bound == pytest.approx(expected)
    assert layer.singular_values[:, 0].max() <= expected * (1 + 1e-12)


# Truncation


def tutorial(steps: int) -> tuple[TutorialNetwork, LanguageModelWeights, np.ndarray, np.ndarray]:
    """The tutorial's network, and the same as a language model whose token vectors are unit vectors."""
    random = np.random.default_rng(5)
    U, W, U_out = (0.6 * random.standard_normal(shape) for shape in ((H, V), (H, H), (V, H)))
    layer = LayerWeights(U, W, None, None)
    model = LanguageModelWeights(cells.get("tanh"), np.eye(V), (layer,), U_out, np.zeros(V))
    return TutorialNetwork(U, U_out, W), model, *tokens(steps)


@pytest.mark.parametrize("k", [0, 1, 4, 8])
def test_truncation_by_lag_is_the_tutorials(k: int) -> None:
    network, model, inputs, targets = tutorial(9)
    expected = naive_bptt(network, inputs, targets, truncate=k).gradients
    d_ih, d_hh, *_ = gradient(record(model, inputs, targets), lags=k + 1)
    np.testing.assert_allclose(d_ih, expected["U"], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(d_hh, expected["W"], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cell", cells.names())
@pytest.mark.parametrize("window", [None, 1, 3, 4])
def test_truncation_by_windows_is_that_of_training(cell: str, window: int | None) -> None:
    weights, (inputs, targets) = weights_of(cell), tokens(10)
    (layer,) = weights.layers
    done = record(weights, inputs, targets)
    totals = [np.zeros_like(each) for each in (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)]
    state = None
    for start in range(0, 10, window or 10):
        taken = slice(start, start + (window or 10))
        x = weights.embedding[inputs[taken]][:, None]
        forward = unroll(weights.cell, x, Weights(*vars(layer).values()), initial_state=state)
        backward = unroll_backward(forward.tape, done.d_outputs[taken][:, None])
        state = forward.last
        totals = [total + each for total, each in zip(totals, backward.weights, strict=True)]
    for found, expected in zip(gradient(done, window=window), totals, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13)


def test_what_truncation_leaves_out_is_measured() -> None:
    subject = subject_of("tanh", steps=40)
    found = truncation.truncation(subject)
    assert found.by_lag.bias[-1] < 1e-12
    assert found.by_windows.bias[-1] < 1e-12
    assert found.by_lag.cosine[-1] == pytest.approx(1)
    assert found.by_lag.bias[0] == pytest.approx(found.by_windows.bias[0]), "one step is one step"
    enough = found.by_lag.enough()
    assert enough is not None
    assert found.by_lag.bias[enough - 1] <= 0.01 < found.by_lag.bias[enough - 2]


# Gates


@pytest.mark.parametrize("cell", cells.names())
def test_activations_make_the_states(cell: str) -> None:
    subject = subject_of(cell, layers=2)
    done = subject.read()
    for layer in done.layers:
        found = {each.name: each.values for each in activations(layer)}
        assert set(layer.cell.gates) <= set(found)
        h = layer.states[0]
        if cell == "lstm":
            c = layer.states[1]
            assert list(found)[-1] == "tanh(c)"
            np.testing.assert_allclose(c[1:], found["forget"] * c[:-1] + found["input"] * found["candidate"])
            np.testing.assert_allclose(h[1:], found["output"] * found["tanh(c)"])
        elif cell.startswith("gru"):
            n, z = found["candidate"], found["update"]
            np.testing.assert_allclose(h[1:], n + z * (h[:-1] - n))
        else:
            np.testing.assert_allclose(h[1:], found["hidden"])


def test_saturation_counts_both_sides() -> None:
    found = gates(subject_of("lstm")).layers[0].activations
    for each in found:
        low, high = SIDES[each.function]
        assert each.saturated == ((each.values < low).mean(), (each.values > high).mean())


def test_a_unit_that_does_not_move_is_dead() -> None:
    subject = subject_of("tanh")
    (layer,) = subject.weights.layers
    layer.weight_ih[2] = 0
    layer.weight_hh[2] = 0
    assert gates(subject).layers[0].dead.tolist() == [2]


def test_the_unit_that_follows_quotation_marks_is_found() -> None:
    random = np.random.default_rng(6)
    inside = np.tile(np.repeat([False, True, False, True, False], 7), 6)
    states = 0.1 * random.standard_normal((210, 5))
    states[:, 3] -= 0.8 * inside
    states[:, 1] = 1e-6 * inside  # a dead unit that goes with it
    best, *_ = selective_units(states, {"inside quotation marks": inside, "blanks": random.random(210) < 0.3})
    assert (best.unit, best.feature) == (3, "inside quotation marks")
    other = np.arange(210) // STRETCH % 2 == 1
    assert best.score == pytest.approx(np.corrcoef(states[other, 3], inside[other])[0, 1])
    assert best.score < -0.9


def test_chance_finds_hardly_a_unit() -> None:
    random = np.random.default_rng(7)
    found = [
        selective_units(random.standard_normal((200, 300)), {"blanks": random.random(200) < 0.3}) for _ in range(20)
    ]
    assert sum(map(len, found)) < 0.1 * 20 * SELECTIVE, "the best of 300 would pass by chance if chosen where scored"
    assert selective_units(random.standard_normal((200, 3)), {"rare": np.arange(200) == 7}) == []


def test_a_cell_without_functions_has_no_gates_to_draw() -> None:
    found = gates(subject_of(Linear()))
    assert found.layers[0].activations == []
    assert all(picture.name.startswith("gates-units") for picture in found.pictures())
    assert "units are dead" in "\n".join(found.lines())


class Properties:
    """What each property should say of a text, by token."""

    expected: ClassVar[dict[str, str]] = {
        "inside straight quotation marks": '"no (not yet)',
        "inside brackets": "(not yet",
        "digits": "3",
        "capital letters": "A",
    }


@pytest.mark.parametrize(("name", "said"), list(Properties.expected.items()))
def test_properties_of_the_text(name: str, said: str) -> None:
    subject = subject_of("tanh", steps=100)
    found = features(subject)[name]
    read = subject.words(subject.inputs)
    first = [word.replace("‿", "") for word, is_so in zip(read, found, strict=True) if is_so]
    wanted = said.replace('"', '" ').replace("(", "( ").replace(")", " )").split()
    assert first[: len(wanted)] == wanted
