import copy
import math

import pytest
import torch

from unrolled.errors import UsageError
from unrolled.nn import Dropout


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_the_share_dropped_and_the_scale_of_the_rest(p: float) -> None:
    x = torch.full((200, 500), 3.0, dtype=torch.float64)
    got = Dropout(p, generator=seeded(1))(x)
    assert abs((got == 0).double().mean() - p) < 4 * math.sqrt(p * (1 - p) / x.numel())
    torch.testing.assert_close(got[got != 0], (x / (1 - p))[got != 0], rtol=1e-15, atol=0)
    by_row = (got == 0).double().mean(dim=1)
    assert by_row.std() > 0.5 * math.sqrt(p * (1 - p) / 500)  # elements, not whole columns


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.ones(40, requires_grad=True)
    got = Dropout(0.5, generator=seeded(2))(x)
    (gradient,) = torch.autograd.grad(got.sum(), x)
    torch.testing.assert_close(gradient, got.detach(), rtol=0, atol=0)
    assert 0 < (gradient == 0).sum() < 40


def test_nothing_is_dropped_when_evaluating_or_with_probability_zero() -> None:
    x = torch.ones(5)
    assert Dropout(0.5).eval()(x) is x
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
    assert module.state_dict() == {}


def test_a_copy_goes_on_where_the_generator_stood() -> None:
    module = Dropout(0.25, generator=seeded(6))
    torch.rand(3, generator=module.generator)
    copied = copy.deepcopy(module)
    assert torch.equal(copied(torch.ones(99)), module(torch.ones(99)))
