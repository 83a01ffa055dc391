"""What is particular to the native engine: sizes that are cut, threads, memory, and what it refuses."""

import gc
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells, engines
from unrolled.engines import Engine
from unrolled.errors import ShapeError

from ...contracts.contract_cases import TOLERANCE, Setting, assert_agrees, by_engine, convert, make_case, with_lengths


@pytest.fixture(scope="module")
def native() -> Engine:
    return engines.get("native")  # an error where it is not built: `make` builds it


def draw(seed: int, *shape: int, dtype: str = "float64") -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


SIZES = [(3, 50, 100), (2, 130, 70), (4, 7, 300), (2, 1, 520), (3, 97, 16)]  # T, B, H: past one chunk, slab, strip


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", cells.names())
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_unroll_of_sizes_that_are_cut(native: Engine, name: str, sizes: tuple[int, int, int], dtype: str) -> None:
    setting = Setting(cells.get(name), *sizes)
    case = make_case(setting)
    assert_agrees(by_engine(native, setting, case, "numpy", dtype), case.expected, "numpy", dtype)


@pytest.mark.parametrize("order", ["longest first", "shortest first", "mixed"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", cells.names())
@pytest.mark.parametrize(("batch", "size"), [(4, 300), (130, 20)])
def test_lengths_in_any_order(native: Engine, name: str, batch: int, size: int, reverse: bool, order: str) -> None:
    lengths = np.sort(np.random.default_rng(3).integers(1, 7, batch))
    lengths[-1] = 6
    lengths = {"longest first": lengths[::-1].copy(), "shortest first": lengths}.get(
        order, np.random.default_rng(4).permutation(lengths)
    )
    setting = Setting(cells.get(name), 6, batch, size, unequal=True, reverse=reverse)
    case = with_lengths(setting, lengths)
    got = by_engine(native, setting, case, "numpy", "float64")
    assert_agrees(got, case.expected, "numpy", "float64")
    assert not got["dx"][np.isnan(case.x)].any()


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("rows", [1, 7, 1030])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (17, 100), (700, 33)])
def test_linear_of_sizes_that_are_cut(native: Engine, rows: int, inputs: int, outputs: int, dtype: str) -> None:
    x, weight, bias, d = draw(1, rows, inputs), draw(2, outputs, inputs), draw(3, outputs), draw(4, rows, outputs)
    expected = {"results": x @ weight.T + bias, "dinputs": d @ weight, "dweight": d.T @ x, "dbias": d.sum(0)}
    given = convert((x, weight, bias), "numpy", dtype)
    results, tape = native.linear(*given)
    gradients = native.linear_backward(tape, d.astype(dtype))
    got = {"results": results, "dinputs": gradients.inputs, "dweight": gradients.weight, "dbias": gradients.bias}
    assert_agrees(got, expected, "numpy", dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("factors", ["mean", "twice the mean", "unequal"])
def test_cross_entropy_in_several_chunks(native: Engine, factors: str, dtype: str) -> None:
    rows, size, vocabulary = 330, 6, 9001  # more scores than are there at once
    inputs, weight, bias = draw(5, rows, size), draw(6, vocabulary, size), draw(7, vocabulary)
    targets = np.random.default_rng(8).integers(0, vocabulary, rows)
    d_losses = {
        "mean": np.full(rows, np.array(1, dtype) / np.array(rows, dtype)),
        "twice the mean": np.full(rows, 2 / rows),
        "unequal": draw(9, rows),
    }[factors].astype(dtype)
    scores = inputs @ weight.T + bias
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    d_scores = (shares - np.eye(vocabulary)[targets]) * d_losses.astype(np.float64)[:, None]
    expected = {
        "losses": -np.log(shares[np.arange(rows), targets]),
        "dinputs": d_scores @ weight,
        "dweight": d_scores.T @ inputs,
        "dbias": d_scores.sum(axis=0),
    }
    given: Any = convert((inputs, weight, bias, targets), "numpy", dtype)
    losses, tape = native.linear_cross_entropy(*given)
    for _ in range(2):  # the second time the gradients are made anew
        gradients = native.linear_cross_entropy_backward(tape, d_losses)
        got = {"losses": losses, "dinputs": gradients.inputs, "dweight": gradients.weight, "dbias": gradients.bias}
        assert_agrees(got, expected, "numpy", dtype)


@pytest.mark.parametrize("name", cells.names())
@pytest.mark.parametrize("sizes", [(3, 1, 128), (3, 5, 40), (2, 37, 260)], ids=str)
def test_unroll_gives_the_same_bits_for_any_number_of_threads(
    native: Engine, name: str, sizes: tuple[int, int, int]
) -> None:
    setting = Setting(cells.get(name), *sizes)
    case = make_case(setting)
    answers = [
        with_threads(threads, lambda: by_engine(native, setting, case, "torch", "float32")) for threads in (1, 2, 3)
    ]
    for answer in answers[1:]:
        for key, array in answers[0].items():
            assert torch.equal(array, answer[key]), key


def test_other_operations_give_the_same_bits_for_any_number_of_threads(native: Engine) -> None:
    ids = np.random.default_rng(1).integers(0, 300, (20, 11))
    embedding, weight, d_x = (
        draw(seed, *shape, dtype="float32") for seed, shape in ((2, (300, 70)), (3, (90, 70)), (4, (20, 11, 90)))
    )
    inputs, output, bias = (
        draw(5, 150, 70, dtype="float32"),
        draw(6, 900, 70, dtype="float32"),
        draw(7, 900, dtype="float32"),
    )
    targets = np.random.default_rng(8).integers(0, 900, 150)

    def answer() -> list[Any]:
        x, tape = native.project_tokens(ids, embedding, weight, None)
        losses, head = native.linear_cross_entropy(inputs, output, bias, targets)
        results, linear = native.linear(inputs, output, bias)
        gradients = [
            native.project_tokens_backward(tape, d_x),
            native.linear_cross_entropy_backward(head, losses),
            native.linear_backward(linear, results),
        ]
        return [x, losses, results, *(array for group in gradients for array in group if array is not None)]

    answers = [with_threads(threads, answer) for threads in (1, 2, 3)]
    for other in answers[1:]:
        for first, second in zip(answers[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def with_threads(threads: int, run: Any) -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def test_memory_is_used_again_and_what_is_alive_is_left_alone(native: Engine) -> None:
    x, weight = draw(1, 400, 60), draw(2, 50, 60)
    first, _ = native.linear(x, weight, None, keep=False)
    kept = first.copy()
    second, _ = native.linear(-x, weight, None, keep=False)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(second, -kept)
    place = first.ctypes.data
    del first
    gc.collect()
    third, _ = native.linear(x, weight, None, keep=False)
    assert third.ctypes.data == place
    view = third[:3]
    del third
    gc.collect()
    native.linear(-x, weight, None, keep=False)
    np.testing.assert_array_equal(view, kept[:3])


def operands(kind: str = "numpy", dtype: str = "float64") -> dict[str, Any]:
    case = make_case(Setting(cells.get("lstm"), masks="zoneout"))
    given = convert(case, kind, dtype)
    return {"x": given.x, "weight_hh": given.weight_hh, "bias_hh": given.bias_hh, "state": given.state}


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["x", "weight_hh", "state"])
def test_arrays_that_are_not_dense_are_refused(native: Engine, name: str, kind: str) -> None:
    given = operands(kind)
    library: Any = np if kind == "numpy" else torch
    if name == "state":
        given["state"] = tuple(library.stack([part, part], -1)[..., 0] for part in given["state"])
    else:
        given[name] = library.stack([given[name], given[name]], -1)[..., 0]
    with pytest.raises(ShapeError, match=rf"^{name} has strides .* for shape .*: give a dense array, in C order$"):
        native.unroll(cells.get("lstm"), **given)


def test_gradients_of_another_dtype_or_shape_are_refused(native: Engine) -> None:
    given = operands()
    done = native.unroll(cells.get("lstm"), **given)
    d_outputs, d_state = np.ones_like(done.outputs), tuple(np.ones_like(part) for part in done.state)
    with pytest.raises(ShapeError, match=r"^d_outputs has dtype float32: expected float64$"):
        native.unroll_backward(done.tape, d_outputs.astype("float32"), d_state)
    with pytest.raises(ShapeError, match=r"^d_outputs has shape"):
        native.unroll_backward(done.tape, d_outputs[1:], d_state)
    with pytest.raises(ShapeError, match=r"^d_state has shape"):
        native.unroll_backward(done.tape, d_outputs, tuple(part[1:] for part in d_state))


@pytest.mark.parametrize("lengths", [[0, 2, 3], [1, 2, 9], [1, 2]])
def test_bad_lengths_are_refused(native: Engine, lengths: list[int]) -> None:
    with pytest.raises(ShapeError, match=r"^lengths "):
        native.unroll(cells.get("lstm"), **operands(), lengths=np.array(lengths))


def test_what_it_cannot_run_it_says(native: Engine) -> None:
    lstm = cells.get("lstm")
    assert native.obstacle(lstm, "cpu", "float32") is None
    assert native.obstacle(lstm, "cpu", "float64") is None
    assert native.obstacle(lstm, "cuda", "float32") == "it runs on the CPU, not on cuda"
    assert native.obstacle(lstm, "cpu", "bfloat16") == "it knows float32 and float64, not bfloat16"


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "int32", ">f4"])
def test_other_dtypes_are_refused(native: Engine, dtype: str, kind: str) -> None:
    if kind == "torch" and dtype == ">f4":
        array: Any = torch.ones(2, 3, dtype=torch.bfloat16)
    else:
        array = np.ones((2, 3), dtype) if kind == "numpy" else torch.ones(2, 3, dtype=getattr(torch, dtype))
    with pytest.raises(ShapeError, match=r"^operands have dtype .*: the native engine wants float32 or float64$"):
        native.linear(array, array, None)


