"""What gates and activations do on a text: how open, how saturated, which units are stuck, which follow the text.

Saturation as in Karpathy, Johnson and Li, arXiv:1506.02078: a sigmoid below 0.1 or above 0.9; of tanh, beyond 0.9 on
either side; of relu, at zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.cells import Cell
from unrolled.cells.recording import Forward, record_forward
from unrolled.cells.symbols import Function, Node
from unrolled.engines.through_time import LayerRecord
from unrolled.errors import UsageError
from unrolled.lab.pictures import Picture
from unrolled.lab.selectivity import STILL, Selective, chance, features, selective_units
from unrolled.lab.subject import Subject

SIDES = {"sigmoid": (0.1, 0.9), "tanh": (-0.9, 0.9), "relu": (1e-12, np.inf)}
"""Below and above which a function's value counts as saturated."""
STUCK_SHARE = 0.99
"""A unit that is saturated on one side at this share of the steps is stuck."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """One gate, or another function of the cell, over the text.

    Attributes:
        name: of the gate; of what is no gate's own, the function and what it acts on.
        function: "sigmoid", "tanh" or "relu".
        values: (T, H).
    """

    name: str
    function: str
    values: Floats

    @property
    def saturated(self) -> tuple[float, float]:
        """Shares of all values below and above the limits."""
        low, high = SIDES[self.function]
        return float((self.values < low).mean()), float((self.values > high).mean())

    @property
    def stuck(self) -> NDArray[np.intp]:
        """Units that hardly ever leave one side."""
        low, high = SIDES[self.function]
        shares = np.maximum((self.values < low).mean(0), (self.values > high).mean(0))
        return np.flatnonzero(shares >= STUCK_SHARE)

    def shares(self) -> list[tuple[str, str, Floats]]:
        """Shares of saturated values on either side, at each step and of each unit."""
        low, high = SIDES[self.function]
        sides = {"below": self.values < low, "above": self.values > high}
        ways = (("by_step", 1), ("by_unit", 0))
        return [(side, by, values.mean(axis)) for by, axis in ways for side, values in sides.items()]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        low, high = self.saturated
        return {
            "name": self.name,
            "function": self.function,
            "mean": float(self.values.mean()),
            "quantiles": np.quantile(self.values, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist(),
            "saturated_below": low,
            "saturated_above": high,
            "stuck_units": self.stuck.tolist(),
            **{f"saturated_{side}_{by}": shares.tolist() for side, by, shares in self.shares()},
        }


@dataclass(frozen=True)
class LayerGates:
    """Gates and units of one layer.

    Attributes:
        activations: of all gates, then of other functions.
        states: each part by name, (T, H): after each step.
        dead: units whose state hardly moves.
        selective: units that follow a property of the text, best first.
    """

    activations: list[Activation]
    states: dict[str, Floats]
    dead: NDArray[np.intp]
    selective: list[Selective]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "activations": [each.as_dict() for each in self.activations],
            "dead_units": self.dead.tolist(),
            "selective_units": [vars(each) for each in self.selective],
        }


@dataclass(frozen=True)
class Gates:
    """Gates of all layers on one text."""

    subject: Subject
    layers: list[LayerGates]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "steps": len(self.subject.ids),
            "score": "correlation of a unit's state with a property, over steps that had no part in choosing it",
            "chance": chance(len(self.subject.ids) // 2),
            "layers": [layer.as_dict() for layer in self.layers],
        }

    def lines(self) -> list[str]:
        """For a person."""
        lines = []
        for number, layer in enumerate(self.layers, 1):
            for each in layer.activations:
                low, high = each.saturated
                lines.append(
                    f"layer {number}     {each.name:<14} mean {each.values.mean():+.3f}, saturated {low:.1%} below and "
                    f"{high:.1%} above, {len(each.stuck)} of {each.values.shape[1]} units stuck"
                )
            lines.append(f"            {len(layer.dead)} units are dead: their state hardly moves")
            lines += [
                f"            unit {found.unit} follows {found.feature} (correlation {found.score:+.2f})"
                for found in layer.selective[:3]
            ]
        return lines

    def pictures(self) -> list[Picture]:
        """Distributions, saturation over time and unit, and traces of selective units."""
        from unrolled.lab.gate_pictures import gate_pictures

        return gate_pictures(self.subject, self.layers)


def gates(subject: Subject) -> Gates:
    """Look at the gates along a subject's text."""
    done = subject.read()
    properties = features(subject)
    return Gates(subject, [_layer_gates(layer, properties) for layer in done.layers])


