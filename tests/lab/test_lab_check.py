"""The check of every gradient: it passes what is right, finds what is wrong, and takes a user's own cell."""

from pathlib import Path

import numpy as np
import pytest

from unrolled import cells, engines
from unrolled.cells.lstm import LSTM
from unrolled.errors import EngineError, UsageError
from unrolled.lab.check import DIFFERENCES, _against, check
from unrolled.lab.operations import operations_of, operations_without_cell
from unrolled.lab.own_cells import cells_in
from unrolled.lab.witnesses import FORWARD, MODULES, PYTORCH

OWN = """
from unrolled.cells import Cell
from unrolled.cells.elementwise import sigmoid, tanh

class Own(Cell):
    name = "{name}"
    gates = ("candidate", "gate")

    def step(self, a, u, state):
        (a_c, a_g), (h,) = a, state
        g = sigmoid(a_g)
        return (g * h + (1 - g) * tanh(a_c),), (a_c, g, h)
"""
WRONG = """
    def step_backward(self, d_state, kept):
        (dh,), (a_c, g, h) = d_state, kept
        c = tanh(a_c)
        return (dh * (1 - g) * (1 - c * c), dh * (h - c) * g * (1 - g) * 1.001), (), (dh * g,)
"""


@pytest.mark.slow
def test_every_cell_and_engine_agrees_with_every_witness() -> None:
    found = check()
    assert found.failed == []
    rows = {(row.cell, row.operation, row.witness) for row in found.rows if row.engine == "portable"}
    for name in cells.names():
        for operation in ("unroll", "unroll, reverse", "step", "tokens and unroll"):
            assert {(name, operation, witness) for witness in (DIFFERENCES, FORWARD, PYTORCH)} <= rows
    assert {row[0] for row in rows if row[2] == MODULES} == {"lstm", "gru", "tanh", "relu"}
    assert {row.engine for row in found.rows} >= {"portable", "reference"}
    assert all(row.elements > 5 and row.worst is not None for row in found.rows)
    assert all(0 <= row.worst.relative_error < 1e-5 for row in found.rows if row.worst is not None)


class Broken(LSTM):
    """An LSTM that forgets the slope of its output gate."""

    name = "broken for tests"

    def step_backward(self, d_state, kept):  # type: ignore[no-untyped-def]
        """Wrong on purpose."""
        (dh, dc), (i, f, g, o, m, c_prev) = d_state, kept
        dc = dc + dh * o * (1 - m * m)
        return (dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g * g), dh * m), (), (0.0, dc * f)


def test_what_is_wrong_is_found_by_all_witnesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))
    cells.register(Broken())
    found = check(Broken.name, "portable")
    assert {row.witness for row in found.failed} == {DIFFERENCES, FORWARD, PYTORCH}
    assert all(row.failure for row in found.failed)
    assert "of 12 checks fail" in found.lines()[-1]
    assert "WRONG" in "\n".join(found.lines())


def test_a_file_with_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))
    path = tmp_path / "mine.py"
    path.write_text(OWN.format(name="own for tests"))
    assert not check(str(path), "portable").failed
    path.write_text(OWN.format(name="wrong for tests") + WRONG)
    assert check(str(path), "portable").failed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", r"mine.py: defines no cell: write a subclass of unrolled.cells.Cell"),
        ("1 / 0", r"mine.py: fails with ZeroDivisionError: division by zero"),
        ("def", r"mine.py: fails with SyntaxError"),
        (OWN.format(name="lstm"), r'cell name "lstm" is taken'),
    ],
)
def test_files_that_help_nobody_are_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        cells_in(path)
    with pytest.raises(UsageError, match=r"none.py: is no file: give a Python file"):
        cells_in(tmp_path / "none.py")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 5])
def test_what_is_no_number_is_wrong_wherever_it_stands(value: float, place: int) -> None:
    expected = {"x": np.arange(1.0, 7.0)}
    found = {"x": expected["x"].copy()}
    found["x"][place] = value
    row = _against(("cell", "engine", "operation"), PYTORCH, found, expected)
    assert row.failure is not None
    assert row.failure.startswith(f"x[{place}]")
    assert _against(("cell", "engine", "operation"), PYTORCH, expected, expected).failure is None


def test_an_engine_that_cannot_run_a_cell_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    portable = engines.get("portable")
    monkeypatch.setattr(type(portable), "obstacle", lambda *_: "it is not made for that")
    monkeypatch.setattr(engines, "_chosen", {})
    with pytest.raises(EngineError, match="it is not made for that"):
        check("tanh", "portable")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="cell"):
        check("no such cell")
    with pytest.raises(UsageError, match="engine"):
        check("tanh", "no such engine")


def test_operations_are_small_and_complete() -> None:
    made = [
        *operations_of(cells.get("lstm"), np.random.default_rng(1)),
        *operations_without_cell(np.random.default_rng(1)),
    ]
    engine = engines.get("portable")
    for operation in made:
        gradients = operation.gradients(engine, operation.parameters)
        assert list(gradients) == list(operation.parameters)
        assert all(gradients[name].shape == array.shape for name, array in operation.parameters.items())
        assert np.isfinite(float(operation.loss(engine, operation.parameters)))
