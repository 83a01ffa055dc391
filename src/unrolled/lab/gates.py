"""What gates and activations do on a text: how open, how saturated, which units are stuck, which follow the text.

Saturation as in Karpathy, Johnson and Li, arXiv:1506.02078: a sigmoid below 0.1 or above 0.9; of tanh, beyond 0.9 on
either side; of relu, at zero.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.cells import Cell
from unrolled.cells.recording import Forward, record_forward
from unrolled.cells.symbols import Function, Node
from unrolled.engines.through_time import LayerRecord
from unrolled.lab.pictures import BLUE, COLOURS, VERMILION, Picture, new_figure, style, word_ticks
from unrolled.lab.subject import Subject
from unrolled.text.word_rules import JOINER

SIDES = {"sigmoid": (0.1, 0.9), "tanh": (-0.9, 0.9), "relu": (1e-12, np.inf)}
"""Below and above which a function's value counts as saturated."""
LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
STUCK_SHARE = 0.99
"""A unit that is saturated on one side at this share of the steps is stuck."""
STILL = 1e-3
"""A unit whose state has a smaller standard deviation over the text is dead."""
SELECTIVE = 6
"""Units whose traces are drawn."""
TRACED = 120
"""Steps of a trace."""
LEAST_SHARE = 0.02
"""A property of the text is looked for only where at least this share of the steps has it, and as many have not."""

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
        }


@dataclass(frozen=True)
class Selective:
    """A unit that follows a property of the text.

    Attributes:
        unit: from 0.
        feature: the property, in words.
        score: the correlation of the unit's state with it over the steps, -1 to 1.
    """

    unit: int
    feature: str
    score: float


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
            "score": "correlation of a unit's state with a property of the text over the steps",
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
        with style():
            found = []
            for number, layer in enumerate(self.layers):
                of_layer = f" of layer {number + 1}" if len(self.layers) > 1 else ""
                found += [_distributions(layer, number, of_layer), _saturation(layer, number, of_layer)]
                if layer.selective:
                    found.append(_traces(layer, number, of_layer, self.subject))
            return found


def gates(subject: Subject) -> Gates:
    """Look at the gates along a subject's text."""
    done = subject.read()
    properties = features(subject)
    return Gates(subject, [_layer_gates(layer, properties) for layer in done.layers])


def activations(layer: LayerRecord) -> list[Activation]:
    """The values of all functions that a cell takes, at all steps, named by the gates whose input they take first."""
    cell, early = layer.cell, layer.recurrent.early
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
    found += [
        each for each in _functions(cell, cell.gates, record_forward(cell, "step"), operands) if each.name not in known
    ]
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


def features(subject: Subject) -> dict[str, NDArray[np.bool_]]:
    """Properties of the text at each step, of what has been read by then: name to (T,)."""
    read = [subject.tokenizer.token(int(token)) for token in subject.inputs]
    found: dict[str, list[bool]] = {name: [] for name in (*_PAIRS, *_OF_TOKENS)}
    depth = dict.fromkeys(_PAIRS, 0)
    for token in read:
        written = token.replace(JOINER, "").replace("\u0120", " ").replace("\u010a", "\n")
        for name, (opening, closing) in _PAIRS.items():
            for character in written:
                if opening == closing and character in opening:
                    depth[name] = 1 - depth[name]
                elif character in opening:
                    depth[name] += 1
                elif character in closing:
                    depth[name] = max(0, depth[name] - 1)
            if "\n" in written and opening == closing:
                depth[name] = 0
            found[name].append(depth[name] > 0)
        for name, expression in _OF_TOKENS.items():
            found[name].append(bool(re.search(expression, written)))
    arrays = {name: np.array(values) for name, values in found.items()}
    return {name: array for name, array in arrays.items() if LEAST_SHARE <= array.mean() <= 1 - LEAST_SHARE}


def _layer_gates(layer: LayerRecord, properties: dict[str, NDArray[np.bool_]]) -> LayerGates:
    states = {name: part[1:] for name, part in zip(layer.cell.state, layer.states, strict=True)}
    deviations = np.max([part.std(0) for part in states.values()], axis=0)
    dead = np.flatnonzero(deviations < STILL)
    return LayerGates(activations(layer), states, dead, selective_units(states[layer.cell.state[-1]], properties))


