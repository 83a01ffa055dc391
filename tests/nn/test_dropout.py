import copy
import math

import pytest
import torch

from unrolled.errors import UsageError
from unrolled.nn import Dropout

LEVELS = 2**16
"""Shares are kept to one part in so many."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_the_share_dropped_and_the_scale_of_the_rest(p: float) -> None:
    x = torch.full((200, 500), 3.0, dtype=torch.float64)
    got = Dropout(p, generator=seeded(1))(x)
    assert abs((got == 0).double().mean() - p) < 4 * math.sqrt(p * (1 - p) / x.numel())
    scale = LEVELS / (LEVELS - round(p * LEVELS))
    assert scale == pytest.approx(1 / (1 - p), rel=2**-15)
    assert (got[got != 0] == 3.0 * scale).all()
    by_row = (got == 0).double().mean(dim=1)
    assert by_row.std() > 0.5 * math.sqrt(p * (1 - p) / 500)  # elements, not whole columns


def test_locked_drops_the_same_elements_at_all_steps_and_others_in_each_sequence() -> None:
    steps, batch, size, p = 5, 300, 400, 0.3
    x = torch.randn(steps, batch, size, generator=seeded(7), dtype=torch.float64)
    got = Dropout(p, locked=True, generator=seeded(1))(x)
    assert ((got == 0) == (got[0] == 0)).all()
    mask = (got[0] != 0).double() * (LEVELS / (LEVELS - round(p * LEVELS)))
    assert torch.equal(got, x * mask)
    zeros = (mask == 0).double()
    assert abs(zeros.mean() - p) < 4 * math.sqrt(p * (1 - p) / zeros.numel())
    for axis, drawn in ((0, batch), (1, size)):  # neither sequences nor elements share their luck
        spread = math.sqrt(p * (1 - p) / drawn)
        assert 0.8 * spread < zeros.mean(dim=axis).std() < 1.2 * spread


def test_without_locked_each_step_has_zeros_of_its_own() -> None:
    got = Dropout(0.5, generator=seeded(1))(torch.ones(4, 30, 30))
    agreeing = [((got[t] == 0) == (got[t + 1] == 0)).double().mean() for t in range(3)]
    assert all(abs(share - 0.5) < 4 * math.sqrt(0.25 / 900) for share in agreeing)


@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("shape", [(3, 2, 5), (1, 1, 1), (3, 0, 2), (7,), (2, 3, 4, 5)], ids=str)
def test_shape_and_dtype_stay(shape: tuple[int, ...], locked: bool) -> None:
    for dtype in (torch.float32, torch.float64):
        got = Dropout(0.5, locked=locked, generator=seeded(1))(torch.ones(shape, dtype=dtype))
        assert got.shape == torch.Size(shape)
        assert got.dtype == dtype


@pytest.mark.parametrize("locked", [True, False])
def test_the_gradient_passes_where_the_value_did_and_as_much(locked: bool) -> None:
    x = torch.randn(4, 3, 10, generator=seeded(7), dtype=torch.float64).requires_grad_()
    got = Dropout(0.75, locked=locked, generator=seeded(2))(x)
    (gradient,) = torch.autograd.grad(got.sum(), x)
    assert torch.equal(gradient * x.detach(), got.detach())  # a scale of 4 rounds nothing
    assert set(gradient.flatten().tolist()) == {0.0, 4.0}


def test_nothing_is_dropped_when_evaluating_or_with_probability_zero() -> None:
    x = torch.ones(5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.5, locked=True).eval()(x) is x
    generator = seeded(3)
    assert Dropout(0.0, generator=generator)(x) is x
    assert torch.rand(1, generator=generator) == torch.rand(1, generator=seeded(3))


def test_its_own_generator_decides_alone() -> None:
    x = torch.ones(1000)
    torch.manual_seed(1)
    first = Dropout(0.5, generator=seeded(4))(x)
    torch.manual_seed(2)
    second = Dropout(0.5, generator=seeded(4))(x)
    third = Dropout(0.5, generator=seeded(5))(x)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    torch.manual_seed(1)
    unseeded = Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(unseeded, Dropout(0.5)(x))


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
def test_a_probability_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(UsageError, match=rf"^dropout is {p}: give a probability of at least 0 and below 1$"):
        Dropout(p)


def test_it_prints_and_has_no_state_to_store() -> None:
    module = Dropout(0.25, generator=seeded(6))
    assert repr(module) == "Dropout(p=0.25)"
    assert repr(Dropout(0.5, locked=True)) == "Dropout(p=0.5, locked=True)"
    assert module.state_dict() == {}


def test_a_copy_goes_on_where_the_generator_stood() -> None:
    module = Dropout(0.25, generator=seeded(6))
    torch.rand(3, generator=module.generator)
    copied = copy.deepcopy(module)
    assert torch.equal(copied(torch.ones(99)), module(torch.ones(99)))
