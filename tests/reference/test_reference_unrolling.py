"""Every cell over time, against two witnesses: central differences, and PyTorch. The third is in ..._by_hand.py."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from unrolled import cells
from unrolled.cells import Cell
from unrolled.reference import Gradients, Masks, Rules, Unrolling, Weights, gradient_check, unroll, unroll_backward

T, B, I, H = 4, 3, 2, 3  # noqa: E741
LENGTHS = np.array([4, 1, 3])


class Problem(NamedTuple):
    """All operands of one `unroll`, with every symmetry broken, and the gradients that come from above."""

    cell: Cell
    operands: dict[str, np.ndarray]
    lengths: np.ndarray
    reverse: bool
    masks: Masks
    d_outputs: np.ndarray
    d_last: tuple[np.ndarray, ...]


def _problem(name: str, *, reverse: bool = False, masked: bool = False, bias: bool = True, seed: int = 0) -> Problem:
    cell, random = cells.get(name), np.random.default_rng(seed)
    rows = len(cell.gates) * H
    shapes = {"x": (T, B, I), "weight_ih": (rows, I), "weight_hh": (rows, H)}
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    shapes |= dict.fromkeys(cell.state, (B, H))
    masks = Masks()
    if masked:
        zoneout = tuple(random.choice([0, 0.3, 1], p=[0.5, 0.3, 0.2], size=(T, B, H)) for _ in cell.state)
        masks = Masks(recurrent=(random.random((B, H)) < 0.6) / 0.6, zoneout=zoneout)
    operands = {operand: random.normal(size=shape) for operand, shape in shapes.items()}
    d_last = tuple(random.normal(size=(B, H)) for _ in cell.state)
    return Problem(cell, operands, LENGTHS, reverse, masks, random.normal(size=(T, B, H)), d_last)


def _weights(operands: Mapping[str, np.ndarray]) -> Weights:
    return Weights(operands["weight_ih"], operands["weight_hh"], operands.get("bias_ih"), operands.get("bias_hh"))


def _run(problem: Problem, operands: Mapping[str, np.ndarray] | None = None) -> Unrolling:
    operands = problem.operands if operands is None else operands
    return unroll(
        problem.cell,
        operands["x"],
        _weights(operands),
        lengths=problem.lengths,
        initial_state=tuple(operands[part] for part in problem.cell.state),
        reverse=problem.reverse,
        masks=problem.masks,
    )


def _named(problem: Problem, gradients: Gradients) -> dict[str, np.ndarray]:
    weights = {name: gradient for name, gradient in gradients.weights._asdict().items() if gradient is not None}
    return {"x": gradients.x} | weights | dict(zip(problem.cell.state, gradients.initial_state, strict=True))


def _backward(problem: Problem) -> dict[str, np.ndarray]:
    return _named(problem, unroll_backward(_run(problem).tape, problem.d_outputs, problem.d_last))


def _loss(problem: Problem, operands: Mapping[str, np.ndarray]) -> float:
    outputs, last, _ = _run(problem, operands)
    return float(
        (problem.d_outputs * outputs).sum() + sum((d * h).sum() for d, h in zip(problem.d_last, last, strict=True))
    )


# Witness 1: central differences.


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", cells.names())
def test_unroll_backward_is_the_derivative_of_unroll(name: str, reverse: bool, masked: bool) -> None:
    problem = _problem(name, reverse=reverse, masked=masked)
    gradients = _backward(problem)
    padding = np.arange(T)[:, None] >= LENGTHS
    unused: dict[str, Any] = {"x": padding[:, :, None]}
    if name == "relu" or masked:  # a unit that is off, or zoned out where it stands alone, hides what it hears
        unused = {operand: gradient == 0 for operand, gradient in gradients.items()}
        assert all((gradient != 0).mean() > 0.4 for gradient in gradients.values())
    report = gradient_check(
        lambda operands: _loss(problem, operands),
        problem.operands,
        gradients,
        rules=Rules(tolerance=1e-6),
        unused=unused,
    )
    assert report.share_checked == 1
    assert (gradients["x"][padding] == 0).all()


# Witness 2: PyTorch with copied weights.

PYTORCH: dict[str, Callable[..., Any]] = {
    "tanh": lambda **options: torch.nn.RNN(I, H, nonlinearity="tanh", **options),
    "relu": lambda **options: torch.nn.RNN(I, H, nonlinearity="relu", **options),
    "gru": lambda **options: torch.nn.GRU(I, H, **options),
    "lstm": lambda **options: torch.nn.LSTM(I, H, **options),
}


def _sigmoid_step(x: Any, h: Any, w: dict[str, Any]) -> Any:
    return torch.sigmoid(x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"])


def _gru_reset_before_step(x: Any, h: Any, w: dict[str, Any]) -> Any:
    (W_r, W_z, W_n), (R_r, R_z, R_n) = w["weight_ih"].chunk(3), w["weight_hh"].chunk(3)
    (b_r, b_z, b_n), (c_r, c_z, c_n) = w["bias_ih"].chunk(3), w["bias_hh"].chunk(3)
    r = torch.sigmoid(x @ W_r.T + b_r + h @ R_r.T + c_r)
    z = torch.sigmoid(x @ W_z.T + b_z + h @ R_z.T + c_z)
    n = torch.tanh(x @ W_n.T + b_n + (r * h) @ R_n.T + c_n)
    return (1 - z) * n + z * h


OWN_STEPS = {"sigmoid": _sigmoid_step, "gru_reset_before": _gru_reset_before_step}


def test_every_cell_has_a_witness_in_pytorch() -> None:
    assert set(PYTORCH) | set(OWN_STEPS) == set(cells.names())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", PYTORCH)
def test_unroll_agrees_with_pytorchs_module(name: str, reverse: bool, bias: bool) -> None:
    problem = _problem(name, reverse=reverse, bias=bias)
    module = PYTORCH[name](bias=bias, bidirectional=reverse, dtype=torch.float64)
    suffix = "_l0_reverse" if reverse else "_l0"
    parameters = {name: p for name, p in module.named_parameters() if name.endswith(suffix)}
    with torch.no_grad():
        for parameter_name, parameter in parameters.items():
            parameter.copy_(torch.tensor(problem.operands[parameter_name.removesuffix(suffix)]))
    x = torch.tensor(problem.operands["x"], requires_grad=True)
    state = [torch.tensor(problem.operands[part], requires_grad=True) for part in problem.cell.state]
    # A bidirectional module wants a state for its other direction too; what that computes is not looked at.
    initial = [torch.stack([torch.zeros_like(s), s]) if reverse else s[None] for s in state]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), enforce_sorted=False)
    packed_outputs, last = module(packed, tuple(initial) if len(initial) > 1 else initial[0])
    outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed_outputs)
    outputs, last = outputs[..., -H:], [part[-1] for part in (last if isinstance(last, tuple) else (last,))]
    _check_against(problem, outputs, last, {n.removesuffix(suffix): p for n, p in parameters.items()}, x, state)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", OWN_STEPS)
def test_unroll_agrees_with_autograd_through_a_step_of_its_own(name: str, reverse: bool, masked: bool) -> None:
    problem = _problem(name, reverse=reverse)
    if masked:  # zoneout alone: it needs nothing of the step
        problem = problem._replace(masks=Masks(zoneout=_problem(name, masked=True).masks.zoneout))
    tensors = {operand: torch.tensor(value, requires_grad=True) for operand, value in problem.operands.items()}
    outputs: list[list[Any]] = [[torch.zeros(H, dtype=torch.float64)] * B for _ in range(T)]
    last = []
    for b, length in enumerate(LENGTHS):  # one sequence at a time, so that padding never comes up
        h = tensors["h"][b]
        for t in reversed(range(length)) if reverse else range(length):
            new = OWN_STEPS[name](tensors["x"][t, b], h, tensors)
            z = torch.tensor(problem.masks.zoneout[0][t, b]) if problem.masks.zoneout else 0
            h = z * h + (1 - z) * new
            outputs[t][b] = h
        last.append(h)
    stacked = torch.stack([torch.stack(row) for row in outputs])
    weights = {operand: tensors[operand] for operand in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    _check_against(problem, stacked, [torch.stack(last)], weights, tensors["x"], [tensors["h"]])


def _check_against(
    problem: Problem, outputs: Any, last: list[Any], weights: dict[str, Any], x: Any, state: list[Any]
) -> None:
    ours = _run(problem)
    np.testing.assert_allclose(ours.outputs, outputs.detach().numpy(), rtol=1e-12, atol=1e-13)
    for one, other in zip(ours.last, last, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-12, atol=1e-13)
    torch.autograd.backward([outputs, *last], [torch.tensor(d) for d in (problem.d_outputs, *problem.d_last)])
    theirs = weights | {"x": x} | dict(zip(problem.cell.state, state, strict=True))
    gradients = _backward(problem)
    assert set(gradients) == set(theirs)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", cells.names())
def test_a_recurrent_mask_acts_on_every_recurrent_product_and_on_nothing_else(name: str) -> None:
    # With a mask that is the same for all sequences, scaling the columns of weight_hh does the same.
    problem, mask = _problem(name), np.array([0.0, 1.7, 0.4])
    masked = _run(problem._replace(masks=Masks(recurrent=np.tile(mask, (B, 1)))))
    scaled = _run(problem, problem.operands | {"weight_hh": problem.operands["weight_hh"] * mask})
    np.testing.assert_allclose(masked.outputs, scaled.outputs, rtol=1e-13, atol=1e-14)
    assert np.abs(masked.outputs - _run(problem).outputs).max() > 0.01


@pytest.mark.parametrize("name", cells.names())
def test_zoneout_mixes_the_old_state_with_the_new_one(name: str) -> None:
    problem = _problem(name)
    state = tuple(problem.operands[part] for part in problem.cell.state)
    zoneout = tuple(np.random.default_rng(5 + i).random((T, B, H)) for i in range(len(state)))
    x, weights = problem.operands["x"], _weights(problem.operands)
    whole = unroll(problem.cell, x, weights, initial_state=state, masks=Masks(zoneout=zoneout))
    for t in range(T):
        new = unroll(problem.cell, x[t : t + 1], weights, initial_state=state).last
        state = tuple(z[t] * old + (1 - z[t]) * n for z, old, n in zip(zoneout, state, new, strict=True))
        np.testing.assert_allclose(whole.outputs[t], state[0], rtol=1e-13)
    for one, other in zip(whole.last, state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
