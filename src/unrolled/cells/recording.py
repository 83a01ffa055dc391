"""The methods of a cell, run once on symbols: what a cell says, as data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from unrolled.cells.cell import Cell
from unrolled.cells.symbols import VOCABULARY, Function, Graph, Symbol
from unrolled.errors import UsageError


class Recorded(NamedTuple):
    """One way forward and back: `step` with `step_backward`, or `late_operand` with `late_operand_backward`."""

    forward: Function
    """From the arguments, one after the other, to the results and then what is kept."""
    backward: Function
    """From the gradients of the results and then what is kept to the gradients of the arguments."""
    kept: int
    """How many values are kept; one that a cell keeps twice counts once."""


class RecordedCell(NamedTuple):
    """A cell as data; `late` is None for a cell without late gates."""

    step: Recorded
    late: Recorded | None


class Forward(NamedTuple):
    """What a forward method does to symbols."""

    graph: Graph
    operands: tuple[Symbol, ...]
    results: tuple[Symbol, ...]
    kept: Any
    """As the method gave it."""


def record_cell(cell: Cell) -> RecordedCell:
    """Run all methods of a cell on symbols.

    Raises:
        UsageError: the cell uses more than symbols can do, or a method gives something else than it should.
    """
    return RecordedCell(_record(cell, "step"), _record(cell, "late_operand") if cell.late else None)


def argument_sizes(cell: Cell, method: str) -> tuple[int, ...]:
    """How many operands each argument of a forward method has; its backward returns gradients in the same groups."""
    if method == "late_operand":
        return len(cell.gates) - len(cell.late), len(cell.state)
    return len(cell.gates), len(cell.apart), len(cell.state)


def record_forward(cell: Cell, method: str) -> Forward:
    """Run `step` or `late_operand` alone on symbols; errors as `record_cell`."""
    graph = Graph()
    arguments = [graph.operands(size) for size in argument_sizes(cell, method)]
    given = _call(cell, method, *arguments)
    _check(cell, method, isinstance(given, tuple) and len(given) == 2, "a pair: its result and what it keeps")
    results, expected = (given[0], len(cell.state)) if method == "step" else ((given[0],), 1)
    _check(cell, method, isinstance(results, tuple) and len(results) == expected, f"the state {cell.state} as a tuple")
    for result in results:
        own = isinstance(result, Symbol) and result.graph is graph
        _check(cell, method, own, "results that are computed from its operands")
    return Forward(graph, tuple(symbol for argument in arguments for symbol in argument), results, given[1])


def _record(cell: Cell, method: str) -> Recorded:
    graph, operands, results, kept = record_forward(cell, method)
    _check(cell, method, isinstance(kept, tuple), "what it keeps as a tuple")
    different = {k.index: k for k in kept if isinstance(k, Symbol)}  # numbers need no keeping
    forward = graph.function(operands, [*results, *different.values()])
    return Recorded(forward, _record_backward(cell, method, len(results), kept), len(different))


def _record_backward(cell: Cell, forward: str, results: int, kept: Sequence[Any]) -> Function:
    """Run the backward of a forward method that has so many results and keeps these."""
    method, graph = f"{forward}_backward", Graph()
    d_results = graph.operands(results)
    indices = list(dict.fromkeys(k.index for k in kept if isinstance(k, Symbol)))
    again = dict(zip(indices, graph.operands(len(indices)), strict=True))
    kept = tuple(again[k.index] if isinstance(k, Symbol) else k for k in kept)
    groups = _call(cell, method, d_results if forward == "step" else d_results[0], kept)
    sizes = argument_sizes(cell, forward)
    fits = isinstance(groups, tuple) and [len(group) for group in groups] == list(sizes)
    _check(cell, method, fits, f"gradients in groups of {sizes}")
    gradients = [d for group in groups for d in group]
    _check(cell, method, all(isinstance(d, Symbol) or d == 0 for d in gradients), "gradients, or 0.0 for one that is 0")
    return graph.function([*d_results, *again.values()], gradients)


def _call(cell: Cell, method: str, *arguments: Any) -> Any:
    try:
        return getattr(cell, method)(*arguments)
    except (TypeError, AttributeError) as error:
        raise UsageError(f"cell {cell.name}: {method} fails on symbols ({error}): cells use {VOCABULARY}") from error


def _check(cell: Cell, method: str, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"cell {cell.name}: {method} must return {expected}")
