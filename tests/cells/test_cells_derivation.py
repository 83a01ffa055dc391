"""Backwards that are derived: against those written by hand, central differences and torch, and how they are kept."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from unrolled import cells, reference
from unrolled.cells import Cell
from unrolled.cells.derivation import BACKWARD, as_written, complete
from unrolled.cells.elementwise import is_positive, relu, sigmoid, tanh
from unrolled.cells.lstm import LSTM
from unrolled.cells.recording import Recorded, argument_sizes, record_cell
from unrolled.cells.symbols import OPERATIONS
from unrolled.errors import UsageError
from unrolled.reference import gradient_check

B, H = 3, 4
METHODS = {name: ("step", "late_operand")[: 1 + bool(cells.get(name).late)] for name in cells.names()}
WAYS = [(name, method) for name in METHODS for method in METHODS[name]]


class UpdateGate(Cell):
    """The update-gate RNN, arXiv:1611.09913, without its backward; g = 1 keeps the past."""

    name = "update_gate"
    gates = ("candidate", "gate")

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (a_c, a_g), (h_prev,) = a, state
        g = sigmoid(a_g)
        return (g * h_prev + (1 - g) * tanh(a_c),), "ignored"


class Crooked(Cell):
    """All that a cell may ask for and all that it may be written in, without any backward."""

    name = "crooked"
    gates = ("scale", "value", "unused", "output")
    state = ("h", "m", "still")
    apart = ("value",)
    late = ("output",)

    def late_operand(self, a: Any, state: Any) -> Any:
        (a_s, a_v, _), (h, m, _) = a, state
        return 0.5 * (sigmoid(a_s) * sigmoid(a_s)) * h - a_v * m, ()

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (a_s, x_v, _, a_o), (u_v,), (_, m_prev, _) = a, u, state
        s = -tanh(a_s + 1)
        m = s * m_prev - relu(x_v + a_s * u_v) * (2 - x_v)
        square = m * m
        return (square * square + a_o * is_positive(u_v), m, m), ()


def without_backward(name: str) -> Cell:
    """A cell of the registry as somebody would write it who leaves its backward out."""
    left_out = {f"{method}_backward": getattr(Cell, f"{method}_backward") for method in METHODS[name]}
    made: Cell = type("Bare", (type(cells.get(name)),), left_out)()
    return made


def recorded(cell: Cell, method: str) -> Recorded:
    both = record_cell(cell)
    way = both.step if method == "step" else both.late
    assert way is not None
    return way


def draw(seed: int, count: int) -> list[Any]:
    return list(np.random.default_rng(seed).normal(size=(count, B, H)))


def run(cell: Cell, method: str, operands: list[Any], d_results: list[Any]) -> tuple[list[Any], list[Any]]:
    """Results and gradients of one method and its backward, each in one list."""
    remaining = iter(operands)
    arguments = [tuple(next(remaining) for _ in range(size)) for size in argument_sizes(cell, method)]
    results, kept = getattr(cell, method)(*arguments)
    single = method == "late_operand"
    groups = getattr(cell, f"{method}_backward")(d_results[0] if single else tuple(d_results), kept)
    assert [len(group) for group in groups] == list(argument_sizes(cell, method))
    return [results] if single else list(results), [d for group in groups for d in group]


def operand_names(cell: Cell, method: str) -> list[str]:
    if method == "late_operand":
        return [f"a {gate}" for gate in cell.gates[: -len(cell.late)]] + [f"state {part}" for part in cell.state]
    names = [f"a {gate}" for gate in cell.gates] + [f"u {gate}" for gate in cell.apart]
    return names + [f"state {part}" for part in cell.state]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "method"), WAYS)
def test_the_derived_backward_is_the_one_written_by_hand(name: str, method: str, kind: str) -> None:
    by_hand, derived = cells.get(name), complete(without_backward(name))
    way = recorded(by_hand, method)
    operands, d_results = draw(1, way.forward.operands), draw(2, len(way.forward.results) - way.kept)
    results, gradients = run(by_hand, method, operands, d_results)
    if kind == "torch":
        operands, d_results = list(map(torch.tensor, operands)), list(map(torch.tensor, d_results))
    same_results, same_gradients = run(derived, method, operands, d_results)
    for expected, got in zip(results, same_results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-15)
    for operand, expected, got in zip(operand_names(by_hand, method), gradients, same_gradients, strict=True):
        if isinstance(expected, float):
            assert isinstance(got, float), operand
            assert got == expected == 0.0, operand
        else:
            assert np.linalg.norm(expected) > 0.1, operand
            error = np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected)
            assert error <= 1e-13, f"{operand} is off by {error:.1e}"


@pytest.mark.parametrize(("name", "method"), WAYS)
def test_the_derived_backward_costs_no_more_than_the_one_written_by_hand(name: str, method: str) -> None:
    by_hand, derived = recorded(cells.get(name), method), recorded(complete(without_backward(name)), method)
    assert derived.kept <= by_hand.kept
    assert len(derived.forward.nodes) == len(by_hand.forward.nodes)
    assert len(derived.backward.nodes) <= len(by_hand.backward.nodes)


def test_what_follows_cheaply_from_other_kept_values_is_not_kept() -> None:
    step = recorded(complete(UpdateGate()), "step")
    assert step.kept == 3  # g, c and h_prev, but not 1 - g
    operations = [node.operation for node in step.backward.nodes]
    assert not {"tanh", "sigmoid", "add", "negative"} & set(operations)


@pytest.mark.parametrize(("cell", "method"), [(UpdateGate(), "step"), (Crooked(), "step"), (Crooked(), "late_operand")])
def test_the_derived_backward_of_a_users_cell_is_right(cell: Cell, method: str) -> None:
    cell = complete(cell)
    names = operand_names(cell, method)
    operands = dict(zip(names, draw(3, len(names)), strict=True))
    d_results = draw(4, 1 if method == "late_operand" else len(cell.state))

    def loss(operands: Any) -> float:
        results, _ = run(cell, method, list(operands.values()), d_results)
        return float(sum((d * result).sum() for d, result in zip(d_results, results, strict=True)))

    _, gradients = run(cell, method, list(operands.values()), d_results)
    full = {name: np.zeros((B, H)) + d for name, d in zip(names, gradients, strict=True)}
    unread = {name: isinstance(d, float) for name, d in zip(names, gradients, strict=True)}
    unused: dict[str, Any] = dict(unread)
    if cell.name == "crooked" and method == "step":  # where its relu and its is_positive are 0, nothing passes
        closed = operands["a value"] + operands["a scale"] * operands["u value"] <= 0
        assert 0 < closed.mean() < 1
        unused |= {"a value": closed, "u value": closed, "a output": operands["u value"] <= 0}
    report = gradient_check(loss, operands, full, unused=unused)
    assert report.share_checked == 1
    expected = {
        ("update_gate", "step"): set(),
        ("crooked", "step"): {"a unused", "state h", "state still"},
        ("crooked", "late_operand"): {"a unused", "state still"},
    }
    assert {name for name in names if unread[name]} == expected[cell.name, method]


def test_torch_derives_the_same_from_the_completed_forward() -> None:
    cell = complete(Crooked())
    for method in ("step", "late_operand"):
        names = operand_names(cell, method)
        d_results = list(map(torch.tensor, draw(6, 1 if method == "late_operand" else 3)))
        operands = [torch.tensor(x, requires_grad=True) for x in draw(5, len(names))]
        results, _ = run(cell, method, operands, d_results)
        torch.autograd.backward(results, d_results)
        _, gradients = run(cell, method, [x.detach() for x in operands], d_results)
        for name, operand, got in zip(names, operands, gradients, strict=True):
            if operand.grad is None:
                assert isinstance(got, float), name
            else:
                np.testing.assert_allclose(got, operand.grad, rtol=1e-12, atol=1e-13, err_msg=name)


def test_every_operation_has_a_derivative() -> None:
    assert BACKWARD.keys() == OPERATIONS.keys()


@pytest.fixture
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))


@pytest.mark.usefixtures("_own_registry")
@pytest.mark.parametrize("make", [UpdateGate, Crooked])
def test_register_completes_a_cell_and_the_reference_runs_it(make: Callable[[], Cell]) -> None:
    cell = cells.register(make())
    assert cells.get(cell.name) is cell
    assert isinstance(cell, make)  # type: ignore[arg-type]
    assert type(cell).__doc__ == make.__doc__
    assert as_written(cell) is make
    again = cells.register(make())
    assert cells.register(again) is again
    random = np.random.default_rng(7)
    gates, size = len(cell.gates), 2
    x = random.normal(size=(3, 2, 3))
    parameters = {
        "weight_ih": random.normal(size=(gates * size, 3)),
        "weight_hh": random.normal(size=(gates * size, 2)),
    }
    d_outputs = random.normal(size=(3, 2, size))
    initial = tuple(random.normal(size=(len(cell.state), 2, size)))

    def forward(parameters: Any) -> reference.Unrolling:
        weights = reference.Weights(parameters["weight_ih"], parameters["weight_hh"])
        return reference.unroll(cell, x, weights, initial_state=initial)

    gradients = reference.unroll_backward(forward(parameters).tape, d_outputs).weights
    rows = np.repeat(np.array(cell.gates) == "unused", size)[:, None]
    report = gradient_check(
        lambda parameters: float((forward(parameters).outputs * d_outputs).sum()),
        parameters,
        {"weight_ih": gradients.weight_ih, "weight_hh": gradients.weight_hh},
        unused={"weight_ih": rows, "weight_hh": rows},
    )
    assert report.share_checked == 1


@pytest.mark.usefixtures("_own_registry")
def test_another_class_of_the_same_name_is_refused_as_ever() -> None:
    cells.register(UpdateGate())

    class Other(UpdateGate):
        pass

    with pytest.raises(UsageError, match=r'^cell name "update_gate" is taken by UpdateGate'):
        cells.register(Other())


@pytest.mark.usefixtures("_own_registry")
def test_a_cell_whose_backward_cannot_be_derived_is_not_registered() -> None:
    class Division(UpdateGate):
        name = "division"

        def step(self, a: Any, u: Any, state: Any) -> Any:
            return (a[0] / (1 + a[1] * a[1]),), ()

    with pytest.raises(
        UsageError, match=r"^cell division: step fails on symbols \(unsupported operand .*\): cells use"
    ):
        cells.register(Division())
    assert "division" not in cells.names()


def test_a_cell_that_is_not_registered_says_what_is_missing() -> None:
    with pytest.raises(UsageError, match=r"^cell update_gate leaves out step_backward: use the cell that cells.reg"):
        UpdateGate().step_backward((), ())
    with pytest.raises(UsageError, match=r"^cell crooked leaves out late_operand_backward: use the cell that cells"):
        Crooked().late_operand_backward((), ())


class _Coupled(LSTM):
    """Forward lines of its own above a backward that undoes others."""

    name = "coupled"
    written: ClassVar[int] = 3

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (a_i, _, a_g, a_o), (_, c_prev) = a, state
        i = sigmoid(a_i)
        c = (1 - i) * c_prev + i * tanh(a_g)
        return (sigmoid(a_o) * tanh(c), c), ()


def test_a_backward_inherited_under_new_forward_lines_is_not_used() -> None:
    cell = complete(_Coupled())
    assert isinstance(cell, _Coupled)
    assert cell.written == 3
    operands, d_results = draw(8, 6), draw(9, 2)
    tensors = [torch.tensor(x, requires_grad=True) for x in operands]
    (new, _) = _Coupled().step(tuple(tensors[:4]), (), tuple(tensors[4:]))
    torch.autograd.backward(new, list(map(torch.tensor, d_results)))
    _, gradients = run(cell, "step", operands, d_results)
    assert gradients[1] == 0.0
    assert tensors[1].grad is None
    for got, tensor in [(gradients[i], tensors[i]) for i in (0, 2, 3, 5)]:
        assert tensor.grad is not None
        np.testing.assert_allclose(got, tensor.grad, rtol=1e-12)


def test_a_cell_that_has_its_backward_is_left_alone() -> None:
    class Quicker(UpdateGate):
        def step_backward(self, d_state: Any, kept: Any) -> Any:
            return (0.0, 0.0), (), (d_state[0],)

    for cell in [Quicker(), *map(cells.get, cells.names())]:
        assert complete(cell) is cell
