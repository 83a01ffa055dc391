"""What a cell is: its equations at one time step, forward and backward, and nothing else.

A cell knows neither time nor weights. For each gate k an engine forms two terms, each (B, H):

    x[k] = W_k x_t + b_k            from the input
    u[k] = R_k h_{t-1} + c_k        from the state

and hands the cell their sum a[k] = x[k] + u[k]. Two kinds of gate need something else and say so:

- an `apart` gate gets a[k] = x[k] alone, and u[k] beside it (the candidate of the GRU, which scales u[k]);
- a `late` gate's recurrent product does not act on h_{t-1} but on an operand p that the cell computes from the other
  gates: a[k] = x[k] + R_k p + c_k (the candidate of the GRU with reset before the product). Late gates come last.

A cell with neither costs one product and one sum a step, whatever other cells need: docs/decisions/0001.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from unrolled.cells.elementwise import Operand
from unrolled.errors import UsageError

Operands = tuple[Operand, ...]


class Cell(ABC):
    """The equations of one recurrent cell.

    Subclasses set the class attributes and write `step` and `step_backward`; a cell with late gates writes
    `late_operand` and `late_operand_backward` too. Cells hold no data: one instance serves everything. A backward may
    be left out: `cells.register` then derives it and returns the completed cell.

    In the methods below every operand is (B, H). A gradient that is zero throughout may be given as 0.0.
    """

    name: ClassVar[str]
    """What the cell is called in the registry, in files and on the command line."""
    gates: ClassVar[tuple[str, ...]]
    """Gate names in the order in which weight rows are stacked; PyTorch's order where PyTorch has the cell."""
    state: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the parts of the state; the first is the output and the operand of the recurrent product."""
    apart: ClassVar[tuple[str, ...]] = ()
    """Gates whose recurrent term u[k] is wanted apart from x[k]."""
    late: ClassVar[tuple[str, ...]] = ()
    """Gates whose recurrent product acts on `late_operand`; they stand last in `gates`."""

    @abstractmethod
    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        """Advance the state by one time step.

        Args:
            a: one operand a gate, in the order of `gates`.
            u: one operand for each `apart` gate, in order.
            state: the parts of the state at t-1, in the order of `state`.

        Returns:
            The parts of the state at t, and what `step_backward` needs (ignored where that is derived).
        """

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        """Undo `step`: from dE/d(state at t) to the gradients of all its arguments.

        Returns:
            dE/da (one a gate), dE/du (one for each `apart` gate) and dE/d(state at t-1), the last without the part
            that flows back through the recurrent products: engines add that.
        """
        raise _left_out(self, "step_backward")

    def late_operand(self, a: Operands, state: Operands) -> tuple[Operand, Operands]:
        """The operand p of the late gates' recurrent product, from a of the gates that are not late.

        Returns:
            p, and what `late_operand_backward` needs.
        """
        raise NotImplementedError(f"cell {self.name} names late gates but does not define late_operand")

    def late_operand_backward(self, dp: Operand, kept: Operands) -> tuple[Operands, Operands]:
        """Undo `late_operand`: from dE/dp to dE/da of the gates that are not late, and dE/d(state at t-1)."""
        raise _left_out(self, "late_operand_backward")


def _left_out(cell: Cell, method: str) -> UsageError:
    return UsageError(f"cell {cell.name} leaves out {method}: use the cell that cells.register returns, which has it")
