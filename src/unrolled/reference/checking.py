"""Is a gradient right? Central differences, element by element."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import GradientCheckError, ShapeError, UsageError
from unrolled.reference.arrays import Array, Booleans

LOSS_ROUNDING = 16
"""By how many units in its last place a loss, a long sum, may be off. Central differences divide that by 2 h, so that
no numerical gradient below LOSS_ROUNDING * eps * |E| / (2 h) means anything: the noise floor, see `gradient_check`."""

LEAST_SHARE = 0.5
"""A check fails when less than this share of the elements it looked at rises above the noise floor."""

Loss = Callable[[Mapping[str, Array]], float]
Index = tuple[int, ...]


class TruncatedGradientWarning(UserWarning):
    """The gradient was truncated, so that it is not the true gradient, whatever the numbers say."""


@dataclass(frozen=True)
class Rules:
    """How a gradient is checked.

    The step 1e-5 balances the two errors of a central difference in float64, h^2 from the formula and eps / h from
    rounding. The tutorial's h = 0.001 leaves a relative error near 1e-6 or more: give it the tolerance 0.01.

    Raises:
        UsageError: a value is out of range.
    """

    step: float = 1e-5
    """h, by which each element is moved up and down."""
    tolerance: float = 1e-5
    """Largest relative error |n - a| / (|n| + |a|) that passes; 1 is an opposite sign or a zero against a number."""
    share: float = 1.0
    """Share of each parameter's elements that is looked at; less than 1 draws them at random."""

    def __post_init__(self) -> None:
        if not self.step > 0 or not 0 < self.tolerance < 1 or not 0 < self.share <= 1:
            raise UsageError(f"{self}: expected step > 0, 0 < tolerance < 1 and 0 < share <= 1")


class Element(NamedTuple):
    """One element of one parameter, looked at."""

    name: str
    position: Index
    numerical: float
    analytic: float
    relative_error: float
    """NaN where both are exactly zero, and where either is not finite."""

    def __str__(self) -> str:
        return (
            f"{self.name}[{', '.join(map(str, self.position))}]: numerical {self.numerical:.12g}, "
            f"analytic {self.analytic:.12g}, relative error {self.relative_error:.3g}"
        )


class GradientReport(NamedTuple):
    """What a check that passed looked at."""

    elements: int
    """In all parameters together."""
    checked: int
    """Elements whose two gradients were compared and agree."""
    unused: int
    """Elements declared unused, looked at, and exactly zero in both gradients."""
    below_noise: int
    """Elements looked at whose gradients are both lost in the rounding of the loss: nothing is known about them."""
    worst: Element
    """The largest relative error among those checked."""

    @property
    def share_checked(self) -> float:
        """Share of all elements that were compared, or are rightly zero."""
        return (self.checked + self.unused) / self.elements


def gradient_check(
    loss: Loss,
    parameters: Mapping[str, Array],
    gradients: Mapping[str, Array],
    *,
    rules: Rules | None = None,
    unused: Mapping[str, ArrayLike] | None = None,
    random: np.random.Generator | None = None,
    truncate: int | None = None,
    steps: int | None = None,
) -> GradientReport:
    """Compare an analytic gradient with central differences, element by element.

    An element fails when its relative error |n - a| / (|n| + |a|) is above the tolerance, when either gradient is NaN
    or infinite, and when both are exactly zero (0/0), unless it is declared unused. One exception, for elements so
    small that the rounding of the loss blurs n: where |n - a| is within the noise floor (`LOSS_ROUNDING`) the two agree
    as far as can be seen. Where |n| and |a| are both within it, nothing can be seen, and the element does not count as
    checked; too many of those fail the check (`LEAST_SHARE`).

    Args:
        loss: the loss as a function of the parameters by name; it must not change them.
        parameters: float64 arrays by name.
        gradients: the analytic gradient, of the same names and shapes.
        rules: step, tolerance and share; None means the defaults.
        unused: for some names a boolean array that broadcasts to the parameter: elements that belong to an input that
            does not occur, whose gradients may both be exactly zero.
        random: draws the elements when rules.share < 1.
        truncate: the k of a truncated gradient: warns when k < steps - 1.
        steps: T of the sequence behind the loss, where truncate is given.

    Returns:
        What was looked at. Costs two losses for each element.

    Raises:
        GradientCheckError: names the worst element, or says that too little could be compared.
        ShapeError: parameters and gradients do not fit, or are not float64.
        UsageError: elements are to be drawn but random is None; truncate without steps.

    Warns:
        TruncatedGradientWarning: the gradient is truncated.
    """
    rules = rules or Rules()
    _check_arrays(parameters, gradients)
    _warn_if_truncated(truncate, steps)
    moved = {name: value.copy() for name, value in parameters.items()}
    checked: list[Element] = []
    failed: list[Element] = []
    zeros = below = 0
    for name, index in _chosen(parameters, rules, random):
        a = float(gradients[name][index])
        n, noise = central_difference(loss, moved, name, index, rules.step)
        error = relative_error(n, a)
        element = Element(name, index, n, a, error)
        if n == 0 and a == 0 and _is_unused(unused, name, index, parameters[name].shape):
            zeros += 1
        elif not np.isfinite(error):  # NaN, inf or 0/0
            failed.append(element)
        elif max(abs(n), abs(a)) <= noise:
            below += 1
        elif error > rules.tolerance and abs(n - a) > noise:
            failed.append(element)
        else:
            checked.append(element)
    if failed:
        raise GradientCheckError(_complaint(failed, len(failed) + len(checked) + zeros + below, rules))
    if not checked or len(checked) < LEAST_SHARE * (len(checked) + below):
        raise GradientCheckError(
            f"only {len(checked)} of {len(checked) + below} elements rise above the rounding of the loss: "
            "check where gradients are larger, or with a larger step"
        )
    elements = sum(value.size for value in parameters.values())
    return GradientReport(
        elements, len(checked), zeros, below, max(checked, key=lambda element: element.relative_error)
    )


