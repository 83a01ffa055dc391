"""The equations of every cell, forward and backward; elementwise, without time and without weights.

`get("lstm")` finds a cell by name, `register(MyCell())` adds one; everything built on cells then knows it.
"""

from unrolled.cells.cell import Cell
from unrolled.cells.derivation import as_written, complete
from unrolled.cells.elman import Relu, Sigmoid, Tanh
from unrolled.cells.gru import GRU, GRUResetBefore
from unrolled.cells.lstm import LSTM
from unrolled.errors import UsageError

__all__ = ["Cell", "get", "names", "register"]

_registry: dict[str, Cell] = {}


def register(cell: Cell) -> Cell:
    """Make a cell known under its name; returns the cell, completed where it leaves out its backward.

    Raises:
        UsageError: the name is taken by another class; gates, state, apart, late and methods contradict each other; or
            the backward is left out and cannot be derived, because the cell uses more than `elementwise` and + - *.
    """
    taken = _registry.get(cell.name)
    if taken is not None and as_written(taken) is not as_written(cell):
        raise UsageError(f'cell name "{cell.name}" is taken by {type(taken).__qualname__}: choose another name')
    if not cell.gates or len(set(cell.gates)) != len(cell.gates):
        raise UsageError(f"cell {cell.name}: gates {cell.gates} must be one or more different names")
    if cell.late and cell.gates[-len(cell.late) :] != cell.late:
        raise UsageError(f"cell {cell.name}: late gates {cell.late} must be the last of gates {cell.gates}")
    if not set(cell.apart) <= set(cell.gates) - set(cell.late):
        raise UsageError(f"cell {cell.name}: apart gates {cell.apart} must be among the gates that are not late")
    if not cell.state:
        raise UsageError(f"cell {cell.name}: state must name at least the output")
    if cell.late and type(cell).late_operand is Cell.late_operand:
        raise UsageError(f"cell {cell.name}: it names late gates {cell.late}, so it has to define late_operand")
    _registry[cell.name] = complete(cell)
    return _registry[cell.name]


def get(name: str) -> Cell:
    """The cell of that name.

    Raises:
        UsageError: no cell has that name.
    """
    if name not in _registry:
        raise UsageError(f'cell "{name}" is not known: choose one of {", ".join(_registry)}')
    return _registry[name]


def names() -> tuple[str, ...]:
    """Names of all registered cells, in the order of registration."""
    return tuple(_registry)


for _cell in (Tanh(), Relu(), Sigmoid(), GRU(), GRUResetBefore(), LSTM()):
    register(_cell)
