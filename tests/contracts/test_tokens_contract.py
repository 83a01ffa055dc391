"""Every engine's operations on tokens and its linear ones, against one-hot products, reference and naive softmax."""

from typing import Any

import numpy as np
import pytest
import torch

from unrolled import reference
from unrolled.cells import Cell
from unrolled.engines import InputWeights, Masks, RowGradient

from .contract_cases import (
    ENGINES,
    EVERY_CELL,
    Doubles,
    Setting,
    as_numpy,
    assert_agrees,
    convert,
    each_dtype,
    each_place,
    make_case,
)

IDS = np.array([[2, 0, 4], [2, 2, 3], [0, 4, 2], [3, 3, 0]])  # T = 4, B = 3; 1 does not occur, others repeat
VOCABULARY_SIZES = (5, 40)  # fewer and more than T*B = 12
each_bias = pytest.mark.parametrize("has_bias", [True, False], ids=["bias", "no_bias"])


def draw(seed: int, *shape: int) -> Doubles:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32).astype(np.float64)


@each_dtype
@each_place
@each_bias
@pytest.mark.parametrize("integers", ["int64", "int32"])
@pytest.mark.parametrize("vocabulary_size", VOCABULARY_SIZES)
def test_project_tokens(
    vocabulary_size: int, integers: str, has_bias: bool, engine: str, kind: str, dtype: str
) -> None:
    embedding, weight, d_x = draw(1, vocabulary_size, 3), draw(2, 8, 3), draw(3, 4, 3, 8)
    bias = draw(4, 8) if has_bias else None
    one_hot = np.eye(vocabulary_size)[IDS.reshape(-1)]
    rows = one_hot @ embedding
    d_rows = d_x.reshape(-1, 8)
    expected = {
        "x": (rows @ weight.T + (0 if bias is None else bias)).reshape(4, 3, 8),
        "dembedding": one_hot.T @ d_rows @ weight,
        "dweight": d_rows.T @ rows,
    } | ({"dbias": d_rows.sum(axis=0)} if has_bias else {})
    given = convert((IDS.astype(integers), embedding, weight, bias), kind, dtype)
    chosen = ENGINES[engine]
    x, tape = chosen.project_tokens(*given)
    for _ in range(2):  # the tape serves twice
        gradients = chosen.project_tokens_backward(tape, convert(d_x, kind, dtype))
        got = {"x": x, "dembedding": gradients.inputs, "dweight": gradients.weight}
        got |= {} if gradients.bias is None else {"dbias": gradients.bias}
        assert_agrees(got, expected, kind, dtype)
        assert not gradients.inputs[1].any()
    silent, nothing = chosen.project_tokens(*given, keep=False)
    assert nothing is None
    assert (silent == x).all()


@each_dtype
@each_place
@pytest.mark.parametrize("integers", ["int64", "int32"])
@pytest.mark.parametrize("vocabulary_size", VOCABULARY_SIZES)
def test_the_gradient_of_the_embedding_by_rows(
    vocabulary_size: int, integers: str, engine: str, kind: str, dtype: str
) -> None:
    embedding, weight, bias, d_x = draw(1, vocabulary_size, 3), draw(2, 8, 3), draw(4, 8), draw(3, 4, 3, 8)
    given = convert((IDS.astype(integers), embedding, weight, bias), kind, dtype)
    chosen = ENGINES[engine]
    _, tape = chosen.project_tokens(*given)
    d_rows = d_x.reshape(-1, 8)
    one_hot = np.eye(vocabulary_size)[IDS.reshape(-1)]
    expected = {
        "values": (one_hot.T @ d_rows @ weight)[[0, 2, 3, 4]],
        "dweight": d_rows.T @ one_hot @ embedding,
        "dbias": d_rows.sum(axis=0),
    }
    for _ in range(2):  # the tape serves twice
        gradients = chosen.project_tokens_backward(tape, convert(d_x, kind, dtype), sparse=True)
        rows, values = gradients.inputs
        assert isinstance(gradients.inputs, RowGradient)
        assert str(rows.dtype).endswith("int64")
        np.testing.assert_array_equal(as_numpy(rows), [0, 2, 3, 4])
        got = {"values": values, "dweight": gradients.weight, "dbias": gradients.bias}
        assert_agrees(got, expected, kind, dtype)


