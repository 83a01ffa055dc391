"""The network unrolled over a sentence, drawn: what is read, the state, what was expected next and what came.

The picture that every course on recurrent networks begins with, made from a network's own numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engines.through_time import Record
from unrolled.lab.pictures import BLUE, GREEN, INK, VERMILION, Picture, new_figure, style
from unrolled.lab.subject import Subject

EXPECTED = 3
"""Most probable tokens that are shown."""
IN_A_ROW = 5
"""Steps side by side."""
SHOWN = 30
"""Most steps that are drawn."""
HEIGHT = 2.45
"""Inches that a row of steps takes."""
UNITS = 24
"""Elements of a state that are drawn: the means of neighbours where there are more."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        read: the token that was read.
        expected: most probable next tokens with their probabilities.
        came: the token that came.
        place: its place among the expected; None if it is not there.
        loss: -log p(came), in nats.
        state: h of the last layer, (H,).
        all_states: of each layer, each part by name.
    """

    read: str
    expected: list[tuple[str, float]]
    came: str
    place: int | None
    loss: float
    state: NDArray[np.float64]
    all_states: list[dict[str, list[float]]]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "read": self.read,
            "expected": [{"token": token, "probability": probability} for token, probability in self.expected],
            "came": self.came,
            "loss": self.loss,
            "states": self.all_states,
        }


@dataclass(frozen=True)
class Unfolding:
    """A network unrolled over a text."""

    subject: Subject
    steps: list[Step]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "steps": [step.as_dict() for step in self.steps],
            "loss": float(sum(step.loss for step in self.steps)),
        }

    def lines(self) -> list[str]:
        """For a person."""
        width = max(len(step.read) for step in self.steps)
        came = max(len(step.came) for step in self.steps)
        lines = []
        for step in self.steps:
            expected = ", ".join(f"{token} {probability:.0%}" for token, probability in step.expected)
            lines.append(f"{step.read:<{width}}  ->  {step.came:<{came}}  {step.loss:6.3f} nats   expected {expected}")
        total = sum(step.loss for step in self.steps)
        lines.append(
            f"loss        {total:.3f} nats, {total / len(self.steps):.3f} per token; all steps share their weights"
        )
        return lines

    def pictures(self) -> list[Picture]:
        """The unrolled network."""
        with style():
            return [_draw(self)]


def unfold(subject: Subject) -> Unfolding:
    """Read a subject's text step by step."""
    done = subject.read()
    return Unfolding(subject, [_step(subject, done, t) for t in range(done.steps)])


def _step(subject: Subject, done: Record, t: int) -> Step:
    probabilities = np.exp(done.log_probabilities[t])
    best = np.argsort(-probabilities, kind="stable")[:EXPECTED]
    words = subject.words(best.astype(np.int64))
    read, came = subject.words(np.array([subject.inputs[t], subject.ids[t]]))
    expected = [(word, float(p)) for word, p in zip(words, probabilities[best], strict=True)]
    places = np.flatnonzero(best == subject.ids[t])
    all_states = [
        {name: part[t + 1].tolist() for name, part in zip(layer.cell.state, layer.states, strict=True)}
        for layer in done.layers
    ]
    state = done.layers[-1].states[0][t + 1]
    return Step(read, expected, came, int(places[0]) if len(places) else None, float(done.losses[t]), state, all_states)