def test_operands_elsewhere_are_refused(native: Engine) -> None:
    given = operands("torch")
    given["weight_hh"] = given["weight_hh"].to("meta")
    with pytest.raises(ShapeError, match=r"^weight_hh is on meta: the native engine wants it in the CPU's memory$"):
        native.unroll(cells.get("lstm"), **given)


def test_not_a_number_is_not_hidden(native: Engine) -> None:
    for name in cells.names():
        cell = cells.get(name)
        given = operands_of(name)
        given["x"][1, 0, :] = np.nan
        outputs = native.unroll(cell, **given).outputs
        assert np.isnan(outputs[1:, 0]).all(), name
        assert np.isfinite(outputs[0]).all()
        assert np.isfinite(outputs[:, 1]).all()
    losses, _ = native.linear_cross_entropy(
        np.full((1, 2), np.nan, "float32"), np.ones((3, 2), "float32"), None, np.array([1])
    )
    assert np.isnan(losses).all()


def operands_of(name: str) -> dict[str, Any]:
    given = convert(make_case(Setting(cells.get(name))), "numpy", "float32")
    return {"x": given.x, "weight_hh": given.weight_hh, "bias_hh": given.bias_hh, "state": given.state}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_gradients_of_too_few_or_too_many_parts_of_the_state_are_refused(native: Engine, count: int) -> None:
    given = operands()
    done = native.unroll(cells.get("lstm"), **given)
    d_state = (np.ones_like(done.state[0]),) * count
    with pytest.raises(ShapeError, match=rf"^d_state has {count} parts: the state has 2$"):
        native.unroll_backward(done.tape, np.ones_like(done.outputs), d_state)


