"""Attention against loops in NumPy written from the equations, and what must not change it."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from unrolled import nn as unrolled_nn
from unrolled.errors import ShapeError, UsageError
from unrolled.nn import Attention
from unrolled.nn.attention import KINDS, find_padding

Doubles = npt.NDArray[np.float64]
T, S, B, Q = 3, 5, 4, 3
LENGTHS = [5, 1, 3, 4]
EXACT = 1e-12
"""Norm-wise relative, float64: sums in another order."""
each_kind = pytest.mark.parametrize("kind", KINDS)
each_lengths = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])


def key_size(kind: str) -> int:
    return Q if kind == "dot" else 2


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(kind: str, seed: int = 1) -> Attention:
    return Attention(kind, Q, key_size(kind), generator=torch.Generator().manual_seed(seed)).double()


def operands(kind: str, steps: int = T) -> tuple[Tensor, Tensor]:
    return 2 * draw(2, steps, B, Q), 2 * draw(3, S, B, key_size(kind))


def attend(module: Attention, query: Tensor, memory: Tensor, lengths: list[int] | None) -> tuple[Tensor, Tensor]:
    given = None if lengths is None else torch.tensor(lengths)
    context, weights = module(query, module.project(memory), memory, given)
    return context, weights


def by_loops(
    kind: str, weights: dict[str, Doubles], query: Doubles, memory: Doubles, lengths: list[int] | None
) -> tuple[Doubles, Doubles]:
    """One target step, one sentence and one source step after another."""
    context = np.zeros((len(query), B, memory.shape[2]))
    shares = np.zeros((len(query), B, S))
    for t in range(len(query)):
        for b in range(B):
            count = S if lengths is None else lengths[b]
            exponentials = []
            for s in range(count):
                q, m = query[t, b], memory[s, b]
                if kind == "additive":
                    inner = [
                        math.tanh(weights["weight_query"][a] @ q + weights["weight_key"][a] @ m) for a in range(len(q))
                    ]
                    score = sum(v * x for v, x in zip(weights["weight_score"], inner, strict=True))
                elif kind == "dot":
                    score = sum(x * y for x, y in zip(q, m, strict=True))
                else:
                    w = weights["weight_key"]
                    score = sum(q[i] * w[i, j] * m[j] for i in range(len(q)) for j in range(len(m)))
                exponentials.append(math.exp(score))
            for s in range(count):
                shares[t, b, s] = exponentials[s] / sum(exponentials)
                context[t, b] += shares[t, b, s] * memory[s, b]
    return context, shares


def loss_by_loops(kind: str, leaves: dict[str, Doubles], lengths: list[int] | None) -> float:
    context, shares = by_loops(kind, leaves, leaves["query"], leaves["memory"], lengths)
    weight_context, weight_shares = (draw(4 + i, *each.shape).numpy() for i, each in enumerate((context, shares)))
    return float((context * weight_context).sum() + (shares * weight_shares).sum())


def assert_close(got: Tensor | Doubles, expected: Tensor | Doubles, tolerance: float = EXACT) -> None:
    got, expected = (np.asarray(each.detach() if isinstance(each, Tensor) else each) for each in (got, expected))
    assert got.shape == expected.shape
    norm = np.linalg.norm(expected)
    assert norm > 0, "zero throughout: the comparison would say nothing"
    assert np.linalg.norm(got - expected) / norm <= tolerance


def parameters_of(module: Attention) -> dict[str, Doubles]:
    return {name: parameter.detach().numpy().copy() for name, parameter in module.named_parameters()}


@each_kind
@each_lengths
@pytest.mark.parametrize("steps", [1, T])
def test_values_against_loops(kind: str, lengths: list[int] | None, steps: int) -> None:
    module, (query, memory) = make(kind), operands(kind, steps)
    context, weights = attend(module, query, memory, lengths)
    expected = by_loops(kind, parameters_of(module), query.numpy(), memory.numpy(), lengths)
    assert_close(context, expected[0])
    assert_close(weights, expected[1])
    assert_close(weights.sum(-1), torch.ones(steps, B))
    if lengths is not None:
        assert all((weights[:, b, length:] == 0).all() for b, length in enumerate(lengths))


@each_kind
@each_lengths
def test_gradients_against_differences_of_the_loops(kind: str, lengths: list[int] | None) -> None:
    module, (query, memory) = make(kind), operands(kind)
    leaves = parameters_of(module) | {"query": query.numpy().copy(), "memory": memory.numpy().copy()}
    query.requires_grad_()
    memory.requires_grad_()
    context, weights = attend(module, query, memory, lengths)
    loss = (context * draw(4, *context.shape)).sum() + (weights * draw(5, *weights.shape)).sum()
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(loss_by_loops(kind, leaves, lengths), rel=1e-12)
    got = {name: parameter.grad for name, parameter in module.named_parameters()}
    for name, gradient in (got | {"query": query.grad, "memory": memory.grad}).items():
        assert gradient is not None
        expected = np.zeros_like(leaves[name])
        for place in np.ndindex(expected.shape):
            ends = []
            for change in (1e-5, -2e-5):
                leaves[name][place] += change
                ends.append(loss_by_loops(kind, leaves, lengths))
            leaves[name][place] += 1e-5
            expected[place] = (ends[0] - ends[1]) / 2e-5
        assert_close(gradient, expected, 1e-8)


@each_kind
@pytest.mark.parametrize("lengths", [pytest.param(None, marks=pytest.mark.slow), LENGTHS], ids=["full", "padded"])
def test_gradients_and_their_gradients_against_differences(kind: str, lengths: list[int] | None) -> None:
    module, (query, memory) = make(kind), operands(kind)
    leaves = (query.requires_grad_(), memory.requires_grad_(), *module.parameters())

    def run(query: Tensor, memory: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return attend(module, query, memory, lengths)

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=lengths is not None)  # along random directions


def test_dot_by_hand() -> None:
    """Scores 0 and log 3 make shares 1/4 and 3/4; the third source step is padding."""
    memory = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[9.0, 9.0]]], dtype=torch.float64)
    query = torch.tensor([[[0.0, math.log(3)]]], dtype=torch.float64)
    module = Attention("dot", 2, 2)
    context, weights = module(query, module.project(memory), memory, torch.tensor([2]))
    torch.testing.assert_close(weights, torch.tensor([[[0.25, 0.75, 0.0]]], dtype=torch.float64))
    torch.testing.assert_close(context, torch.tensor([[[0.25, 0.75]]], dtype=torch.float64))


@each_kind
def test_step_after_step_is_all_at_once(kind: str) -> None:
    module, (query, memory) = make(kind), operands(kind)
    together = attend(module, query, memory, LENGTHS)
    for t in range(T):
        for whole, one in zip(together, attend(module, query[t : t + 1], memory, LENGTHS), strict=True):
            assert_close(one[0], whole[t])


@each_kind
@pytest.mark.parametrize("garbage", [1e6, -1e6, 1e300])
def test_padding_and_neighbours_change_nothing(kind: str, garbage: float) -> None:
    module, (query, memory) = make(kind), operands(kind)
    padded = memory.clone()
    for b, length in enumerate(LENGTHS):
        padded[length:, b] = garbage
    padded.requires_grad_()
    context, weights = attend(module, query, padded, LENGTHS)
    factors = draw(4, *context.shape), draw(5, *weights.shape)
    leaves = [padded, *module.parameters()]
    got = torch.autograd.grad((context, weights), leaves, factors)
    summed = [torch.zeros_like(parameter) for parameter in module.parameters()]
    for b, length in enumerate(LENGTHS):
        alone = memory[:length, b : b + 1].clone().requires_grad_()
        one = module(query[:, b : b + 1], module.project(alone), alone)
        assert_close(context[:, b], one[0][:, 0])
        assert_close(weights[:, b, :length], one[1][:, 0])
        own = torch.autograd.grad(
            one, [alone, *module.parameters()], [f[:, b : b + 1, : one[i].shape[2]] for i, f in enumerate(factors)]
        )
        assert_close(got[0][:length, b], own[0][:, 0])
        assert not got[0][length:, b].any()
        summed = [total + part for total, part in zip(summed, own[1:], strict=True)]
    for gradient, expected in zip(got[1:], summed, strict=True):
        assert_close(gradient, expected)


@each_kind
def test_large_scores_do_not_overflow(kind: str) -> None:
    module, (query, memory) = make(kind), operands(kind)
    if kind == "additive":  # whose large numbers can come from v alone
        with torch.no_grad():
            module.weight_score.mul_(1e6)
    else:
        query, memory = 1e4 * query, 1e4 * memory
    query.requires_grad_()
    context, weights = attend(module, query, memory, LENGTHS)
    assert_close(weights.sum(-1), torch.ones(T, B))
    assert weights[:, 0].amax(-1).min() > 0.999
    assert all((weights[:, b, length:] == 0).all() for b, length in enumerate(LENGTHS))
    (gradient,) = torch.autograd.grad(context.sum(), query)
    assert gradient.isfinite().all()


@each_kind
def test_no_kind_keeps_memory_for_each_pair_of_steps_and_hidden_unit(kind: str) -> None:
    """What autograd keeps, in numbers, beside operands and parameters."""
    steps, sources, size = 20, 30, 32
    module = Attention(kind, size, size, generator=torch.Generator().manual_seed(1))
    query, memory = torch.randn(steps, B, size), torch.randn(sources, B, size)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        module(query.requires_grad_(), module.project(memory.requires_grad_()), memory, torch.tensor([30, 2, 7, 1]))
    small = B * size * (steps + 2 * sources) + 4 * steps * B * sources + 3 * size * size
    assert steps * sources * B * size > 2 * small
    assert sum(kept.values()) <= small


def test_additive_in_parts_is_additive_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    query, memory = (each.requires_grad_() for each in operands("additive"))
    module = make("additive")

    def found() -> list[Tensor]:
        context, _ = attend(module, query, memory, LENGTHS)
        return [context, *torch.autograd.grad(context.square().sum(), [query, memory, *module.parameters()])]

    whole = found()
    for at_once in (1, 2 * memory.shape[0] * B * Q):  # a step at a time, and two of three
        monkeypatch.setattr("unrolled.nn.attention._AT_ONCE", at_once)
        for one, other in zip(found(), whole, strict=True):
            assert_close(one, other)


@each_kind
def test_initial_weights_follow_the_generator_and_stay_in_their_bound(kind: str) -> None:
    module = Attention(kind, 40, 40 if kind == "dot" else 90, generator=torch.Generator().manual_seed(1))
    bounds = {"weight_query": 40, "weight_key": 90, "weight_score": 40}
    expected = {"additive": set(bounds), "dot": set(), "general": {"weight_key"}}[kind]
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    assert set(before) == expected
    for name, parameter in before.items():
        assert 0.9 * bounds[name] ** -0.5 < parameter.abs().max() <= bounds[name] ** -0.5
        assert abs(parameter.mean()) < 4 * (bounds[name] * 3 * parameter.numel()) ** -0.5
    module.reset_parameters(torch.Generator().manual_seed(2))
    assert not any(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())
    module.reset_parameters(torch.Generator().manual_seed(1))
    assert all(torch.equal(parameter, before[name]) for name, parameter in module.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bilinear", 3, 3), 'attention is "bilinear": choose one of additive, dot, general'),
        (("dot", 3, 4), "attention dot has query_size 3 and key_size 4: make them equal or take general"),
        (("general", 0, 4), "query_size is 0: give a whole number of at least 1"),
        (("additive", 3, -1), "key_size is -1: give a whole number of at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        Attention(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query": draw(1, T, B, 4)}, "query has shape (3, 4, 4): expected (any, 4, 3) for the memory and the module"),
        ({"query": draw(1, T, 1, Q)}, "query has shape (3, 1, 3): expected (any, 4, 3)"),
        ({"keys": draw(1, S, B, 2)}, "keys has shape (5, 4, 2): expected (5, 4, 3)"),
        ({"keys": draw(1, S + 1, B, Q)}, "keys has shape (6, 4, 3): expected (5, 4, 3)"),
        ({"memory": draw(1, S, B, Q)}, "memory has shape (5, 4, 3): expected (any, any, 2) for the module's key_size"),
        ({"memory": draw(1, 0, B, 2)}, "memory has shape (0, 4, 2): give at least one step and one sequence"),
        ({"lengths": torch.tensor([1, 2, 3])}, "lengths has shape (3,): expected (4)"),
        ({"lengths": torch.tensor([1, 2, 3, 0])}, "lengths reach from 0 to 3: each must be 1 to 5"),
        ({"lengths": torch.tensor([1, 2, 3, 6])}, "lengths reach from 1 to 6: each must be 1 to 5"),
        ({"lengths": torch.ones(4)}, "lengths have dtype torch.float32: expected integers"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Tensor], message: str) -> None:
    fitting = {"query": draw(1, T, B, Q), "keys": draw(1, S, B, Q), "memory": draw(1, S, B, 2)}
    module = make("general")
    module(**fitting)
    with pytest.raises(ShapeError) as error:
        module(**fitting | changed)
    assert str(error.value).startswith(message)


def test_padding_is_what_comes_after_the_end() -> None:
    got = find_padding(torch.tensor([2, 3, 1], dtype=torch.int32), 3, 3, torch.device("cpu"))
    assert got.tolist() == [[False, False, True], [False, False, False], [False, True, True]]


@each_kind
def test_dtype_copies_and_printing(kind: str) -> None:
    module = Attention(kind, Q, key_size(kind), generator=torch.Generator().manual_seed(1))
    query, memory = operands(kind)
    double = attend(make(kind), query, memory, LENGTHS)
    for got, expected in zip(attend(module, query.float(), memory.float(), LENGTHS), double, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
    other = make(kind, seed=7)
    other.load_state_dict(module.state_dict())
    assert_close(attend(other, query, memory, LENGTHS)[0], double[0], 1e-6)
    assert repr(module) == f"Attention('{kind}', {Q}, {key_size(kind)})"
    assert {"Attention", "Pooling"} <= set(unrolled_nn.__all__)
