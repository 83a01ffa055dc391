"""A watch on a run: how large gradients are before clipping, how far back errors are felt, and whether that goes wrong.

The norm of each step's gradient is there already. Effective memory, the lag at which an error has shrunk to 1%, is
measured every so many steps and at each validation, on a stretch of the validation text.
"""

import math

import numpy as np

from unrolled.engines.through_time import effective_memory, record, relative_curve
from unrolled.models.language.network import LanguageModelNetwork
from unrolled.models.network import TaskNetwork
from unrolled.models.task import Watched

STEPS = 50
"""Tokens of the stretch; so far back errors are followed."""
EVERY = 1000
"""Steps after which effective memory is measured, besides validations."""
LOOKED_THROUGH = 2000
"""Tokens in which the longest line is looked for."""
SHORT = 3
"""An effective memory of fewer steps, after the first pass, is worth a warning."""
JUMP = 100.0
"""A gradient so many times as large as usual is worth a warning."""
MOSTLY_CLIPPED = 0.99
"""Share of the steps; where more are clipped, it is the limit that sets the size of steps."""
KEEP = 0.98
"""How much of a running mean each step keeps."""
SETTLING = 100
"""Steps before anything is usual."""
UNCHANGED, GREW, LIMITED, FORGETS = range(4)


class Watch:
    """Looks at steps and networks, and says once what goes wrong.

    Args:
        text: the validation text of a language model; by lines, the longest of the first is the stretch. None: nothing
            is said of how far back errors are felt.
        clip: norm to which gradients are clipped; 0: not.
        limits_steps: whether the norm of the gradient sets the size of a step, as with SGD.
    """

    def __init__(self, text: Watched | None, clip: float, *, limits_steps: bool = True) -> None:
        if text is not None:
            targets = np.array(text.ids[: LOOKED_THROUGH if text.by_lines else STEPS], dtype=np.int64)
            if text.by_lines:
                targets = max(np.split(targets, np.flatnonzero(targets == text.first) + 1), key=len)[:STEPS]
            self._inputs, self._targets = np.concatenate([[text.first], targets[:-1]]), targets
        self._clip, self._limits_steps = clip, limits_steps
        self._log_norm = self._clipped = 0.0
        self._steps = 0
        self._said: set[int] = set()

    def step(self, norm: float) -> str | None:
        """After an update: a warning where the gradient's norm, before clipping, goes wrong."""
        warning, usual = None, math.exp(self._log_norm / self._weight) if self._steps else 0.0
        if self._steps > SETTLING and norm > JUMP * usual:
            warning = self._once(
                GREW,
                f"a gradient of norm {norm:.3g} where {usual:.3g} is usual: gradients explode now and then, "
                f"--clip {_round(2 * usual)} would bound them"
                if not 0 < self._clip <= 10 * usual
                else None,
            )
        if norm == 0:
            return warning
        self._steps += 1
        self._log_norm = KEEP * self._log_norm + (1 - KEEP) * math.log(norm)
        self._clipped = KEEP * self._clipped + (1 - KEEP) * (0 < self._clip < norm)
        limits = self._limits_steps and self._steps > SETTLING
        if warning is None and limits and self._clipped / self._weight > MOSTLY_CLIPPED:
            warning = self._once(
                LIMITED,
                f"nearly every gradient is clipped to {self._clip:g}, their norms are about {usual:.3g}: "
                f"--clip {_round(2 * usual)} would clip the few that are large",
            )
        return warning

    @property
    def _weight(self) -> float:
        return 1 - KEEP**self._steps

    def memory(self, network: TaskNetwork) -> int | None:
        """The effective memory of the last layer; `STEPS` where it is no shorter, None where that cannot be said."""
        if not isinstance(network, LanguageModelNetwork):
            return None
        with np.errstate(all="ignore"):  # of a network that has left all bounds nothing can be said
            curve = relative_curve(record(network.weights(), self._inputs, self._targets))
        if not np.isfinite(curve).all():
            return None
        found = effective_memory(curve)
        return STEPS if found is None else found

    def forgets(self, memory: int | None) -> str | None:
        """A warning where errors are not felt any further back."""
        if memory is None or memory >= min(SHORT, len(self._targets) - 1):
            return None
        return self._once(
            FORGETS,
            f"errors are felt {memory} steps back and no further: the network cannot learn from what came before; "
            "unrolled lab remedies says what would help",
        )

    def _once(self, kind: int, message: str | None) -> str | None:
        if message is None or kind in self._said:
            return None
        self._said.add(kind)
        return message


def _round(value: float) -> str:
    """To one digit that counts."""
    return f"{value:.1g}" if value < 1 else f"{value:.2g}"
