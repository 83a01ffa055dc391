"""Optimizers and clipping: the native kernels, where there are some, against torch's own, and sparse gradients."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unrolled.errors import UsageError
from unrolled.training import optimizers
from unrolled.training.settings import OPTIMIZERS, TrainingSettings

SHAPES = ((23, 5), (1,), (15,), (4097,), (3, 7))
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
each_clip = pytest.mark.parametrize("clip", [0.0, 1e9, 0.5], ids=["no clip", "high clip", "clipped"])
each_native = pytest.mark.parametrize("name", optimizers.NATIVE_MAKERS)
RATE = 0.03


def parameters_of(dtype: torch.dtype) -> list[Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [Parameter(torch.randn(shape, dtype=dtype, generator=generator)) for shape in SHAPES]


def set_gradients(parameters: list[Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


def rows_gradient(parameter: Parameter, rows: list[int], seed: int) -> Tensor:
    """A sparse gradient as autograd hands it out: it does not say that it is coalesced."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(rows), parameter.shape[1], generator=generator, dtype=torch.float64).to(parameter.dtype)
    indices = torch.tensor([rows])
    return torch.sparse_coo_tensor(indices, values, parameter.shape, is_coalesced=False, check_invariants=False)


def by_torch(optimizer: Optimizer, parameters: list[Parameter], clip: float) -> float:
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)
    optimizer.step()
    return float(norm)


def by_ours(optimizer: Optimizer, clip: float) -> float:
    norm = optimizers.gradient_norm(optimizer)
    optimizers.clipped_step(optimizer, norm, clip)
    return norm


def assert_close(parameters: list[Parameter], others: list[Parameter]) -> None:
    for one, other in zip(parameters, others, strict=True):
        torch.testing.assert_close(one, other, rtol=TOLERANCE[one.dtype], atol=TOLERANCE[one.dtype])


@each_dtype
@each_clip
@each_native
def test_native_steps_are_those_of_torch(name: str, clip: float, dtype: torch.dtype) -> None:
    ours, theirs = parameters_of(dtype), parameters_of(dtype)
    mine = optimizers.make(name, ours, RATE, engine="native")
    peer = optimizers.make(name, theirs, RATE, engine="portable")
    assert isinstance(mine, optimizers.NativeSGD | optimizers.NativeAdamW)
    assert not isinstance(peer, optimizers.NativeSGD | optimizers.NativeAdamW)
    for step in range(6):
        optimizers.set_rate(mine, RATE / (1 + step))
        optimizers.set_rate(peer, RATE / (1 + step))
        set_gradients(ours, step)
        set_gradients(theirs, step)
        if step == 3:  # a parameter that has no part in the loss keeps its state
            ours[4].grad = theirs[4].grad = None
        norms = by_ours(mine, clip), by_torch(peer, theirs, clip)
        assert norms[0] == pytest.approx(norms[1], rel=10 * TOLERANCE[dtype])
        assert_close(ours, theirs)


@each_native
def test_the_gradients_are_left_as_they_were(name: str) -> None:
    parameters = parameters_of(torch.float32)
    set_gradients(parameters, 1)
    before = [copy.deepcopy(parameter.grad) for parameter in parameters]
    by_ours(optimizers.make(name, parameters, RATE), 0.5)
    for parameter, gradient in zip(parameters, before, strict=True):
        assert parameter.grad is not None
        assert gradient is not None
        assert torch.equal(parameter.grad, gradient)


@each_native
@pytest.mark.parametrize("to_native", [True, False], ids=["to native", "from native"])
def test_the_state_of_one_goes_on_in_the_other(name: str, to_native: bool) -> None:
    kinds = ("portable", "native") if to_native else ("native", "portable")
    throughout, changing = parameters_of(torch.float64), parameters_of(torch.float64)
    same = optimizers.make(name, throughout, RATE, engine=kinds[0])
    first = optimizers.make(name, changing, RATE, engine=kinds[0])
    for step in range(3):
        for parameters, optimizer in ((throughout, same), (changing, first)):
            set_gradients(parameters, step)
            by_ours(optimizer, 0.5)
    second = optimizers.make(name, changing, 123.0, engine=kinds[1])
    second.load_state_dict(first.state_dict())
    assert type(second) is not type(first)
    for step in range(3, 6):
        for parameters, optimizer in ((throughout, same), (changing, second)):
            set_gradients(parameters, step)
            by_ours(optimizer, 0.5)
    assert_close(changing, throughout)
    one, other = same.state_dict()["state"], second.state_dict()["state"]
    assert one.keys() == other.keys()
    for index, memory in one.items():
        assert memory.keys() == other[index].keys()
        for key, value in memory.items():
            assert (value.dtype, value.shape) == (other[index][key].dtype, other[index][key].shape)
    assert (name == "sgd") == (not any(one.values()))


