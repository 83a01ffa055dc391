"""Finding cells by name, adding one, and what a contradictory cell is told."""

from collections.abc import Iterator
from typing import ClassVar

import pytest

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.cell import Operands
from unrolled.errors import UsageError


class Leaky(Cell):
    """A user's own cell: half of the past stays."""

    name = "leaky"
    gates: ClassVar[tuple[str, ...]] = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        return (0.5 * state[0] + a[0],), ()

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        return (d_state[0],), (), (0.5 * d_state[0],)


@pytest.fixture(autouse=True)
def _registry_as_before() -> Iterator[None]:
    before = dict(cells._registry)
    yield
    cells._registry.clear()
    cells._registry.update(before)


def test_the_cells_that_exist() -> None:
    assert cells.names() == ("tanh", "relu", "sigmoid", "gru", "gru_reset_before", "lstm")
    assert [cells.get(name).name for name in cells.names()] == list(cells.names())


def test_a_registered_cell_is_found_and_may_be_registered_again() -> None:
    leaky = cells.register(Leaky())
    assert cells.get("leaky") is leaky
    assert cells.names()[-1] == "leaky"
    again = cells.register(Leaky())
    assert cells.get("leaky") is again


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r'cell "lstn" is not known: choose one of tanh, .*, lstm') as caught:
        cells.get("lstn")
    assert caught.value.exit_status == 2


def test_a_name_can_be_taken_only_once() -> None:
    class Other(Leaky):
        name = "tanh"

    with pytest.raises(UsageError, match='"tanh" is taken by Tanh'):
        cells.register(Other())
    assert type(cells.get("tanh")).__name__ == "Tanh"


class _NoGates(Leaky):
    name = "no_gates"
    gates: ClassVar[tuple[str, ...]] = ()


class _SameGates(Leaky):
    name = "same_gates"
    gates = ("hidden", "hidden")


class _LateFirst(Leaky):
    name = "late_first"
    gates = ("candidate", "reset")
    late = ("candidate",)


class _ApartAndLate(Leaky):
    name = "apart_and_late"
    gates = ("reset", "candidate")
    apart = ("candidate",)
    late = ("candidate",)


class _ApartUnknown(Leaky):
    name = "apart_unknown"
    apart = ("candidate",)


class _NoState(Leaky):
    name = "no_state"
    state: ClassVar[tuple[str, ...]] = ()


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        (_NoGates(), "must be one or more different names"),
        (_SameGates(), "must be one or more different names"),
        (_LateFirst(), "must be the last of gates"),
        (_ApartAndLate(), "must be among the gates that are not late"),
        (_ApartUnknown(), "must be among the gates that are not late"),
        (_NoState(), "at least the output"),
    ],
)
def test_a_cell_that_contradicts_itself_is_refused(cell: Cell, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        cells.register(cell)
    assert cell.name not in cells.names()


def test_a_late_cell_without_its_operand_is_not_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half(type(cells.get("gru_reset_before"))):  # type: ignore[misc]  # a class that is found at run time
        name = "half"

    cells.register(Half())
    monkeypatch.setattr(Half, "late_operand", Cell.late_operand)
    with pytest.raises(UsageError, match=r"^cell half: it names late gates .* so it has to define late_operand$"):
        cells.register(Half())


def test_a_late_cell_without_its_operand_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match=r"does not define late_operand$"):
        Leaky().late_operand((), ())
