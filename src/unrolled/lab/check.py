"""Every gradient on this machine against three witnesses: central differences, forward mode and PyTorch.

Each operation of each engine is run small and in float64; every element of every parameter is looked at. The witnesses
do not share what they could be wrong about: central differences know the forward pass alone; forward mode carries dual
numbers through the portable engine's lines; PyTorch differentiates those lines itself or, for the cells that it has,
runs its own modules. The tutorial's network is checked too: backpropagation through time against real-time recurrent
learning.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import cells, engines
from unrolled.cells import Cell
from unrolled.engines.arrays import Array
from unrolled.engines.contract import Engine
from unrolled.errors import EngineError, GradientCheckError
from unrolled.lab.operations import BATCH, HIDDEN, INPUTS, STEPS, Operation, operations_of, operations_without_cell
from unrolled.lab.own_cells import cells_in
from unrolled.lab.pictures import BLUE, GREEN, VERMILION, Picture, log_scale, new_figure, style
from unrolled.lab.subject import Report, nobody
from unrolled.lab.witnesses import FORWARD, MODULES, PYTORCH, torch_gradients
from unrolled.reference import Rules, bptt, gradient_check, random_network, rtrl
from unrolled.reference.checking import Element, relative_error

DIFFERENCES = "central differences"
TOLERANCE = {DIFFERENCES: 1e-5, FORWARD: 1e-8, PYTORCH: 1e-8, MODULES: 1e-8}
"""Largest relative error |n - a| / (|n| + |a|) that passes."""
NOTHING = 1e-12
"""Gradients that are both smaller than this count as equal."""
SEED = 3


@dataclass(frozen=True)
class Row:
    """One operation against one witness.

    Attributes:
        cell, engine, operation, witness: what was compared.
        elements: how many.
        worst: the element with the largest relative error; None where nothing could be compared.
        failure: what is wrong; None if nothing is.
    """

    cell: str
    engine: str
    operation: str
    witness: str
    elements: int
    worst: Element | None
    failure: str | None

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return vars(self) | {"worst": None if self.worst is None else self.worst._asdict()}

    def line(self) -> str:
        """For a person."""
        worst = ""
        if self.worst is not None:
            place = ",".join(map(str, self.worst.position))
            worst = f"{self.worst.relative_error:.1e} {self.worst.name}[{place}] {self.worst.analytic:+.6f}"
        verdict = "ok" if self.failure is None else f"WRONG: {self.failure}"
        what = f"{self.cell:<17}{self.engine:<10}{self.operation:<22}{self.witness:<20}"
        return f"{what}{self.elements:>5}  {worst:<42}{verdict}"


@dataclass(frozen=True)
class Check:
    """All rows, and what could not be run here."""

    rows: list[Row]
    left_out: list[str]

    @property
    def failed(self) -> list[Row]:
        """The rows that are wrong."""
        return [row for row in self.rows if row.failure is not None]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"rows": [row.as_dict() for row in self.rows], "left_out": self.left_out, "failed": len(self.failed)}

    def lines(self) -> list[str]:
        """For a person: a table with the worst element of each."""
        head = f"{'cell':<17}{'engine':<10}{'operation':<22}{'against':<20}{'n':>5}  worst element, and its gradient"
        compared = sum(row.elements for row in self.rows)
        verdict = f"{len(self.failed)} of {len(self.rows)} checks fail" if self.failed else "all agree"
        return [head, *(row.line() for row in self.rows), *self.left_out, f"{compared:,} comparisons: {verdict}"]

    def pictures(self) -> list[Picture]:
        """The worst relative error of each check."""
        with style():
            figure, axes = new_figure(3.0)
            for witness, colour in ((DIFFERENCES, BLUE), (FORWARD, GREEN), (PYTORCH, VERMILION)):
                errors = sorted(
                    max(row.worst.relative_error, 1e-17)
                    for row in self.rows
                    if row.witness.startswith(witness) and row.worst
                )
                if errors:
                    axes.plot(np.linspace(0, 1, len(errors)), errors, "o", markersize=3, color=colour, label=witness)
            log_scale(axes)
            axes.set_xlabel("share of the checks")
            axes.set_ylabel("worst relative error")
            axes.legend()
            caption = "A point for each operation of each engine: the largest relative error of an element's gradient."
            return [Picture("check", "How far our gradients are from those of three witnesses", caption, figure)]


def check(cell: str | None = None, engine: str | None = None, tell: Report = nobody) -> Check:
    """Check gradients.

    Args:
        cell: name of a cell, or a Python file that defines one or more; None: all that are registered.
        engine: name of an engine; None: all that run here.
        tell: is told which share of the work is done.

    Raises:
        UsageError: there is no such cell or engine, or the file defines none.
        EngineError: the engine that is asked for cannot run here.
    """
    left_out: list[str] = []
    found = list(_cells(cell))
    running = list(_engines(engine, left_out))
    if engine is not None:
        for each in found:
            engines.choose(engine, each, np.zeros(1))
    rows: list[Row] = []
    for number, each in enumerate(found):
        random = np.random.default_rng(SEED)
        operations = operations_of(each, random)
        for operation in operations:
            tell((number + operations.index(operation) / len(operations)) / len(found))
            rows += _rows(operation, each, running, left_out)
    if cell is None:
        for operation in operations_without_cell(np.random.default_rng(SEED)):
            rows += _rows(operation, None, running, left_out)
        rows += _tutorial()
    return Check(rows, list(dict.fromkeys(left_out)))


def _cells(name: str | None) -> Iterator[Cell]:
    if name is None:
        yield from map(cells.get, cells.names())
    elif name.endswith(".py"):
        yield from cells_in(Path(name))
    else:
        yield cells.get(name)


def _engines(name: str | None, left_out: list[str]) -> Iterator[Engine]:
    if name is not None:
        yield engines.get(name)
        return
    for each in engines.names():
        try:
            yield engines.get(each)
        except EngineError as error:
            left_out.append(f"left out    engine {each}: {error}")


def _rows(operation: Operation, cell: Cell | None, running: list[Engine], left_out: list[str]) -> Iterator[Row]:
    name = "-" if cell is None else cell.name
    witnesses = dict(torch_gradients(operation, cell))
    for engine in running:
        obstacle = None if cell is None else engine.obstacle(cell, "cpu", "float64")
        if obstacle is not None:
            left_out.append(f"left out    engine {engine.name}, cell {name}: {obstacle}")
            continue
        found = operation.gradients(engine, operation.parameters)
        place = (name, engine.name, operation.name)
        yield _against_differences(place, operation.parameters, found, lambda p, e=engine: float(operation.loss(e, p)))  # type: ignore[misc]
        for witness, expected in witnesses.items():
            yield _against(place, witness, found, expected)


def _against_differences(
    place: tuple[str, str, str],
    parameters: Mapping[str, Array],
    found: Mapping[str, Array],
    loss: Callable[[Mapping[str, Array]], float],
) -> Row:
    elements = sum(array.size for array in parameters.values())
    # such as what lies past a sequence's end
    unused = {name: np.abs(gradient) == 0 for name, gradient in found.items()}
    try:
        report = gradient_check(loss, parameters, found, rules=Rules(tolerance=TOLERANCE[DIFFERENCES]), unused=unused)
    except GradientCheckError as error:
        return Row(*place, DIFFERENCES, elements, None, str(error))
    return Row(*place, DIFFERENCES, report.checked + report.unused, report.worst, None)


def _against(
    place: tuple[str, str, str], witness: str, found: Mapping[str, Array], expected: Mapping[str, Array]
) -> Row:
    """Element by element."""
    worst: Element | None = None
    count = 0
    for name, gradient in expected.items():
        for index in np.ndindex(gradient.shape):
            one, other = float(gradient[index]), float(found[name][index])
            count += 1
            error = 0.0 if max(abs(one), abs(other)) < NOTHING else relative_error(one, other)
            error = error if np.isfinite(error) else np.inf
            if worst is None or error > worst.relative_error:
                worst = Element(name, index, one, other, error)
    failure = None
    if worst is not None and not worst.relative_error <= TOLERANCE[witness]:
        failure = f"{worst.name}{list(worst.position)}: {worst.analytic:g}, {witness} says {worst.numerical:g}"
    return Row(*place, witness, count, worst, failure)


def _tutorial() -> Iterator[Row]:
    """The tutorial's network: backpropagation through time against differences and real-time recurrent learning."""
    from unrolled.reference.forward_pass import sequence_loss

    for activation in ("tanh", "relu", "sigmoid"):
        random = np.random.default_rng(SEED)
        network = random_network(6, HIDDEN + INPUTS, random, activation=activation)
        inputs, targets = random.integers(0, 6, STEPS + BATCH), random.integers(0, 6, STEPS + BATCH)
        found = bptt(network, inputs, targets).gradients
        place = (activation, "reference", "the tutorial's BPTT")
        yield _against_differences(
            place,
            network.parameters,
            found,
            lambda p, n=network, i=inputs, t=targets: sequence_loss(n.with_parameters(p), i, t),  # type: ignore[misc]
        )
        yield _against(place, FORWARD, found, rtrl(network, inputs, targets).gradients)
