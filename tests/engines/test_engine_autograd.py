"""Engines under torch's autograd: gradients of both orders, and what torch users may rely on."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled import cells
from unrolled.engines import Masks, autograd
from unrolled.engines.portable import Portable

T, B, H = 3, 2, 2
CELLS = cells.names()
each_cell = pytest.mark.parametrize("name", CELLS)
PLAIN: dict[str, Any] = {}
LENGTHS: dict[str, Any] = {"lengths": torch.tensor([2, 3])}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masked(name: str) -> dict[str, Any]:
    zoneout = tuple(draw(20 + i, T, B, H).sigmoid() for i, _ in enumerate(cells.get(name).state))
    return LENGTHS | {"reverse": True, "masks": Masks(recurrent=draw(30, B, H).exp(), zoneout=zoneout)}


def operands(name: str, bias: bool = True) -> list[Any]:
    """x, weight, bias and the parts of the state, all leaves that want gradients."""
    cell = cells.get(name)
    rows = len(cell.gates) * H
    state = [draw(4 + i, B, H) for i, _ in enumerate(cell.state)]
    return leaves(draw(1, T, B, rows), draw(2, rows, H), draw(3, rows) if bias else None, *state)


def leaves(*given: Tensor | None) -> list[Any]:
    return [None if o is None else o.requires_grad_() for o in given]


def flat_unroll(name: str, options: dict[str, Any]) -> Callable[..., tuple[Tensor, ...]]:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor) -> tuple[Tensor, ...]:
        outputs, last = autograd.unroll(Portable(), cells.get(name), x, weight, bias, state, **options)
        return outputs, *last

    return run


def flat_step(name: str) -> Callable[..., tuple[Tensor, ...]]:
    def run(x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor) -> tuple[Tensor, ...]:
        return autograd.step(Portable(), cells.get(name), x[0], weight, bias, state)

    return run


def project(embedding: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return autograd.project_tokens(Portable(), torch.tensor([[1, 0], [3, 1]]), embedding, weight, bias)


def cross_entropy(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return autograd.linear_cross_entropy(Portable(), inputs, weight, bias, torch.tensor([2, 0, 2]))


@each_cell
@pytest.mark.parametrize("options", ["plain", "no_bias", "lengths", "masked"])
def test_unroll_first_and_second_derivatives(name: str, options: str) -> None:
    chosen = {"lengths": LENGTHS, "masked": masked(name)}.get(options, PLAIN)
    run, given = flat_unroll(name, chosen), operands(name, options != "no_bias")
    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)


@each_cell
def test_step_first_and_second_derivatives(name: str) -> None:
    assert torch.autograd.gradcheck(flat_step(name), operands(name))
    assert torch.autograd.gradgradcheck(flat_step(name), operands(name), fast_mode=True)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("vocabulary_size", [4, 6])
def test_project_tokens_first_and_second_derivatives(vocabulary_size: int, bias: bool) -> None:
    given = leaves(draw(1, vocabulary_size, 3), draw(2, 5, 3), draw(3, 5) if bias else None)
    assert torch.autograd.gradcheck(project, given)
    assert torch.autograd.gradgradcheck(project, given, fast_mode=True)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_linear_cross_entropy_first_and_second_derivatives(bias: bool) -> None:
    given = leaves(draw(1, 3, 2), draw(2, 4, 2), draw(3, 4) if bias else None)
    assert torch.autograd.gradcheck(cross_entropy, given)
    assert torch.autograd.gradgradcheck(cross_entropy, given, fast_mode=True)


@each_cell
def test_a_graph_of_the_gradient_does_not_change_it_even_where_operands_hang_together(name: str) -> None:
    """The second chunk's state was computed with the weights that it meets again."""
    run, (x, weight, bias, *state) = flat_unroll(name, PLAIN), operands(name)

    def gradients(create_graph: bool) -> tuple[Tensor, ...]:
        _, *carried = run(x, weight, bias, *state)
        outputs, *_ = run(x, weight, bias, *carried)
        return torch.autograd.grad(outputs.square().sum(), (x, weight, bias, *state), create_graph=create_graph)

    for plain, recorded in zip(gradients(False), gradients(True), strict=True):
        assert recorded.requires_grad
        assert not plain.requires_grad
        torch.testing.assert_close(recorded.detach(), plain, rtol=1e-12, atol=1e-13)


@each_cell
def test_only_what_asks_for_a_gradient_gets_one(name: str) -> None:
    given = operands(name)
    every = torch.autograd.grad(flat_unroll(name, LENGTHS)(*given)[0].sum(), given)
    for index, wanted in enumerate(every):
        some = [o.detach().requires_grad_(i == index) for i, o in enumerate(given)]
        torch.autograd.backward(flat_unroll(name, LENGTHS)(*some)[0].sum())
        assert [o.grad is not None for o in some] == [i == index for i in range(len(some))]
        torch.testing.assert_close(some[index].grad, wanted, rtol=0, atol=0)


