from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.engines import arrays


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", [[2, 0, 2, 2, 4], [3, 3, 3, 3, 3], [4, 3, 2, 1, 0]])
def test_rows_are_summed_by_their_index(wrap: Callable[..., Any], dtype: str, index: list[int]) -> None:
    rows = np.random.default_rng(0).integers(-9, 9, (5, 3)).astype(dtype)
    got = arrays.sum_rows_by_index(wrap(rows), wrap(np.array(index)), 6)
    expected = np.zeros((6, 3))
    for row, place in zip(rows, index, strict=True):
        expected[place] += row
    np.testing.assert_array_equal(np.asarray(got), expected)
    assert str(got.dtype).removeprefix("torch.") == dtype


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_small_functions_are_the_same_for_both_libraries(wrap: Callable[..., Any], dtype: str) -> None:
    a, b, row = np.arange(6, dtype=dtype).reshape(2, 3), np.ones((3, 4), dtype) / 4, np.arange(4, dtype=dtype)
    product = arrays.multiply_add(wrap(row), wrap(a), wrap(b))
    np.testing.assert_array_equal(np.asarray(product), [[0.75, 1.75, 2.75, 3.75], [3, 4, 5, 6]])
    whole = arrays.multiply_add(wrap(np.full((2, 4), 2, dtype)), wrap(a), wrap(b))
    np.testing.assert_array_equal(np.asarray(whole), [[2.75] * 4, [5] * 4])
    shares = np.exp(np.asarray(arrays.log_softmax(wrap(np.log(np.array([[1.0, 2.0, 5.0]], dtype)) + 900))))
    np.testing.assert_allclose(shares, [[0.125, 0.25, 0.625]], rtol=1e-4 if dtype == "float32" else 1e-12)
    numbers = arrays.same_kind([1, 2], wrap(a))
    assert type(numbers) is type(wrap(a))
    assert numbers.tolist() == [1, 2]


def test_numpy_needs_no_torch(run_python: Callable[..., str]) -> None:
    code = """
import sys
import numpy as np
from unrolled import cells, engines
engine = engines.get("portable")
for name in cells.names():
    cell = cells.get(name)
    zeros, weight = np.zeros((2, 3)), np.zeros((3 * len(cell.gates), 3))
    lengths = np.array([1, 2])
    x = np.zeros((2, 2, len(weight)))
    done = engine.unroll(cell, x, weight, None, (zeros,) * len(cell.state), lengths=lengths)
    engine.unroll_backward(done.tape, done.outputs, done.state)
losses, tape = engine.linear_cross_entropy(zeros, weight, None, np.array([0, 1]))
engine.linear_cross_entropy_backward(tape, losses)
projected, tape = engine.project_tokens(np.array([[0, 1]]), zeros, weight, None)
engine.project_tokens_backward(tape, projected)
print("torch" in sys.modules)
"""
    assert run_python(code) == "False\n"
