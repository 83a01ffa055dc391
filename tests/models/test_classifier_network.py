"""The classifier's loss and gradients against differences and against PyTorch, and what chance has to do with it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.errors import UsageError
from unrolled.models.classify import POOLINGS
from unrolled.models.classify.network import ClassifierNetwork, ClassifierShape
from unrolled.nn import Regularization

from .networks import (
    IDS,
    LENGTHS,
    TARGETS,
    WEIGHTS,
    B,
    E,
    H,
    T,
    V,
    as_torch_has_it,
    assert_slopes,
    classifier,
    classifier_batch,
    gradients,
    read_by_torch,
)

each_pooling = pytest.mark.parametrize("pooling", POOLINGS)
each_cell = pytest.mark.parametrize("cell", ["gru", "lstm"])
FACTORS = torch.tensor([0.3, -1.0, 2.0, 0.7], dtype=torch.float64)
"""Of the four losses, so that no gradient is that of a mean by chance."""


@each_pooling
def test_gradients_against_central_differences(pooling: str) -> None:
    network = classifier(pooling, engine="portable")
    assert_slopes(network, classifier_batch(), FACTORS)


def pooled_by_hand(network: ClassifierNetwork, pooling: str, outputs: Tensor) -> Tensor:
    """Sequence by sequence, without padding."""
    rows = []
    for b, length in enumerate(LENGTHS.tolist()):
        h = outputs[:length, b]
        if pooling == "last":
            rows.append(torch.cat([h[-1, :H], h[0, H:]]))
        elif pooling == "mean":
            rows.append(h.mean(0))
        elif pooling == "max":
            rows.append(h.max(0).values)
        else:
            scores = (h @ network.pooling.weight_hidden.T).tanh() @ network.pooling.weight_score
            rows.append(scores.softmax(0) @ h)
    return torch.stack(rows)


@each_cell
@each_pooling
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_losses_and_gradients_are_those_of_pytorch(engine: str, pooling: str, cell: str) -> None:
    network = classifier(pooling, cell, engine=engine)
    got = network.objective(**classifier_batch())
    module = as_torch_has_it(network.encoder.recurrent, cell)
    outputs = read_by_torch(module, nn.functional.embedding(IDS, network.encoder.embedding.weight), LENGTHS)
    scores = network.output(pooled_by_hand(network, pooling, outputs))
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    losses = nn.functional.cross_entropy(scores, TARGETS, weight=weights, reduction="none")
    torch.testing.assert_close(got.losses, losses, rtol=1e-11, atol=1e-13)
    assert (got.penalty, got.state, got.correct) == (None, None, None)
    found = gradients((got.losses * FACTORS).sum(), network)
    layers = {f"encoder.recurrent.{name}": parameter for name, parameter in module.named_parameters()}
    others = {name: parameter for name, parameter in network.named_parameters() if name not in layers}
    expected = torch.autograd.grad((losses * FACTORS).sum(), [*layers.values(), *others.values()])
    assert set(found) == {*layers, *others}
    for name, value in zip([*layers, *others], expected, strict=True):
        assert value.norm() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


@each_pooling
def test_evaluating_weighs_all_labels_alike_and_says_who_is_right(pooling: str) -> None:
    network = classifier(pooling).eval()
    got, logs = network.objective(**classifier_batch()), network.log_probabilities(IDS, LENGTHS)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(B, dtype=torch.float64))
    torch.testing.assert_close(got.losses, -logs[torch.arange(B), TARGETS], rtol=1e-12, atol=1e-14)
    assert got.correct is not None
    assert got.correct.tolist() == (logs.argmax(1) == TARGETS).tolist()
    best = network.objective(IDS, LENGTHS, logs.argmax(1))
    assert best.correct is not None
    assert best.correct.all()


@each_pooling
@each_cell
@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_neither_padding_nor_neighbours_change_an_answer(engine: str, cell: str, pooling: str) -> None:
    network = classifier(pooling, cell, engine=engine).float().eval()
    with torch.no_grad():
        together = network.log_probabilities(IDS, LENGTHS)
        garbage = torch.where(torch.arange(T + 3)[:, None] < LENGTHS, torch.cat([IDS, IDS[:3]]), V - 1)
        torch.testing.assert_close(network.log_probabilities(garbage, LENGTHS), together, rtol=0, atol=1e-6)
        for b, length in enumerate(LENGTHS.tolist()):
            alone = network.log_probabilities(IDS[:length, b : b + 1], LENGTHS[b : b + 1])
            torch.testing.assert_close(alone, together[b : b + 1], rtol=0, atol=1e-6)
        order = torch.tensor([3, 1, 0, 2, 1])
        torch.testing.assert_close(
            network.log_probabilities(IDS[:, order], LENGTHS[order]), together[order], rtol=0, atol=1e-6
        )


def test_words_are_read_as_unknown_while_training_only() -> None:
    usual, network = classifier(), classifier(unknown_share=1 - 1e-9, unknown_id=0)
    nothing_known = classifier().objective(torch.zeros_like(IDS), LENGTHS, TARGETS)
    assert torch.equal(network.objective(**classifier_batch()).losses, nothing_known.losses)
    assert not torch.equal(usual.objective(**classifier_batch()).losses, nothing_known.losses)
    pairs = [each.eval().objective(**classifier_batch()).losses for each in (usual, network)]
    assert torch.equal(*pairs)
    knows_all = classifier(unknown_share=1 - 1e-9, unknown_id=None)
    assert torch.equal(
        knows_all.objective(**classifier_batch()).losses, classifier().objective(**classifier_batch()).losses
    )


REGULARIZATIONS = {
    "elements": Regularization(dropout=0.5),
    "elements at each step": Regularization(dropout=0.5, locked=False),
    "inputs": Regularization(dropout_input=0.5),
    "between layers": Regularization(dropout_between=0.5),
    "outputs": Regularization(dropout_output=0.5),
    "tokens": Regularization(dropout_embedding=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_what_is_dropped_is_dropped_while_training_only_and_by_its_own_generator(name: str) -> None:
    runs = []
    for number in (7, 8):  # torch's own generator makes no difference
        torch.manual_seed(number)
        network = classifier(regularization=REGULARIZATIONS[name])
        losses = [network.objective(**classifier_batch()).losses for _ in range(2)]
        assert not torch.equal(*losses)
        runs.append(torch.stack([*losses, network.eval().objective(**classifier_batch()).losses]))
    assert torch.equal(*runs)
    assert torch.equal(runs[0][2], classifier().eval().objective(**classifier_batch()).losses)


@each_pooling
def test_the_same_seed_gives_the_same_weights(pooling: str) -> None:
    made = []
    for number, seed in ((1, 5), (2, 5), (3, 6)):
        torch.manual_seed(number)
        shape = ClassifierShape("lstm", V, E, H, 2, 3, pooling)
        made.append(ClassifierNetwork(shape, generator=torch.Generator().manual_seed(seed)).tensors())
    one, again, other = made
    assert list(one) == list(again) == list(other)
    assert all((one[name] == again[name]).all() for name in one)
    drawn = [name for name in one if name != "output.bias"]
    assert all((one[name] != other[name]).any() for name in drawn)
    assert all((abs(one[name]) > 0).any() for name in drawn)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "elman"}, 'cell "elman" is not known'),
        ({"vocabulary_size": 0}, "vocabulary_size is 0: give a whole number of at least 1"),
        ({"hidden_size": -1}, "hidden_size is -1: give"),
        ({"layers": 1.5}, r"layers is 1\.5: give"),
        ({"labels": True}, "labels is True: give"),
        ({"pooling": 3}, "pooling is 3: expected str"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {
        "cell": "gru",
        "vocabulary_size": V,
        "embedding_size": E,
        "hidden_size": H,
        "layers": 1,
        "labels": 3,
    }
    with pytest.raises(UsageError, match=f"^{message}"):
        ClassifierShape(**{**sizes, "pooling": "mean", **changes})


def test_a_pooling_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r'^pooling is "sum": choose one of last, mean, max, attention$'):
        classifier("sum")
