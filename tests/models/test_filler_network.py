"""The network that fills gaps: no place sees itself, its losses and gradients, and what padding does to them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.errors import UsageError
from unrolled.models.fill.network import FillNetwork, FillShape
from unrolled.nn import Regularization, Sampler

from .networks import gradients
from .translators import LINE_FACTORS, LINE_LENGTHS, LINES, TARGET_V, E, H, assert_slopes_by_module, filler, lines_batch

T, B = LINES.shape
COUNTS = torch.arange(T)[:, None] < LINE_LENGTHS
each_cell = pytest.mark.parametrize("cell", ["gru", "lstm"])
each_depth = pytest.mark.parametrize("layers", [1, 2, 3])
each_engine = pytest.mark.parametrize("engine", ["auto", "portable"])


@pytest.mark.parametrize(
    ("cell", "layers", "tied"), [("gru", 1, False), ("lstm", 1, True), ("gru", 2, True), ("lstm", 3, False)]
)
def test_gradients_against_central_differences(cell: str, layers: int, tied: bool) -> None:
    assert_slopes_by_module(filler(cell, layers=layers, tied=tied, engine="portable"), lines_batch(), LINE_FACTORS)


def stacks_of(network: FillNetwork) -> dict[str, nn.GRU | nn.LSTM]:
    """PyTorch's own layers with the weights of both stacks."""
    made = {}
    for name in ("before", "behind"):
        recurrent = network.get_submodule(name)
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[network.shape.cell]
        made[name] = kind(E, H, network.shape.layers).double()
        made[name].load_state_dict(recurrent.state_dict())
    return made


def line_by_hand(network: FillNetwork, stacks: dict[str, nn.GRU | nn.LSTM], ids: Tensor) -> Tensor:
    """Log-probabilities (T, V) of each word of a line alone, each with two readings of its own."""
    end, rows = torch.tensor([network.end_of_line_id]), []
    for place in range(len(ids)):
        before = torch.cat([end, ids[:place]])
        behind = torch.cat([end, ids[place + 1 :].flip(0)])
        read = [
            stacks[name](network.embedding.weight[context])[0][-1]
            for name, context in (("before", before), ("behind", behind))
        ]
        met = torch.tanh(network.meeting.weight @ torch.cat(read) + network.meeting.bias)
        rows.append(torch.log_softmax(network.output.weight @ met + network.output.bias, 0))
    return torch.stack(rows)


@each_cell
@each_depth
@each_engine
def test_losses_and_gradients_are_those_of_pytorch(engine: str, layers: int, cell: str) -> None:
    network = filler(cell, layers=layers, tied=layers == 2, engine=engine)
    got = network.objective(**lines_batch())
    stacks = stacks_of(network)
    logs = [line_by_hand(network, stacks, LINES[:length, b]) for b, length in enumerate(LINE_LENGTHS.tolist())]
    losses = torch.stack([-logs[b][t, LINES[t, b]] for t in range(T) for b in range(B) if COUNTS[t, b]])
    torch.testing.assert_close(got.losses, losses, rtol=1e-11, atol=1e-13)
    found = gradients((got.losses * LINE_FACTORS).sum(), network)
    layered = {
        f"{name}.{each}": parameter for name, stack in stacks.items() for each, parameter in stack.named_parameters()
    }
    others = {name: parameter for name, parameter in network.named_parameters() if name not in layered}
    assert set(found) == {*layered, *others}
    expected = torch.autograd.grad((losses * LINE_FACTORS).sum(), [*layered.values(), *others.values()])
    for name, value in zip([*layered, *others], expected, strict=True):
        assert value.norm() > 0
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


@each_cell
@each_depth
@each_engine
def test_no_place_sees_itself_and_each_sees_all_others(engine: str, layers: int, cell: str) -> None:
    network = filler(cell, layers=layers, engine=engine).float().eval()
    with torch.no_grad():
        before = network(LINES, LINE_LENGTHS)
        for b, length in enumerate(LINE_LENGTHS.tolist()):
            for changed in range(length):
                for further in (1, 3):
                    others = LINES.clone()
                    others[changed, b] = (LINES[changed, b] + further) % TARGET_V
                    after = network(others, LINE_LENGTHS)
                    same = [bool(torch.equal(after[t, b], before[t, b])) for t in range(length)]
                    assert same == [t == changed for t in range(length)]
                    rest = [column for column in range(B) if column != b]
                    assert torch.equal(after[:, rest], before[:, rest])


@each_depth
def test_the_gradient_of_a_places_loss_does_not_reach_its_own_vector(layers: int) -> None:
    """By the slopes of what is read, and not by looking at one change of it."""
    network = filler(layers=layers)
    for place in range(5):
        network.zero_grad()
        distinct = torch.tensor([2, 3, 4, 5, 6])[:, None]
        vectors = network(distinct, torch.tensor([5]))
        slopes = torch.autograd.grad(vectors[place, 0].square().sum(), [network.embedding.weight])[0].norm(dim=1)
        assert [bool(slope > 0) for slope in slopes[2:]] == [other != place for other in range(5)]


