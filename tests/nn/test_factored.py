"""Token vectors that are sums of what tokens share."""

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.nn.factored import SHARE, FactoredEmbedding, all_rows, rows_of

NUMBERS = np.array([[1, 2, 0], [2, 0, 0], [0, 0, 0], [3, 1, 2]])


def make(numbers: np.ndarray = NUMBERS) -> FactoredEmbedding:
    generator = torch.Generator().manual_seed(1)
    made = FactoredEmbedding(numbers, 5).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def by_hand(made: FactoredEmbedding) -> Tensor:
    """The table, one sum after the other."""
    sums = [
        made.weight[token] + SHARE * sum(made.factors[n - 1] for n in row if n) for token, row in enumerate(NUMBERS)
    ]
    return torch.stack(sums)


def test_a_vector_is_the_sum_of_its_own_and_its_factors() -> None:
    made = make()
    torch.testing.assert_close(made.table(), by_hand(made))
    torch.testing.assert_close(all_rows(made), by_hand(made))
    tokens = torch.tensor([3, 0, 2])
    torch.testing.assert_close(made.rows(tokens), by_hand(made)[tokens])
    torch.testing.assert_close(rows_of(made, tokens), by_hand(made)[tokens])
    assert rows_of(made.weight, tokens).equal(made.weight[tokens])
    assert all_rows(made.weight) is made.weight


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_are_those_of_the_sum(sparse: bool) -> None:
    made, tokens = make(), torch.tensor([3, 0])
    d_rows = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parameters = [made.weight, made.factors]
    wanted = torch.autograd.grad(by_hand(made)[tokens], parameters, d_rows)
    made.rows(tokens, sparse=sparse).backward(d_rows)  # type: ignore[no-untyped-call]
    for parameter, expected in zip(parameters, wanted, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.is_sparse is sparse
        torch.testing.assert_close(parameter.grad.to_dense(), expected)
    whole = torch.autograd.grad(by_hand(made).square().sum(), parameters)
    for got, expected in zip(torch.autograd.grad(made.table().square().sum(), parameters), whole, strict=True):
        torch.testing.assert_close(got, expected)


def test_at_first_factors_change_nothing() -> None:
    made = FactoredEmbedding(NUMBERS, 5)
    assert made.table().equal(made.weight)
    assert not made.factors.any()
    assert "numbers" not in made.state_dict(), "they are made of the vocabulary"


def test_tokens_may_have_nothing_in_common() -> None:
    made = make(np.zeros((4, 0), dtype=np.int64))
    assert made.table().equal(made.weight)
    assert made.rows(torch.tensor([1])).equal(made.weight[1:2])
