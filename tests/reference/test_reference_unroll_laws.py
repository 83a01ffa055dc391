"""Laws that `unroll` keeps for any cell and any lengths, and the operands that it refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.cell import Operands
from unrolled.cells.elementwise import Operand
from unrolled.errors import ShapeError
from unrolled.reference import Masks, Weights, gradient_check, unroll, unroll_backward

I, H = 2, 3  # noqa: E741
NAMES = st.sampled_from(cells.names())
SEEDS = st.integers(0, 2**32 - 1)
LAW = settings(deadline=None, max_examples=25, derandomize=True)


def _weights(cell: Cell, random: np.random.Generator, size: tuple[int, int] = (I, H)) -> Weights:
    inputs, hidden = size
    rows = len(cell.gates) * hidden
    shapes = [(rows, inputs), (rows, hidden), (rows,), (rows,)]
    return Weights(*(0.7 * random.normal(size=shape) for shape in shapes))


def _state(cell: Cell, random: np.random.Generator, batch: int) -> tuple[np.ndarray, ...]:
    return tuple(random.normal(size=(batch, H)) for _ in cell.state)


def _arrays(weights: Weights) -> list[np.ndarray]:
    return [weight for weight in weights if weight is not None]


def _equal(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


@LAW
@given(name=NAMES, seed=SEEDS, steps=st.integers(2, 7), reverse=st.booleans(), data=st.data())
def test_chunks_with_carried_state_equal_the_whole(
    name: str, seed: int, steps: int, reverse: bool, data: st.DataObject
) -> None:
    cell, random, batch = cells.get(name), np.random.default_rng(seed), 2
    cut = data.draw(st.integers(1, steps - 1))
    weights, x, state = _weights(cell, random), random.normal(size=(steps, batch, I)), _state(cell, random, batch)
    d_outputs, d_last = random.normal(size=(steps, batch, H)), _state(cell, random, batch)
    whole = unroll(cell, x, weights, initial_state=state, reverse=reverse)
    slices = [slice(None, cut), slice(cut, None)]
    first, second = reversed(slices) if reverse else slices  # in the order of reading
    one = unroll(cell, x[first], weights, initial_state=state, reverse=reverse)
    two = unroll(cell, x[second], weights, initial_state=one.last, reverse=reverse)
    _equal(one.outputs, whole.outputs[first])
    _equal(two.outputs, whole.outputs[second])
    _equal(two.last, whole.last)

    gradients = unroll_backward(whole.tape, d_outputs, d_last)
    after = unroll_backward(two.tape, d_outputs[second], d_last)
    before = unroll_backward(one.tape, d_outputs[first], after.initial_state)
    _equal(before.x, gradients.x[first])
    _equal(after.x, gradients.x[second])
    _equal(before.initial_state, gradients.initial_state)
    for total, part, other in zip(*map(_arrays, (gradients.weights, before.weights, after.weights)), strict=True):
        _equal(part + other, total)


@LAW
@given(
    name=NAMES,
    seed=SEEDS,
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    extra=st.integers(0, 3),
    reverse=st.booleans(),
)
def test_padding_and_neighbours_never_change_anything(
    name: str, seed: int, lengths: list[int], extra: int, reverse: bool
) -> None:
    cell, random = cells.get(name), np.random.default_rng(seed)
    batch, steps = len(lengths), max(lengths) + extra
    weights, x, state = _weights(cell, random), random.normal(size=(steps, batch, I)), _state(cell, random, batch)
    d_outputs, d_last = random.normal(size=(steps, batch, H)), _state(cell, random, batch)
    for b, length in enumerate(lengths):
        x[length:, b] = np.nan  # never read
    padded = unroll(cell, x, weights, lengths=np.array(lengths), initial_state=state, reverse=reverse)
    gradients = unroll_backward(padded.tape, d_outputs, d_last)
    totals = [np.zeros_like(weight) for weight in _arrays(weights)]
    for b, length in enumerate(lengths):
        own = tuple(part[b : b + 1] for part in state)
        alone = unroll(cell, x[:length, b : b + 1], weights, initial_state=own, reverse=reverse)
        back = unroll_backward(alone.tape, d_outputs[:length, b : b + 1], tuple(d[b : b + 1] for d in d_last))
        _equal(padded.outputs[:length, b], alone.outputs[:, 0])
        assert not padded.outputs[length:, b].any()
        _equal([part[b] for part in padded.last], [part[0] for part in alone.last])
        _equal(gradients.x[:length, b], back.x[:, 0])
        assert not gradients.x[length:, b].any()
        _equal([part[b] for part in gradients.initial_state], [part[0] for part in back.initial_state])
        totals = [total + part for total, part in zip(totals, _arrays(back.weights), strict=True)]
    for total, gradient in zip(totals, _arrays(gradients.weights), strict=True):
        _equal(gradient, total)


@LAW
@given(name=NAMES, seed=SEEDS, steps=st.integers(1, 5))
def test_reading_backwards_is_reading_the_reversed_sequence(name: str, seed: int, steps: int) -> None:
    cell, random = cells.get(name), np.random.default_rng(seed)
    weights, x, state = _weights(cell, random), random.normal(size=(steps, 2, I)), _state(cell, random, 2)
    back = unroll(cell, x, weights, initial_state=state, reverse=True)
    turned = unroll(cell, x[::-1], weights, initial_state=state)
    _equal(back.outputs[::-1], turned.outputs)
    _equal(back.last, turned.last)


@pytest.mark.parametrize("name", cells.names())
def test_nothing_given_means_zeros(name: str) -> None:
    cell, random = cells.get(name), np.random.default_rng(1)
    weights, x = _weights(cell, random), random.normal(size=(3, 2, I))
    bare = Weights(weights.weight_ih, weights.weight_hh)
    zero = np.zeros(len(weights.weight_ih))
    zeros = tuple(np.zeros((2, H)) for _ in cell.state)
    masks = Masks(recurrent=np.ones((2, H)), zoneout=tuple(np.zeros((3, 2, H)) for _ in cell.state))
    short = unroll(cell, x, bare)
    long = unroll(cell, x, bare._replace(bias_ih=zero, bias_hh=zero), lengths=np.array([3, 3]), initial_state=zeros,
                  masks=masks)  # fmt: skip
    assert np.array_equal(short.outputs, long.outputs)
    d_outputs = random.normal(size=(3, 2, H))
    one, other = unroll_backward(short.tape, d_outputs), unroll_backward(long.tape, d_outputs, zeros)
    assert np.array_equal(one.x, other.x)
    assert one.weights[2:] == (None, None)
    assert all(bias is not None and bias.any() for bias in other.weights[2:])
    assert not any(part.any() for part in unroll_backward(short.tape).initial_state)


class OnlyLate(Cell):
    """A cell of one's own, not registered: no gate acts on h_{t-1} itself, and the state has a part besides h."""

    name = "only_late"
    gates = ("one", "two")
    state = ("h", "memory")
    late = ("one", "two")

    def late_operand(self, a: Operands, state: Operands) -> tuple[Operand, Operands]:
        h, memory = state
        return h * memory, (h, memory)

    def late_operand_backward(self, dp: Operand, kept: Operands) -> tuple[Operands, Operands]:
        h, memory = kept
        return (), (dp * memory, dp * h)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        (one, two), (_, memory) = a, state
        return (one * memory, memory + two), (one, memory)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh, d_memory), (one, memory) = d_state, kept
        return (dh * memory, d_memory), (), (0.0, dh * one + d_memory)