@each_engine
def test_neither_padding_nor_neighbours_change_a_vector(engine: str) -> None:
    network = filler("lstm", layers=3, engine=engine).float().eval()
    with torch.no_grad():
        together = network(LINES, LINE_LENGTHS)
        longer = torch.cat([LINES, torch.full((2, B), 6)])
        garbage = torch.where(torch.arange(T + 2)[:, None] < LINE_LENGTHS, longer, 6)
        padded = network(garbage, LINE_LENGTHS)[:T]
        torch.testing.assert_close(padded[COUNTS], together[COUNTS], rtol=0, atol=1e-6)
        for b, length in enumerate(LINE_LENGTHS.tolist()):
            alone = network(LINES[:length, b : b + 1], LINE_LENGTHS[b : b + 1])
            torch.testing.assert_close(alone[:, 0], together[:length, b], rtol=0, atol=1e-6)


def test_other_words_are_gaps_while_training_only() -> None:
    usual, network = filler(), filler(gap_share=1 - 1e-9, gap_id=0)
    gaps = filler()(torch.zeros_like(LINES), LINE_LENGTHS)
    all_gaps = -filler().log_probabilities(gaps)[COUNTS].gather(1, LINES[COUNTS][:, None])[:, 0]
    torch.testing.assert_close(network.objective(**lines_batch()).losses, all_gaps, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(usual.objective(**lines_batch()).losses, all_gaps)
    assert torch.equal(*(each.eval().objective(**lines_batch()).losses for each in (usual, network)))


def test_evaluating_says_whose_word_was_the_best_guess() -> None:
    network = filler().eval()
    got = network.objective(**lines_batch())
    logs = network.log_probabilities(network(**lines_batch()))
    assert got.correct is not None
    assert got.correct.tolist() == (logs.argmax(2) == LINES)[COUNTS].tolist()
    torch.testing.assert_close(got.losses, -logs[COUNTS].gather(1, LINES[COUNTS][:, None])[:, 0])
    assert network.train().objective(**lines_batch()).correct is None


def test_a_sampler_stands_for_the_vocabulary_where_that_saves_work() -> None:
    network, sampler = filler(), Sampler(torch.tensor([5, 4, 3, 2, 1, 1, 1]), 2)
    whole = network.objective(**lines_batch()).losses
    assert torch.equal(network.objective(**lines_batch(), sampler=sampler).losses, whole), "eleven of seven"
    sampler.saves = lambda targets: True  # type: ignore[method-assign]
    torch.manual_seed(1)
    few: dict[str, Any] = {"ids": torch.tensor([[2], [3]]), "lengths": torch.tensor([2])}
    drawn, all_of_it = (network.objective(**few, sampler=each).losses for each in (sampler, None))
    assert drawn.shape == all_of_it.shape
    assert not torch.equal(drawn, all_of_it)


REGULARIZATIONS = {
    "elements": Regularization(dropout=0.5),
    "inputs at each step": Regularization(dropout_input=0.5, locked=False),
    "between layers": Regularization(dropout_between=0.5),
    "outputs": Regularization(dropout_output=0.5),
    "tokens": Regularization(dropout_embedding=0.5),
    "weights": Regularization(weight_drop=0.5),
}


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_what_is_dropped_is_dropped_while_training_only_and_by_its_own_generator(name: str) -> None:
    runs = []
    for number in (7, 8):
        torch.manual_seed(number)
        network = filler(regularization=REGULARIZATIONS[name])
        losses = [network.objective(**lines_batch()).losses for _ in range(2)]
        assert not torch.equal(*losses)
        runs.append(torch.stack([*losses, network.eval().objective(**lines_batch()).losses]))
    assert torch.equal(*runs)
    assert torch.equal(runs[0][2], filler().eval().objective(**lines_batch()).losses)


def test_weights_follow_the_generator_and_tied_ones_are_stored_once() -> None:
    made = [filler(tied=True, generator=torch.Generator().manual_seed(seed)).tensors() for seed in (5, 5, 6)]
    one, again, other = made
    assert all((one[name] == again[name]).all() for name in one)
    assert all((one[name] != other[name]).any() for name in one if "bias" not in name and "embedding" not in name)
    assert "output.weight" not in one
    network = filler(tied=True, generator=torch.Generator().manual_seed(7))
    network.load_tensors(one)
    assert network.output.weight is network.embedding.weight
    assert network.shape.describe() == "2 x 2 x 4 gru, embedding 3, tied"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "elman"}, 'cell "elman" is not known'),
        ({"vocabulary_size": 0}, "vocabulary_size is 0: give a whole number of at least 1"),
        ({"layers": 1.5}, r"layers is 1\.5: give"),
        ({"tied": "yes"}, "tied is 'yes': expected bool"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {"cell": "gru", "vocabulary_size": 7, "embedding_size": E, "hidden_size": H, "layers": 1}
    with pytest.raises(UsageError, match=f"^{message}"):
        FillShape(**{**sizes, "tied": False, **changes})
