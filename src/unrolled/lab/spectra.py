"""Whether a network's errors must vanish or explode: what the Jacobians ds_t/ds_{t-1} and their products do to lengths.

The growth rates are Lyapunov exponents, by the usual way of keeping vectors apart with QR at each step (Benettin et al.
1980, Meccanica 15). Beside them the bound that theory gives for cells with one gate: |ds_t/ds_{t-1}| <= norm of W times
the largest slope of the function, which says something only where it is below 1 (Pascanu et al., arXiv:1211.5063).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.cells import Cell
from unrolled.cells.recording import record_forward
from unrolled.engines.through_time import LayerRecord, state_jacobian
from unrolled.errors import UsageError
from unrolled.lab.pictures import BLUE, COLOURS, ORANGE, VERMILION, Picture, new_figure, style
from unrolled.lab.subject import Report, Subject, nobody

SLOPES = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0}
"""The largest slope of each function."""
NEUTRAL = 0.01
"""Growth rates per step closer to 0 than this: over a hundred steps a length changes by less than a factor e."""
PRODUCT_VALUES = 8
"""Singular values of a product that are kept; the others are soon lost in rounding."""
SETTLING = 3
"""Growth rates count from the third of the text on: the first steps belong to where the vectors began."""
MOST_UNITS = 1536
"""Largest state whose Jacobians are decomposed."""
LOOKED_AT = 16
"""Steps, spread over the text, whose Jacobians are decomposed one by one; products and rates take all."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LayerSpectra:
    """The spectra of one layer.

    Attributes:
        singular_values: of the Jacobians of some steps, (N, S), largest first.
        radii: the spectral radius of each of them, (N,).
        product_logs: natural logarithm of the largest singular value of the product over steps 1..n, (T,); -inf for 0.
        product_value_logs: the same of its largest singular values, for n = the steps looked at, (N, up to 8).
        product_radius_logs: the same of its spectral radius, (N,).
        looked_at: which steps these are, from 1, (N,).
        rates: growth rates per step (Lyapunov exponents) over the text, (S,), largest first, in nats; -inf where
            nothing is left.
        bound: norm of W times the largest slope, for cells with one gate; None for others.
    """

    singular_values: Floats
    radii: Floats
    product_logs: Floats
    product_value_logs: Floats
    product_radius_logs: Floats
    looked_at: NDArray[np.int64]
    rates: Floats
    bound: float | None

    @property
    def verdict(self) -> str:
        """In words."""
        rate = float(self.rates[0])
        if rate == -math.inf:
            return "vanishes at once: a step's Jacobian is zero"
        if rate < -NEUTRAL:
            steps = math.log(100) / -rate
            return f"vanishes: even the direction that lasts longest shrinks to 1% within {steps:.0f} steps"
        if rate > NEUTRAL:
            return f"explodes: a small change grows tenfold every {math.log(10) / rate:.0f} steps"
        return "keeps lengths: the direction that lasts longest neither grows nor shrinks by much"

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "growth_rates": _finite(self.rates[:20]),
            "largest_singular_value_median": float(np.median(self.singular_values[:, 0])),
            "spectral_radius_median": float(np.median(self.radii)),
            "log_largest_singular_value_of_products": _finite(self.product_logs),
            "log_singular_values_of_products": [_finite(values) for values in self.product_value_logs],
            "log_spectral_radius_of_products": _finite(self.product_radius_logs),
            "steps_of_those": self.looked_at.tolist(),
            "singular_values_median": np.median(self.singular_values, axis=0).tolist(),
            "bound": self.bound,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Spectra:
    """Spectra of all layers, each with its inputs held."""

    subject: Subject
    layers: list[LayerSpectra]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "network": self.subject.name,
            "text": self.subject.text_name,
            "steps": len(self.subject.ids),
            "layers": [layer.as_dict() for layer in self.layers],
        }

    def lines(self) -> list[str]:
        """For a person."""
        lines = []
        for number, layer in enumerate(self.layers, 1):
            largest, radius = np.median(layer.singular_values[:, 0]), np.median(layer.radii)
            lines.append(
                f"layer {number}     of ds_t/ds_t-1 the largest singular value is {largest:.3f}, the spectral radius "
                f"{radius:.3f} (medians)"
            )
            rates = ", ".join(f"{rate:+.3f}" for rate in layer.rates[:3])
            lines.append(f"            growth rates per step, in nats: {rates}, ...")
            if layer.bound is not None:
                says = "below 1: errors must vanish" if layer.bound < 1 else "not below 1: theory leaves all open"
                lines.append(f"            bound, norm of W times the largest slope: {layer.bound:.3f}, {says}")
            lines.append(f"            {layer.verdict}")
        return lines

    def pictures(self) -> list[Picture]:
        """Singular values, growth of products, and rates."""
        with style():
            return [picture for number in range(len(self.layers)) for picture in self._of_layer(number)]

    def _of_layer(self, number: int) -> list[Picture]:
        layer = self.layers[number]
        suffix = f"-{number + 1}"
        of_layer = f", layer {number + 1}" if len(self.layers) > 1 else ""
        figure, axes = new_figure(3.0)
        ranks = np.arange(1, layer.singular_values.shape[1] + 1)
        low, middle, high = np.quantile(layer.singular_values, [0.05, 0.5, 0.95], axis=0)
        axes.plot(ranks, middle, color=BLUE, label="one step, median")
        axes.fill_between(ranks, low, high, color=BLUE, alpha=0.2, label="one step, 5 to 95%")
        axes.plot(ranks, np.exp(layer.rates), color=VERMILION, linestyle="--", label="per step, over the text")
        if layer.bound is not None:
            axes.axhline(layer.bound, color=ORANGE, linestyle=":", label="bound")
        axes.axhline(1, color=COLOURS[2], linewidth=0.8)
        axes.set_xlabel("rank of the singular value")
        axes.set_ylabel("factor on a length")
        axes.set_ylim(bottom=0)
        axes.legend()
        values = Picture(
            f"spectra-values{suffix}",
            f"What one step does to lengths{of_layer}",
            "Singular values of ds_t/ds_t-1: above 1 a direction grows, below it shrinks. Dashed: the growth per step "
            f"that lasts. This network {layer.verdict}.",
            figure,
        )
        figure, axes = new_figure(3.0)
        steps = np.arange(1, len(layer.product_logs) + 1)
        finite = np.isfinite(layer.product_logs)
        axes.plot(steps[finite], layer.product_logs[finite] / math.log(10), color=BLUE, label="largest singular value")
        radii = layer.product_radius_logs / math.log(10)
        axes.plot(
            layer.looked_at, np.where(np.isfinite(radii), radii, np.nan), ".", color=VERMILION, label="spectral radius"
        )
        if layer.bound:
            axes.plot(steps, steps * math.log10(layer.bound), color=ORANGE, linestyle=":", label="bound")
        axes.legend()
        axes.axhline(0, color=COLOURS[2], linewidth=0.8)
        axes.set_xlabel("steps")
        axes.set_ylabel("largest factor, power of ten")
        product = Picture(
            f"spectra-products{suffix}",
            f"The same over many steps{of_layer}",
            "The largest singular value of the product of so many Jacobians: the most by which any error can have "
            "grown, or must have shrunk.",
            figure,
        )
        return [values, product]


