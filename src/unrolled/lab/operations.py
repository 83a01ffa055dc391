"""The operations of an engine as losses of named parameters, small enough for every element to be checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.arrays import Array, same_kind
from unrolled.engines.contract import Engine, InputWeights

Parameters = Mapping[str, Array]
STEPS, BATCH, INPUTS, HIDDEN, VOCABULARY = 3, 2, 2, 3, 4
LENGTHS = np.array([3, 2])
IDS = np.array([[0, 3], [2, 0], [3, 3]])
SCALE = 0.8
"""Standard deviation of the parameters: gates are then neither open nor shut."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: of the operation.
        parameters: float64 arrays by name.
        loss: of an engine and parameters, NumPy arrays or tensors, to a number of the same kind.
        gradients: of an engine and NumPy parameters, to dE/d(each).
    """

    name: str
    parameters: dict[str, Array]
    loss: Callable[[Engine, Parameters], Any]
    gradients: Callable[[Engine, Parameters], dict[str, Array]]


def operations_of(cell: Cell, random: np.random.Generator) -> list[Operation]:
    """What runs a cell: over time, either way, one step, and from tokens."""
    return [
        _unroll(cell, random, reverse=False),
        _unroll(cell, random, reverse=True),
        _step(cell, random),
        _unroll_tokens(cell, random),
    ]


def operations_without_cell(random: np.random.Generator) -> list[Operation]:
    """The linear layer, and the output layer with softmax and loss."""
    return [_linear(random), _cross_entropy(random)]


def _drawn(random: np.random.Generator, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: SCALE * random.standard_normal(shape) for name, shape in shapes.items()}


def _states(cell: Cell) -> dict[str, tuple[int, ...]]:
    return {f"initial {part}": (BATCH, HIDDEN) for part in cell.state}


def _weighted(values: Array, weights: Array) -> Any:
    return (values * _like(weights, values)).sum()


def _like(array: Array, other: Array) -> Array:
    return array if isinstance(other, np.ndarray) else other.new_tensor(array)


def _unroll(cell: Cell, random: np.random.Generator, *, reverse: bool) -> Operation:
    rows = len(cell.gates) * HIDDEN
    shapes = {"x": (STEPS, BATCH, rows), "weight_hh": (rows, HIDDEN), "bias_hh": (rows,)}
    parameters = _drawn(random, **shapes, **_states(cell))
    d_outputs = random.standard_normal((STEPS, BATCH, HIDDEN))
    d_state = tuple(random.standard_normal((BATCH, HIDDEN)) for _ in cell.state)

    def run(engine: Engine, p: Parameters, *, keep: bool) -> Any:
        state = tuple(p[f"initial {part}"] for part in cell.state)
        lengths = same_kind(LENGTHS, p["x"])
        options = {"lengths": lengths, "reverse": reverse, "keep": keep}
        return engine.unroll(cell, p["x"], p["weight_hh"], p["bias_hh"], state, **options)

    def loss(engine: Engine, p: Parameters) -> Any:
        done = run(engine, p, keep=False)
        return _weighted(done.outputs, d_outputs) + sum(map(_weighted, done.state, d_state))

    def gradients(engine: Engine, p: Parameters) -> dict[str, Array]:
        found = engine.unroll_backward(run(engine, p, keep=True).tape, d_outputs, d_state)
        return dict(zip(parameters, [found.x, found.weight_hh, found.bias_hh, *found.state], strict=True))

    return Operation("unroll, reverse" if reverse else "unroll", parameters, loss, gradients)


def _step(cell: Cell, random: np.random.Generator) -> Operation:
    rows = len(cell.gates) * HIDDEN
    parameters = _drawn(random, x=(BATCH, rows), weight_hh=(rows, HIDDEN), bias_hh=(rows,), **_states(cell))
    d_state = tuple(random.standard_normal((BATCH, HIDDEN)) for _ in cell.state)

    def run(engine: Engine, p: Parameters, *, keep: bool) -> Any:
        state = tuple(p[f"initial {part}"] for part in cell.state)
        return engine.step(cell, p["x"], p["weight_hh"], p["bias_hh"], state, keep=keep)

    def loss(engine: Engine, p: Parameters) -> Any:
        return sum(map(_weighted, run(engine, p, keep=False)[0], d_state))

    def gradients(engine: Engine, p: Parameters) -> dict[str, Array]:
        found = engine.step_backward(run(engine, p, keep=True)[1], d_state)
        return dict(zip(parameters, [found.x, found.weight_hh, found.bias_hh, *found.state], strict=True))

    return Operation("step", parameters, loss, gradients)


def _unroll_tokens(cell: Cell, random: np.random.Generator) -> Operation:
    rows = len(cell.gates) * HIDDEN
    shapes = {"embedding": (VOCABULARY, INPUTS), "weight_ih": (rows, INPUTS), "bias_ih": (rows,)}
    shapes |= {"weight_hh": (rows, HIDDEN), "bias_hh": (rows,)}
    parameters = _drawn(random, **shapes, **_states(cell))
    d_outputs = random.standard_normal((STEPS, BATCH, HIDDEN))
    d_state = tuple(random.standard_normal((BATCH, HIDDEN)) for _ in cell.state)

    def run(engine: Engine, p: Parameters, *, keep: bool) -> Any:
        state = tuple(p[f"initial {part}"] for part in cell.state)
        inputs = InputWeights(p["embedding"], p["weight_ih"], p["bias_ih"])
        ids = same_kind(IDS, p["embedding"])
        lengths = same_kind(LENGTHS, p["embedding"])
        return engine.unroll_tokens(cell, ids, inputs, p["weight_hh"], p["bias_hh"], state, lengths=lengths, keep=keep)

    def loss(engine: Engine, p: Parameters) -> Any:
        done = run(engine, p, keep=False)
        return _weighted(done.outputs, d_outputs) + sum(map(_weighted, done.state, d_state))

    def gradients(engine: Engine, p: Parameters) -> dict[str, Array]:
        tokens, found = engine.unroll_tokens_backward(run(engine, p, keep=True).tape, d_outputs, d_state)
        all_ = [tokens.inputs, tokens.weight, tokens.bias, found.weight_hh, found.bias_hh, *found.state]
        return dict(zip(parameters, all_, strict=True))

    return Operation("tokens and unroll", parameters, loss, gradients)


def _linear(random: np.random.Generator) -> Operation:
    parameters = _drawn(random, inputs=(STEPS, INPUTS), weight=(HIDDEN, INPUTS), bias=(HIDDEN,))
    d_results = random.standard_normal((STEPS, HIDDEN))

    def loss(engine: Engine, p: Parameters) -> Any:
        return _weighted(engine.linear(p["inputs"], p["weight"], p["bias"], keep=False)[0], d_results)

    def gradients(engine: Engine, p: Parameters) -> dict[str, Array]:
        tape = engine.linear(p["inputs"], p["weight"], p["bias"])[1]
        return dict(zip(parameters, engine.linear_backward(tape, d_results), strict=True))

    return Operation("linear", parameters, loss, gradients)


def _cross_entropy(random: np.random.Generator) -> Operation:
    parameters = _drawn(random, inputs=(STEPS, HIDDEN), weight=(VOCABULARY, HIDDEN), bias=(VOCABULARY,))
    d_losses, targets = random.standard_normal(STEPS), np.array([3, 0, 2])

    def run(engine: Engine, p: Parameters, *, keep: bool) -> Any:
        wanted = same_kind(targets, p["inputs"])
        return engine.linear_cross_entropy(p["inputs"], p["weight"], p["bias"], wanted, keep=keep)

    def loss(engine: Engine, p: Parameters) -> Any:
        return _weighted(run(engine, p, keep=False)[0], d_losses)

    def gradients(engine: Engine, p: Parameters) -> dict[str, Array]:
        tape = run(engine, p, keep=True)[1]
        return dict(zip(parameters, engine.linear_cross_entropy_backward(tape, d_losses), strict=True))

    return Operation("output layer and loss", parameters, loss, gradients)
