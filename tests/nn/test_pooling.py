"""Pooling against loops in NumPy written from the equations, and what must not change it."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from unrolled.errors import ShapeError, UsageError
from unrolled.nn import Pooling, Recurrent
from unrolled.nn.pooling import KINDS

Doubles = npt.NDArray[np.float64]
T, B, H = 5, 4, 3
LENGTHS = [3, 5, 1, 4]
EXACT = 1e-12
"""Norm-wise relative, float64: sums in another order."""
each_kind = pytest.mark.parametrize("kind", KINDS)
each_lengths = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])
each_directions = pytest.mark.parametrize("directions", [1, 2])


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(kind: str, directions: int = 2, seed: int = 1) -> Pooling:
    return Pooling(kind, H, directions, generator=torch.Generator().manual_seed(seed)).double()


def as_tensor(lengths: list[int] | None) -> Tensor | None:
    return None if lengths is None else torch.tensor(lengths)


def by_loops(kind: str, weights: dict[str, Doubles], outputs: Doubles, lengths: list[int] | None) -> Doubles:
    """One sequence, one step and one element after another."""
    pooled = np.zeros(outputs.shape[1:])
    for b in range(B):
        steps = range(T if lengths is None else lengths[b])
        shares = shares_by_loops(weights, outputs[:, b], len(steps)) if kind == "attention" else []
        for j in range(outputs.shape[2]):
            column = [outputs[t, b, j] for t in steps]
            if kind == "last":
                pooled[b, j] = column[-1] if j < H else column[0]
            elif kind == "mean":
                pooled[b, j] = sum(column) / len(column)
            elif kind == "max":
                pooled[b, j] = max(column)
            else:
                pooled[b, j] = sum(share * x for share, x in zip(shares, column, strict=True))
    return pooled


def shares_by_loops(weights: dict[str, Doubles], sequence: Doubles, count: int) -> list[float]:
    scores = []
    for t in range(count):
        hidden = [math.tanh(row @ sequence[t]) for row in weights["weight_hidden"]]
        scores.append(math.exp(sum(v * x for v, x in zip(weights["weight_score"], hidden, strict=True))))
    return [score / sum(scores) for score in scores]


def parameters_of(module: Pooling) -> dict[str, Doubles]:
    return {name: parameter.detach().numpy().copy() for name, parameter in module.named_parameters()}


def assert_close(got: Tensor | Doubles, expected: Tensor | Doubles, tolerance: float = EXACT) -> None:
    got, expected = (np.asarray(each.detach() if isinstance(each, Tensor) else each) for each in (got, expected))
    assert got.shape == expected.shape
    norm = np.linalg.norm(expected)
    assert norm > 0, "zero throughout: the comparison would say nothing"
    assert np.linalg.norm(got - expected) / norm <= tolerance


@each_kind
@each_lengths
@each_directions
def test_values_against_loops(kind: str, lengths: list[int] | None, directions: int) -> None:
    module, outputs = make(kind, directions), 2 * draw(2, T, B, directions * H)
    got = module(outputs, as_tensor(lengths))
    assert_close(got, by_loops(kind, parameters_of(module), outputs.numpy(), lengths))


@each_kind
@each_lengths
def test_gradients_against_differences_of_the_loops(kind: str, lengths: list[int] | None) -> None:
    module, outputs, factors = make(kind), 2 * draw(2, T, B, 2 * H), draw(3, B, 2 * H)
    leaves = parameters_of(module) | {"outputs": outputs.numpy().copy()}
    outputs.requires_grad_()
    torch.autograd.backward((module(outputs, as_tensor(lengths)) * factors).sum())
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()} | {"outputs": outputs.grad}
    for name, gradient in gradients.items():
        assert gradient is not None
        expected = np.zeros_like(leaves[name])
        for place in np.ndindex(expected.shape):
            ends = []
            for change in (1e-5, -2e-5):
                leaves[name][place] += change
                ends.append((by_loops(kind, leaves, leaves["outputs"], lengths) * factors.numpy()).sum())
            leaves[name][place] += 1e-5
            expected[place] = (ends[0] - ends[1]) / 2e-5
        assert_close(gradient, expected, 1e-8)


@each_kind
@each_lengths
def test_gradients_and_their_gradients_against_differences(kind: str, lengths: list[int] | None) -> None:
    module = make(kind)
    leaves = (draw(2, T, B, 2 * H).requires_grad_(), *module.parameters())

    def run(outputs: Tensor, *_: Tensor) -> Tensor:
        pooled: Tensor = module(outputs, as_tensor(lengths))
        return pooled

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)  # along random directions


def test_by_hand() -> None:
    """One unit in each direction; the second sequence ends after one step."""
    outputs = torch.tensor([[[1.0, 5.0], [2.0, -3.0]], [[-4.0, 6.0], [7.0, 7.0]]])
    lengths = torch.tensor([2, 1])
    expected = {
        "last": [[-4, 5], [2, -3]],
        "mean": [[-1.5, 5.5], [2, -3]],
        "max": [[1, 6], [2, -3]],
    }
    for kind, values in expected.items():
        assert Pooling(kind, 1, 2)(outputs, lengths).tolist() == values
    module = Pooling("attention", 1, 2)
    with torch.no_grad():  # scores tanh(h) log(3) / tanh(1) of the first unit alone: log 3 and, with -1, -log 3
        module.weight_hidden.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        module.weight_score.copy_(torch.tensor([math.log(3) / math.tanh(1), 0.0]))
    outputs[1, 0, 0] = -1.0
    torch.testing.assert_close(module.weights(outputs, lengths), torch.tensor([[0.9, 1.0], [0.1, 0.0]]))
    torch.testing.assert_close(module(outputs, lengths), torch.tensor([[0.8, 5.1], [2.0, -3.0]]))


@each_lengths
def test_the_weights_of_attention_are_those_it_pools_with(lengths: list[int] | None) -> None:
    module, outputs = make("attention"), 2 * draw(2, T, B, 2 * H)
    weights = module.weights(outputs, as_tensor(lengths))
    for b in range(B):
        count = T if lengths is None else lengths[b]
        assert_close(weights[:count, b], np.array(shares_by_loops(parameters_of(module), outputs[:, b].numpy(), count)))
        assert (weights[count:, b] == 0).all()
    assert_close((weights[..., None] * outputs).sum(0), module(outputs, as_tensor(lengths)))


@each_kind
@pytest.mark.parametrize("garbage", [1e300, -1e300, math.inf, -math.inf, math.nan])
def test_padding_and_neighbours_change_nothing(kind: str, garbage: float) -> None:
    module, outputs, factors = make(kind), draw(2, T, B, 2 * H), draw(3, B, 2 * H)
    padded = outputs.clone()
    for b, length in enumerate(LENGTHS):
        padded[length:, b] = garbage
    padded.requires_grad_()
    pooled = module(padded, torch.tensor(LENGTHS))
    got = torch.autograd.grad(pooled, [padded, *module.parameters()], factors)
    summed = [torch.zeros_like(parameter) for parameter in module.parameters()]
    for b, length in enumerate(LENGTHS):
        alone = outputs[:length, b : b + 1].clone().requires_grad_()
        one = module(alone)
        assert_close(pooled[b : b + 1], one)
        own = torch.autograd.grad(one, [alone, *module.parameters()], factors[b : b + 1])
        assert_close(got[0][:length, b], own[0][:, 0])
        assert (got[0][length:, b] == 0).all()
        summed = [total + part for total, part in zip(summed, own[1:], strict=True)]
    for gradient, expected in zip(got[1:], summed, strict=True):
        assert_close(gradient, expected)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
@each_lengths
def test_last_is_the_state_that_a_recurrent_layer_returns(
    cell: str, bidirectional: bool, lengths: list[int] | None
) -> None:
    layer = Recurrent(cell, 2, H, 2, bidirectional=bidirectional, dtype=torch.float64)
    layer.reset_parameters(torch.Generator().manual_seed(1))
    outputs, last = layer(draw(2, T, B, 2), lengths=as_tensor(lengths))
    hidden = last if isinstance(last, Tensor) else last[0]
    pooled = Pooling("last", H, layer.num_directions)(outputs, as_tensor(lengths))
    assert_close(pooled, torch.cat(list(hidden[-layer.num_directions :]), dim=-1))


def test_large_scores_do_not_overflow() -> None:
    module, outputs = make("attention"), draw(2, T, B, 2 * H)
    with torch.no_grad():
        module.weight_score.mul_(1e6)
    weights = module.weights(outputs, torch.tensor(LENGTHS))
    assert_close(weights.sum(0), torch.ones(B))
    assert weights.amax(0).min() > 0.999


def test_initial_weights_follow_the_generator_and_stay_in_their_bound() -> None:
    module = Pooling("attention", 30, 2, generator=torch.Generator().manual_seed(1))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    assert [tuple(parameter.shape) for parameter in before] == [(60, 60), (60,)]
    assert all(0.9 * 60**-0.5 < parameter.abs().max() <= 60**-0.5 for parameter in before)
    module.reset_parameters(torch.Generator().manual_seed(2))
    assert not any(map(torch.equal, module.parameters(), before))
    module.reset_parameters(torch.Generator().manual_seed(1))
    assert all(map(torch.equal, module.parameters(), before))
    assert not any(list(Pooling(kind, 30).parameters()) for kind in ("last", "mean", "max"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sum", 3), 'pooling is "sum": choose one of last, mean, max, attention'),
        (("mean", 0), "hidden_size is 0: give a whole number of at least 1"),
        (("mean", 3, 3), "num_directions is 3: give 1 or 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Pooling(*arguments)
    assert str(error.value) == message


@each_kind
@pytest.mark.parametrize(
    ("outputs", "lengths", "message"),
    [
        (draw(1, T, B, H), None, "outputs has shape (5, 4, 3): expected (any, any, 6) for the module's hidden_size"),
        (draw(1, T, 2 * H), None, "outputs has shape (5, 6): expected (any, any, 6)"),
        (draw(1, 0, B, 2 * H), None, "outputs has shape (0, 4, 6): give at least one step and one sequence"),
        (draw(1, T, B, 2 * H), [1, 2, 3], "lengths has shape (3,): expected (4)"),
        (draw(1, T, B, 2 * H), [1, 2, 3, 0], "lengths reach from 0 to 3: each must be 1 to 5"),
        (draw(1, T, B, 2 * H), [1, 2, 3, 6], "lengths reach from 1 to 6: each must be 1 to 5"),
    ],
)
def test_what_does_not_fit_is_named(kind: str, outputs: Tensor, lengths: list[int] | None, message: str) -> None:
    with pytest.raises(ShapeError) as error:
        make(kind)(outputs, as_tensor(lengths))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("kind", ["last", "mean", "max"])
def test_only_attention_has_weights(kind: str) -> None:
    with pytest.raises(UsageError, match=rf"^pooling {kind} has no weights: take attention$"):
        make(kind).weights(draw(1, T, B, 2 * H))


@each_kind
def test_the_dtype_stays_and_it_prints(kind: str) -> None:
    module = Pooling(kind, H, 2)
    for lengths in (None, torch.tensor(LENGTHS)):
        assert module(draw(1, T, B, 2 * H).float(), lengths).dtype == torch.float32
    assert repr(module) == f"Pooling('{kind}', 3, num_directions=2)"
