"""The vector of a word from its bytes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unrolled.nn.reading import EMBEDDING_RANGE
from unrolled.nn.spelling import BYTES, SpellingEncoder

WORDS = ["Zoë", "a", "日本", "naïvely", "a" * 12]
SIZE = 3


def make(cell: str = "gru", engine: str = "auto") -> SpellingEncoder:
    return SpellingEncoder(SIZE, cell, engine=engine, generator=torch.Generator().manual_seed(1)).double()


def padded(words: list[str], garbage: int = 0) -> tuple[Tensor, Tensor]:
    """(C, N) bytes and (N,) lengths."""
    written = [word.encode() for word in words]
    spelling = np.full((max(map(len, written)) + (garbage > 0), len(words)), garbage)
    for column, each in enumerate(written):
        spelling[: len(each), column] = list(each)
    return torch.from_numpy(spelling), torch.tensor([len(each) for each in written])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_vectors_and_gradients_are_those_of_pytorch_word_by_word(engine: str, cell: str) -> None:
    encoder = make(cell, engine)
    module = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](SIZE, SIZE, bidirectional=True).double()
    module.load_state_dict(encoder.recurrent.state_dict())
    rows = []
    for word in WORDS:
        outputs, _ = module(encoder.embedding.weight[torch.tensor(list(word.encode()))])
        rows.append(torch.cat([outputs[-1, :SIZE], outputs[0, SIZE:]]))
    found, expected = encoder(*padded(WORDS)), torch.stack(rows)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    factors = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    got = torch.autograd.grad((found * factors).sum(), [encoder.embedding.weight, *encoder.recurrent.parameters()])
    wanted = torch.autograd.grad((expected * factors).sum(), [encoder.embedding.weight, *module.parameters()])
    for one, other in zip(got, wanted, strict=True):
        assert other.norm() > 0
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_neither_padding_nor_neighbours_change_a_vector() -> None:
    encoder = make()
    together = encoder(*padded(WORDS))
    torch.testing.assert_close(encoder(*padded(WORDS, garbage=255)), together, rtol=1e-13, atol=1e-15)
    for word, vector in zip(WORDS, together, strict=True):
        torch.testing.assert_close(encoder(*padded([word]))[0], vector, rtol=1e-13, atol=1e-15)


def test_each_direction_reads_all_and_order_counts() -> None:
    encoder = make()
    forth, back = encoder(*padded(["abc"]))[0], encoder(*padded(["cba"]))[0]
    assert forth.shape == (encoder.size,) == (2 * SIZE,)
    assert not torch.equal(forth, back)
    for place in range(3):  # a change anywhere changes both halves
        other = encoder(*padded(["abc"[:place] + "x" + "abc"[place + 1 :]]))[0]
        assert (other[:SIZE] != forth[:SIZE]).all()
        assert (other[SIZE:] != forth[SIZE:]).all()


def test_there_is_a_vector_for_each_byte_and_weights_follow_the_generator() -> None:
    made = []
    for number, seed in ((1, 5), (2, 5), (3, 6)):
        torch.manual_seed(number)
        made.append(SpellingEncoder(SIZE, "lstm", generator=torch.Generator().manual_seed(seed)).state_dict())
    assert made[0]["embedding.weight"].shape == (BYTES, SIZE)
    assert 0.9 * EMBEDDING_RANGE < made[0]["embedding.weight"].abs().max() <= EMBEDDING_RANGE
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not any(torch.equal(made[0][name], made[2][name]) for name in made[0])
    assert (
        made[0]["recurrent.bias_ih_l0"][SIZE : 2 * SIZE] + made[0]["recurrent.bias_hh_l0"][SIZE : 2 * SIZE] == 1
    ).all()
