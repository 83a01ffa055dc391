"""The loss curve of a run as a picture."""

import io
from collections.abc import Sequence

from unrolled.training.events import Record


def draw_curve(records: Sequence[Record], *, uniform: float, unigram: float, title: str) -> bytes:
    """A PNG: training and validation loss in nats per token over passes, beside the two baselines.

    Args:
        records: lines of log.jsonl; those with "training_loss" or "validation_loss", each with "passes".
        uniform, unigram: the baselines, in nats per token.
        title: stands above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = _done_last(records)
    figure = Figure(figsize=(7.2, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, colour, label in (("training", "#0072b2", "training"), ("validation", "#d55e00", "validation")):
        points = [(r["passes"], r[f"{name}_loss"]) for r in records if r.get(f"{name}_loss") is not None]
        if points:
            mark = "o" if name == "validation" else None
            axes.plot(*zip(*points, strict=True), color=colour, label=label, marker=mark, markersize=4)
    losses = [r[key] for r in records for key in ("training_loss", "validation_loss") if r.get(key) is not None]
    for level, label, style in ((unigram, "unigram", "--"), (uniform, "uniform", ":")):
        axes.axhline(level, color="#666666", linestyle=style, linewidth=1, label=f"{label} ({level:.2f})")
    low, high = min([*losses, unigram, uniform]), max(uniform, unigram)  # a loss that shoots past them is cut off
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    axes.set_xlabel("passes over the training text")
    axes.set_ylabel("loss (nats per token)")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(framealpha=1, edgecolor="none")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _done_last(records: Sequence[Record]) -> list[Record]:
    """Without records of steps that a resumed run, going back to where it was saved, did once more."""
    kept: list[Record] = []
    for record in records:
        if kept and record["step"] < kept[-1]["step"]:
            kept = [earlier for earlier in kept if earlier["step"] < record["step"]]
        kept.append(record)
    return kept
