"""Any cell over time, and back: the meaning of the operation `unroll` that every engine is held to.

Read `_step` and the loop of `unroll`, then `_step_backward` and the loop of `unroll_backward`: one loop each way, and
each backward line names the forward line that it undoes. Numbers as in docs/equations.md. Plain, not fast.
"""

from typing import Any, NamedTuple

import numpy as np

from unrolled.cells import Cell
from unrolled.errors import ShapeError
from unrolled.reference.arrays import Array, Indices, as_float64, as_indices

State = tuple[Array, ...]


class Weights(NamedTuple):
    """The parameters of one layer in one direction, as PyTorch stacks them: rows kH to (k+1)H belong to gate k."""

    weight_ih: Array
    """(G*H, I), acts on the input."""
    weight_hh: Array
    """(G*H, H), acts on the output at t-1, or on the operand of a late gate."""
    bias_ih: Array | None = None
    """(G*H,), added to the input's term; None means none."""
    bias_hh: Array | None = None
    """(G*H,), added to the recurrent term; None means none."""


class Masks(NamedTuple):
    """What dropout inside the recurrence multiplies; engines draw the masks, the mathematics only applies them."""

    recurrent: Array | None = None
    """(B, H), multiplies the operand of every recurrent product: h_{t-1}, and the operand of a late gate."""
    zoneout: State | None = None
    """One (T, B, H) a state part, by position in the sequence: 1 keeps the old value, 0 takes the new one."""


class Tape(NamedTuple):
    """What `unroll_backward` needs of the forward pass."""

    cell: Cell
    x: Array
    weights: Weights  # with zero biases where there are none
    has_biases: tuple[bool, bool]
    real: Any  # (T, B, 1) booleans: False past a sequence's end
    times: range
    recurrent: Array
    zoneout: State
    steps: list[Any]


class Unrolling(NamedTuple):
    """The result of `unroll`."""

    outputs: Array
    """(T, B, H): the first state part at each position, 0 past a sequence's end."""
    last: State
    """One (B, H) a state part: the state after the last step that each sequence really has."""
    tape: Tape


class Gradients(NamedTuple):
    """The result of `unroll_backward`: dE/d(each argument of `unroll`), in that argument's shape."""

    x: Array
    weights: Weights
    initial_state: State


def unroll(
    cell: Cell,
    x: Array,
    weights: Weights,
    *,
    lengths: Indices | None = None,
    initial_state: State | None = None,
    reverse: bool = False,
    masks: Masks | None = None,
) -> Unrolling:
    """Run a cell over a batch of sequences.

    Args:
        cell: any cell, registered or not.
        x: (T, B, I); positions past a sequence's end are never read.
        weights: see `Weights`; H is taken from weight_hh.
        lengths: (B,), each 1 to T; None means that all sequences have T steps.
        initial_state: one (B, H) a state part; None means zeros.
        reverse: read each sequence from its last real step back to its first.
        masks: see `Masks`.

    Returns:
        Outputs, last state, and the tape for `unroll_backward`. Past its end a sequence's state is held.

    Raises:
        ShapeError: an array does not fit the others.
    """
    tape = _checked(cell, x, weights, lengths, reverse, masks or Masks())
    steps, batch, hidden = *tape.x.shape[:2], tape.recurrent.shape[1]
    state = _checked_state("initial_state", cell, initial_state, (batch, hidden))
    outputs = np.zeros((steps, batch, hidden))
    for t in tape.times:
        candidate, kept = _step(tape, t, state)
        new = tuple(z[t] * s + (1 - z[t]) * c for z, s, c in zip(tape.zoneout, state, candidate, strict=True))  # (23)
        state = tuple(np.where(tape.real[t], n, s) for n, s in zip(new, state, strict=True))  # (24)
        outputs[t] = np.where(tape.real[t], state[0], 0)  # (25)
        tape.steps[t] = kept
    return Unrolling(outputs, state, tape)


