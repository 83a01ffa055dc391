"""The tagger's loss and gradients against differences and against PyTorch, and what chance has to do with it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.models.tag.data import MOST_BYTES, spelled
from unrolled.models.tag.network import TaggerNetwork, TaggerShape
from unrolled.nn import Regularization

from .networks import (
    IDS,
    LENGTHS,
    SPELLING,
    TOKEN_TARGETS,
    WORDS,
    B,
    E,
    H,
    T,
    V,
    as_torch_has_it,
    assert_slopes,
    gradients,
    read_by_torch,
    tagger,
    tagger_batch,
)

each_cell = pytest.mark.parametrize("cell", ["gru", "lstm"])
each_spelling = pytest.mark.parametrize("spelling", [0, 2])
COUNTS = torch.arange(T)[:, None] < LENGTHS
FACTORS = torch.randn(int(COUNTS.sum()), generator=torch.Generator().manual_seed(6), dtype=torch.float64)


@each_spelling
def test_gradients_against_central_differences(spelling: int) -> None:
    network = tagger(spelling=spelling, engine="portable")
    letters = spelled([[word[:5] for word in words] for words in WORDS])
    batch = tagger_batch() | {name: torch.from_numpy(array) for name, array in letters.items()}
    assert_slopes(network, batch, FACTORS)


def spelling_by_torch(network: TaggerNetwork, module: nn.GRU | nn.LSTM) -> Tensor:
    """(T, B, 2 * size), word by word."""
    assert network.spelling is not None
    size, vectors = network.shape.spelling_size, torch.zeros(T, B, network.spelling.size, dtype=torch.float64)
    for b, words in enumerate(WORDS):
        for t, word in enumerate(words):
            seen = word.encode()
            if len(seen) > MOST_BYTES:
                seen = seen[: MOST_BYTES // 2] + seen[-MOST_BYTES // 2 :]
            outputs = module(network.spelling.embedding.weight[torch.tensor(list(seen))])[0]
            vectors = vectors.index_put(
                (torch.tensor(t), torch.tensor(b)), torch.cat([outputs[-1, :size], outputs[0, size:]])
            )
    return vectors


@each_cell
@each_spelling
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_losses_and_gradients_are_those_of_pytorch(engine: str, spelling: int, cell: str) -> None:
    network = tagger(cell, spelling=spelling, engine=engine)
    got = network.objective(**tagger_batch())
    layers = dict[str, nn.Parameter]()
    x = nn.functional.embedding(IDS, network.embedding.weight)
    if network.spelling is not None:
        letters = as_torch_has_it(network.spelling.recurrent, cell)
        layers |= {f"spelling.recurrent.{name}": parameter for name, parameter in letters.named_parameters()}
        x = torch.cat([x, spelling_by_torch(network, letters)], dim=2)
    words = as_torch_has_it(network.recurrent, cell)
    layers |= {f"recurrent.{name}": parameter for name, parameter in words.named_parameters()}
    scores = network.output(read_by_torch(words, x, LENGTHS))
    losses = nn.functional.cross_entropy(scores[COUNTS], TOKEN_TARGETS[COUNTS], reduction="none")
    torch.testing.assert_close(got.losses, losses, rtol=1e-11, atol=1e-13)
    found = gradients((got.losses * FACTORS).sum(), network)
    others = {name: parameter for name, parameter in network.named_parameters() if name not in layers}
    assert set(found) == {*layers, *others}
    expected = torch.autograd.grad((losses * FACTORS).sum(), [*layers.values(), *others.values()])
    for name, value in zip([*layers, *others], expected, strict=True):
        assert value.norm() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


def test_evaluating_says_who_is_right_token_by_token() -> None:
    network = tagger().eval()
    got = network.objective(**tagger_batch())
    logs = network.log_probabilities(IDS, LENGTHS, **SPELLING)
    right = logs.argmax(2) == TOKEN_TARGETS
    by_hand = [(-logs[t, b, TOKEN_TARGETS[t, b]], right[t, b]) for t in range(T) for b in range(B) if COUNTS[t, b]]
    torch.testing.assert_close(got.losses, torch.stack([loss for loss, _ in by_hand]), rtol=1e-12, atol=1e-14)
    assert got.correct is not None
    assert got.correct.tolist() == [bool(each) for _, each in by_hand]
    assert network.train().objective(**tagger_batch()).correct is None


@each_cell
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_neither_padding_nor_neighbours_change_an_answer(engine: str, cell: str) -> None:
    network = tagger(cell, engine=engine).float().eval()
    with torch.no_grad():
        together = network.log_probabilities(IDS, LENGTHS, **SPELLING)
        for b, length in enumerate(LENGTHS.tolist()):
            own: dict[str, Any] = {name: torch.from_numpy(array) for name, array in spelled([WORDS[b]]).items()}
            alone = network.log_probabilities(IDS[:length, b : b + 1], LENGTHS[b : b + 1], **own)
            torch.testing.assert_close(alone[:, 0], together[:length, b], rtol=0, atol=1e-6)


def test_the_spelling_alone_tells_unknown_words_apart() -> None:
    unknown = torch.zeros(1, 2, dtype=torch.long)
    letters: dict[str, Any] = {name: torch.from_numpy(array) for name, array in spelled([["Zug"], ["zug"]]).items()}
    ones = torch.ones(2, dtype=torch.long)
    with_letters = tagger().eval().log_probabilities(unknown, ones, **letters)
    without = tagger(spelling=0).eval().log_probabilities(unknown, ones, **letters)
    assert not torch.equal(with_letters[0, 0], with_letters[0, 1])
    assert torch.equal(without[0, 0], without[0, 1])


def test_words_are_read_as_unknown_while_training_only() -> None:
    network = tagger(unknown_share=1 - 1e-9, unknown_id=0)
    nothing_known = tagger().objective(**tagger_batch() | {"ids": torch.zeros_like(IDS)})
    assert torch.equal(network.objective(**tagger_batch()).losses, nothing_known.losses)
    assert torch.equal(*(each.eval().objective(**tagger_batch()).losses for each in (network, tagger())))


REGULARIZATIONS = {
    "elements": Regularization(dropout=0.5),
    "elements at each step": Regularization(dropout=0.5, locked=False),
    "inputs": Regularization(dropout_input=0.5),
    "between layers": Regularization(dropout_between=0.5),
    "outputs": Regularization(dropout_output=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_what_is_dropped_is_dropped_while_training_only_and_by_its_own_generator(name: str) -> None:
    runs = []
    for number in (7, 8):
        torch.manual_seed(number)
        network = tagger(regularization=REGULARIZATIONS[name])
        losses = [network.objective(**tagger_batch()).losses for _ in range(2)]
        assert not torch.equal(*losses)
        runs.append(torch.stack([*losses, network.eval().objective(**tagger_batch()).losses]))
    assert torch.equal(*runs)
    assert torch.equal(runs[0][2], tagger().eval().objective(**tagger_batch()).losses)


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for number, seed in ((1, 5), (2, 5), (3, 6)):
        torch.manual_seed(number)
        shape = TaggerShape("gru", V, E, H, 2, 3, 2)
        made.append(TaggerNetwork(shape, generator=torch.Generator().manual_seed(seed)).tensors())
    one, again, other = made
    assert all((one[name] == again[name]).all() for name in one)
    assert all((one[name] != other[name]).any() for name in one if name != "output.bias")


# What spelling is


def test_spelling_by_hand() -> None:
    found = spelled([["ab", "é"], ["c"]])
    assert found["spelling"].shape == (2, 2, 2)
    assert found["spelling"][:, :, 0].T.tolist() == [[97, 98], [0xC3, 0xA9]]
    assert found["spelling"][:, :, 1].T.tolist() == [[99, 0], [0, 0]]
    assert found["spelling_lengths"].tolist() == [[2, 1], [2, 1]]


@pytest.mark.parametrize("extra", [0, 1, 1000])
def test_of_long_tokens_both_ends_are_read(extra: int) -> None:
    half = MOST_BYTES // 2
    token = "a" * half + "x" * extra + "b" * half
    found: dict[str, Any] = spelled([[token]])
    assert bytes(found["spelling"][:, 0, 0].tolist()) == b"a" * half + b"b" * half
    assert found["spelling_lengths"].tolist() == [[MOST_BYTES]]