def central_difference(
    loss: Loss, parameters: dict[str, Array], name: str, index: Index, step: float
) -> tuple[float, float]:
    """Return dE/d(one element) by central differences, and the noise floor there; the parameters end as they were."""
    value = parameters[name][index]
    parameters[name][index] = value + step
    above = float(loss(parameters))
    parameters[name][index] = value - step
    below = float(loss(parameters))
    parameters[name][index] = value
    numerical = (above - below) / (2 * step)  # (41)
    noise = LOSS_ROUNDING * float(np.finfo(np.float64).eps) * max(abs(above), abs(below)) / (2 * step)  # (43)
    return numerical, noise


def relative_error(numerical: float, analytic: float) -> float:
    """Return |n - a| / (|n| + |a|): 0 to 1, and NaN where either is not finite or both are zero."""
    size = abs(numerical) + abs(analytic)
    return abs(numerical - analytic) / size if 0 < size < np.inf else np.nan  # (42)


def _chosen(
    parameters: Mapping[str, Array], rules: Rules, random: np.random.Generator | None
) -> list[tuple[str, Index]]:
    if rules.share < 1 and random is None:
        raise UsageError(f"share is {rules.share}: hand in a np.random.Generator that draws the elements")
    chosen: list[tuple[str, Index]] = []
    for name, value in parameters.items():
        positions = np.arange(value.size)
        if random is not None and rules.share < 1:
            positions = np.sort(random.choice(value.size, size=int(np.ceil(rules.share * value.size)), replace=False))
        chosen += [(name, tuple(int(i) for i in np.unravel_index(position, value.shape))) for position in positions]
    return chosen


def _is_unused(unused: Mapping[str, ArrayLike] | None, name: str, index: Index, shape: tuple[int, ...]) -> bool:
    if unused is None or name not in unused:
        return False
    declared: Booleans = np.broadcast_to(np.asarray(unused[name], dtype=bool), shape)
    return bool(declared[index])


def _check_arrays(parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
    if parameters.keys() != gradients.keys() or not parameters:
        raise ShapeError(f"gradients are of {sorted(gradients)}: expected one for each parameter, {sorted(parameters)}")
    for name, value in parameters.items():
        if value.dtype != np.float64:
            raise ShapeError(f"parameter {name} has dtype {value.dtype}: central differences need float64")
        if np.shape(gradients[name]) != value.shape:
            raise ShapeError(f"gradient of {name} has shape {np.shape(gradients[name])}: expected {value.shape}")


def _warn_if_truncated(truncate: int | None, steps: int | None) -> None:
    if truncate is None:
        return
    if steps is None:
        raise UsageError("truncate is given without steps: say how long the sequence is")
    if truncate < steps - 1:
        message = f"truncate={truncate} is less than T-1={steps - 1}: this is not the true gradient of the loss"
        warnings.warn(message, TruncatedGradientWarning, stacklevel=3)


def _complaint(failed: list[Element], looked_at: int, rules: Rules) -> str:
    """One line that names the worst element; what is not finite is worse than any number."""
    worst = max(failed, key=lambda element: np.nan_to_num(element.relative_error, nan=np.inf))
    if worst.numerical == 0 and worst.analytic == 0:
        reason = "; both are zero: 0/0 proves nothing, declare the element unused if its input does not occur"
    else:
        reason = f", tolerance {rules.tolerance:g}"
    return f"{len(failed)} of {looked_at} gradient elements fail, the worst {worst}{reason}"