def test_a_cell_of_ones_own_is_served_like_any_other() -> None:
    cell, random = OnlyLate(), np.random.default_rng(2)
    weights, x, state = _weights(cell, random), random.normal(size=(3, 2, I)), _state(cell, random, 2)
    operands = {"x": x, "ih": weights.weight_ih, "hh": weights.weight_hh, "h": state[0], "memory": state[1]}
    d_outputs, d_last = random.normal(size=(3, 2, H)), _state(cell, random, 2)

    def run(operands: Any) -> Any:
        given = Weights(operands["ih"], operands["hh"])
        return unroll(cell, operands["x"], given, initial_state=(operands["h"], operands["memory"]))

    def loss(operands: Any) -> float:
        outputs, last, _ = run(operands)
        return float((outputs * d_outputs).sum() + sum((d * part).sum() for d, part in zip(d_last, last, strict=True)))

    d = unroll_backward(run(operands).tape, d_outputs, d_last)
    gradients = dict(zip(operands, (d.x, d.weights.weight_ih, d.weights.weight_hh, *d.initial_state), strict=True))
    assert gradient_check(loss, operands, gradients).share_checked == 1


def _operands() -> dict[str, Any]:
    cell, random = cells.get("lstm"), np.random.default_rng(3)
    return {
        "x": random.normal(size=(4, 2, I)),
        "weights": _weights(cell, random),
        "initial_state": _state(cell, random, 2),
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"x": np.ones((4, 2))}, r"x has shape \(4, 2\): expected \(T, B, I\) = \(any, any, any\)"),
        ({"x": np.ones((0, 2, I))}, r"x has shape \(0, 2, 2\)"),
        ({"x": np.ones((4, 2, I + 1))}, r"weight_ih has shape \(12, 2\): expected \(G\*H, I\) = \(12, 3\)"),
        ({"x": np.full((4, 2, I), "a")}, "x has dtype <U1: expected real numbers"),
        ({"x": [[[1.0, 2.0]], [[1.0]]]}, "x is not an array"),
        ({"lengths": np.array([4, 0])}, "lengths holds 0: expected 1 to 4"),
        ({"lengths": np.array([5, 1])}, "lengths holds 5: expected 1 to 4"),
        ({"lengths": np.array([4.0, 1.0])}, "lengths has dtype float64: expected integers"),
        ({"lengths": np.array([4, 1, 1])}, r"lengths has shape \(3,\): expected \(B\) = \(2\)"),
        ({"initial_state": (np.ones((2, H)),)}, "initial_state must be a tuple of 2 for cell lstm: h, c"),
        ({"initial_state": np.ones((2, 2, H))}, "initial_state must be a tuple of 2"),
        ({"initial_state": (np.ones((2, H)), np.ones((3, H)))}, r"initial_state c has shape \(3, 3\)"),
        ({"masks": Masks(recurrent=np.ones((4, 2, H)))}, r"recurrent mask has shape \(4, 2, 3\): expected \(B, H\)"),
        ({"masks": Masks(zoneout=(np.ones((4, 2, H)),))}, "zoneout mask must be a tuple of 2"),
        ({"masks": Masks(zoneout=(np.ones((4, 2, H)), np.ones((2, H))))}, r"zoneout mask c has shape \(2, 3\)"),
    ],
)
def test_operands_that_do_not_fit_are_refused(change: dict[str, Any], complaint: str) -> None:
    operands = _operands() | change
    with pytest.raises(ShapeError, match=complaint) as caught:
        unroll(cells.get("lstm"), operands.pop("x"), operands.pop("weights"), **operands)
    assert "\n" not in str(caught.value)


def test_weights_and_gradients_that_do_not_fit_are_refused() -> None:
    operands = _operands()
    cell, x, weights = cells.get("lstm"), operands["x"], operands["weights"]
    with pytest.raises(ShapeError, match=r"weight_hh has shape \(12, 3\): cell gru has 3 gates, so G\*H is 3\*H"):
        unroll(cells.get("gru"), x, weights)
    with pytest.raises(ShapeError, match=r"bias_hh has shape \(11,\): expected \(G\*H\) = \(12\)"):
        unroll(cell, x, weights._replace(bias_hh=np.ones(11)))
    tape = unroll(cell, x, weights).tape
    with pytest.raises(ShapeError, match=r"d_outputs has shape \(3, 2, 3\): expected \(T, B, H\) = \(4, 2, 3\)"):
        unroll_backward(tape, np.ones((3, 2, H)))
    with pytest.raises(ShapeError, match="d_last must be a tuple of 2"):
        unroll_backward(tape, None, (np.ones((2, H)),))
