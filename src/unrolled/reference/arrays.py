"""The array types of the reference, and the one way in which it refuses an array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ShapeError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def as_float64(name: str, value: Any, letters: str, shape: Sequence[int | None]) -> Array:
    """Return the value as a float64 array of that shape; None in the shape stands for any length of at least 1.

    Raises:
        ShapeError: value is not a real array of that shape; `letters` says in the message what the axes mean.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise ShapeError(f"{name} is not an array: expected ({letters})") from None
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"{name} has dtype {array.dtype}: expected real numbers ({letters})")
    _check_shape(name, array.shape, letters, shape)
    return array.astype(np.float64)


def as_indices(name: str, value: Any, letters: str, length: int | None, limits: tuple[int, int]) -> Indices:
    """Return the value as integers (length,), each limits[0] to limits[1] - 1; None stands for any length above 0.

    Raises:
        ShapeError: value is not such a vector.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iu" and array.size:
        raise ShapeError(f"{name} has dtype {array.dtype}: expected integers ({letters})")
    _check_shape(name, array.shape, letters, (length,))
    low, high = limits
    outside = (array < low) | (array >= high)
    if outside.any():
        raise ShapeError(f"{name} holds {array[outside][0]}: expected {low} to {high - 1}")
    return array.astype(np.int64)


def _check_shape(name: str, found: Sequence[int], letters: str, shape: Sequence[int | None]) -> None:
    fits = len(found) == len(shape) and all(
        n == m if m is not None else n > 0 for n, m in zip(found, shape, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ShapeError(f"{name} has shape {tuple(found)}: expected ({letters}) = ({expected})")