@each_dtype
@each_place
@each_bias
@pytest.mark.parametrize("vocabulary_size", VOCABULARY_SIZES)
@pytest.mark.parametrize("cell", EVERY_CELL, ids=lambda cell: cell.name)
def test_unroll_tokens_is_project_tokens_and_unroll(
    cell: Cell, vocabulary_size: int, has_bias: bool, engine: str, kind: str, dtype: str
) -> None:
    case = make_case(Setting(cell, steps=4, unequal=True, reverse=True, masks="zoneout", bias=has_bias))
    rows = len(case.weight_hh)
    embedding, weight, bias = draw(1, vocabulary_size, 3), draw(2, rows, 3), draw(4, rows) if has_bias else None
    x = embedding[IDS] @ weight.T + (0 if bias is None else bias)
    weights = reference.Weights(weight, case.weight_hh, bias, case.bias_hh)
    masks = reference.Masks(case.recurrent, case.zoneout)
    lengths: Any = case.lengths
    done = reference.unroll(
        cell, embedding[IDS], weights, lengths=lengths, initial_state=case.state, reverse=True, masks=masks
    )
    wanted = reference.unroll_backward(done.tape, np.nan_to_num(case.d_outputs), case.d_state)
    assert x.shape == case.x.shape
    one_hot = np.eye(vocabulary_size)[IDS.reshape(-1)]
    expected = {
        "outputs": done.outputs,
        "dembedding": one_hot.T @ wanted.x.reshape(-1, 3),
        "dweight_ih": wanted.weights.weight_ih,
        "dweight_hh": wanted.weights.weight_hh,
    }
    given, chosen = convert(case, kind, dtype), ENGINES[engine]
    inputs = InputWeights(*convert((embedding, weight, bias), kind, dtype))
    got_done = chosen.unroll_tokens(
        cell,
        convert(IDS, kind, dtype),
        inputs,
        given.weight_hh,
        given.bias_hh,
        given.state,
        lengths=given.lengths,
        reverse=True,
        masks=Masks(given.recurrent, given.zoneout),
    )
    for sparse in (False, True):  # the tape serves twice
        first, then = chosen.unroll_tokens_backward(got_done.tape, given.d_outputs, given.d_state, sparse=sparse)
        d_embedding = first.inputs
        if sparse:
            d_rows, values = d_embedding
            d_embedding = np.zeros_like(embedding, dtype) if kind == "numpy" else torch.zeros_like(inputs.embedding)
            d_embedding[d_rows] = values
        got = {
            "outputs": got_done.outputs,
            "dembedding": d_embedding,
            "dweight_ih": first.weight,
            "dweight_hh": then.weight_hh,
        }
        optional = {
            "dbias_ih": (first.bias, wanted.weights.bias_ih),
            "dbias_hh": (then.bias_hh, wanted.weights.bias_hh),
        }
        for name, (mine, theirs) in optional.items():
            assert (mine is None) == (theirs is None) == (not has_bias)
            if has_bias:
                got[name], expected[name] = mine, theirs
        for index, name in enumerate(cell.state):
            got |= {f"last {name}": got_done.state[index], f"dstate {name}": then.state[index]}
            expected |= {f"last {name}": done.last[index], f"dstate {name}": wanted.initial_state[index]}
        assert_agrees(got, expected, kind, dtype)


@each_dtype
@each_place
@each_bias
def test_linear(has_bias: bool, engine: str, kind: str, dtype: str) -> None:
    inputs, weight, d_results = draw(21, 6, 3), draw(22, 7, 3), draw(23, 6, 7)
    bias = draw(24, 7) if has_bias else None
    results = inputs @ weight.T + (0 if bias is None else bias)
    expected = {"results": results, "dinputs": d_results @ weight, "dweight": d_results.T @ inputs}
    expected |= {"dbias": d_results.sum(axis=0)} if has_bias else {}
    chosen = ENGINES[engine]
    given = convert((inputs, weight, bias), kind, dtype)
    got_results, tape = chosen.linear(*given)
    for _ in range(2):  # the tape serves twice
        gradients = chosen.linear_backward(tape, convert(d_results, kind, dtype))
        got = {"results": got_results, "dinputs": gradients.inputs, "dweight": gradients.weight}
        got |= {} if gradients.bias is None else {"dbias": gradients.bias}
        assert_agrees(got, expected, kind, dtype)
    assert chosen.linear_backward(tape, convert(d_results, kind, dtype), d_inputs=False).inputs is None
    silent, nothing = chosen.linear(*given, keep=False)
    assert nothing is None
    assert (silent == got_results).all()


