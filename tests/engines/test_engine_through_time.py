"""Errors taken apart by step and lag, against torch's autograd and central differences."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.cell import Operands
from unrolled.cells.elementwise import tanh
from unrolled.engines import portable
from unrolled.engines.through_time import (
    WHOLE,
    Record,
    effective_memory,
    error_sizes,
    errors_by_lag,
    lags_judged,
    over_the_lag,
    record,
    relative_curve,
    state_jacobian,
)
from unrolled.reference.unrolling import Weights, unroll, unroll_backward

from ..lab.networks import H, tokens, weights_of

STEPS = 6


def states_and_losses(weights: Any, inputs: Any, targets: Any) -> tuple[list[list[tuple[Any, ...]]], list[Any]]:
    """The same network by torch, step by step: states by step and layer, and E_t."""
    engine = portable.Portable()
    layers = [
        [torch.from_numpy(each) for each in (layer.weight_ih, layer.bias_ih, layer.weight_hh, layer.bias_hh)]
        for layer in weights.layers
    ]
    state = [tuple(torch.zeros(1, H, dtype=torch.float64) for _ in weights.cell.state) for _ in layers]
    output, bias = torch.from_numpy(weights.output_weight), torch.from_numpy(weights.output_bias)
    states, losses = [], []
    for token, target in zip(inputs, targets, strict=True):
        x = torch.from_numpy(weights.embedding[token])[None]
        after, at_step = [], []
        for (weight_ih, bias_ih, weight_hh, bias_hh), before in zip(layers, state, strict=True):
            new, _ = engine.step(weights.cell, x @ weight_ih.T + bias_ih, weight_hh, bias_hh, before, keep=False)
            nothing = tuple(
                torch.zeros_like(part, requires_grad=True) for part in new
            )  # whose gradients are the state's
            after.append(tuple(part + none for part, none in zip(new, nothing, strict=True)))
            at_step.append(nothing)
            x = after[-1][0]
        state = after
        states.append(at_step)
        losses.append(torch.nn.functional.cross_entropy(x @ output.T + bias, torch.tensor([int(target)])))
    return states, losses


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", cells.names())
def test_errors_are_those_that_autograd_finds(cell: str, layers: int) -> None:
    weights, (inputs, targets) = weights_of(cell, layers=layers), tokens(STEPS)
    done = record(weights, inputs, targets)
    states, losses = states_and_losses(weights, inputs, targets)
    np.testing.assert_allclose(done.losses, [loss.item() for loss in losses], rtol=1e-12)
    found = list(errors_by_lag(done))
    assert len(found) == STEPS
    for t in range(STEPS):
        for k in range(t + 1):
            for layer in range(layers):
                parts = states[k][layer]
                expected = torch.autograd.grad(losses[t], parts, retain_graph=True, allow_unused=True)
                for part, gradient in zip(found[t - k][layer].state, expected, strict=True):
                    wanted = np.zeros(H) if gradient is None else gradient.numpy()[0]
                    np.testing.assert_allclose(part[k], wanted, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("cell", cells.names())
def test_errors_are_those_of_the_reference(cell: str) -> None:
    weights, (inputs, targets) = weights_of(cell), tokens(STEPS)
    done = record(weights, inputs, targets)
    (layer,), (kept,) = weights.layers, done.layers
    x = weights.embedding[inputs][:, None]
    found = list(errors_by_lag(done))
    for t in range(STEPS):
        for k in range(t):
            state = tuple(part[k + 1][None] for part in kept.states)
            rest = unroll(weights.cell, x[k + 1 : t + 1], Weights(*vars(layer).values()), initial_state=state)
            d_outputs = np.zeros_like(rest.outputs)
            d_outputs[-1] = done.d_outputs[t]
            expected = unroll_backward(rest.tape, d_outputs).initial_state
            for part, gradient in zip(found[t - k][0].state, expected, strict=True):
                np.testing.assert_allclose(part[k], gradient[0], rtol=1e-9, atol=1e-14)


def test_a_text_goes_on_from_a_state() -> None:
    weights, (inputs, targets) = weights_of("lstm", layers=2), tokens(STEPS)
    whole = record(weights, inputs, targets)
    states = [tuple(part[3] for part in layer.states) for layer in whole.layers]
    rest = record(weights, inputs[3:], targets[3:], states)
    np.testing.assert_allclose(rest.losses, whole.losses[3:], rtol=1e-12)


def test_only_so_many_lags_as_are_asked_for() -> None:
    done = record(weights_of("gru"), *tokens(STEPS))
    assert [len(errors[0].x) for errors in errors_by_lag(done, 3)] == [6, 5, 4]
    assert len(list(errors_by_lag(done, 99))) == STEPS


@pytest.mark.parametrize("cell", cells.names())
def test_sizes_stand_where_their_steps_are(cell: str) -> None:
    done = record(weights_of(cell), *tokens(STEPS))
    sizes, errors = error_sizes(done), list(errors_by_lag(done))
    for t in range(STEPS):
        for k in range(STEPS):
            found = sizes[WHOLE][0, t, k]
            if k > t:
                assert math.isnan(found)
            else:
                whole = np.concatenate([part[k] for part in errors[t - k][0].state])
                assert found == pytest.approx(np.linalg.norm(whole), rel=1e-12)
    parts = done.layers[0].cell.state
    assert set(sizes) == ({WHOLE} if len(parts) == 1 else {WHOLE, *parts})


@pytest.mark.parametrize("cell", cells.names())
def test_jacobians_are_those_of_central_differences(cell: str) -> None:
    weights, (inputs, targets) = weights_of(cell), tokens(STEPS)
    done = record(weights, inputs, targets)
    before = [part[2] for part in done.layers[0].states]

    def after(changed: list[np.ndarray]) -> np.ndarray:
        moved = record(weights, inputs[2:3], targets[2:3], [tuple(changed)])
        return np.concatenate([part[1] for part in moved.layers[0].states])

    columns = []
    for part in range(len(before)):
        for unit in range(H):
            ends = []
            for step in (1e-6, -1e-6):
                changed = [each.copy() for each in before]
                changed[part][unit] += step
                ends.append(after(changed))
            columns.append((ends[0] - ends[1]) / 2e-6)
    np.testing.assert_allclose(state_jacobian(done.layers[0], 2), np.array(columns).T, atol=1e-8)


def test_curves_over_the_lag() -> None:
    sizes = np.array([[1.0, np.nan, np.nan], [0.5, 2.0, np.nan], [0.1, 4.0, 4.0]])
    np.testing.assert_allclose(over_the_lag(sizes)[:, 0], [2.0, 2.25, 0.1])
    relative = over_the_lag(sizes, sizes)
    np.testing.assert_allclose(relative[:, 0], [1.0, (0.25 + 1.0) / 2, 0.025])
    assert (relative[:, 1] <= relative[:, 0]).all()
    assert (relative[:, 2] >= relative[:, 0]).all()
    nothing = np.zeros((2, 2))
    assert not over_the_lag(nothing, nothing).any(), "0 of 0 is nothing"


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1.0, 0.5, 0.001], 2),
        ([1.0, 0.001, 0.5, 0.001], 3),
        ([1.0, 0.5, 0.5], 3),
        ([0.0, 0.0], 0),
        ([1.0, math.nan, 0.001], None),
    ],
)
def test_effective_memory_is_where_a_curve_stays_small(curve: list[float], expected: int | None) -> None:
    assert effective_memory(np.array(curve + [0.0] * 20)) == expected


def test_of_few_errors_nothing_is_judged() -> None:
    assert [lags_judged(steps) for steps in (1, 2, 3, 10, 18, 19, 100)] == [1, 1, 2, 5, 9, 10, 91]
    curve = np.zeros(100)
    curve[[0, 95]] = 1.0
    assert effective_memory(curve) == 1, "a late value is one of few"
    assert effective_memory(np.ones(100)) is None


def test_a_cell_may_keep_numbers() -> None:
    made, plain = Keeping(), cells.get("tanh")
    inputs, targets = tokens(STEPS)
    found, expected = (record(weights_of(cell), inputs, targets) for cell in (made, plain))
    np.testing.assert_allclose(relative_curve(found), relative_curve(expected))
    np.testing.assert_allclose(state_jacobian(found.layers[0], 1), state_jacobian(expected.layers[0], 1))


class Keeping(Cell):
    """tanh, that keeps the 1 of its slope too."""

    name = "keeping for tests"
    gates = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        """One time step."""
        h = tanh(a[0])
        return (h,), (h, 1.0)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        """Undo it."""
        (dh,), (h, one) = d_state, kept
        return (dh * (one - h * h),), (), (0.0,)


def test_float32_is_enough_for_a_watch() -> None:
    weights, (inputs, targets) = weights_of("gru"), tokens(STEPS)
    small = type(weights)(
        weights.cell,
        weights.embedding.astype(np.float32),
        tuple(
            type(layer)(*(getattr(layer, name).astype(np.float32) for name in vars(layer))) for layer in weights.layers
        ),
        weights.output_weight.astype(np.float32),
        weights.output_bias.astype(np.float32),
    )
    done: Record = record(small, inputs, targets)
    assert done.losses.dtype == np.float32
    np.testing.assert_allclose(
        np.nan_to_num(error_sizes(done)[WHOLE]),
        np.nan_to_num(error_sizes(record(weights, inputs, targets))[WHOLE]),
        rtol=1e-4,
        atol=1e-6,
    )
