"""torch modules on engines: `Recurrent` (a drop-in for nn.RNN, nn.GRU and nn.LSTM), attention, pooling, dropouts.

Importing this package loads settings only; torch comes with the first module.
"""

import importlib
from typing import TYPE_CHECKING

from unrolled.nn.regularization import Regularization

if TYPE_CHECKING:
    from unrolled.nn.attention import Attention
    from unrolled.nn.dropout import Dropout
    from unrolled.nn.pooling import Pooling
    from unrolled.nn.recurrent import Recurrent
    from unrolled.nn.sampling import Sampler

__all__ = ["Attention", "Dropout", "Pooling", "Recurrent", "Regularization", "Sampler"]

_HOMES = {
    "Attention": "unrolled.nn.attention",
    "Dropout": "unrolled.nn.dropout",
    "Pooling": "unrolled.nn.pooling",
    "Recurrent": "unrolled.nn.recurrent",
    "Sampler": "unrolled.nn.sampling",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
