"""A watch on a run: how large gradients are before clipping, how far back errors are felt, and whether that goes wrong.

The norm of each step's gradient is there already. Effective memory, the lag at which an error has shrunk to 1%, is
measured at each validation on a stretch of the validation text.
"""

import math

import numpy as np

from unrolled.engines.through_time import WHOLE, effective_memory, error_sizes, over_the_lag, record
from unrolled.models import LanguageModelNetwork
from unrolled.text.batches import Ids

STEPS = 50
"""Tokens of the stretch; so far back errors are followed."""
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
        validation: tokens of the validation text.
        first: the token before them.
        clip: norm to which gradients are clipped; 0: not.
    """

    def __init__(self, validation: Ids, first: int, clip: float) -> None:
        targets = np.array(validation[:STEPS], dtype=np.int64)
        self._inputs, self._targets = np.concatenate([[first], targets[:-1]]), targets
        self._clip = clip
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
        self._steps += 1
        self._log_norm = KEEP * self._log_norm + (1 - KEEP) * math.log(max(norm, 1e-30))
        self._clipped = KEEP * self._clipped + (1 - KEEP) * (0 < self._clip < norm)
        if warning is None and self._steps > SETTLING and self._clipped / self._weight > MOSTLY_CLIPPED:
            warning = self._once(
                LIMITED,
                f"nearly every gradient is clipped to {self._clip:g}, their norms are about {usual:.3g}: "
                f"--clip {_round(2 * usual)} would clip the few that are large",
            )
        return warning

    @property
    def _weight(self) -> float:
        return 1 - KEEP**self._steps

    def memory(self, network: LanguageModelNetwork) -> int | None:
        """The effective memory of the last layer; None: longer than the stretch, or no number."""
        with np.errstate(all="ignore"):  # of a network that has left all bounds nothing can be said
            sizes = error_sizes(record(network.weights(), self._inputs, self._targets))[WHOLE][-1]
            curve = over_the_lag(sizes, sizes)[:, 0]
        return effective_memory(curve) if np.isfinite(curve).all() else None

    def forgets(self, memory: int | None) -> str | None:
        """After a pass: a warning where errors are not felt any further back."""
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