@each_dtype
@each_clip
@pytest.mark.parametrize("rows", [[2, 7, 8, 22], [], [8, 2, 8, 22, 2]], ids=["ascending", "none", "repeated"])
@pytest.mark.parametrize("engine", ["portable", "native"])
def test_sparse_gradients_do_what_dense_ones_do(engine: str, rows: list[int], clip: float, dtype: torch.dtype) -> None:
    sparse, dense = parameters_of(dtype), parameters_of(dtype)
    optimizer = optimizers.make("sgd", sparse, RATE, engine=engine)
    peer = torch.optim.SGD(dense, RATE)
    for step in range(3):
        set_gradients(sparse, step)
        set_gradients(dense, step)
        gradient = rows_gradient(sparse[0], rows, step)
        sparse[0].grad, dense[0].grad = gradient, gradient.to_dense()
        norms = by_ours(optimizer, clip), by_torch(peer, dense, clip)
        assert norms[0] == pytest.approx(norms[1], rel=10 * TOLERANCE[dtype])
        assert sparse[0].grad.is_sparse
        assert_close(sparse, dense)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_where_all_rows_move_a_sparse_gradient_counts_as_a_dense_one(name: str) -> None:
    sparse, dense = parameters_of(torch.float64), parameters_of(torch.float64)
    optimizer, peer = (optimizers.make(name, parameters, RATE, engine="native") for parameters in (sparse, dense))
    for step, rows in enumerate(([1, 5], [2, 5, 9])):
        set_gradients(sparse, step)
        set_gradients(dense, step)
        gradient = rows_gradient(sparse[0], rows, step)
        sparse[0].grad, dense[0].grad = gradient, gradient.to_dense()
        by_ours(optimizer, 0.5)
        by_ours(peer, 0.5)
    assert_close(sparse, dense)


@each_dtype
@each_clip
@pytest.mark.parametrize("betas", [(0.0, 0.999), (0.9, 0.99)])
def test_a_lazy_adamw_leaves_rows_without_a_gradient_alone(
    betas: tuple[float, float], clip: float, dtype: torch.dtype
) -> None:
    """Dense gradients or rows of them, native or torch's own: all the same, and of each row AdamW by itself."""
    all_ = [parameters_of(dtype) for _ in range(3)]
    engines = ("native", "native", "portable")
    made = [
        optimizers.make("adamw", parameters, RATE, betas=betas, lazy=True, engine=engine)
        for parameters, engine in zip(all_, engines, strict=True)
    ]
    plain = parameters_of(dtype)
    peer = optimizers.make("adamw", plain, RATE, betas=betas, engine="portable")
    for step, rows in enumerate(([1, 5], [2, 5, 9], list(range(23)), [8, 2, 8])):
        before = all_[0][0].detach().clone()
        for parameters in (*all_, plain):
            set_gradients(parameters, step)
            gradient = rows_gradient(parameters[0], rows, step)
            parameters[0].grad = gradient if parameters is all_[0] else gradient.to_dense()
        for optimizer in (*made, peer):
            by_ours(optimizer, clip)
        for others in all_[1:]:
            for one, other in zip(
                all_[0], others, strict=True
            ):  # without a mean a step is as long as its root is short
                torch.testing.assert_close(one, other, rtol=5 * TOLERANCE[dtype], atol=5 * TOLERANCE[dtype])
        left = [row for row in range(23) if row not in rows]
        assert torch.equal(all_[0][0][left], before[left])
        assert not (all_[0][0][rows] == before[rows]).any()
        if step == 0:
            torch.testing.assert_close(all_[0][0][rows], plain[0][rows])
            assert not torch.equal(plain[0][left], before[left]), "weights decay where nothing is lazy"


