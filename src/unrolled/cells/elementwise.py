"""The few functions in which cells are written, beside + - and *.

Each works on whatever the cell is given: NumPy arrays are served here, any other operand (a torch tensor, a symbol)
brings methods of the same names. That keeps this package free of torch and of anything compiled.
"""

from typing import Any

import numpy as np

Operand = Any
"""A NumPy array, a torch tensor or a symbol; what it is never matters to an equation."""


def tanh(a: Operand) -> Operand:
    """Hyperbolic tangent, element by element."""
    return np.tanh(a) if isinstance(a, np.ndarray) else a.tanh()


def sigmoid(a: Operand) -> Operand:
    """Logistic function 1 / (1 + exp(-a)), element by element."""
    if isinstance(a, np.ndarray):
        return 0.5 * (np.tanh(0.5 * a) + 1)  # cannot overflow, whatever the sign of a
    return a.sigmoid()


def relu(a: Operand) -> Operand:
    """max(a, 0), element by element."""
    return np.maximum(a, 0) if isinstance(a, np.ndarray) else a.relu()


def is_positive(a: Operand) -> Operand:
    """1 where a > 0 and 0 elsewhere, in the dtype of a: the slope of relu, with the slope at 0 taken as 0."""
    return np.heaviside(a, a.dtype.type(0)) if isinstance(a, np.ndarray) else a.sign().relu()