def spectra(subject: Subject, tell: Report = nobody) -> Spectra:
    """Measure the Jacobians along a subject's text.

    Args:
        subject: what is looked at.
        tell: is told which share of the work is done.

    Raises:
        UsageError: the state is too large.
    """
    done = subject.read()
    for layer in done.layers:
        size = len(layer.states) * layer.states[0].shape[1]
        if size > MOST_UNITS:
            raise UsageError(f"the state has {size} elements: spectra are for at most {MOST_UNITS}")
    layers, count = [], len(done.layers)
    for number, layer in enumerate(done.layers):
        layers.append(layer_spectra(layer, lambda share, done=number: tell((done + share) / count)))  # type: ignore[misc]
    return Spectra(subject, layers)


def layer_spectra(layer: LayerRecord, tell: Report = nobody) -> LayerSpectra:
    """The spectra of one layer along what it has read."""
    steps = len(layer.inputs)
    size = len(layer.states) * layer.states[0].shape[1]
    looked_at = np.unique(np.linspace(0, steps - 1, LOOKED_AT).astype(np.int64))
    settled = steps // SETTLING  # until then directions turn to where they grow
    singular_values, radii, product_logs, product_radii = list[Floats](), list[float](), np.empty(steps), list[float]()
    product_values = list[Floats]()
    product, log_scale = np.eye(size), 0.0
    directions, logs = np.eye(size), np.zeros(size)
    for t in range(steps):
        tell(t / steps)
        jacobian = state_jacobian(layer, t)
        if t in looked_at:
            singular_values.append(np.linalg.svd(jacobian, compute_uv=False))
            radii.append(_radius(jacobian))
        product = jacobian @ product
        largest = math.sqrt(max(0.0, float(np.linalg.eigvalsh(product.T @ product)[-1])))
        log_scale += math.log(largest) if largest > 0 else -math.inf
        product_logs[t] = log_scale
        product = product / largest if largest > 0 else product
        if t in looked_at:
            values = np.linalg.svd(product, compute_uv=False)[:PRODUCT_VALUES]
            product_values.append(np.array([log_scale + _log(float(value)) for value in values]))
            product_radii.append(log_scale + _log(_radius(product)))
        directions, upper = np.linalg.qr(jacobian @ directions)
        if t >= settled:
            factors = np.abs(np.diagonal(upper))
            nothing = np.finfo(np.float64).eps * size * np.linalg.norm(jacobian, 2)
            with np.errstate(divide="ignore"):
                logs += np.log(np.where(factors > nothing, factors, 0.0))
    rates = np.sort(logs / (steps - settled))[::-1]
    return LayerSpectra(
        np.array(singular_values),
        np.array(radii),
        product_logs,
        np.array(product_values),
        np.array(product_radii),
        looked_at + 1,
        rates,
        bound(layer),
    )


def _radius(matrix: Floats) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def bound(layer: LayerRecord) -> float | None:
    """Norm of W times the largest slope, for a cell with one gate and one function; None for others."""
    slope = _slope(layer.cell)
    return None if slope is None else slope * float(np.linalg.norm(layer.recurrent.early, 2))


def _slope(cell: Cell) -> float | None:
    """The largest slope of h = f(a); None where the next state is anything else."""
    if len(cell.gates) != 1 or len(cell.state) != 1 or cell.apart or cell.late:
        return None
    try:
        forward = record_forward(cell, "step")
    except UsageError:  # it uses more than symbols can do
        return None
    (result,) = forward.results
    node, a = forward.graph.nodes[result.index], forward.operands[0]
    if result.index == a.index:
        return 1.0
    return SLOPES.get(node.operation) if node.operands == (a.index,) else None


def _finite(values: Floats) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
