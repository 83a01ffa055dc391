"""The backward of a cell, derived from its recorded forward lines: reverse-mode differentiation.

The slope of each function is written in terms of its value, as where it is written by hand. Kept is what the way back
needs and cannot compute cheaply from other kept values.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from unrolled.cells.cell import Cell, Operands
from unrolled.cells.elementwise import Operand, is_positive
from unrolled.cells.recording import Forward, Recorded, argument_sizes, record_forward
from unrolled.cells.symbols import Graph, Symbol

BACKWARD: dict[str, Callable[..., tuple[Any, ...]]] = {
    "add": lambda d, y, a, b: (d, d),
    "subtract": lambda d, y, a, b: (d, -d),
    "multiply": lambda d, y, a, b: (d * b, d * a),
    "negative": lambda d, y, a: (-d,),
    "tanh": lambda d, y, a: (d * (1 - y * y),),
    "sigmoid": lambda d, y, a: (d * (y * (1 - y)),),
    "relu": lambda d, y, a: (d * is_positive(y),),
    "is_positive": lambda d, y, a: (0.0,),
}
"""For each operation y = f(a, b): from dE/dy, y and the operands to dE/da and dE/db."""
COSTLY = {"tanh", "sigmoid"}
"""Operations that are not worth doing again on the way back."""

_AS_WRITTEN = "as_written"


def complete(cell: Cell) -> Cell:
    """The cell itself, or where it leaves out a backward, the same cell with the derived one.

    A backward that is inherited by a class which writes its forward anew counts as left out: it undoes other lines.

    Raises:
        UsageError: a backward is left out and its forward uses more than symbols can do.
    """
    methods: dict[str, Any] = {}
    if _leaves_out(type(cell), "step"):
        methods |= _step_methods(cell, derive(record_forward(cell, "step")))
    if cell.late and _leaves_out(type(cell), "late_operand"):
        methods |= _late_methods(cell, derive(record_forward(cell, "late_operand")))
    if not methods:
        return cell
    completed = copy.copy(cell)
    # A class of its own, under the old name: what the cell is and can do beside stays as it was written.
    completed.__class__ = type(
        type(cell).__name__, (type(cell),), {"__doc__": cell.__doc__, _AS_WRITTEN: type(cell), **methods}
    )
    return completed


def as_written(cell: Cell) -> type[Cell]:
    """The class that somebody wrote: the cell's own, or of a completed cell the one that was completed."""
    written: type[Cell] = vars(type(cell)).get(_AS_WRITTEN, type(cell))
    return written


def derive(forward: Forward) -> Recorded:
    """The recorded forward method, keeping what is needed, and its derivative."""
    lines = forward.graph.function(forward.operands, forward.results)
    graph = Graph()
    operands = graph.operands(lines.operands)
    values = lines.values(operands)
    end = len(graph.nodes)  # what is recorded from here on belongs to the way back
    d_results = graph.operands(len(lines.results))
    gradients: list[Any] = [0.0] * len(values)
    results = [place for place in lines.results if place is not None]
    for place, d in zip(results, d_results, strict=True):
        gradients[place] = _sum(gradients[place], d)
    for place in reversed(range(lines.operands, len(values))):
        d, node = gradients[place], lines.nodes[place - lines.operands]
        if isinstance(d, Symbol) and node.operands:
            terms = BACKWARD[node.operation](d, values[place], *(values[operand] for operand in node.operands))
            for operand, term in zip(node.operands, terms, strict=True):
                gradients[operand] = _sum(gradients[operand], term)
    d_operands = gradients[: lines.operands]
    kept = _kept(graph, end, d_operands)
    return Recorded(
        graph.function(operands, [*(values[place] for place in results), *kept]),
        graph.function([*d_results, *kept], d_operands),
        len(kept),
    )


def _sum(total: Any, term: Any) -> Any:
    """Gradients added up, without additions of 0 and of negatives."""
    if not isinstance(total, Symbol) or not isinstance(term, Symbol):
        return term if isinstance(term, Symbol) else total
    for one, other in ((total, term), (term, total)):
        if other.node.operation == "negative":
            return one - Symbol(other.graph, *other.node.operands)
    return total + term


def _kept(graph: Graph, end: int, gradients: Iterable[Any]) -> list[Symbol]:
    """Of the first `end` nodes, the forward ones, those that the gradients need; last is tried first to do without."""
    backward = [index for index in graph.leading_to(list(gradients)) if index >= end]
    read = {operand for index in backward for operand in graph.nodes[index].operands}
    kept = {index for index in read if index < end and graph.nodes[index].operation != "number"}
    for index in sorted(kept, reverse=True):
        if index in _cheap(graph, end, kept - {index}):
            kept.remove(index)
    return [Symbol(graph, index) for index in sorted(kept)]


def _cheap(graph: Graph, end: int, kept: set[int]) -> set[int]:
    """Indices of the forward nodes that can be had from the kept ones without a costly operation."""
    known = set(kept)
    for index, node in enumerate(graph.nodes[:end]):
        if node.operation not in COSTLY | {"operand"} and known.issuperset(node.operands):
            known.add(index)
    return known


def _leaves_out(cell: type[Cell], forward: str) -> bool:
    """Whether the cell's class, or one it inherits from, wrote this forward method without its backward."""
    backward = f"{forward}_backward"
    if getattr(cell, backward) is getattr(Cell, backward):
        return True
    writers = [next(c for c in cell.__mro__ if method in vars(c)) for method in (forward, backward)]
    return cell.__mro__.index(writers[0]) < cell.__mro__.index(writers[1])


def _step_methods(cell: Cell, recorded: Recorded) -> dict[str, Callable[..., Any]]:
    states, sizes = len(cell.state), argument_sizes(cell, "step")

    def step(self: Cell, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        results = recorded.forward(*a, *u, *state)
        return results[:states], results[states:]

    def step_backward(self: Cell, d_state: Operands, kept: Operands) -> tuple[Operands, ...]:
        return _groups(recorded.backward(*d_state, *kept), sizes)

    return {"step": step, "step_backward": step_backward}


def _late_methods(cell: Cell, recorded: Recorded) -> dict[str, Callable[..., Any]]:
    sizes = argument_sizes(cell, "late_operand")

    def late_operand(self: Cell, a: Operands, state: Operands) -> tuple[Operand, Operands]:
        p, *kept = recorded.forward(*a, *state)
        return p, tuple(kept)

    def late_operand_backward(self: Cell, dp: Operand, kept: Operands) -> tuple[Operands, ...]:
        return _groups(recorded.backward(dp, *kept), sizes)

    return {"late_operand": late_operand, "late_operand_backward": late_operand_backward}


def _groups(values: Operands, sizes: Sequence[int]) -> tuple[Operands, ...]:
    remaining = iter(values)
    return tuple(tuple(next(remaining) for _ in range(size)) for size in sizes)
