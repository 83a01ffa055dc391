"""torch modules on engines: `Recurrent` (a drop-in for nn.RNN, nn.GRU and nn.LSTM), dropouts, penalties, sampling.

Importing this package loads settings only; torch comes with the first module.
"""

import importlib
from typing import TYPE_CHECKING

from unrolled.nn.regularization import Regularization

if TYPE_CHECKING:
    from unrolled.nn.dropout import Dropout
    from unrolled.nn.recurrent import Recurrent
    from unrolled.nn.sampling import Sampler

__all__ = ["Dropout", "Recurrent", "Regularization", "Sampler"]

_HOMES = {
    "Dropout": "unrolled.nn.dropout",
    "Recurrent": "unrolled.nn.recurrent",
    "Sampler": "unrolled.nn.sampling",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
