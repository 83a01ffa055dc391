"""The pictures of `gates`."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np

from unrolled.lab.gates import SIDES, LayerGates
from unrolled.lab.pictures import BLUE, COLOURS, VERMILION, Picture, new_figure, style, word_ticks
from unrolled.lab.selectivity import chance
from unrolled.lab.subject import Subject

LIMITS = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
TRACED, IN_A_LINE = 120, 40
"""Steps of a trace, and how many stand side by side."""


def gate_pictures(subject: Subject, layers: Sequence[LayerGates]) -> list[Picture]:
    """Of each layer; a cell without functions has neither distributions nor saturation."""
    found = []
    with style():
        for number, layer in enumerate(layers):
            of_layer = f" of layer {number + 1}" if len(layers) > 1 else ""
            if layer.activations:
                found += [_distributions(layer, number, of_layer), _saturation(layer, number, of_layer)]
            if layer.selective:
                found.append(_traces(layer, number, of_layer, subject))
    return found


def _distributions(layer: LayerGates, number: int, of_layer: str) -> Picture:
    figure, axes = new_figure(2.9)
    for each, colour in zip(layer.activations, cycle(COLOURS), strict=False):
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
    grid[0, 1].legend(title="saturated", title_fontsize=8, loc="upper right")
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
    per_line = min(IN_A_LINE, steps)
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
        f"Score: correlation with the property over steps that had no part in choosing: {scores}; by chance it stays "
        f"within {chance(len(states) // 2):.2f}.",
        figure,
    )
