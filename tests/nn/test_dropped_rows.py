"""Vectors of tokens with some dropped: what is dropped where, how many rows there are, what the embedding learns."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled.nn.dropout import dropped_rows

T, B, E = 24, 5, 40
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tokens": {"of_tokens": 0.5},
    "elements": {"of_elements": 0.75},
    "both": {"of_tokens": 0.5, "of_elements": 0.75},
}
"""Shares whose scales, 2 and 4, round nothing: what is multiplied by them can be compared exactly."""
each_case = pytest.mark.parametrize("name", CASES)
each_vocabulary = pytest.mark.parametrize("vocabulary_size", [9, 400])  # fewer and more than T*B = 120


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(vocabulary_size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Ids, among them the first and the last of the vocabulary, and an embedding without zeros."""
    ids = torch.randint(vocabulary_size, (T, B), generator=seeded(1))
    ids[3, 1], ids[5, 4] = 0, vocabulary_size - 1
    return ids, torch.randn(vocabulary_size, E, generator=seeded(2), dtype=torch.float64).to(dtype)


def recover(ids: Tensor, embedding: Tensor, **shares: Any) -> Tensor:
    """The multiplier of every element of embedding[ids]."""
    index, rows = dropped_rows(ids, embedding, generator=seeded(3), **shares)
    assert index.shape == ids.shape
    multiplied = rows[index]
    ratio = (multiplied / embedding[ids]).round()
    assert torch.equal(embedding[ids] * ratio, multiplied)
    return ratio


def factors_of(ratio: Tensor, ids: Tensor, vocabulary_size: int) -> tuple[Tensor, Tensor]:
    """One mask (V, 1) by token and one (B, E) by sequence and element whose product the multipliers should be."""
    by_token = torch.zeros(vocabulary_size, 1, dtype=ratio.dtype)
    for token in torch.unique(ids):
        by_token[token] = ratio[ids == token].max() > 0
    return by_token, ratio.amax(dim=0)


@each_case
@each_vocabulary
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_dropped_is_one_mask_of_tokens_times_one_of_elements(
    dtype: torch.dtype, vocabulary_size: int, name: str
) -> None:
    ids, embedding = make(vocabulary_size, dtype)
    ratio = recover(ids, embedding, **CASES[name])
    assert ratio.dtype == dtype
    largest = {"nothing": 1, "tokens": 2, "elements": 4, "both": 8}[name]
    assert set(torch.unique(ratio).tolist()) == ({1.0} if name == "nothing" else {0.0, float(largest)})
    by_token, by_element = factors_of(ratio, ids, vocabulary_size)
    assert torch.equal(ratio, by_token[ids] * by_element)
    assert (by_token[torch.unique(ids)] == 0).any() == (name in {"tokens", "both"})
    columns = {tuple(column) for column in by_element.tolist()}
    assert len(columns) == (B if name in {"elements", "both"} else 1)  # sequences differ, or no element is dropped


@each_case
@each_vocabulary
def test_rows_are_as_few_as_can_be(vocabulary_size: int, name: str) -> None:
    ids, embedding = make(vocabulary_size)
    index, rows = dropped_rows(ids, embedding, generator=seeded(3), **CASES[name])
    kinds = {(int(token), b) for row in ids for b, token in enumerate(row)}
    count = len(kinds) if name in {"elements", "both"} else len({token for token, _ in kinds})
    assert rows.shape == (count, E)
    assert torch.unique(index).tolist() == list(range(count))


@each_case
@each_vocabulary
@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_of_the_embedding_sums_over_places_what_passed_there(
    sparse: bool, vocabulary_size: int, name: str
) -> None:
    ids, embedding = make(vocabulary_size)
    ratio = recover(ids, embedding, **CASES[name])
    weights = torch.randn(T, B, E, generator=seeded(4), dtype=torch.float64)
    expected = torch.zeros_like(embedding)
    for t in range(T):
        for b in range(B):
            expected[ids[t, b]] += weights[t, b] * ratio[t, b]
    embedding.requires_grad_()
    index, rows = dropped_rows(ids, embedding, sparse=sparse, generator=seeded(3), **CASES[name])
    (gradient,) = torch.autograd.grad(rows[index], embedding, weights)
    assert gradient.is_sparse == sparse
    if sparse:
        assert gradient.coalesce().indices()[0].tolist() == torch.unique(ids).tolist()
        gradient = gradient.to_dense()
    assert expected.norm() > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-13)  # sums of a few dozen terms of size 8
    by_token, _ = factors_of(ratio, ids, vocabulary_size)
    assert not gradient[by_token[:, 0] == 0].any()


def test_the_mean_over_many_draws_is_the_embedding() -> None:
    ids, draws, p, q = torch.tensor([[0, 2], [2, 1], [0, 0]]), 5000, 0.3, 0.4
    embedding = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]], dtype=torch.float64)
    generator, mean = seeded(5), torch.zeros(3, 2, 2, dtype=torch.float64)
    for _ in range(draws):
        index, rows = dropped_rows(ids, embedding, of_tokens=p, of_elements=q, generator=generator)
        mean += rows[index] / draws
    sigma = embedding[ids].abs() * math.sqrt((1 / ((1 - p) * (1 - q)) - 1) / draws)
    assert ((mean - embedding[ids]).abs() < 4 * sigma).all()


@pytest.mark.parametrize(("of_tokens", "of_elements"), [(0.3, 0.0), (0.0, 0.3)])
def test_shares_are_those_asked_for(of_tokens: float, of_elements: float) -> None:
    ids = torch.arange(4000).view(4, 1000)
    index, rows = dropped_rows(
        ids, torch.ones(4000, 30), of_tokens=of_tokens, of_elements=of_elements, generator=seeded(6)
    )
    zeros = (rows[index] == 0).double()
    drawn = 4000 if of_tokens else 1000 * 30
    assert abs(zeros.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / drawn)


def test_its_generator_decides_alone_and_goes_on() -> None:
    ids, embedding = make(9)

    def run(generator: torch.Generator | None) -> Tensor:
        index, rows = dropped_rows(ids, embedding, generator=generator, **CASES["both"])
        return rows[index]

    torch.manual_seed(1)
    generator = seeded(7)
    first, second = run(generator), run(generator)
    torch.manual_seed(2)
    assert torch.equal(run(seeded(7)), first)
    assert not torch.equal(first, second)
    unseeded = run(None)
    torch.manual_seed(2)
    assert torch.equal(run(None), unseeded)


def test_ids_may_be_of_either_size() -> None:
    ids, embedding = make(9)
    for shares in CASES.values():
        results = [dropped_rows(i, embedding, generator=seeded(8), **shares) for i in (ids, ids.to(torch.int32))]
        assert torch.equal(*(rows[index] for index, rows in results))
