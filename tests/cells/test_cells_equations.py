"""The equations of each cell at one step: against their derivatives, on two kinds of array, and at their limits."""

from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells
from unrolled.cells import Cell, elementwise
from unrolled.reference import gradient_check

B, H = 3, 4
FUNCTIONS = ("tanh", "sigmoid", "relu", "is_positive")


def _operands(cell: Cell, seed: int) -> dict[str, np.ndarray]:
    """All arguments of one step, everything different: a of the late gates too, and u of the apart ones."""
    random = np.random.default_rng(seed)
    names = [f"a {gate}" for gate in cell.gates] + [f"u {gate}" for gate in cell.apart]
    return {name: random.normal(size=(B, H)) for name in names + [f"state {part}" for part in cell.state]}


def _step(cell: Cell, operands: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    a = tuple(operands[f"a {gate}"] for gate in cell.gates)
    u = tuple(operands[f"u {gate}"] for gate in cell.apart)
    return cell.step(a, u, tuple(operands[f"state {part}"] for part in cell.state))


def _late(cell: Cell, operands: Any) -> tuple[Any, tuple[Any, ...]]:
    early = cell.gates[: len(cell.gates) - len(cell.late)]
    a = tuple(operands[f"a {gate}"] for gate in early)
    return cell.late_operand(a, tuple(operands[f"state {part}"] for part in cell.state))


def _named(cell: Cell, gradients: Any, gates: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What a backward returns, by the names of `_operands`, with 0.0 written out."""
    names = [f"a {gate}" for gate in gates] + [f"u {gate}" for gate in cell.apart]
    names += [f"state {part}" for part in cell.state]
    flat = [d for group in gradients for d in group]
    return {name: np.zeros((B, H)) + np.asarray(d) for name, d in zip(names, flat, strict=True)}


def _unread(gradients: dict[str, np.ndarray]) -> dict[str, Any]:
    """Operands that a cell says it does not read: the check then finds both gradients exactly zero."""
    return {name: not d.any() for name, d in gradients.items()}


@pytest.mark.parametrize("name", cells.names())
def test_step_backward_is_the_derivative_of_step(name: str) -> None:
    cell = cells.get(name)
    operands = _operands(cell, seed=1)
    d_state = tuple(np.random.default_rng(2).normal(size=(len(cell.state), B, H)))

    def loss(operands: Any) -> float:
        new, _ = _step(cell, operands)
        return float(sum((d * part).sum() for d, part in zip(d_state, new, strict=True)))

    _, kept = _step(cell, operands)
    gradients = _named(cell, cell.step_backward(d_state, kept), cell.gates)
    # Relu's own zeros are declared one by one: their inputs are negative, and the slope there is 0.
    unused = {"a hidden": operands["a hidden"] < 0} if name == "relu" else {}
    report = gradient_check(loss, operands, gradients, unused=_unread(gradients) | unused)
    assert report.share_checked == 1


@pytest.mark.parametrize("name", [name for name in cells.names() if cells.get(name).late])
def test_late_operand_backward_is_the_derivative_of_late_operand(name: str) -> None:
    cell = cells.get(name)
    early = cell.gates[: len(cell.gates) - len(cell.late)]
    operands = {name: x for name, x in _operands(cell, seed=3).items() if name[2:] not in cell.late}
    dp = np.random.default_rng(4).normal(size=(B, H))
    _, kept = _late(cell, operands)
    gradients = _named(cell, cell.late_operand_backward(dp, kept), early)
    report = gradient_check(
        lambda operands: float((dp * _late(cell, operands)[0]).sum()), operands, gradients, unused=_unread(gradients)
    )
    assert report.share_checked == 1


@pytest.mark.parametrize("name", cells.names())
def test_torch_tensors_give_what_arrays_give(name: str) -> None:
    cell = cells.get(name)
    operands = _operands(cell, seed=5)
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in operands.items()}
    d_state = tuple(np.random.default_rng(6).normal(size=(len(cell.state), B, H)))

    new, kept = _step(cell, operands)
    gradients = _named(cell, cell.step_backward(d_state, kept), cell.gates)
    new_tensors, _ = _step(cell, tensors)
    detached = {name: x.detach() for name, x in tensors.items()}
    _, kept_tensors = _step(cell, detached)
    by_cell = _named(cell, cell.step_backward(tuple(map(torch.tensor, d_state)), kept_tensors), cell.gates)
    torch.autograd.backward(new_tensors, [torch.tensor(d) for d in d_state])

    for part, part_tensor in zip(new, new_tensors, strict=True):
        np.testing.assert_allclose(part_tensor.detach().numpy(), part, rtol=1e-14, atol=1e-15)
    for operand, gradient in gradients.items():
        np.testing.assert_allclose(by_cell[operand], gradient, rtol=1e-13, atol=1e-15)
        by_autograd = tensors[operand].grad
        np.testing.assert_allclose(0 if by_autograd is None else by_autograd, gradient, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", [name for name in cells.names() if cells.get(name).late])
def test_late_operands_on_torch_tensors_give_what_arrays_give(name: str) -> None:
    cell = cells.get(name)
    early = cell.gates[: len(cell.gates) - len(cell.late)]
    operands = _operands(cell, seed=7)
    dp = np.random.default_rng(8).normal(size=(B, H))
    p, kept = _late(cell, operands)
    tensors = {name: torch.tensor(x) for name, x in operands.items()}
    p_tensor, kept_tensors = _late(cell, tensors)
    np.testing.assert_allclose(p_tensor.numpy(), p, rtol=1e-14)
    one = _named(cell, cell.late_operand_backward(dp, kept), early)
    other = _named(cell, cell.late_operand_backward(torch.tensor(dp), kept_tensors), early)
    for operand, gradient in one.items():
        np.testing.assert_allclose(other[operand], gradient, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_elementwise_functions_agree_and_keep_the_dtype(function: str, dtype: Any) -> None:
    a = np.array([[-1e4, -800.0, -3.0, -1e-3], [0.0, 1e-3, 2.0, 1e4]], dtype=dtype)
    on_array = getattr(elementwise, function)(a)
    on_tensor = getattr(elementwise, function)(torch.tensor(a)).numpy()
    assert on_array.dtype == on_tensor.dtype == dtype
    np.testing.assert_allclose(on_tensor, on_array, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)


def test_elementwise_values() -> None:
    a = np.array([-np.log(3), 0.0, np.log(3)])
    np.testing.assert_allclose(elementwise.sigmoid(a), [1 / 4, 1 / 2, 3 / 4], rtol=1e-15)
    np.testing.assert_allclose(elementwise.tanh(a / 2), [-1 / 2, 0, 1 / 2], rtol=1e-15)
    assert elementwise.relu(a).tolist() == [0, 0, np.log(3)]
    assert elementwise.is_positive(a).tolist() == [0, 0, 1]
    assert elementwise.sigmoid(np.array([-1e3, 1e3])).tolist() == [0, 1]


def _random(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, H))


def test_an_lstm_that_only_takes_in_and_lets_out_is_an_elman_step_with_one_more_tanh() -> None:
    a_g, open_gate, shut = _random(1), np.full((B, H), 1e3), np.full((B, H), -1e3)
    state = (_random(2), _random(3))
    (h, c), _ = cells.get("lstm").step((open_gate, shut, a_g, open_gate), (), state)
    ((elman,), _) = cells.get("tanh").step((a_g,), (), (_random(2),))
    assert np.array_equal(c, elman)
    assert np.array_equal(h, np.tanh(elman))


def test_a_gru_with_reset_one_and_update_zero_is_exactly_an_elman_step() -> None:
    x_n, u_n, h_prev, open_gate, shut = _random(4), _random(5), _random(6), np.full((B, H), 1e3), np.full((B, H), -1e3)
    ((elman,), _) = cells.get("tanh").step((x_n + u_n,), (), (h_prev,))
    ((after,), _) = cells.get("gru").step((open_gate, shut, x_n), (u_n,), (h_prev,))
    assert np.array_equal(after, elman)
    before = cells.get("gru_reset_before")
    operand, _ = before.late_operand((open_gate, shut), (h_prev,))
    assert np.array_equal(operand, h_prev)
    ((h,), _) = before.step((open_gate, shut, x_n + u_n), (), (h_prev,))
    assert np.array_equal(h, elman)


@pytest.mark.parametrize("name", ["gru", "gru_reset_before"])
def test_update_one_keeps_the_past(name: str) -> None:
    cell, h_prev, keep = cells.get(name), _random(7), np.full((B, H), 1e3)
    ((h,), _) = cell.step((_random(8), keep, _random(9)), tuple(_random(10) for _ in cell.apart), (h_prev,))
    np.testing.assert_allclose(h, h_prev, rtol=0, atol=1e-15)  # n + (h_prev - n) may round once
