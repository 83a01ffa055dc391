"""The kernels of norm and update by themselves; test_training_optimizers.py holds them against torch's optimizers."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.engines.native import update
from unrolled.errors import ShapeError

SHAPES = ((1,), (15,), (4097,), (3, 2731), (70_001,), (4096,))
"""Below and above a vector and a block, and enough for a second thread."""
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


def draw(seed: int, dtype: torch.dtype = torch.float64, *, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, dtype=dtype, generator=generator) for shape in SHAPES]


def positive(seed: int, dtype: torch.dtype) -> list[Tensor]:
    return [tensor.square() for tensor in draw(seed, dtype)]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@each_dtype
def test_sum_of_squares(dtype: torch.dtype) -> None:
    gradients = draw(1, dtype)
    exact = math.fsum(float(value) ** 2 for gradient in gradients for value in gradient.flatten().tolist())
    assert update.sum_of_squares(gradients) == pytest.approx(exact, rel=1e-13)
    assert update.sum_of_squares([]) == 0.0
    rows = torch.sparse_coo_tensor(torch.tensor([[1, 4]]), gradients[3][:2], (6, 2731), check_invariants=False)
    exact = float(gradients[0].double().square().sum() + gradients[3][:2].double().square().sum())
    assert update.sum_of_squares([gradients[0], rows.coalesce()]) == pytest.approx(exact, rel=1e-13)


def test_sum_of_squares_survives_what_float32_does_not_and_lets_no_bad_number_pass() -> None:
    large = torch.full((5000,), 1e25)
    assert update.sum_of_squares([large]) == pytest.approx(5000 * float(large[0]) ** 2, rel=1e-12)
    for bad in (math.nan, math.inf, -math.inf):
        for place in (0, 4096, 4999):  # in a vector, at the start of a block, among the last few
            gradient = torch.ones(5000)
            gradient[place] = bad
            assert not math.isfinite(update.sum_of_squares([torch.ones(3), gradient]))


def run_all(dtype: torch.dtype) -> list[Any]:
    """Results of all functions on the same operands."""
    gradients, results = draw(2, dtype), []
    parameters = draw(1, dtype)
    update.sgd(parameters, gradients, rate=0.3, scale=0.7)
    results += parameters
    parameters, buffers = draw(1, dtype), draw(3, dtype)
    update.momentum(parameters, gradients, buffers, rate=0.3, scale=0.7, momentum=0.8)
    results += parameters + buffers
    parameters, means, squares = draw(1, dtype), draw(3, dtype), positive(4, dtype)
    steps = [torch.tensor(float(index)) for index, _ in enumerate(parameters)]
    options = {"rate": 0.3, "scale": 0.7, "betas": (0.8, 0.95), "epsilon": 1e-3, "weight_decay": 0.2}
    update.adamw(parameters, gradients, means, squares, steps, **options)  # type: ignore[arg-type]
    return [*results, *parameters, *means, *squares, *steps, update.sum_of_squares(gradients)]


@each_dtype
def test_the_formulas(dtype: torch.dtype) -> None:
    gradients = [0.7 * gradient for gradient in draw(2, dtype)]
    expected = [p - 0.3 * g for p, g in zip(draw(1, dtype), gradients, strict=True)]
    buffers = [0.8 * b + g for b, g in zip(draw(3, dtype), gradients, strict=True)]
    expected += [p - 0.3 * b for p, b in zip(draw(1, dtype), buffers, strict=True)] + buffers
    means = [0.8 * m + 0.2 * g for m, g in zip(draw(3, dtype), gradients, strict=True)]
    squares = [0.95 * s + 0.05 * g * g for s, g in zip(positive(4, dtype), gradients, strict=True)]
    for index, (p, m, s) in enumerate(zip(draw(1, dtype), means, squares, strict=True)):
        mean, square = m / (1 - 0.8 ** (index + 1)), s / (1 - 0.95 ** (index + 1))
        expected.append((1 - 0.3 * 0.2) * p - 0.3 * mean / (square.sqrt() + 1e-3))
    expected += means + squares
    got = run_all(dtype)
    for one, other in zip(got, expected, strict=False):
        torch.testing.assert_close(one, other, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert len(got) == len(expected) + len(SHAPES) + 1
    assert [float(step) for step in got[len(expected) : -1]] == [1, 2, 3, 4, 5, 6]


@each_dtype
def test_the_same_bits_for_any_number_of_threads(dtype: torch.dtype, threads: Callable[[int], None]) -> None:
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(run_all(dtype))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@each_dtype
@pytest.mark.parametrize("width", [1, 5, 130])
def test_rows_are_updated_and_no_others(width: int, dtype: torch.dtype) -> None:
    rows = torch.arange(0, 100, 3)
    generator = torch.Generator().manual_seed(5)
    parameter, values = (torch.randn(n, width, dtype=dtype, generator=generator) for n in (100, len(rows)))
    gradient = torch.sparse_coo_tensor(rows[None], values, (100, width), is_coalesced=True, check_invariants=False)
    expected = parameter.clone()
    expected[rows] -= 0.3 * 0.7 * values
    untouched = parameter.clone()
    dense = [torch.ones(7, dtype=dtype), torch.full((7,), 2.0, dtype=dtype)]
    update.sgd([parameter, dense[0]], [gradient, dense[1]], rate=0.3, scale=0.7)
    torch.testing.assert_close(parameter, expected, rtol=0, atol=TOLERANCE[dtype])
    torch.testing.assert_close(dense[0], torch.full((7,), 1 - 0.42, dtype=dtype), rtol=0, atol=TOLERANCE[dtype])
    others = [row for row in range(100) if row % 3]
    assert torch.equal(parameter[others], untouched[others])


@each_dtype
@pytest.mark.parametrize("width", [1, 5, 130])
def test_adamw_updates_rows_and_no_others(width: int, dtype: torch.dtype) -> None:
    rows, generator = torch.arange(0, 100, 3), torch.Generator().manual_seed(5)
    parameter, mean = (torch.randn(100, width, dtype=dtype, generator=generator) for _ in range(2))
    square, step = torch.randn(100, width, dtype=dtype, generator=generator).square(), torch.tensor(4.0)
    values = torch.randn(len(rows), width, dtype=dtype, generator=generator)
    gradient = torch.sparse_coo_tensor(rows[None], values, (100, width), is_coalesced=True, check_invariants=False)
    options: dict[str, Any] = {"rate": 0.3, "scale": 0.7, "betas": (0.8, 0.95), "epsilon": 1e-3, "weight_decay": 0.2}
    expected = [tensor.clone() for tensor in (parameter, mean, square)]
    alone = [tensor[rows] for tensor in expected]
    update.adamw([alone[0]], [values], [alone[1]], [alone[2]], [step.clone()], **options)
    for tensor, part in zip(expected, alone, strict=True):
        tensor[rows] = part
    update.adamw([parameter], [gradient], [mean], [square], [step], **options)
    assert float(step) == 5
    for got, wanted in zip((parameter, mean, square), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=TOLERANCE[dtype])


def test_no_rows_and_no_tensors_are_nothing_to_do() -> None:
    parameter = torch.ones(4, 2)
    empty = torch.sparse_coo_tensor(
        torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0, 2), (4, 2), is_coalesced=True, check_invariants=False
    )
    update.sgd([parameter], [empty], rate=1.0, scale=1.0)
    update.sgd([], [], rate=1.0, scale=1.0)
    assert update.sum_of_squares([empty]) == 0.0
    assert torch.equal(parameter, torch.ones(4, 2))


def test_autograd_learns_that_a_parameter_has_changed() -> None:
    parameter = torch.ones(3, requires_grad=True)
    loss = parameter.square().sum()
    update.sgd([parameter], [torch.ones(3)], rate=0.5, scale=1.0)
    assert parameter.tolist() == [0.5, 0.5, 0.5]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


P = torch.ones(3, 2)
ROWS = torch.sparse_coo_tensor(torch.tensor([[2, 0, 2]]), torch.ones(3, 2), (3, 2), check_invariants=False)


@pytest.mark.parametrize(
    ("parameter", "gradient", "message"),
    [
        (P, torch.ones(2, 3), r"gradient 1 is a (2, 3) of torch.float32 on cpu: expected a contiguous (3, 2) of"),
        (
            P,
            P.double(),
            r"gradient 1 is a (3, 2) of torch.float64 on cpu: expected a contiguous (3, 2) of torch.float32",
        ),
        (P, torch.ones(2, 3).T, r"gradient 1 is a non-contiguous (3, 2) of torch.float32 on cpu: expected"),
        (P.double(), P.double(), r"parameter 1 is a (3, 2) of torch.float64 on cpu: expected a contiguous (3, 2) of"),
        (P, P.to("meta"), r"gradient 1 is a (3, 2) of torch.float32 on meta: expected"),
        (P, ROWS, r"gradient 1 is a (3, 2) of torch.float32 on cpu, sparse: expected coalesced rows of (3, 2)"),
        (torch.ones(4, 2), ROWS.coalesce(), r"gradient 1 is a (3, 2) of torch.float32 on cpu, sparse: expected"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_changed(
    parameter: Tensor, gradient: Tensor, message: str
) -> None:
    first = torch.ones(5)
    with pytest.raises(ShapeError) as error:
        update.sgd([first, parameter], [torch.ones(5), gradient], rate=1.0, scale=1.0)
    assert str(error.value).startswith(message)
    assert torch.equal(first, torch.ones(5))


def test_state_that_does_not_fit_is_named() -> None:
    three, two, step = [torch.ones(3)], [torch.ones(2)], [torch.zeros(())]
    options: Any = {"rate": 0.1, "scale": 1.0, "betas": (0.9, 0.99), "epsilon": 1e-8, "weight_decay": 0.0}
    with pytest.raises(
        ShapeError, match=r"^step 0 is a \(\) of torch.float64 on cpu: expected one torch.float32 on cpu"
    ):
        update.adamw(three, three, three, three, [step[0].double()], **options)
    with pytest.raises(
        ShapeError, match=r"^square 0 is a \(2,\) of torch.float32 on cpu: expected a contiguous \(3,\)"
    ):
        update.adamw(three, three, three, two, step, **options)
    with pytest.raises(ShapeError, match=r"^buffer 0 is a \(2,\) of"):
        update.momentum(three, three, two, rate=0.1, scale=1.0, momentum=0.9)
    half = [torch.ones(3, dtype=torch.float16)]
    with pytest.raises(ShapeError, match=r"are torch.float16: expected torch.float32 or torch.float64$"):
        update.sgd(half, half, rate=1.0, scale=1.0)


def test_which_parameters_suit() -> None:
    assert update.suits([P, torch.ones(4)])
    assert update.suits([P.double()])
    for bad in ([], [P, P.double()], [P.half()], [P.T], [P.to("meta")], [P, ROWS]):
        assert not update.suits(bad)
