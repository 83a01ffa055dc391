"""The random multipliers that all dropping shares: how often zero, how large otherwise, and who decides."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from unrolled.nn.dropout import keep_mask

LEVELS = 2**16
"""Shares are kept to one part in so many."""
DTYPES = (torch.float32, torch.float64)
LIKE = torch.zeros(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def zeros_of(mask: Tensor) -> Tensor:
    return (mask == 0).double()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [0.01, 0.1, 0.3, 0.5, 0.8, 0.99])
def test_the_share_of_zeros_and_the_one_other_value(p: float, dtype: torch.dtype) -> None:
    mask = keep_mask((500, 801), p, LIKE.to(dtype), seeded(1))
    assert mask.dtype == dtype
    dropped = round(p * LEVELS)
    share = dropped / LEVELS
    assert abs(zeros_of(mask).mean() - share) < 4 * math.sqrt(share * (1 - share) / mask.numel())
    kept = torch.tensor(LEVELS / (LEVELS - dropped), dtype=dtype)
    assert torch.equal(torch.unique(mask), torch.stack([torch.zeros_like(kept), kept]))
    assert share * 0 + (1 - share) * LEVELS / (LEVELS - dropped) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize(("p", "scale"), [(1 / LEVELS, LEVELS / (LEVELS - 1)), (1 - 1 / LEVELS, LEVELS)])
def test_shares_of_one_level_at_either_end(p: float, scale: float) -> None:
    """With one level too few none would occur, with one too many twice as many."""
    mask = keep_mask((64 * LEVELS,), p, LIKE.double(), seeded(2))
    rare = zeros_of(mask).sum() if p < 0.5 else (mask != 0).sum()
    assert abs(rare - 64) < 4 * math.sqrt(64)
    assert mask.max() == scale


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.49 / LEVELS])
def test_less_than_half_a_level_drops_nothing(p: float) -> None:
    assert (keep_mask((64 * LEVELS,), p, LIKE, seeded(3)) == 1).all()


@pytest.mark.parametrize("p", [1 - 0.49 / LEVELS, 1 - 1e-9, math.nextafter(1, 0)])
def test_next_to_one_something_is_kept_and_nothing_is_infinite(p: float) -> None:
    mask = keep_mask((64 * LEVELS,), p, LIKE, seeded(4))
    assert torch.unique(mask).tolist() == [0, LEVELS]
    assert abs((mask != 0).sum() - 64) < 4 * math.sqrt(64)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_know_nothing_of_each_other(p: float) -> None:
    """Elements that lie up to eight apart, those that share one draw of the generator among them."""
    zeros = zeros_of(keep_mask((50_000, 8), p, LIKE, seeded(5)))
    centred = (zeros - zeros.mean(dim=0)) / zeros.std(dim=0)
    for one, other in combinations(range(8), 2):
        assert abs((centred[:, one] * centred[:, other]).mean()) < 4 / math.sqrt(len(zeros)), (one, other)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5,), (2, 3), (2, 3, 4), (0,), (0, 3)], ids=str)
def test_every_element_of_a_small_mask_has_the_same_chance(shape: tuple[int, ...]) -> None:
    generator, draws, p = seeded(6), 2000, 0.3
    share = torch.zeros(shape, dtype=torch.float64)
    for _ in range(draws):
        mask = keep_mask(shape, p, LIKE, generator)
        assert mask.shape == torch.Size(shape)
        share += zeros_of(mask) / draws
    assert ((share - p).abs() < 4 * math.sqrt(p * (1 - p) / draws)).all()


def test_the_generator_decides_alone() -> None:
    generator = seeded(7)
    torch.manual_seed(1)
    first, second = (keep_mask((99, 7), 0.5, LIKE, generator) for _ in range(2))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(keep_mask((99, 7), 0.5, LIKE, seeded(7)), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, second)
    assert not torch.equal(keep_mask((99, 7), 0.5, LIKE, seeded(8)), first)


def test_without_a_generator_it_is_torch_s_own() -> None:
    torch.manual_seed(3)
    first, second = (keep_mask((99,), 0.5, LIKE, None) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(keep_mask((99,), 0.5, LIKE, None), first)
    assert not torch.equal(first, second)


def test_the_same_places_are_kept_in_both_precisions() -> None:
    single, double = (keep_mask((40, 3), 0.4, LIKE.to(dtype), seeded(9)) for dtype in DTYPES)
    assert torch.equal(single == 0, double == 0)


def test_a_mask_is_a_constant_in_one_piece() -> None:
    mask = keep_mask((3, 5), 0.5, LIKE.clone().requires_grad_(), seeded(10))
    assert not mask.requires_grad
    assert mask.is_contiguous()