def test_lengths_and_targets_may_change_before_the_way_back(native: Engine) -> None:
    case = make_case(Setting(cells.get("gru"), unequal=True))
    assert case.lengths is not None
    lengths = case.lengths.copy()
    done = native.unroll(cells.get("gru"), case.x, case.weight_hh, case.bias_hh, case.state, lengths=lengths)
    lengths[:] = 1
    gradients = native.unroll_backward(done.tape, case.d_outputs, case.d_state)
    np.testing.assert_allclose(gradients.x, case.expected["dx"], rtol=0, atol=1e-12)
    inputs, weight, targets = draw(1, 5, 3), draw(2, 7, 3), np.array([6, 0, 2, 2, 5])
    losses, tape = native.linear_cross_entropy(inputs, weight, None, targets)
    expected = native.linear_cross_entropy_backward(tape, losses)
    targets[:] = 10**12
    again = native.linear_cross_entropy_backward(tape, losses)
    np.testing.assert_array_equal(again.weight, expected.weight)


def test_sizes_of_zero_are_refused(native: Engine) -> None:
    for inputs, weight in ((np.ones((2, 0)), np.ones((4, 0))), (np.ones((0, 3)), np.ones((4, 3)))):
        with pytest.raises(ShapeError, match=r"^inputs has shape .*: give at least one row and one column$"):
            native.linear(inputs, weight, None)
    with pytest.raises(ShapeError, match=r"^inputs has shape .*: give at least one row and one column$"):
        native.linear_cross_entropy(np.ones((2, 0)), np.ones((4, 0)), None, np.array([1, 2]))


def test_views_that_are_yet_to_be_negated_are_refused(native: Engine) -> None:
    with pytest.raises(ShapeError, match=r"^inputs is a view that torch has yet to negate: give its resolve_neg\(\)$"):
        native.linear(torch._neg_view(torch.ones(2, 3)), torch.ones(4, 3), None)


def test_a_forked_process_computes_on_one_thread(run_python: Any) -> None:
    code = """
import os
import numpy as np
from unrolled import engines
native = engines.get("native")
x, weight = np.random.default_rng(1).normal(size=(300, 200)), np.random.default_rng(2).normal(size=(100, 200))
first, _ = native.linear(x, weight, None, keep=False)
child = os.fork()
if child == 0:
    again, _ = native.linear(x, weight, None, keep=False)
    os._exit(0 if (again == first).all() else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run_python(code) == "0\n"
