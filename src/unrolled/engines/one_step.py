"""One time step of a cell with its recurrent weights, forward and backward: the products and the cell's lines."""

from collections.abc import Sequence
from typing import NamedTuple

from unrolled.cells import Cell
from unrolled.engines.arrays import library, multiply_add
from unrolled.engines.contract import Array, State


class RecurrentWeights(NamedTuple):
    """The recurrent weights of a cell, apart for the gates whose product acts on h (early) and on the late operand."""

    early: Array
    late: Array | None
    early_bias: Array | None
    late_bias: Array | None
    mask: Array | None


class StepTape(NamedTuple):
    """What the backward pass needs of one time step."""

    operand: Array
    late_operand: Array | None
    kept: tuple[Array, ...]
    late_kept: tuple[Array, ...]


def split_weights(cell: Cell, weight_hh: Array, bias_hh: Array | None, mask: Array | None) -> RecurrentWeights:
    """weight_hh (G*H, H) and bias_hh (G*H,) or None, cut where the late gates begin; mask as in `Masks.recurrent`."""
    rows = (len(cell.gates) - len(cell.late)) * weight_hh.shape[1]
    return RecurrentWeights(
        weight_hh[:rows],
        weight_hh[rows:] if cell.late else None,
        None if bias_hh is None else bias_hh[:rows],
        bias_hh[rows:] if cell.late and bias_hh is not None else None,
        mask,
    )


def with_bias(cell: Cell, x: Array, weights: RecurrentWeights) -> Array:
    """Add the recurrent biases to x once for all steps, where no gate wants its recurrent term apart."""
    if cell.apart or weights.early_bias is None:
        return x
    if weights.late_bias is None:
        return x + weights.early_bias
    return x + library(x).concatenate([weights.early_bias, weights.late_bias])


def _gates(a: Array, size: int) -> list[Array]:
    return [a[:, start : start + size] for start in range(0, a.shape[1], size)]


def step_forward(cell: Cell, x: Array, weights: RecurrentWeights, state: State) -> tuple[State, StepTape]:
    """One time step: the recurrent products and the cell's lines."""
    size = state[0].shape[1]
    operand = state[0] if weights.mask is None else state[0] * weights.mask
    u: tuple[Array, ...] = ()
    if cell.apart:
        if weights.early_bias is None:
            products = operand @ weights.early.T
        else:
            products = multiply_add(weights.early_bias, operand, weights.early.T)
        terms = dict(zip(cell.gates, zip(_gates(x, size), _gates(products, size), strict=False), strict=False))
        a = [x_k if gate in cell.apart else x_k + u_k for gate, (x_k, u_k) in terms.items()]
        u = tuple(terms[gate][1] for gate in cell.apart)
    else:
        rows = len(weights.early)
        a = _gates(multiply_add(x[:, :rows], operand, weights.early.T), size)
    if weights.late is None:
        state, kept = cell.step(tuple(a), u, state)
        return state, StepTape(operand, None, kept, ())
    late_operand, late_kept = cell.late_operand(tuple(a), state)
    if weights.mask is not None:
        late_operand = late_operand * weights.mask
    late_x = x[:, len(weights.early) :]
    if cell.apart and weights.late_bias is not None:
        late_x = late_x + weights.late_bias
    a += _gates(multiply_add(late_x, late_operand, weights.late.T), size)
    state, kept = cell.step(tuple(a), u, state)
    return state, StepTape(operand, late_operand, kept, late_kept)


def step_backward(cell: Cell, weights: RecurrentWeights, step: StepTape, d_state: State) -> tuple[Array, Array, State]:
    """Undo `step_forward`: gradients of x (B, G*H), of the recurrent terms (B, G*H), and of the state before."""
    xp = library(d_state[0])
    zeros = xp.zeros_like(d_state[0])
    da, du, d_previous = cell.step_backward(d_state, step.kept)
    early = len(cell.gates) - len(cell.late)
    if weights.late is not None:
        dp = xp.concatenate([d + zeros for d in da[early:]], -1) @ weights.late
        if weights.mask is not None:
            dp = dp * weights.mask
        da_late, d_previous_late = cell.late_operand_backward(dp, step.late_kept)
        da = (*(d + e for d, e in zip(da[:early], da_late, strict=True)), *da[early:])
        d_previous = tuple(d + e for d, e in zip(d_previous, d_previous_late, strict=True))
    d_x = _joined(da, zeros)
    d_u = d_x
    if cell.apart:
        apart = dict(zip(cell.apart, du, strict=True))
        d_u = _joined([apart.get(gate, d) for gate, d in zip(cell.gates, da, strict=True)], zeros)
    d_h = d_u[:, : len(weights.early)] @ weights.early
    if weights.mask is not None:
        d_h = d_h * weights.mask
    return d_x, d_u, (d_previous[0] + d_h, *(zeros if isinstance(d, float) else d for d in d_previous[1:]))


def _joined(gates: Sequence[Array], zeros: Array) -> Array:
    """The gates side by side, (B, G*H); a gradient given as the number 0 becomes an array."""
    return library(zeros).concatenate([zeros if isinstance(gate, float) else gate for gate in gates], -1)
