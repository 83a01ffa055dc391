"""Tokens that stand for a vocabulary: which are drawn, how often, and that they estimate the whole."""

import numpy as np
import pytest
import torch

from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Regularization, Sampler


def test_the_targets_are_there_and_each_token_once() -> None:
    targets = torch.tensor([7, 99, 7, 0])
    sample = Sampler(np.arange(100), 20).draw(targets, torch.Generator().manual_seed(1))
    assert (sample.tokens.diff() > 0).all()
    assert torch.equal(sample.tokens[sample.targets], targets)
    assert sample.tokens.min() >= 0
    assert sample.tokens.max() < 100
    assert len(sample.tokens) <= 20 + 3


def test_tokens_are_there_as_often_as_their_chances_say() -> None:
    generator, size, draws = torch.Generator().manual_seed(2), 50, 4000
    counts = np.random.default_rng(2).integers(0, 40, size)
    counts[:2] = 0, 1
    sampler, found = Sampler(counts, 12), torch.zeros(size)
    for _ in range(draws):
        found[sampler.draw(torch.tensor([], dtype=torch.long), generator).tokens] += 1
    everything = sampler.draw(torch.arange(size))
    assert len(everything.tokens) == size
    often = torch.from_numpy(np.maximum(counts, 1))
    once = often / often.sum()
    assert float((found / draws - (1 - (1 - once) ** 12)).abs().max()) < 0.03
    counted = 1 - (1 - once) ** (12 + size)  # targets count as draws
    torch.testing.assert_close(everything.log_chances.exp(), counted)


def test_the_same_generator_draws_the_same() -> None:
    sampler = Sampler(np.ones(1000), 50)
    first, second = (sampler.draw(torch.tensor([3]), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.tokens, second.tokens)


@pytest.mark.parametrize("counts", [[5], [0, 0], [10**15, 1, 0]])
def test_any_counts_can_be_drawn_from(counts: list[int]) -> None:
    sample = Sampler(counts, 4).draw(torch.tensor([0]), torch.Generator().manual_seed(4))
    assert sample.tokens[0] == 0
    assert torch.isfinite(sample.log_chances).all()


@pytest.mark.parametrize(
    ("size", "count", "targets", "expected"),
    [(10000, 1000, 560, True), (3000, 1000, 560, False), (3120, 1000, 560, True)],
)
def test_a_small_vocabulary_is_looked_at_whole(size: int, count: int, targets: int, expected: bool) -> None:
    assert Sampler(np.ones(size), count).saves(targets) is expected


@pytest.mark.parametrize("engine", ["portable", "native"])
def test_who_knows_the_probabilities_learns_nothing_more(engine: str) -> None:
    size, generator = 2000, torch.Generator().manual_seed(4)
    network = LanguageModelNetwork(LanguageModelShape("gru", size, 4, 4, 1, tied=True), engine=engine)
    counts = (1e6 / (torch.randperm(size, generator=generator) + 1.0)).round()  # in no order, unlike Zipf's
    probabilities = counts / counts.sum()
    sampler = Sampler(counts, 200)
    with torch.no_grad():
        network.embedding.weight.zero_()
        network.output.bias.copy_(probabilities.log())
    repeats, ids = 300, torch.zeros(6, 10, dtype=torch.long)
    for _ in range(repeats):
        targets = torch.multinomial(probabilities, ids.numel(), replacement=True, generator=generator).view_as(ids)
        losses = network.objective(ids, targets, sampler=sampler).losses
        losses.mean().backward()  # type: ignore[no-untyped-call]
        assert int((losses > 0).sum()) == ids.numel()
    gradient = network.output.bias.grad
    assert gradient is not None
    assert float((gradient / repeats).abs().max()) < 0.006  # 0.09 with chances that are alike


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_sparse_gradients_are_the_dense_ones(tied: bool, dropout: float) -> None:
    gradients = []
    for sparse in (True, False):
        network = LanguageModelNetwork(
            LanguageModelShape("gru", 5000, 8, 8, 1, tied=tied),
            regularization=Regularization(dropout=dropout),
            sparse_gradients=sparse,
            generator=torch.Generator().manual_seed(1),
        )
        ids = torch.arange(30).view(6, 5) % 7
        sampler = Sampler(np.ones(5000), 800)
        network.objective(ids, ids + 1, sampler=sampler).losses.mean().backward()  # type: ignore[no-untyped-call]
        found = [network.embedding.weight.grad, network.output.weight.grad]
        assert [each is not None and each.is_sparse for each in found] == [sparse, sparse]
        gradients.append([each.to_dense() for each in found if each is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
        assert float(one.abs().max()) > 0


def test_what_is_not_drawn_learns_nothing() -> None:
    network = LanguageModelNetwork(LanguageModelShape("gru", 5000, 8, 8, 1, tied=False))
    ids = torch.arange(30).view(6, 5)
    network.objective(ids, ids + 1, sampler=Sampler(np.ones(5000), 800)).losses.mean().backward()  # type: ignore[no-untyped-call]
    gradient = network.output.bias.grad
    assert gradient is not None
    assert 30 <= int((gradient != 0).sum()) <= 830
    assert torch.equal(network.objective(ids, ids + 1).losses, network.losses(network(ids)[0], ids + 1))
