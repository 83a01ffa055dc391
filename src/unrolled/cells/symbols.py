"""Cells run on symbols: each operation records itself, so that the lines of a cell become data.

What was recorded is a `Function`: it runs again on arrays, tensors or other symbols, can be differentiated
(derivation.py) and can be printed in another language. Nothing is recorded twice.
"""

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

from unrolled.cells import elementwise
from unrolled.cells.elementwise import Operand

OPERATIONS: dict[str, Callable[..., Operand]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "negative": operator.neg,
    "tanh": elementwise.tanh,
    "sigmoid": elementwise.sigmoid,
    "relu": elementwise.relu,
    "is_positive": elementwise.is_positive,
}
"""All that cells are written in, by the name under which it is recorded."""
VOCABULARY = "+ - * and tanh, sigmoid, relu, is_positive of unrolled.cells.elementwise"
"""The same in words, for error messages."""


class Node(NamedTuple):
    """One operation of a graph, or one number, or one operand."""

    operation: str
    """A key of OPERATIONS, "number" or "operand"."""
    operands: tuple[int, ...] = ()
    """The nodes that it acts on, which come before it."""
    number: float = 0.0
    """The value of a number."""


class Function(NamedTuple):
    """A recorded function of operands: what is computed from what, in order, nothing twice and nothing in vain."""

    operands: int
    """How many; their places are 0, 1, ..."""
    nodes: tuple[Node, ...]
    """Operations and numbers; their places follow those of the operands."""
    results: tuple[int | None, ...]
    """The place of each result; None for a result that is zero throughout."""

    def __call__(self, *operands: Operand) -> tuple[Operand, ...]:
        """The results for these operands, of any kind that cells run on; 0.0 for one that is zero throughout."""
        values = self.values(operands)
        return tuple(0.0 if place is None else values[place] for place in self.results)

    def values(self, operands: Sequence[Operand]) -> list[Operand]:
        """What stands at each place: the operands, then the value of each node."""
        values = list(operands)
        for node in self.nodes:
            if node.operation == "number":
                values.append(node.number)
            else:
                values.append(OPERATIONS[node.operation](*(values[place] for place in node.operands)))
        return values


class Graph:
    """Where symbols record themselves; an operation on the same operands is recorded once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._known: dict[object, int] = {}

    def operands(self, count: int) -> tuple["Symbol", ...]:
        """That many new operands."""
        first = len(self.nodes)
        self.nodes += [Node("operand")] * count
        return tuple(Symbol(self, index) for index in range(first, first + count))

    def record(self, operation: str, *operands: Any) -> "Symbol":
        """The symbol of an operation on symbols and numbers."""
        indices = tuple(self._index(operand) for operand in operands)
        in_any_order = operation in {"add", "multiply"}
        key = (operation, tuple(sorted(indices)) if in_any_order else indices)
        return Symbol(self, self._place(key, Node(operation, indices)))

    def function(self, operands: Sequence["Symbol"], results: Sequence["Symbol | float"]) -> Function:
        """Cut out what leads from these operands, which may lie anywhere in the graph, to these results."""
        places = {symbol.index: place for place, symbol in enumerate(operands)}
        wanted = self.leading_to(results, stop=places)
        nodes: list[Node] = []
        for index in sorted(wanted - places.keys()):
            node = self.nodes[index]
            places[index] = len(operands) + len(nodes)
            nodes.append(node._replace(operands=tuple(places[operand] for operand in node.operands)))
        found = tuple(places[result.index] if isinstance(result, Symbol) else None for result in results)
        return Function(len(operands), tuple(nodes), found)

    def leading_to(self, results: Sequence["Symbol | float"], stop: Any = ()) -> set[int]:
        """Indices of the results and of all nodes that they are computed from; `stop`: not looked behind."""
        wanted = {result.index for result in results if isinstance(result, Symbol)}
        for index in reversed(range(len(self.nodes))):
            if index in wanted and index not in stop:
                wanted.update(self.nodes[index].operands)
        return wanted

    def _index(self, operand: Any) -> int:
        if isinstance(operand, Symbol):
            if operand.graph is not self:
                raise TypeError("a value is remembered from another call")
            return operand.index
        number = float(operand)
        if not math.isfinite(number):
            raise TypeError(f"the number {number} is not finite")
        return self._place(("number", repr(number)), Node("number", (), number))

    def _place(self, key: object, node: Node) -> int:
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self.nodes.append(node)
        return self._known[key]


def _binary(operation: str) -> tuple[Callable[["Symbol", Any], Any], Callable[["Symbol", Any], Any]]:
    """The methods for symbol-operation-other and other-operation-symbol."""

    def forward(self: "Symbol", other: Any) -> Any:
        return self.graph.record(operation, self, other) if isinstance(other, Symbol | Real) else NotImplemented

    def reflected(self: "Symbol", other: Any) -> Any:
        return self.graph.record(operation, other, self) if isinstance(other, Real) else NotImplemented

    return forward, reflected


class Symbol:
    """Stands for an operand while the lines of a cell run, and records what is done to it.

    It can do what cells are written in and nothing else: Python itself refuses the rest (a division, abs(), np.exp,
    float(), a comparison) with a TypeError or AttributeError, which recording.py turns into words.
    """

    __array_ufunc__ = None  # or NumPy would take it for an array of objects and call its methods

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph, self.index = graph, index

    @property
    def node(self) -> Node:
        """What was recorded."""
        return self.graph.nodes[self.index]

    __add__, __radd__ = _binary("add")
    __sub__, __rsub__ = _binary("subtract")
    __mul__, __rmul__ = _binary("multiply")

    def __neg__(self) -> "Symbol":
        return self.graph.record("negative", self)

    def tanh(self) -> "Symbol":
        """Called by `elementwise.tanh`."""
        return self.graph.record("tanh", self)

    def sigmoid(self) -> "Symbol":
        """Called by `elementwise.sigmoid`."""
        return self.graph.record("sigmoid", self)

    def relu(self) -> "Symbol":
        """Called by `elementwise.relu`."""
        return self.graph.record("relu", self)

    def sign(self) -> "_Sign":
        """Called by `elementwise.is_positive`, which takes relu of it."""
        return _Sign(self)

    def __bool__(self) -> bool:
        raise TypeError("an operand has no truth value")

    def __eq__(self, other: object) -> bool:
        raise TypeError("operands cannot be compared")

    __hash__ = None  # type: ignore[assignment]  # what cannot be compared cannot be looked up


class _Sign:
    """Half of is_positive."""

    def __init__(self, of: Symbol) -> None:
        self._of = of

    def relu(self) -> Symbol:
        return self._of.graph.record("is_positive", self._of)
