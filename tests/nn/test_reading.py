"""Tokens through an embedding into a stack: what is dropped on the way, and what reads them backwards."""

import pytest
import torch
from torch import nn

from unrolled.errors import ShapeError
from unrolled.nn import Regularization
from unrolled.nn.dropout import read_as_unknown
from unrolled.nn.reading import EMBEDDING_RANGE, TokenEncoder, flip

V, E, H, T, B = 11, 3, 4, 6, 3
IDS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([4, 6, 1])
each_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])


def make(
    regularization: Regularization | None = None, *, cell: str = "lstm", bidirectional: bool = True
) -> TokenEncoder:
    return TokenEncoder(
        cell,
        V,
        E,
        H,
        2,
        bidirectional=bidirectional,
        regularization=regularization or Regularization(),
        generator=torch.Generator().manual_seed(2),
    ).double()


@each_length
@pytest.mark.parametrize("bidirectional", [True, False])
def test_it_is_embedding_then_recurrent(bidirectional: bool, lengths: torch.Tensor | None) -> None:
    encoder = make(bidirectional=bidirectional)
    outputs, state = encoder(IDS, lengths)
    expected, last = encoder.recurrent(nn.functional.embedding(IDS, encoder.embedding.weight), lengths=lengths)
    assert outputs.shape == (T, B, H * (2 if bidirectional else 1))
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(state, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    if lengths is not None:
        assert (outputs[torch.arange(T)[:, None] >= lengths] == 0).all()
    again, _ = encoder(IDS, lengths, state)
    assert not torch.equal(again, outputs), "it starts from the state that it is given"


REGULARIZATIONS = {
    "inputs": Regularization(dropout_input=0.5),
    "inputs at each step": Regularization(dropout_input=0.5, locked=False),
    "tokens": Regularization(dropout_embedding=0.5),
    "both": Regularization(dropout_input=0.4, dropout_embedding=0.4),
    "both at each step": Regularization(dropout_input=0.4, dropout_embedding=0.4, locked=False),
    "between layers": Regularization(dropout_between=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@each_length
@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_it_drops_while_training_only(name: str, lengths: torch.Tensor | None) -> None:
    encoder, plain = make(REGULARIZATIONS[name]), make()
    first, *others = (encoder(IDS, lengths)[0] for _ in range(4))
    assert not all(torch.equal(first, other) for other in others)
    assert torch.equal(make(REGULARIZATIONS[name])(IDS, lengths)[0], first), "its own generator decides"
    expected = plain.eval()(IDS, lengths)[0]
    assert not torch.equal(first, expected)
    torch.testing.assert_close(encoder.eval()(IDS, lengths)[0], expected, rtol=1e-12, atol=1e-14)


def test_initial_weights_follow_the_generator_and_keep_their_bounds() -> None:
    found = []
    for number in (1, 2):
        torch.manual_seed(number)
        found.append(make().state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert 0.8 * EMBEDDING_RANGE < found[0]["embedding.weight"].abs().max() <= EMBEDDING_RANGE
    bounded = TokenEncoder("gru", V, E, H, 1, regularization=Regularization(), initial_range=0.01)
    assert all(0.005 < weight.abs().max() <= 0.01 for weight in bounded.state_dict().values())


def test_tokens_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(ShapeError, match=r"^ids reach from 0 to 11: each must be 0 to 10"):
        make()(torch.tensor([[0], [V]]))


# Words read as unknown


def test_about_the_share_is_read_as_unknown_and_nothing_else_changes() -> None:
    ids = torch.arange(5, 40_005).view(100, 400)
    found = read_as_unknown(ids, 0.2, 3, torch.Generator().manual_seed(1))
    changed = found != ids
    assert (found[changed] == 3).all()
    assert changed.double().mean().item() == pytest.approx(0.2, abs=0.01)
    assert torch.equal(found, read_as_unknown(ids, 0.2, 3, torch.Generator().manual_seed(1)))
    assert not torch.equal(found, read_as_unknown(ids, 0.2, 3, torch.Generator().manual_seed(2)))
    assert read_as_unknown(ids, 0.0, 3) is ids
    assert read_as_unknown(ids, 0.5, None) is ids


# Backwards


def test_flipped_by_hand() -> None:
    values = torch.tensor([[1, 5], [2, 6], [3, 7]])
    assert flip(values, None).tolist() == [[3, 7], [2, 6], [1, 5]]
    assert flip(values, torch.tensor([2, 3])).tolist() == [[2, 7], [1, 6], [3, 5]]
    deep = torch.stack([values, 10 * values], dim=2)
    assert flip(deep, torch.tensor([2, 1])).tolist() == [[[2, 20], [5, 50]], [[1, 10], [6, 60]], [[3, 30], [7, 70]]]


def test_to_flip_twice_is_to_leave_alone() -> None:
    x = torch.randn(T, B, 2, generator=torch.Generator().manual_seed(3))
    for lengths in (None, LENGTHS):
        assert torch.equal(flip(flip(x, lengths), lengths), x)