@each_dtype
@each_place
@each_bias
def test_linear_cross_entropy(has_bias: bool, engine: str, kind: str, dtype: str) -> None:
    inputs, weight, targets = draw(5, 6, 3), draw(6, 7, 3), np.array([6, 0, 3, 3, 1, 6])
    bias = draw(7, 7) if has_bias else None
    d_losses = draw(8, 6)
    scores = inputs @ weight.T + (0 if bias is None else bias)
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    d_scores = (softmax - np.eye(7)[targets]) * d_losses[:, None]
    expected = {
        "losses": -np.log(softmax[np.arange(6), targets]),
        "dinputs": d_scores @ weight,
        "dweight": d_scores.T @ inputs,
    } | ({"dbias": d_scores.sum(axis=0)} if has_bias else {})
    given = convert((inputs, weight, bias, targets), kind, dtype)
    chosen = ENGINES[engine]
    losses, tape = chosen.linear_cross_entropy(*given)
    for _ in range(2):  # the tape serves twice
        gradients = chosen.linear_cross_entropy_backward(tape, convert(d_losses, kind, dtype))
        got = {"losses": losses, "dinputs": gradients.inputs, "dweight": gradients.weight}
        got |= {} if gradients.bias is None else {"dbias": gradients.bias}
        assert_agrees(got, expected, kind, dtype)
    silent, nothing = chosen.linear_cross_entropy(*given, keep=False)
    assert nothing is None
    assert (silent == losses).all()


@each_dtype
@each_place
def test_linear_cross_entropy_equals_torch(engine: str, kind: str, dtype: str) -> None:
    inputs, weight, bias, targets = draw(9, 5, 4), draw(10, 9, 4), draw(11, 9), np.array([8, 0, 4, 4, 2])
    d_losses = draw(12, 5)
    leaves = [torch.from_numpy(array).requires_grad_() for array in (inputs, weight, bias)]
    scores = torch.nn.functional.linear(*leaves)
    losses = torch.nn.functional.cross_entropy(scores, torch.from_numpy(targets), reduction="none")
    d_inputs, d_weight, d_bias = torch.autograd.grad(losses, leaves, torch.from_numpy(d_losses))
    expected = {"losses": losses.detach(), "dinputs": d_inputs, "dweight": d_weight, "dbias": d_bias}
    chosen = ENGINES[engine]
    got_losses, tape = chosen.linear_cross_entropy(*convert((inputs, weight, bias, targets), kind, dtype))
    gradients = chosen.linear_cross_entropy_backward(tape, convert(d_losses, kind, dtype))
    got = {"losses": got_losses, "dinputs": gradients.inputs, "dweight": gradients.weight, "dbias": gradients.bias}
    assert_agrees(got, {name: value.numpy() for name, value in expected.items()}, kind, dtype)


@each_dtype
@each_place
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_linear_cross_entropy_survives_huge_scores(sign: float, engine: str, kind: str, dtype: str) -> None:
    scores = sign * np.array([2313.0, 31.0, 11.0, 55.0, 113.0])
    targets = np.arange(5)
    given: Any = convert((np.ones((5, 1)), scores[:, None], None, targets), kind, dtype)
    chosen = ENGINES[engine]
    losses, tape = chosen.linear_cross_entropy(*given)
    winner = int(scores.argmax())
    expected = {"losses": scores[winner] - scores}  # all the others together have less than e^-20 of the winner
    d_scores = np.zeros((5, 5))
    d_scores[:, winner] = 1
    d_scores -= np.eye(5)
    gradients = chosen.linear_cross_entropy_backward(tape, convert(np.arange(1.0, 6.0), kind, dtype))
    d_scores *= np.arange(1.0, 6.0)[:, None]
    expected |= {"dinputs": d_scores @ scores[:, None], "dweight": d_scores.sum(axis=0)[:, None]}
    got = {"losses": losses, "dinputs": gradients.inputs, "dweight": gradients.weight}
    assert gradients.bias is None
    # exp(-20) = 2e-9 is what the expectation leaves out
    assert_agrees(got, expected, kind, dtype, tolerance=1e-5 if dtype == "float32" else 1e-8)
