"""What truncated backpropagation through time leaves out: how far its gradient is from the whole one, by window.

Two truncations, never confused (docs/conventions.md):

- by lag: the tutorial's `bptt_truncate=k`, which sends each error back to k+1 steps, t, t-1, ..., t-k;
- by windows: training's, which cuts the text every w steps and carries the state: an error goes back to the last cut.

Compared are the gradients of the recurrent layers' weights. The output layer's is whole in both. The loss is the sum
over the text's steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engines.through_time import LayerErrors, LayerRecord, Record, errors_by_lag
from unrolled.lab.pictures import BLUE, COLOURS, VERMILION, Picture, log_scale, new_figure, style
from unrolled.lab.subject import Report, Subject, nobody

KEPT = 0.99
"""A truncation keeps the gradient where what it leaves out is at most 1% of it, in norm."""

SHOWN = (1, 2, 5, 10, 20, 50, 100)
"""Windows for which the loss is told in words, or the next larger ones that were looked at."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """Truncated gradients beside the whole one, by window.

    Attributes:
        windows: steps that an error can reach, its own with them: k+1 by lag, w by windows.
        bias: |truncated - whole| / |whole| for each.
        cosine: of the angle between the two.
    """

    windows: NDArray[np.int64]
    bias: Floats
    cosine: Floats

    def enough(self) -> int | None:
        """The smallest window from which on 99% of the gradient is kept; None if none of these does."""
        short = np.flatnonzero(self.bias > 1 - KEPT)
        first = int(short[-1]) + 1 if len(short) else 0
        return int(self.windows[first]) if first < len(self.windows) else None

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        lists = {name: getattr(self, name).tolist() for name in ("windows", "bias", "cosine")}
        return lists | {"smallest_window_that_keeps_99_percent": self.enough()}


@dataclass(frozen=True)
class Truncation:
    """Both truncations on one text."""

    subject: Subject
    by_lag: Compared
    by_windows: Compared

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "steps": len(self.subject.ids),
            "by_lag": self.by_lag.as_dict(),
            "by_windows": self.by_windows.as_dict(),
        }

    def lines(self) -> list[str]:
        """For a person."""
        lines, steps = [], len(self.subject.ids)
        for name, compared in (("by lag", self.by_lag), ("by windows", self.by_windows)):
            shown = np.unique(np.searchsorted(compared.windows, [n for n in SHOWN if n < steps]))
            left_out = ", ".join(f"{compared.windows[n]}: {compared.bias[n]:.1%}" for n in shown)
            lines.append(f"{name:<12}left out of the gradient, by window: {left_out}")
            lines.append(f"            99% of it are kept by {_said(compared)}")
        return lines

    def pictures(self) -> list[Picture]:
        """Bias and cosine over the window."""
        with style():
            figure, (above, below) = new_figure(4.2, 2, 1, sharex=True)
            curves = (
                (self.by_lag, BLUE, "-", "each error goes so far back"),
                (self.by_windows, VERMILION, "--", "text cut so often"),
            )
            for compared, colour, line, label in curves:
                positive = compared.bias > 1e-16
                above.plot(
                    compared.windows[positive], compared.bias[positive], color=colour, linestyle=line, label=label
                )
                below.plot(compared.windows, compared.cosine, color=colour, linestyle=line, label=label)
            above.axhline(1 - KEPT, color=COLOURS[2], linewidth=0.8, linestyle=":")
            log_scale(above)
            above.set_xscale("log")
            below.xaxis.set_major_formatter("{x:g}")
            above.set_ylabel("share left out")
            below.set_ylabel("cosine with the whole")
            below.set_xlabel("window, steps")
            above.legend()
            caption = (
                "Norm of what a truncation leaves out of the gradient against the norm of the whole, and the cosine "
                f"between the two. 99% is kept (dotted) by {_said(self.by_lag)} where each error goes so far back, and "
                f"by {_said(self.by_windows)} where the text is cut into windows and the state carried."
            )
            return [Picture("truncation", "What truncation leaves out", caption, figure)]


def truncation(subject: Subject, tell: Report = nobody) -> Truncation:
    """Compare truncated gradients with the whole one on a subject's text.

    Args:
        subject: what is looked at.
        tell: is told which share of the work is done.
    """
    done = subject.read()
    every = np.arange(1, done.steps + 1)
    some = np.unique(np.geomspace(1, done.steps, 24).astype(np.int64))
    whole = gradient(done)
    tell(0.2)
    total = [np.zeros_like(array) for array in whole]
    by_lag = []
    for errors in errors_by_lag(done):
        _add(total, done, errors)
        by_lag.append(_against(total, whole))
    cut = []
    for number, window in enumerate(some):
        tell(0.4 + 0.6 * number / len(some))
        cut.append(_against(gradient(done, window=int(window)), whole))
    return Truncation(subject, Compared(every, *np.array(by_lag).T), Compared(some, *np.array(cut).T))


def gradient(done: Record, *, lags: int | None = None, window: int | None = None) -> list[Floats]:
    """The gradient of the sum of losses with respect to the layers' weights.

    Args:
        done: a text that has been read.
        lags: how far back each error goes, its own step counted; None: as far as there are steps.
        window: steps after each of which the text is cut; None: nowhere.

    Returns:
        For each layer weight_ih (G*H, I), weight_hh (G*H, H), bias_ih and bias_hh (G*H,).
    """
    total = [np.zeros(shape) for layer in done.layers for shape in _shapes(layer)]
    for lag, errors in enumerate(errors_by_lag(done, lags if window is None else window)):
        rows = None if window is None else np.arange(lag, done.steps) % window >= lag
        _add(total, done, errors, rows)
    return total


def _shapes(layer: LayerRecord) -> list[tuple[int, ...]]:
    rows, hidden = len(layer.weight_ih), layer.states[0].shape[1]
    return [layer.weight_ih.shape, (rows, hidden), (rows,), (rows,)]


def _add(total: list[Floats], done: Record, errors: list[LayerErrors], rows: NDArray[np.bool_] | None = None) -> None:
    """Add what the errors of one lag, or some of its rows, make of each layer's weights."""
    for number, (layer, error) in enumerate(zip(done.layers, errors, strict=True)):
        count, early = len(error.x), len(layer.recurrent.early)
        taken = slice(None) if rows is None else rows
        d_x, d_u = error.x[taken], error.u[taken]
        d_ih, d_hh, d_bias_ih, d_bias_hh = total[4 * number : 4 * number + 4]
        d_ih += d_x.T @ layer.inputs[:count][taken]
        d_hh[:early] += d_u[:, :early].T @ layer.tape.operand[:count][taken]
        if layer.tape.late_operand is not None:
            d_hh[early:] += d_u[:, early:].T @ layer.tape.late_operand[:count][taken]
        d_bias_ih += d_x.sum(0)
        d_bias_hh += d_u.sum(0)


def _against(part: list[Floats], whole: list[Floats]) -> tuple[float, float]:
    """Bias and cosine of one gradient against another."""
    missing, size, own, product = (
        sum(float((a * b).sum()) for a, b in pairs)
        for pairs in (
            [(p - w, p - w) for p, w in zip(part, whole, strict=True)],
            [(w, w) for w in whole],
            [(p, p) for p in part],
            list(zip(part, whole, strict=True)),
        )
    )
    if size == 0:
        return 0.0, 1.0
    return float(np.sqrt(missing / size)), product / float(np.sqrt(size * own)) if own > 0 else 0.0


def _said(compared: Compared) -> str:
    enough = compared.enough()
    whole = int(compared.windows[-1])
    return f"{enough} steps" if enough and enough < whole else f"no fewer than all {whole} steps"
