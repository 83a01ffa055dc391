"""The pictures of `compare`."""

from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median
from typing import Any

from unrolled.lab.compare import Outcome
from unrolled.lab.pictures import COLOURS, WIDTH, Picture, log_scale, new_figure, style


def comparison_pictures(outcomes: Sequence[Outcome]) -> list[Picture]:
    """The picture for a lecture, and its four parts by themselves."""
    parts: tuple[tuple[str, str, Callable[..., None], dict[str, Any]], ...] = (
        ("before", "What is left of an error before training", _draw_flow, {"trained": False}),
        ("after", "The same after training on text", _draw_flow, {"trained": True}),
        ("loss", "Loss on the text", _draw_losses, {}),
        ("tasks", "How far back is remembered", _draw_tasks, {}),
    )
    captions = {
        "before": "Median size of dE_t/ds_k against lag 0, of fresh networks of equal size reading the text.",
        "after": "The same networks after training, gradients clipped.",
        "loss": "Nats per character while training, gradients clipped; dashed, in the same colour: not clipped.",
        "tasks": "The longest lag at which a candidate solves the task: the sum of two marked numbers among T, and "
        "a copy of three symbols after N blanks. Light: not clipped.",
    }
    with style():
        figure, grid = new_figure(7.0, 2, 2, width=2 * WIDTH)
        for axes, (_, title, draw, options) in zip(grid.flat, parts, strict=True):
            draw(axes, outcomes, **options)
            axes.set_title(title)
        lecture = "Cells and remedies at equal parameters. " + captions["tasks"]
        found = [Picture("compare", "Who remembers, and who can learn to", lecture, figure)]
        for name, title, draw, options in parts:
            figure, axes = new_figure(3.6)
            draw(axes, outcomes, **options)
            found.append(Picture(f"compare-{name}", title, captions[name], figure))
        return found


def _colours(outcomes: Sequence[Outcome]) -> dict[str, str]:
    names = list(dict.fromkeys(outcome.name for outcome in outcomes))
    return dict(zip(names, cycle((*COLOURS, "#666666")), strict=False))


def _draw_flow(axes: Any, outcomes: Sequence[Outcome], *, trained: bool) -> None:
    colours = _colours(outcomes)
    for each in outcomes:
        curve = each.after if trained else each.before
        if each.clip and curve:
            shown = [(lag, value) for lag, value in enumerate(curve) if value > 1e-12]
            axes.plot(*zip(*shown, strict=True), color=colours[each.name], label=each.name, linewidth=1.3)
    log_scale(axes)
    axes.set_xlabel("lag t - k, steps back")
    axes.set_ylabel("size against lag 0")
    axes.legend(fontsize=6.5)


def _draw_losses(axes: Any, outcomes: Sequence[Outcome]) -> None:
    colours = _colours(outcomes)
    for each in outcomes:
        if each.losses:
            line, label = ("-", each.name) if each.clip else ("--", None)
            axes.plot(*zip(*each.losses, strict=True), line, color=colours[each.name], label=label, linewidth=1.1)
    first = [each.losses[0][1] for each in outcomes if each.losses]
    if first:  # a loss that shoots up is cut off
        low = min(loss for each in outcomes for _, loss in each.losses)
        axes.set_ylim(0.95 * low, 1.1 * median(first))
    axes.set_xlabel("updates")
    axes.set_ylabel("nats per character")
    axes.legend(fontsize=6.5)


def _draw_tasks(axes: Any, outcomes: Sequence[Outcome]) -> None:
    colours = _colours(outcomes)
    names = list(colours)
    places: list[tuple[float, Callable[[Outcome], tuple[int | None, int | None]], str]] = [
        (-0.2, lambda outcome: outcome.adding, ""),
        (0.2, lambda outcome: outcome.copying, "///"),
    ]
    for each in outcomes:
        row = names.index(each.name)
        for offset, found, hatch in places:
            longest = found(each)[0] or 0
            y = row + offset + (-0.09 if each.clip else 0.09)
            alpha = 1.0 if each.clip else 0.45
            axes.barh(
                y, longest, 0.17, color=colours[each.name], alpha=alpha, hatch=hatch, edgecolor="white", linewidth=0
            )
            if not longest:
                axes.text(0, y, " ×", va="center", fontsize=6)
    axes.set_xticks([0, *sorted({lag for each in outcomes for lag in (*each.adding, *each.copying) if lag})])
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("longest lag solved: adding (plain), copying (hatched)")
