"""AR and TAR: values and gradients by hand, with padding and without."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unrolled.nn.penalties import activation_penalty, temporal_activation_penalty

Penalty = Callable[..., Tensor]
PENALTIES: tuple[Penalty, ...] = (activation_penalty, temporal_activation_penalty)
each_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=["AR", "TAR"])

# (T, B, H) = (3, 2, 2); the second sequence ends after two steps
FULL = torch.tensor([[[1, 2], [3, 0]], [[4, 0], [-1, 2]], [[0, -1], [5, 5]]], dtype=torch.float64)
PADDED = torch.tensor([[[1, 2], [3, 0]], [[4, 0], [-1, 2]], [[0, -1], [0, 0]]], dtype=torch.float64)
LENGTHS = torch.tensor([3, 2])


def value_and_gradient(penalty: Penalty, outputs: Tensor, lengths: Tensor | None = None) -> tuple[float, Tensor]:
    outputs = outputs.detach().requires_grad_()
    value = penalty(outputs, lengths)
    (gradient,) = torch.autograd.grad(value, outputs)
    return value.item(), gradient


def assert_is(got: tuple[float, Tensor], value: float, gradient: Tensor) -> None:
    """Of a handful of roundings, in the root and its square among others."""
    assert got[0] == pytest.approx(value, rel=1e-15, abs=0)
    torch.testing.assert_close(got[1], gradient, rtol=1e-14, atol=0)


def test_ar_by_hand() -> None:
    squares = 1 + 4 + 9 + 16 + 1 + 4 + 1 + 25 + 25
    assert_is(value_and_gradient(activation_penalty, FULL), squares / 12, 2 * FULL / 12)


def test_ar_with_padding_by_hand() -> None:
    squares = 1 + 4 + 9 + 16 + 1 + 4 + 1
    assert_is(value_and_gradient(activation_penalty, PADDED, LENGTHS), squares / 10, 2 * PADDED / 10)


def test_tar_by_hand() -> None:
    changes = torch.tensor([[[3, -2], [-4, 2]], [[-4, -1], [6, 3]]], dtype=torch.float64)
    squares = 9 + 4 + 16 + 4 + 16 + 1 + 36 + 9
    gradient = torch.zeros_like(FULL)
    gradient[1:] += 2 * changes / 8
    gradient[:-1] -= 2 * changes / 8
    assert_is(value_and_gradient(temporal_activation_penalty, FULL), squares / 8, gradient)


def test_tar_with_padding_by_hand() -> None:
    """Three pairs of steps are text; from the last step of a sequence to its padding is no change."""
    squares = 9 + 4 + 16 + 4 + 16 + 1
    changes = [[[-6, 4], [8, -4]], [[6 + 8, -4 + 2], [-8, 4]], [[-8, -2], [0, 0]]]
    gradient = torch.tensor(changes, dtype=torch.float64) / 6
    assert_is(value_and_gradient(temporal_activation_penalty, PADDED, LENGTHS), squares / 6, gradient)


@each_penalty
def test_sequences_count_by_their_length_and_padding_not_at_all(penalty: Penalty) -> None:
    lengths, size = [4, 1, 6, 3], 5
    outputs = torch.randn(6, 4, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs = outputs * (torch.arange(6)[:, None] < torch.tensor(lengths))[..., None]
    counts = [length if penalty is activation_penalty else length - 1 for length in lengths]
    alone = [value_and_gradient(penalty, outputs[:length, b : b + 1]) for b, length in enumerate(lengths)]
    expected = sum(value * count for (value, _), count in zip(alone, counts, strict=True)) / sum(counts)
    value, gradient = value_and_gradient(penalty, outputs, torch.tensor(lengths))
    assert value == pytest.approx(expected, rel=1e-14)
    for b, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        by_itself = alone[b][1][:, 0] * count / sum(counts)
        torch.testing.assert_close(gradient[:length, b], by_itself, rtol=1e-13, atol=1e-16)
        assert not gradient[length:, b].any()


@each_penalty
def test_lengths_that_are_all_full_change_nothing(penalty: Penalty) -> None:
    without, given = value_and_gradient(penalty, FULL), value_and_gradient(penalty, FULL, torch.tensor([3, 3]))
    assert given[0] == without[0]
    assert torch.equal(given[1], without[1])


@pytest.mark.parametrize("lengths", [None, torch.tensor([1, 1])], ids=["one step", "lengths of one"])
def test_no_two_steps_are_no_change(lengths: Tensor | None) -> None:
    outputs = FULL[:1] if lengths is None else FULL * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    value, gradient = value_and_gradient(temporal_activation_penalty, outputs, lengths)
    assert value == 0
    assert (gradient == 0).all()


@each_penalty
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_what_is_all_zero_costs_nothing_and_has_no_slope(penalty: Penalty, lengths: Tensor | None) -> None:
    value, gradient = value_and_gradient(penalty, torch.zeros(3, 2, 2), lengths)
    assert value == 0
    assert (gradient == 0).all()


@each_penalty
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
def test_the_gradient_against_differences(penalty: Penalty, lengths: Tensor | None) -> None:
    outputs = PADDED.clone().requires_grad_()

    def value(x: Tensor) -> Tensor:
        is_text = torch.ones(3, 2) if lengths is None else (torch.arange(3)[:, None] < lengths)
        return penalty(x * is_text[..., None], lengths)

    assert torch.autograd.gradcheck(value, outputs, eps=1e-6, atol=1e-8)


@each_penalty
def test_the_dtype_stays(penalty: Penalty) -> None:
    assert penalty(FULL.float(), torch.tensor([3, 3])).dtype == torch.float32
    assert penalty(FULL.float()).dtype == torch.float32
