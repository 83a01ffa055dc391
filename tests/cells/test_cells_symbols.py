"""Cells run on symbols: what is recorded, what is not, and what a cell that does something else is told."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.elementwise import is_positive, relu, sigmoid, tanh
from unrolled.cells.recording import argument_sizes, record_cell, record_forward
from unrolled.cells.symbols import OPERATIONS, Graph, Node, Symbol
from unrolled.errors import UsageError

B, H = 3, 4


class OneLine(Cell):
    """h = f(a, b, h_prev) for any f."""

    name = "one_line"
    gates = ("a", "b")

    def __init__(self, line: Callable[[Any, Any, Any], Any]) -> None:
        self.line = line

    def step(self, a: Any, u: Any, state: Any) -> Any:
        return (self.line(*a, *state),), ()

    def step_backward(self, d_state: Any, kept: Any) -> Any:
        return (d_state[0], 0.0), (), (0.0,)


def add(a: Any, b: Any, h: Any) -> Any:
    return a + b + h


def draw(seed: int, *sizes: int) -> list[tuple[Any, ...]]:
    """A group of operands for each size, everything different."""
    random = np.random.default_rng(seed)
    return [tuple(random.normal(size=(size, B, H))) for size in sizes]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", cells.names())
def test_what_is_recorded_gives_the_same_bits_as_the_lines(name: str, kind: str) -> None:
    cell = cells.get(name)
    recorded = record_cell(cell)
    ways = [("step", recorded.step)] + ([("late_operand", recorded.late)] if recorded.late else [])
    assert len(ways) == 1 + bool(cell.late)
    for method, way in ways:
        arguments = draw(1, *argument_sizes(cell, method))
        results, d_results = draw(2, way.forward.operands, len(way.forward.results) - way.kept)
        if kind == "torch":
            arguments = [tuple(map(torch.tensor, group)) for group in arguments]
            d_results = tuple(map(torch.tensor, d_results))
        results, kept = getattr(cell, method)(*arguments)
        results = results if method == "step" else (results,)
        found = way.forward(*(operand for group in arguments for operand in group))
        assert all(np.array_equal(f, e) for f, e in zip(found, [*results, *kept], strict=True))
        d = d_results if method == "step" else d_results[0]
        groups = getattr(cell, f"{method}_backward")(d, kept)
        gradients = way.backward(*d_results, *kept)
        for f, e in zip(gradients, [d for group in groups for d in group], strict=True):
            assert type(f) is type(e)
            assert np.array_equal(f, e)


def test_the_recorded_tanh_cell_in_full() -> None:
    step = record_cell(cells.get("tanh")).step
    assert step.forward == (2, (Node("tanh", (0,)),), (2, 2))
    nodes = (Node("multiply", (1, 1)), Node("number", (), 1.0), Node("subtract", (3, 2)), Node("multiply", (0, 4)))
    assert step.backward == (2, nodes, (5, None))
    assert step.kept == 1


def test_the_same_operation_is_recorded_once_and_what_leads_nowhere_not_at_all() -> None:
    def line(a: Any, b: Any, h: Any) -> Any:
        sigmoid(h)
        return (a * b + tanh(a)) * (tanh(a) + b * a) - 0.5 * a + a * 0.5

    forward = record_forward(OneLine(line), "step")
    operations = [n.operation for n in forward.graph.function(forward.operands, forward.results).nodes]
    expected = ["multiply", "tanh", "add", "multiply", "number", "multiply", "subtract", "add"]
    assert sorted(operations) == sorted(expected)


def test_numbers_stand_on_either_side_and_numpy_scalars_are_numbers() -> None:
    def line(a: Any, b: Any, h: Any) -> Any:
        left = np.float32(0.5) + (2 - np.float64(0.25) * a)
        return relu(-left * np.int64(3)) + (b - 1) - is_positive(h + 0.5)

    forward = record_forward(OneLine(line), "step")
    function = forward.graph.function(forward.operands, forward.results)
    a, b, h = (operand.astype(np.float32) for operand in draw(3, 3)[0])
    (found,) = function(a, b, h)
    assert found.dtype == np.float32
    expected = np.maximum(-3 * (2.5 - 0.25 * a), 0) + b - 1 - (h > -0.5)
    assert 0 < np.mean(h > -0.5) < 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_every_operation_is_one_that_symbols_record() -> None:
    graph = Graph()
    a, b = graph.operands(2)
    made = [a + b, a - b, a * b, -a, tanh(a), sigmoid(a), relu(a), is_positive(a)]
    assert [symbol.node.operation for symbol in made] == list(OPERATIONS)


REFUSED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "division": lambda a, b, h: a / b,
    "reciprocal": lambda a, b, h: 1 / a,
    "power": lambda a, b, h: a**2,
    "absolute": lambda a, b, h: abs(a),
    "matrix product": lambda a, b, h: a @ b,
    "comparison": lambda a, b, h: a * (b > 0),
    "equality": lambda a, b, h: a * (b == 0),
    "inequality": lambda a, b, h: a * (b != 0),
    "bool": lambda a, b, h: a if a else b,
    "maximum": lambda a, b, h: max(a, b),
    "float": lambda a, b, h: a * float(b),
    "math": lambda a, b, h: a * math.exp(b),
    "index": lambda a, b, h: a[0] * b,
    "iteration": lambda a, b, h: sum(x for x in a),
    "method": lambda a, b, h: a.exp(),
    "shape": lambda a, b, h: a * a.shape[0],
    "only sign": lambda a, b, h: a * b.sign(),
    "numpy function": lambda a, b, h: np.exp(a),
    "numpy function of a cell's": lambda a, b, h: np.tanh(a),
    "numpy where": np.where,
    "numpy array": lambda a, b, h: np.ones((3, 4)) * a,
    "torch function": lambda a, b, h: torch.exp(a),
    "torch tensor": lambda a, b, h: a + torch.ones(3, 4),
    "infinity": lambda a, b, h: a * math.inf,
    "not a number": lambda a, b, h: a - math.nan,
    "text": lambda a, b, h: a + "1",
}


@pytest.mark.parametrize("what", REFUSED)
def test_anything_else_is_refused_in_one_line_that_says_what_cells_may_use(what: str) -> None:
    with pytest.raises(UsageError) as caught:
        record_cell(OneLine(REFUSED[what]))
    message = str(caught.value)
    assert message.startswith("cell one_line: step fails on symbols (")
    assert message.endswith("cells use + - * and tanh, sigmoid, relu, is_positive of unrolled.cells.elementwise")
    assert "\n" not in message
    assert caught.value.__cause__ is not None


def test_a_mistake_of_another_kind_is_not_dressed_up() -> None:
    def line(a: Any, b: Any, h: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record_cell(OneLine(line))


class _Remembers(OneLine):
    seen: ClassVar[list[Symbol]] = []

    def step_backward(self, d_state: Any, kept: Any) -> Any:
        return (d_state[0] * self.seen[0], 0.0), (), (0.0,)


def test_a_value_from_another_call_is_refused() -> None:
    def line(a: Any, b: Any, h: Any) -> Any:
        _Remembers.seen.append(a)
        return a * b

    with pytest.raises(UsageError, match=r"step_backward fails .*a value is remembered from another call"):
        record_cell(_Remembers(line))


WRONG_STEPS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "no pair": (lambda a, h: a[0], "must return a pair"),
    "no tuple": (lambda a, h: (a[0], ()), r"must return the state \('h',\) as a tuple"),
    "too many parts": (lambda a, h: ((a[0], a[1]), ()), r"must return the state \('h',\) as a tuple"),
    "a number": (lambda a, h: ((0.0,), ()), "must return results that are computed from its operands"),
    "kept alone": (lambda a, h: ((a[0],), a[0]), "must return what it keeps as a tuple"),
}


@pytest.mark.parametrize("what", WRONG_STEPS)
def test_a_step_that_returns_something_else_is_told_what_it_should(what: str) -> None:
    returns, complaint = WRONG_STEPS[what]

    class Wrong(OneLine):
        def step(self, a: Any, u: Any, state: Any) -> Any:
            return returns(a, state)

    with pytest.raises(UsageError, match=f"^cell one_line: step {complaint}"):
        record_cell(Wrong(add))


@pytest.mark.parametrize(
    ("gradients", "complaint"),
    [
        (lambda d: ((d, d), (d,)), r"gradients in groups of \(2, 0, 1\)"),
        (lambda d: ((d,), (), (d,)), r"gradients in groups of \(2, 0, 1\)"),
        (lambda d: ((d, 1.0), (), (d,)), r"gradients, or 0.0 for one that is 0"),
    ],
)
def test_a_backward_that_returns_something_else_is_told_what_it_should(gradients: Any, complaint: str) -> None:
    class Wrong(OneLine):
        def step_backward(self, d_state: Any, kept: Any) -> Any:
            return gradients(d_state[0])

    with pytest.raises(UsageError, match=rf"^cell one_line: step_backward must return {complaint}$"):
        record_cell(Wrong(add))


def test_a_value_kept_twice_counts_once_and_a_kept_number_not_at_all() -> None:
    class Keeping(OneLine):
        def step(self, a: Any, u: Any, state: Any) -> Any:
            s = sigmoid(a[0])
            return (s * a[1],), (s, 3.0, a[1], sigmoid(a[0]))

        def step_backward(self, d_state: Any, kept: Any) -> Any:
            (dh,), (s, three, b, s_again) = d_state, kept
            return (dh * three * b, dh * (s + s_again)), (), (0.0,)

    step = record_cell(Keeping(add)).step
    assert step.kept == 2
    a, b, h, dh = draw(4, 4)[0]
    new, *kept = step.forward(a, b, h)
    da, db, d_before = step.backward(dh, *kept)
    s = sigmoid(a)
    assert all(np.array_equal(x, y) for x, y in zip((new, *kept), (s * b, s, b), strict=True))
    np.testing.assert_allclose(da, 3 * dh * b, rtol=1e-15)
    np.testing.assert_allclose(db, 2 * dh * s, rtol=1e-15)
    assert d_before == 0.0
