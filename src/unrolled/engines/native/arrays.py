"""Arrays of NumPy and tensors of torch as the kernels see them: addresses of dense memory."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.engines.contract import Array
from unrolled.engines.native.library import Library
from unrolled.errors import ShapeError

SMALL_BYTES = 16384
"""Smaller arrays come from NumPy or torch, which keep such memory themselves."""


def address(name: str, array: Array | None) -> int:
    """Where a dense array's first number lies; 0 for None.

    Raises:
        ShapeError: it is not dense in C order.
    """
    if array is None:
        return 0
    if isinstance(array, np.ndarray):
        flags = array.flags
        if flags.c_contiguous and flags.aligned:
            return int(array.ctypes.data)
    elif array.is_cpu and array.is_contiguous():
        if array.is_neg():
            raise ShapeError(f"{name} is a view that torch has yet to negate: give its resolve_neg()")
        return int(array.data_ptr())
    if not isinstance(array, np.ndarray) and not array.is_cpu:
        raise ShapeError(f"{name} is on {array.device}: the native engine wants it in the CPU's memory")
    raise ShapeError(
        f"{name} has strides {_strides(array)} for shape {tuple(array.shape)}: give a dense array, in C order"
    )


def addresses(name: str, arrays: Any) -> list[int]:
    """The address of each array; 0 for None."""
    return [address(name, array) for array in arrays]


def integers(values: Array) -> npt.NDArray[np.int64]:
    """Integers of either kind as a dense NumPy array; a copy, since theirs may change before the way back."""
    return np.array(values.detach().cpu().numpy() if hasattr(values, "detach") else values, np.int64)


def threads_of(library: Library) -> int:
    """How many threads kernels use: as many as torch would, where it is loaded, for its threads are the same."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else int(library.module.max_threads())


class Arrays:
    """Arrays of the kind and dtype of one that is given: makes them, and multiplies, gathers and adds up their rows."""

    def __init__(self, library: Library, like: Array) -> None:
        self._library, self._torch = library, None if isinstance(like, np.ndarray) else sys.modules["torch"]
        name = str(like.dtype).removeprefix("torch.")
        if name not in {"float32", "float64"}:
            raise ShapeError(f"operands have dtype {name}: the native engine wants float32 or float64")
        self._is_double, self._dtype = name == "float64", like.dtype
        self.functions = library.module.float64 if self._is_double else library.module.float32

    def empty(self, *shape: int) -> Array:
        """An array whose values are left over; large ones lie in memory that is used again."""
        count = 1
        for size in shape:
            count *= size
        if count * (8 if self._is_double else 4) <= SMALL_BYTES:
            return np.empty(shape, self._dtype) if self._torch is None else self._torch.empty(shape, dtype=self._dtype)
        array = self._library.kernels.empty(shape, self._is_double)
        return array if self._torch is None else self._torch.from_numpy(array)

    def zeros(self, *shape: int) -> Array:
        """An array of zeros."""
        array = self.empty(*shape)
        if self._torch is None:
            array.fill(0)
        else:
            array.zero_()
        return array

    def block(self, count: int) -> Any:
        """Memory for so many numbers, with its `address`; 0 for none."""
        return self._library.kernels.block(count * (8 if self._is_double else 4))

    def address(self, name: str, array: Array) -> int:
        """The address of an array, which has to have this dtype too.

        Raises:
            ShapeError: it has another dtype, or is not dense in C order.
        """
        if array.dtype != self._dtype:
            raise ShapeError(f"{name} has dtype {array.dtype}: expected {self._dtype}")
        return address(name, array)

    def integers(self, values: npt.NDArray[np.int64]) -> Array:
        """Integers as an array of this kind."""
        return values if self._torch is None else self._torch.from_numpy(values)

    def times_transposed(self, a: Array, b: Array, bias: Array | None) -> Array:
        """The sum a @ b.T + bias: (N, I), (M, I), (M,) to (N, M)."""
        (rows, depth), columns = a.shape, len(b)
        return self._product((rows, columns, depth), a, (depth, 1), b, (1, depth), bias)

    def times(self, a: Array, b: Array) -> Array:
        """The product a @ b: (N, M), (M, I) to (N, I)."""
        (rows, depth), columns = a.shape, b.shape[1]
        return self._product((rows, columns, depth), a, (depth, 1), b, (columns, 1), None)

    def transposed_times(self, a: Array, b: Array) -> Array:
        """The product a.T @ b: (N, M), (N, I) to (M, I)."""
        (depth, rows), columns = a.shape, b.shape[1]
        return self._product((rows, columns, depth), a, (1, rows), b, (columns, 1), None)

    def _product(
        self,
        sizes: tuple[int, int, int],
        a: Array,
        a_strides: tuple[int, int],
        b: Array,
        b_strides: tuple[int, int],
        bias: Array | None,
    ) -> Array:
        result = self.empty(sizes[0], sizes[1])
        left, right, added = self.address("inputs", a), self.address("weight", b), address("bias", bias)
        self._call("product", sizes, left, a_strides, right, b_strides, added, address("results", result))
        return result

    def gather(self, table: Array, index: npt.NDArray[np.int64]) -> Array:
        """The rows of a table (U, K) that an index (N,) names: (N, K)."""
        width, rows = table.shape[1], self.empty(len(index), table.shape[1])
        self._call("gather_rows", address("table", table), index.ctypes.data, len(index), width, address("rows", rows))
        return rows

    def sum_rows(self, rows: Array, index: npt.NDArray[np.int64], count: int) -> Array:
        """(count, K) whose row i is the sum of the rows, (N, K), that have index i, in their order."""
        sums, start = self.empty(count, rows.shape[1]), self.address("rows", rows)
        self._call("sum_rows", start, index.ctypes.data, len(index), rows.shape[1], address("sums", sums), count)
        return sums

    def sum_all_rows(self, rows: Array) -> Array:
        """The sum of all rows, (N, K) to (K,)."""
        sums = self.empty(rows.shape[1])
        self._call("sum_all_rows", self.address("rows", rows), len(rows), rows.shape[1], address("sums", sums))
        return sums

    def _call(self, name: str, *arguments: Any) -> None:
        getattr(self.functions, name)(self._library.kernels, threads_of(self._library), *arguments)


def _strides(array: Array) -> tuple[int, ...]:
    return tuple(array.strides) if isinstance(array, np.ndarray) else tuple(array.stride())