def _draw(unfolding: Unfolding) -> Picture:
    steps = unfolding.steps[:SHOWN]
    rows = -(-len(steps) // IN_A_ROW)
    figure, axes = new_figure(HEIGHT * rows)
    axes.set_axis_off()
    columns = min(len(steps), IN_A_ROW)
    axes.set_xlim(-0.95, IN_A_ROW - 0.45)
    axes.set_ylim(-rows, 0.0)
    limit = max(float(np.abs(step.state).max()) for step in steps) or 1.0
    worst = max(step.loss for step in steps)
    for number, step in enumerate(steps):
        row, column = divmod(number, IN_A_ROW)
        _draw_step(axes, float(column), -float(row), step, limit=limit, worst=worst)
        if column == 0:
            for name, place in _PLACES.items():
                axes.text(-0.93, place - row, name, va="center", fontsize=7, fontstyle="italic", alpha=0.75)
    layers = len(unfolding.subject.weights.layers)
    of_last = f" (of the last of {layers} layers)" if layers > 1 else ""
    total = sum(step.loss for step in steps)
    more = f" Shown are the first {columns if rows == 1 else len(steps)} of {len(unfolding.steps)} steps."
    return Picture(
        "unfold",
        f"{unfolding.subject.name}, unrolled",
        f"From below: the token read, the state{of_last} as colours (orange above 0, purple below), the most probable "
        "next tokens (green: the one that came), what the one that came cost in nats, and itself. The weights U, W and "
        "V on the arrows are the same at each step, so that their gradient is a sum over all places. "
        f"Together {total:.2f} nats.{more if len(steps) < len(unfolding.steps) else ''}",
        figure,
    )


_PLACES = {"came": -0.09, "nats": -0.17, "expected": -0.305, "state": -0.64, "read": -0.92}
"""Where the rows of a step are, in heights of it below its top."""
_STATE = (-0.77, -0.51)
_ARROWS = {"U": (-0.87, -0.785), "V": (-0.5, -0.415)}


def _draw_step(axes: Any, x: float, top: float, step: Step, *, limit: float, worst: float) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    low, high = (top + place for place in _STATE)
    parts = np.array_split(step.state, min(UNITS, len(step.state)))
    edges = np.linspace(high, low, len(parts) + 1)
    for part, start, end in zip(parts, edges, edges[1:], strict=False):
        colour = colormaps["PuOr_r"](0.5 + 0.5 * float(part.mean()) / limit)
        axes.add_patch(Rectangle((x - 0.13, end), 0.26, start - end, facecolor=colour, edgecolor="none"))
    axes.add_patch(Rectangle((x - 0.13, low), 0.26, high - low, facecolor="none", edgecolor=INK, linewidth=0.7))
    arrow = {"arrowstyle": "->", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    middle = (low + high) / 2
    axes.annotate("", (x - 0.15, middle), (x - (0.85 if x else 0.5), middle), arrowprops=arrow)
    axes.text(x - (0.5 if x else 0.33), middle + 0.01, "W", ha="center", va="bottom", fontsize=8, fontstyle="italic")
    for name, (start, end) in _ARROWS.items():
        axes.annotate("", (x, top + end), (x, top + start), arrowprops=arrow)
        axes.text(x + 0.06, top + (start + end) / 2, name, va="center", fontsize=8, fontstyle="italic")
    middle_of = {name: top + place for name, place in _PLACES.items()}
    axes.text(x, middle_of["read"], _short(step.read, 11), ha="center", va="center", fontsize=8.5)
    for place, (token, probability) in enumerate(step.expected):
        y = middle_of["expected"] + 0.065 * (1 - place)
        said = f"{_short(token, 9)} {probability:.0%}"
        axes.text(x, y, said, ha="center", va="center", fontsize=7, color=GREEN if place == step.place else INK)
    width = 0.5 * step.loss / worst if worst > 0 else 0.0
    axes.add_patch(Rectangle((x - 0.4, middle_of["nats"] - 0.014), width, 0.028, facecolor=VERMILION))
    axes.text(x + 0.14, middle_of["nats"], f"{step.loss:.2f}", va="center", fontsize=7, color=VERMILION)
    came = _short(step.came, 11)
    axes.text(x, middle_of["came"], came, ha="center", va="center", fontsize=8.5, fontweight="bold", color=BLUE)


def _short(word: str, most: int) -> str:
    return word if len(word) <= most else word[: most - 1] + "…"