def unroll_backward(tape: Tape, d_outputs: Array | None = None, d_last: State | None = None) -> Gradients:
    """Undo `unroll`: one loop back over time, O(T).

    Args:
        tape: of the forward pass.
        d_outputs: (T, B, H), dE/d(outputs); None means zeros. What stands past a sequence's end counts for nothing.
        d_last: one (B, H) a state part, dE/d(last state); None means zeros.

    Raises:
        ShapeError: a gradient does not have the shape of what it belongs to.
    """
    shape = (*tape.x.shape[:2], tape.recurrent.shape[1])
    d_outputs = np.zeros(shape) if d_outputs is None else as_float64("d_outputs", d_outputs, "T, B, H", shape)
    d_state = _checked_state("d_last", tape.cell, d_last, shape[1:])
    d_x = np.zeros_like(tape.x)
    d_weights = Weights(*(np.zeros_like(weight) for weight in tape.weights))
    for t in reversed(tape.times):
        d_state = (d_state[0] + np.where(tape.real[t], d_outputs[t], 0), *d_state[1:])  # (25)
        d_new = tuple(np.where(tape.real[t], d, 0) for d in d_state)  # (24)
        d_held = tuple(np.where(tape.real[t], 0, d) for d in d_state)  # (24)
        d_candidate = tuple((1 - z[t]) * d for z, d in zip(tape.zoneout, d_new, strict=True))  # (23)
        d_kept = tuple(z[t] * d for z, d in zip(tape.zoneout, d_new, strict=True))  # (23)
        d_prev = _step_backward(tape, t, d_candidate, d_x, d_weights)
        d_state = tuple(sum(parts, start=np.zeros(shape[1:])) for parts in zip(d_held, d_kept, d_prev, strict=True))
    biases = [bias if has else None for bias, has in zip(d_weights[2:], tape.has_biases, strict=True)]
    return Gradients(d_x, Weights(d_weights.weight_ih, d_weights.weight_hh, *biases), d_state)


def _step(tape: Tape, t: int, state: State) -> tuple[State, Any]:
    """One time step: form the terms of each gate, hand them to the cell."""
    cell, weights, hidden = tape.cell, tape.weights, tape.recurrent.shape[1]
    early = len(cell.gates) - len(cell.late)
    assert weights.bias_ih is not None and weights.bias_hh is not None
    x_terms = _by_gate(tape.x[t] @ weights.weight_ih.T + weights.bias_ih, hidden)  # (20)
    operand = tape.recurrent * state[0]  # (21)
    rows = slice(0, early * hidden)
    u_terms = _by_gate(operand @ weights.weight_hh[rows].T + weights.bias_hh[rows], hidden)  # (21)
    a = tuple(
        x_k if gate in cell.apart else x_k + u_k  # (22)
        for gate, x_k, u_k in zip(cell.gates, x_terms, u_terms, strict=False)
    )
    late_operand, late_kept = None, ()
    if cell.late:
        p, late_kept = cell.late_operand(a, state)
        late_operand = tape.recurrent * p  # (21)
        rows = slice(early * hidden, None)
        late_terms = _by_gate(late_operand @ weights.weight_hh[rows].T + weights.bias_hh[rows], hidden)  # (21)
        a += tuple(x_k + u_k for x_k, u_k in zip(x_terms[early:], late_terms, strict=True))  # (22)
    u = tuple(u_terms[cell.gates.index(gate)] for gate in cell.apart)
    candidate, kept = cell.step(a, u, state)
    return candidate, (operand, late_operand, kept, late_kept)


def _step_backward(tape: Tape, t: int, d_candidate: State, d_x: Array, d_weights: Weights) -> State:
    """Undo `_step`: adds to d_x[t] and to the weights' gradients, returns dE/d(state before the step)."""
    cell, weights = tape.cell, tape.weights
    operand, late_operand, kept, late_kept = tape.steps[t]
    batch, hidden = operand.shape
    early = len(cell.gates) - len(cell.late)

    def full(gradients: Any) -> list[Array]:  # a cell may say 0.0 where a gradient is zero throughout
        return [np.zeros((batch, hidden)) + d for d in gradients]

    da, du, d_prev = (full(gradients) for gradients in cell.step_backward(d_candidate, kept))
    if cell.late:
        rows = slice(early * hidden, None)
        d_late = np.concatenate(da[early:], axis=1)  # (22)
        _add(d_weights.weight_hh[rows], d_late.T @ late_operand)  # (21)
        _add(d_weights.bias_hh[rows], d_late.sum(axis=0))  # (21)
        dp = tape.recurrent * (d_late @ weights.weight_hh[rows])  # (21)
        da_more, d_prev_more = (full(gradients) for gradients in cell.late_operand_backward(dp, late_kept))
        da[:early] = [d + more for d, more in zip(da[:early], da_more, strict=True)]
        d_prev = [d + more for d, more in zip(d_prev, d_prev_more, strict=True)]
    apart = dict(zip(cell.apart, du, strict=True))
    d_recurrent = np.concatenate([apart.get(g, d) for g, d in zip(cell.gates, da[:early], strict=False)], axis=1)  # (22)
    rows = slice(0, early * hidden)
    _add(d_weights.weight_hh[rows], d_recurrent.T @ operand)  # (21)
    _add(d_weights.bias_hh[rows], d_recurrent.sum(axis=0))  # (21)
    d_prev[0] += tape.recurrent * (d_recurrent @ weights.weight_hh[rows])  # (21)
    d_input = np.concatenate(da, axis=1)  # (22)
    _add(d_weights.weight_ih, d_input.T @ tape.x[t])  # (20)
    _add(d_weights.bias_ih, d_input.sum(axis=0))  # (20)
    d_x[t] = d_input @ weights.weight_ih  # (20)
    return tuple(d_prev)