def test_a_result_that_is_not_used_has_no_gradient_to_send_back() -> None:
    given = operands("lstm")
    _, _, last_c = flat_unroll("lstm", PLAIN)(*given)
    x = torch.autograd.grad(last_c.sum(), given[0])[0]
    assert x.abs().sum() > 0
    assert not x[-1, :, 3 * H :].any()  # the last output gate has no part in the last c


class Watching(Portable):
    """The portable engine, which notes whether a tape was asked for and watches the arrays on it die."""

    def __init__(self) -> None:
        self.kept: list[bool] = []
        self.arrays: list[weakref.ref[Tensor]] = []

    def unroll(self, *operands: Any, keep: bool = True, **options: Any) -> Any:
        done = super().unroll(*operands, keep=keep, **options)
        self._watch(keep, done.tape)
        return done

    def step(self, *operands: Any, keep: bool = True) -> Any:
        state, tape = super().step(*operands, keep=keep)
        self._watch(keep, tape)
        return state, tape

    def project_tokens(self, *operands: Any, keep: bool = True) -> Any:
        x, tape = super().project_tokens(*operands, keep=keep)
        self._watch(keep, tape)
        return x, tape

    def linear_cross_entropy(self, *operands: Any, keep: bool = True) -> Any:
        losses, tape = super().linear_cross_entropy(*operands, keep=keep)
        self._watch(keep, tape)
        return losses, tape

    def _watch(self, keep: bool, tape: Any) -> None:
        self.kept.append(keep)
        self.arrays += [weakref.ref(tensor) for tensor in tensors_in(tape) if not tensor.requires_grad]


def tensors_in(tape: Any) -> Iterator[Tensor]:
    if isinstance(tape, Tensor):
        yield tape
    elif isinstance(tape, tuple | list):
        for part in tape:
            yield from tensors_in(part)


def run_all(engine: Portable) -> list[Tensor]:
    """Results of all four operations, on operands that want gradients."""
    cell = cells.get("gru_reset_before")
    x, weight, bias, state = operands(cell.name)
    outputs, _ = autograd.unroll(engine, cell, x, weight, bias, [state])
    (last,) = autograd.step(engine, cell, x[0], weight, bias, [state])
    ids = torch.tensor([[1, 0], [3, 1]])
    projected = autograd.project_tokens(engine, ids, draw(1, 4, 3).requires_grad_(), draw(2, 5, 3), None)
    losses = autograd.linear_cross_entropy(engine, outputs[0], draw(3, 4, H), draw(4, 4), torch.tensor([1, 3]))
    return [outputs, last, projected, losses]


def test_no_graph_and_no_tape_where_nobody_asks_for_gradients() -> None:
    engine = Watching()
    with torch.no_grad():
        results = run_all(engine)
    assert not any(result.requires_grad for result in results)
    assert engine.kept == [False] * 4
    assert engine.arrays == []
    with torch.inference_mode():
        run_all(engine)
    x, weight, bias, *state = (o.detach() for o in operands("lstm"))
    autograd.unroll(engine, cells.get("lstm"), x, weight, bias, state)
    assert engine.kept == [False] * 9
    assert all(result.requires_grad for result in run_all(engine))
    assert engine.kept[9:] == [True] * 4


def test_tapes_die_with_the_graph_without_the_garbage_collector() -> None:
    engine = Watching()
    gc.collect()
    gc.disable()
    try:
        results = run_all(engine)
        assert all(array() is not None for array in engine.arrays)
        assert len(engine.arrays) > 20
        dying = [weakref.ref(result) for result in results]
        torch.autograd.backward([result.sum() for result in results])
        del results
        alive = [array for array in engine.arrays if array() is not None]
        assert not alive
        assert not any(result() is not None for result in dying)
        del alive
        results = run_all(engine)  # and without a backward pass
        del results
        assert not any(array() is not None for array in engine.arrays)
    finally:
        gc.enable()


def test_the_graph_serves_twice_if_retained_and_then_no_more() -> None:
    given = operands("lstm")
    loss = flat_unroll("lstm", LENGTHS)(*given)[0].square().sum()
    first = torch.autograd.grad(loss, given, retain_graph=True)
    second = torch.autograd.grad(loss, given)
    for one, two in zip(first, second, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, given)


@pytest.mark.parametrize("index", range(5), ids=["x", "weight", "bias", "h", "c"])
def test_an_operand_of_unroll_changed_before_the_backward_pass_is_noticed(index: int) -> None:
    given = [o * 1 for o in operands("lstm")]
    loss = flat_unroll("lstm", PLAIN)(*given)[0].sum()
    with torch.no_grad():
        given[index].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("operation", ["project_tokens", "linear_cross_entropy"])
@pytest.mark.parametrize("index", range(4))
def test_an_operand_of_the_other_operations_changed_before_the_backward_pass_is_noticed(
    operation: str, index: int
) -> None:
    given = [o * 1 for o in leaves(draw(1, 4, 3), draw(2, 4, 3), draw(3, 4))]
    ids = torch.tensor([[1, 0], [3, 1]])
    if operation == "project_tokens":
        given.insert(0, ids)
    else:
        given.append(ids.flatten())
    loss = getattr(autograd, operation)(Portable(), *given).sum()
    with torch.no_grad():
        given[index].mul_(0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "behind autograd's back"])