def activations(layer: LayerRecord) -> list[Activation]:
    """The values of all functions that a cell takes, at all steps, named by the gates whose input they take first."""
    cell, early = layer.cell, layer.recurrent.early
    try:
        step = record_forward(cell, "step")
    except UsageError:  # it uses more than symbols can do
        return []
    hidden = layer.states[0].shape[1]
    x = layer.x
    u = layer.tape.operand @ early.T
    if layer.recurrent.early_bias is not None and cell.apart:
        u = u + layer.recurrent.early_bias
    by_gate_x, by_gate_u = _by_gate(cell, x, hidden), _by_gate(cell, u, hidden)
    a = {
        name: x_k if name in cell.apart or name in cell.late else x_k + by_gate_u[name]
        for name, x_k in by_gate_x.items()
    }
    before = tuple(part[:-1] for part in layer.states)
    found: list[Activation] = []
    if cell.late:
        operands = [*(a[name] for name in cell.gates if name not in cell.late), *before]
        early_gates = [name for name in cell.gates if name not in cell.late]
        found += _functions(cell, early_gates, record_forward(cell, "late_operand"), operands)
        late = np.asarray(layer.tape.late_operand) @ np.asarray(layer.recurrent.late).T
        if layer.recurrent.late_bias is not None and cell.apart:
            late = late + layer.recurrent.late_bias
        a |= {name: a[name] + term for name, term in zip(cell.late, np.split(late, len(cell.late), 1), strict=True)}
    operands = [*(a[name] for name in cell.gates), *(by_gate_u[name] for name in cell.apart), *before]
    known = {each.name for each in found}
    found += [each for each in _functions(cell, cell.gates, step, operands) if each.name not in known]
    order = {name: place for place, name in enumerate(cell.gates)}
    return sorted(found, key=lambda each: order.get(each.name, len(order)))


def _by_gate(cell: Cell, rows: Floats, hidden: int) -> dict[str, Floats]:
    return {name: rows[:, k * hidden : (k + 1) * hidden] for k, name in enumerate(cell.gates)}


def _functions(cell: Cell, gates_known: Sequence[str], forward: Forward, operands: list[Floats]) -> list[Activation]:
    """The functions of a recorded method, each named by the gate that it is the first to take."""
    lines = forward.graph.function(forward.operands, forward.results)
    values, found, taken = lines.values(operands), list[Activation](), set[str]()
    reach = [{name} for name in gates_known]
    reach += [set() for _ in range(lines.operands - len(reach))]
    for place, node in enumerate(lines.nodes, lines.operands):
        reach.append(set().union(*(reach[operand] for operand in node.operands)))
        if node.operation in SIDES:
            new = [name for name in gates_known if name in reach[place] - taken]
            taken |= reach[place]
            found.append(Activation(new[-1] if new else _described(cell, lines, node), node.operation, values[place]))
    return found


def _described(cell: Cell, lines: Function, node: Node) -> str:
    """A function that no gate is named after, such as the LSTM's tanh(c)."""
    operand = node.operands[0]
    return (
        f"{node.operation}({cell.state[lines.results.index(operand)]})" if operand in lines.results else node.operation
    )


def _layer_gates(layer: LayerRecord, properties: dict[str, NDArray[np.bool_]]) -> LayerGates:
    states = {name: part[1:] for name, part in zip(layer.cell.state, layer.states, strict=True)}
    deviations = np.max([part.std(0) for part in states.values()], axis=0)
    last = states[layer.cell.state[-1]]
    return LayerGates(activations(layer), states, np.flatnonzero(deviations < STILL), selective_units(last, properties))
