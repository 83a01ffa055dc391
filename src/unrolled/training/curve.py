"""What happened in a run as a picture: loss, rate, gradients, updates and speed over the passes."""

import io
from collections.abc import Sequence
from typing import Any

from unrolled.training.events import Record

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"
SMALL_PANELS = (
    ("learning_rate", "learning rate", "linear"),
    ("gradient_norm", "gradient norm before clipping", "log"),
    ("clipped", "share of steps clipped", "share"),
    ("update_ratio", "norm of update / norm of weights", "log"),
    ("tokens_per_second", "tokens per second", "linear"),
    ("effective_memory", "steps back after which 1% of an error is left", "linear"),
)
"""Field of the log, title, and scale of its axis."""


def draw_curve(
    records: Sequence[Record], *, uniform: float, unigram: float, title: str, counted: str = "token"
) -> bytes:
    """A PNG of the log: the losses beside the two baselines, and below what explains them.

    Args:
        records: lines of log.jsonl, each with "step" and "passes"; what a line lacks is left out.
        uniform, unigram: the baselines, in nats.
        title: stands above.
        counted: what a loss is a mean over.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = done_last(records)
    figure = Figure(figsize=(9, 8), dpi=120, layout="constrained")
    grid = figure.add_gridspec(4, 6)
    losses = figure.add_subplot(grid[:2, :])
    _draw_losses(losses, records, uniform=uniform, unigram=unigram)
    losses.set_ylabel(f"loss (nats per {counted})")
    losses.set_title(title, fontsize=11)
    places = (grid[row, 2 * column : 2 * column + 2] for row in (2, 3) for column in range(3))
    for place, (name, label, scale) in zip(places, SMALL_PANELS, strict=True):
        axes = figure.add_subplot(place, sharex=losses)
        points = _points(records, name)
        if points:
            axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1)
        if scale == "log" and any(value > 0 for _, value in points):
            axes.set_yscale("log")
        elif scale == "share":
            axes.set_ylim(-0.03, 1.03)
        else:
            axes.set_ylim(0, 1.08 * max((value for _, value in points), default=1.0) or 1.0)
        axes.set_title(label.replace("token", counted), fontsize=9)
        axes.tick_params(labelsize=8, which="both")
        axes.grid(alpha=0.25)
    figure.supxlabel("passes over the training text", fontsize=10)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _draw_losses(axes: Any, records: Sequence[Record], *, uniform: float, unigram: float) -> None:
    for name, colour, mark in (("training", BLUE, None), ("validation", ORANGE, "o")):
        points = _points(records, f"{name}_loss")
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker=mark, markersize=4)
    losses = [value for name in ("training_loss", "validation_loss") for _, value in _points(records, name)]
    for level, label, style in ((unigram, "unigram", "--"), (uniform, "uniform", ":")):
        axes.axhline(level, color=GREY, linestyle=style, linewidth=1, label=f"{label} ({level:.2f})")
    low, high = min([*losses, unigram, uniform]), max(uniform, unigram)  # a loss that shoots past them is cut off
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(framealpha=1, edgecolor="none")


def _points(records: Sequence[Record], name: str) -> list[tuple[float, float]]:
    return [(record["passes"], record[name]) for record in records if record.get(name) is not None]


def done_last(records: Sequence[Record]) -> list[Record]:
    """Without records of steps that a resumed run, going back to where it was saved, did once more."""
    kept: list[Record] = []
    for record in records:
        if kept and record["step"] < kept[-1]["step"]:
            kept = [earlier for earlier in kept if earlier["step"] < record["step"]]
        kept.append(record)
    return kept