@pytest.mark.parametrize("index", range(4), ids=["unroll", "step", "project_tokens", "linear_cross_entropy"])
def test_a_result_changed_before_the_backward_pass_is_noticed(index: int, recorded: bool) -> None:
    result = run_all(Portable())[index]
    with torch.set_grad_enabled(recorded):
        changed = result.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(changed.sum())


def test_a_last_state_changed_before_the_backward_pass_is_noticed() -> None:
    outputs, h, c = flat_unroll("lstm", PLAIN)(*operands("lstm"))
    for part in (h, c):
        with torch.no_grad():
            part.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.backward(outputs.sum(), retain_graph=True)


class Handing(Portable):
    """The portable engine, which remembers where the gradients lie that it hands out."""

    def __init__(self) -> None:
        self.places: set[int] = set()

    def _note(self, *gradients: Any) -> None:
        self.places |= {gradient.data_ptr() for gradient in gradients}

    def unroll_backward(self, tape: Any, d_outputs: Any, d_state: Any) -> Any:
        gradients = super().unroll_backward(tape, d_outputs, d_state)
        self._note(gradients.weight_hh, gradients.bias_hh)
        return gradients

    def project_tokens_backward(self, tape: Any, d_x: Any, *, sparse: bool = False) -> Any:
        gradients = super().project_tokens_backward(tape, d_x, sparse=sparse)
        self._note(gradients.inputs.values if sparse else gradients.inputs, gradients.weight, gradients.bias)
        return gradients

    def linear_cross_entropy_backward(self, tape: Any, d_losses: Any) -> Any:
        gradients = super().linear_cross_entropy_backward(tape, d_losses)
        self._note(gradients.weight, gradients.bias)
        return gradients


@pytest.mark.parametrize("sparse", [True, False])
def test_gradients_of_parameters_are_not_copied(sparse: bool) -> None:
    engine, cell = Handing(), cells.get("lstm")
    shapes = {
        "embedding": (9, 3),
        "w": (4 * H, 3),
        "b": (4 * H,),
        "r": (4 * H, H),
        "c": (4 * H,),
        "v": (9, H),
        "d": (9,),
    }
    p = {name: torch.nn.Parameter(draw(i, *shape)) for i, (name, shape) in enumerate(shapes.items())}
    ids, zeros = torch.tensor([[1, 0], [3, 1]]), torch.zeros(2, H, dtype=torch.float64)
    x = autograd.project_tokens(engine, ids, p["embedding"], p["w"], p["b"], sparse_gradient=sparse)
    outputs, _ = autograd.unroll(engine, cell, x, p["r"], p["c"], (zeros, zeros))
    losses = autograd.linear_cross_entropy(engine, outputs.flatten(0, 1), p["v"], p["d"], torch.tensor([2, 8, 0, 1]))
    torch.autograd.backward(losses.sum())
    taken = [parameter.grad for parameter in p.values()]
    assert {grad._values().data_ptr() if grad.is_sparse else grad.data_ptr() for grad in taken if grad is not None} == (
        engine.places
    )
    assert len(engine.places) == len(p) == 7


# Sparse gradients of the embedding


@pytest.mark.parametrize("vocabulary_size", [4, 9])
def test_a_sparse_gradient_has_the_rows_that_occur_and_is_otherwise_the_dense_one(vocabulary_size: int) -> None:
    ids = torch.tensor([[3, 0, 3], [2, 3, 0]])
    embedding, weight, bias = leaves(draw(1, vocabulary_size, 3), draw(2, 5, 3), draw(3, 5))
    d_x = draw(4, 2, 3, 5)

    def gradients(sparse: bool) -> tuple[Tensor, ...]:
        x = autograd.project_tokens(Portable(), ids, embedding, weight, bias, sparse_gradient=sparse)
        return torch.autograd.grad(x, (embedding, weight, bias), d_x)

    (rows, *others), (dense, *expected) = gradients(True), gradients(False)
    assert rows.is_sparse
    assert rows.is_coalesced()
    assert rows.shape == dense.shape
    assert rows.indices().tolist() == [[0, 2, 3]]
    torch.testing.assert_close(rows.to_dense(), dense, rtol=1e-13, atol=1e-14)
    for one, other in zip(others, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_graph_of_a_sparse_gradient_is_that_of_the_dense_one() -> None:
    embedding, weight = leaves(draw(1, 9, 3), draw(2, 5, 3))
    ids = torch.tensor([[3, 0, 3]])

    def second(sparse: bool) -> Tensor:
        x = autograd.project_tokens(Portable(), ids, embedding, weight, None, sparse_gradient=sparse)
        (first,) = torch.autograd.grad(x.square().sum(), embedding, create_graph=True)
        (d_weight,) = torch.autograd.grad(first.square().sum(), weight)
        assert isinstance(d_weight, Tensor)
        return d_weight

    assert second(True).norm() > 0
    torch.testing.assert_close(second(True), second(False), rtol=0, atol=0)