def test_engine_and_parameters_decide_who_updates() -> None:
    kinds = optimizers.NativeSGD | optimizers.NativeAdamW
    for name in OPTIMIZERS:
        for engine in ("auto", "native"):
            made = optimizers.make(name, parameters_of(torch.float32), RATE, engine=engine)
            assert isinstance(made, kinds) == (name in optimizers.NATIVE_MAKERS)
        assert not isinstance(optimizers.make(name, parameters_of(torch.float32), RATE, engine="portable"), kinds)
    halves = [Parameter(torch.ones(3, dtype=torch.bfloat16))]
    assert not isinstance(optimizers.make("sgd", halves, RATE), kinds)


@pytest.mark.parametrize(
    ("name", "option"), [("sgd", "weight_decay"), ("momentum", "nesterov"), ("adamw", "amsgrad"), ("sgd", "maximize")]
)
def test_what_the_kernels_do_not_do_is_refused(name: str, option: str) -> None:
    parameters = parameters_of(torch.float32)
    set_gradients(parameters, 1)
    optimizer = optimizers.make(name, parameters, RATE, engine="native")
    optimizer.param_groups[0][option] = True
    with pytest.raises(UsageError, match=rf"^{option} is True: the native kernels do without it"):
        optimizer.step()


@pytest.mark.parametrize("engine", ["portable", "native"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_closure_is_evaluated_with_gradients(name: str, engine: str) -> None:
    parameter = Parameter(torch.tensor([2.0, -1.0]))
    optimizer: Any = optimizers.make(name, [parameter], RATE, engine=engine)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        torch.autograd.backward(loss)
        return loss

    assert optimizer.step(closure).item() == 5.0
    assert parameter[0] < 2.0
    assert parameter[1] > -1.0


def test_sparse_gradients_are_for_optimizers_that_gain_by_them() -> None:
    assert {name for name in OPTIMIZERS if optimizers.takes_sparse_gradients(name)} == {"sgd", "adamw"}
    assert [name for name in OPTIMIZERS if optimizers.takes_sparse_gradients(name, "portable")] == ["sgd"]


def test_no_gradient_at_all_has_norm_zero() -> None:
    optimizer = optimizers.make("sgd", parameters_of(torch.float32), RATE)
    assert by_ours(optimizer, 1.0) == 0.0


# Weight decay, and limits of elements


@pytest.mark.parametrize("engine", ["portable", "native"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_shrinks_what_adamw_updates_and_nothing_else(name: str, engine: str) -> None:
    """With gradients of zero, decay is all that happens."""
    for decay in (0.0, 0.25):
        parameters, before = parameters_of(torch.float64), parameters_of(torch.float64)
        optimizer = optimizers.make(name, parameters, RATE, weight_decay=decay, engine=engine)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        by_ours(optimizer, 1.0)
        factor = 1 - RATE * decay if name == "adamw" else 1.0
        assert_close(parameters, [Parameter(factor * parameter.detach()) for parameter in before])


def test_weight_decay_is_a_hundredth_unless_it_is_given() -> None:
    for engine in ("portable", "native"):
        made = optimizers.make("adamw", parameters_of(torch.float32), RATE, engine=engine)
        assert made.param_groups[0]["weight_decay"] == TrainingSettings().weight_decay == 0.01


@each_dtype
@pytest.mark.parametrize("rows", [[2, 7, 8, 22], [], [8, 2, 8, 22, 2]], ids=["ascending", "none", "repeated"])
@pytest.mark.parametrize("engine", ["portable", "native"])
def test_each_element_is_clamped_in_place(engine: str, rows: list[int], dtype: torch.dtype) -> None:
    """A row that occurs twice is one row, its sum clamped."""
    parameters, limit = parameters_of(dtype), 0.4
    optimizer = optimizers.make("sgd", parameters, RATE, engine=engine)
    set_gradients(parameters, 1)
    parameters[0].grad, parameters[4].grad = rows_gradient(parameters[0], rows, 1), None
    before = [None if p.grad is None else p.grad.to_dense().clone() for p in parameters]
    norm = optimizers.gradient_norm(optimizer)
    optimizers.clip_values(optimizer, limit)
    for parameter, gradient in zip(parameters, before, strict=True):
        if gradient is None:
            assert parameter.grad is None
            continue
        assert parameter.grad is not None
        assert torch.equal(parameter.grad.to_dense(), gradient.clamp(-limit, limit))
    assert parameters[0].grad.is_sparse
    assert optimizers.gradient_norm(optimizer) < norm
