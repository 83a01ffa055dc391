"""The few array functions that NumPy and torch spell differently; the rest is found on `library(array)`."""

from types import ModuleType
from typing import Any

import numpy as np

Array = Any


def library(array: Array) -> ModuleType:
    """The module numpy for NumPy arrays and torch for tensors; torch is not imported before there is a tensor."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def multiply_add(addend: Array, a: Array, b: Array) -> Array:
    """The sum addend + a @ b, in one operation where there is one; addend may be a row that is added to all rows."""
    if isinstance(a, np.ndarray):
        product = a @ b
        product += addend
        return product
    return library(a).addmm(addend, a, b)


def log_softmax(scores: Array) -> Array:
    """Log-probabilities from scores, over the last axis; survives scores of any size."""
    if not isinstance(scores, np.ndarray):
        return scores.log_softmax(-1)
    shifted = scores - scores.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def sum_rows_by_index(rows: Array, index: Array, count: int) -> Array:
    """(count, K) whose row i is the sum of the rows, (N, K), that have index i, in a fixed order (but on CUDA)."""
    if not isinstance(rows, np.ndarray):
        return rows.new_zeros(count, rows.shape[1]).index_add(0, index, rows)
    sums = np.zeros((count, rows.shape[1]), rows.dtype)
    order = np.argsort(index, kind="stable")
    present, first = np.unique(index[order], return_index=True)
    sums[present] = np.add.reduceat(rows[order], first, axis=0)
    return sums


def same_kind(values: Any, like: Array) -> Array:
    """Integers as an array of the library, and on the device, of `like`."""
    if isinstance(like, np.ndarray):
        return np.asarray(values)
    return library(like).as_tensor(values, device=like.device)
