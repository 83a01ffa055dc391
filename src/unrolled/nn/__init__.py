"""torch modules on engines: `Recurrent` (a drop-in for nn.RNN, nn.GRU and nn.LSTM) and dropout."""

from unrolled.nn.dropout import Dropout
from unrolled.nn.recurrent import Recurrent

__all__ = ["Dropout", "Recurrent"]