def selective_units(
    states: Floats, properties: dict[str, NDArray[np.bool_]], count: int = SELECTIVE
) -> list[Selective]:
    """The units whose state goes with a property of the text, the highest correlation first, each unit once.

    Args:
        states: (T, H).
        properties: name to (T,).
        count: most units.
    """
    centred = states - states.mean(0)
    norms = np.linalg.norm(centred, axis=0)
    found: dict[int, Selective] = {}
    for name, values in properties.items():
        wanted = values - values.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.nan_to_num(wanted @ centred / (norms * np.linalg.norm(wanted)))
        for unit in np.argsort(-np.abs(scores))[:count]:
            score = float(scores[unit])
            if int(unit) not in found or abs(score) > abs(found[int(unit)].score):
                found[int(unit)] = Selective(int(unit), name, score)
    return sorted(found.values(), key=lambda each: -abs(each.score))[:count]


def _distributions(layer: LayerGates, number: int, of_layer: str) -> Picture:
    figure, axes = new_figure(2.9)
    for each, colour in zip(layer.activations, COLOURS, strict=False):
        low, high = LIMITS.get(each.function, (float(each.values.min()), float(each.values.max()) or 1.0))
        share, edges = np.histogram(each.values, bins=50, range=(low, high))
        label = each.name if each.name.startswith(each.function) else f"{each.name} ({each.function})"
        axes.stairs(share / max(share.sum(), 1), edges, color=colour, label=label, linewidth=1.4)
    axes.set_xlabel("value")
    axes.set_ylabel("share of all values")
    axes.legend()
    return Picture(
        f"gates-values-{number + 1}",
        f"Where gates and activations{of_layer} are",
        "All units at all steps. A heap at either end is saturation: a gate that is always open or shut, an activation "
        "whose slope is gone.",
        figure,
    )


def _saturation(layer: LayerGates, number: int, of_layer: str) -> Picture:
    rows = len(layer.activations)
    figure, grid = new_figure(0.7 + 1.15 * rows, rows, 2, squeeze=False, sharey=True, sharex="col")
    for (over_time, over_units), each in zip(grid, layer.activations, strict=True):
        low, high = SIDES[each.function]
        for side, values, colour in (("high", each.values > high, VERMILION), ("low", each.values < low, BLUE)):
            over_time.plot(values.mean(1), color=colour, linewidth=0.9, label=side)
            over_units.plot(np.sort(values.mean(0))[::-1], color=colour, linewidth=0.9, label=side)
        for axes in (over_time, over_units):
            axes.set_ylim(-0.03, 1.03)
        over_time.set_title(each.name, fontsize=8, loc="left")
    grid[0, 0].legend(title="saturated", title_fontsize=8)
    grid[-1, 0].set_xlabel("step")
    grid[-1, 1].set_xlabel("units, sorted")
    grid[rows // 2, 0].set_ylabel("share")
    return Picture(
        f"gates-saturation-{number + 1}",
        f"How much{of_layer} is saturated, over time and by unit",
        "Left: the share of units at each step. Right: for each unit the share of steps; one that is at 1 is stuck.",
        figure,
    )


def _traces(layer: LayerGates, number: int, of_layer: str, subject: Subject) -> Picture:
    shown = layer.selective
    states = list(layer.states.values())[-1]
    steps = min(TRACED, len(states))
    words = subject.words(subject.inputs[:steps])
    per_line = min(40, steps)
    lines = -(-steps // per_line)
    figure, grid = new_figure(0.5 + lines * (0.45 + 0.24 * len(shown)), lines, 1, squeeze=False)
    limit = float(np.abs(states[:steps, [each.unit for each in shown]]).max()) or 1.0
    for line, axes in enumerate(grid[:, 0]):
        block = states[line * per_line : (line + 1) * per_line, [each.unit for each in shown]].T
        block = np.pad(block, ((0, 0), (0, per_line - block.shape[1])), constant_values=np.nan)
        axes.imshow(block, aspect="auto", cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.grid(visible=False)
        axes.set_yticks(range(len(shown)), [f"{each.unit}: {each.feature}" for each in shown], fontsize=6)
        word_ticks(axes, words[line * per_line : (line + 1) * per_line])
    scores = ", ".join(f"{each.unit} {each.score:+.2f}" for each in shown)
    return Picture(
        f"gates-units-{number + 1}",
        f"Units{of_layer} that follow the text",
        "State after each token of the units that go best with a property of the text (orange above 0, purple below). "
        f"Score: correlation with the property over all {len(states)} steps: {scores}.",
        figure,
    )


_PAIRS = {
    "inside quotation marks": ("\u201c", "\u201d"),
    "inside straight quotation marks": ('"', '"'),
    "inside brackets": ("([{", ")]}"),
}
_OF_TOKENS = {
    "ends of lines": r"\n",
    "capital letters": r"[^\W\d_a-z]",
    "digits": r"\d",
    "blanks": r"^ +$",
    "vowels": r"^[aeiouAEIOU]$",
    "punctuation": r"^[^\w\s]+$",
}
