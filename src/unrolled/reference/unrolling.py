"""Any cell over time, and back: the meaning of the operation `unroll` that every engine is held to.

Read `_step` beside `_step_backward`, then the loop of `unroll` beside that of `unroll_backward`: each backward line
names the forward line that it undoes. Numbers as in docs/equations.md. Plain, not fast.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from unrolled.cells import Cell
from unrolled.errors import ShapeError
from unrolled.reference.arrays import Array, Booleans, Indices, as_float64, as_indices

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
    """What dropout inside the recurrence multiplies; whoever trains draws the masks, here they are only applied."""

    recurrent: Array | None = None
    """(B, H), multiplies the operand of every recurrent product: h_{t-1}, and the operand of a late gate."""
    zoneout: State | None = None
    """One (T, B, H) a state part, by position in the sequence: 1 keeps the old value, 0 takes the new one."""


class Tape(NamedTuple):
    """The operands of `unroll`, checked and with an axis for the gates, and what each step kept for the way back."""

    cell: Cell
    x: Array  # (T, B, I), zero past a sequence's end
    W: Array  # (G, H, I)
    R: Array  # (G, H, H)
    b: Array  # (G, 1, H), zero where there is none
    c: Array  # (G, 1, H), zero where there is none
    biases: tuple[bool, bool]  # whether b and c were given
    real: Booleans  # (T, B, 1), False past a sequence's end
    times: range  # the order in which positions are read
    recurrent_mask: Array  # (B, H)
    zoneout: State  # one (T, B, H) a state part
    kept: dict[int, Any]  # filled by `unroll`


class Unrolling(NamedTuple):
    """The result of `unroll`."""

    outputs: Array
    """(T, B, H): the first state part at each position, 0 past a sequence's end."""
    last: State
    """One (B, H) a state part: the state after the last step that each sequence really has."""
    tape: Tape
    """What `unroll_backward` needs."""


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
    """Run a cell over a batch of sequences. Past its end a sequence's state is held and its output is 0.

    Args:
        cell: any cell, registered or not.
        x: (T, B, I); what stands past a sequence's end is never read.
        weights: see `Weights`; H is taken from weight_hh.
        lengths: (B,), each 1 to T; None means that every sequence has T steps.
        initial_state: one (B, H) a state part; None means zeros.
        reverse: read each sequence from its last real step back to its first.
        masks: see `Masks`.

    Raises:
        ShapeError: an array does not fit the others, or a length is not 1 to T.
    """
    tape = _checked(cell, x, weights, lengths, reverse=reverse, masks=masks or Masks())
    (steps, batch, _), hidden = tape.x.shape, tape.R.shape[1]
    state = _checked_state("initial_state", cell, initial_state, "B, H", (batch, hidden))
    outputs = np.zeros((steps, batch, hidden))
    for t in tape.times:
        candidate = _step(tape, t, state)
        new = [
            z[t] * s + (1 - z[t]) * s_new for z, s, s_new in zip(tape.zoneout, state, candidate, strict=True)
        ]  # (23)
        state = tuple(np.where(tape.real[t], n, s) for n, s in zip(new, state, strict=True))  # (24)
        outputs[t] = np.where(tape.real[t], state[0], 0)  # (25)
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
    (steps, batch, _), hidden = tape.x.shape, tape.R.shape[1]
    if d_outputs is None:
        d_outputs = np.zeros((steps, batch, hidden))
    d_outputs = as_float64("d_outputs", d_outputs, "T, B, H", (steps, batch, hidden))
    d_state = _checked_state("d_last", tape.cell, d_last, "B, H", (batch, hidden))
    dx, dW, dR, db, dc = (np.zeros_like(array) for array in (tape.x, tape.W, tape.R, tape.b, tape.c))
    for t in reversed(tape.times):
        d_state = (d_state[0] + np.where(tape.real[t], d_outputs[t], 0), *d_state[1:])  # (25)
        d_new = [np.where(tape.real[t], d, 0) for d in d_state]  # (24)
        d_held = [np.where(tape.real[t], 0, d) for d in d_state]  # (24)
        d_candidate = tuple((1 - z[t]) * d for z, d in zip(tape.zoneout, d_new, strict=True))  # (23)
        d_zoned = [z[t] * d for z, d in zip(tape.zoneout, d_new, strict=True)]  # (23)
        d_before = _step_backward(tape, t, d_candidate, (dx, dW, dR, db, dc))
        d_state = tuple(one + two + three for one, two, three in zip(d_held, d_zoned, d_before, strict=True))
    d_weights = Weights(
        dW.reshape(-1, dW.shape[2]),
        dR.reshape(-1, hidden),
        db.reshape(-1) if tape.biases[0] else None,
        dc.reshape(-1) if tape.biases[1] else None,
    )
    return Gradients(dx, d_weights, d_state)


def _step(tape: Tape, t: int, state: State) -> State:
    """One time step: form the terms of all gates, (G, B, H), and hand them to the cell."""
    cell, mask = tape.cell, tape.recurrent_mask
    early = len(cell.gates) - len(cell.late)
    x = tape.x[t] @ tape.W.swapaxes(1, 2) + tape.b  # (20)
    h = mask * state[0]  # (21)
    u = h @ tape.R[:early].swapaxes(1, 2) + tape.c[:early]  # (21)
    a = [x_k if gate in cell.apart else x_k + u_k for gate, x_k, u_k in zip(cell.gates, x, u, strict=False)]  # (22)
    p, kept_late = np.zeros_like(h), None
    if cell.late:
        p, kept_late = cell.late_operand(tuple(a), state)
        p = mask * p  # (21)
        a += list(x[early:] + (p @ tape.R[early:].swapaxes(1, 2) + tape.c[early:]))  # (21) (22)
    u_apart = tuple(u[cell.gates.index(gate)] for gate in cell.apart)
    candidate, kept = cell.step(tuple(a), u_apart, state)
    tape.kept[t] = h, p, kept, kept_late
    return candidate


def _step_backward(tape: Tape, t: int, d_candidate: State, totals: tuple[Array, ...]) -> list[Array]:
    """Undo `_step`: add to the totals dx, dW, dR, db and dc, and return dE/d(state before the step)."""
    cell, mask = tape.cell, tape.recurrent_mask
    h, p, kept, kept_late = tape.kept[t]
    dx, dW, dR, db, dc = totals
    early = len(cell.gates) - len(cell.late)

    def full(gradients: Iterable[Any]) -> Array:  # a cell may say 0.0 where a gradient is zero throughout
        return np.array([np.zeros_like(h) + d for d in gradients]).reshape(-1, *h.shape)

    da, du_apart, d_before = (full(gradients) for gradients in cell.step_backward(d_candidate, kept))
    if cell.late:
        dR[early:] += da[early:].swapaxes(1, 2) @ p  # (21)
        dc[early:] += da[early:].sum(axis=1, keepdims=True)  # (21)
        dp = mask * (da[early:] @ tape.R[early:]).sum(axis=0)  # (21)
        da_late, d_before_late = (full(gradients) for gradients in cell.late_operand_backward(dp, kept_late))
        da[:early] += da_late
        d_before += d_before_late
    du = da[:early].copy()  # (22)
    for gate, d in zip(cell.apart, du_apart, strict=True):
        du[cell.gates.index(gate)] = d  # (22)
    dR[:early] += du.swapaxes(1, 2) @ h  # (21)
    dc[:early] += du.sum(axis=1, keepdims=True)  # (21)
    d_before[0] += mask * (du @ tape.R[:early]).sum(axis=0)  # (21)
    dW += da.swapaxes(1, 2) @ tape.x[t]  # (20)
    db += da.sum(axis=1, keepdims=True)  # (20)
    dx[t] = (da @ tape.W).sum(axis=0)  # (20)
    return list(d_before)


def _checked(cell: Cell, x: Array, weights: Weights, lengths: Indices | None, *, reverse: bool, masks: Masks) -> Tape:
    gates = len(cell.gates)
    x = as_float64("x", x, "T, B, I", (None, None, None))
    steps, batch, inputs = x.shape
    weight_hh = as_float64("weight_hh", weights.weight_hh, "G*H, H", (None, None))
    rows, hidden = weight_hh.shape
    if rows != gates * hidden:
        raise ShapeError(
            f"weight_hh has shape {weight_hh.shape}: cell {cell.name} has {gates} gates, so G*H is {gates}*H"
        )
    weight_ih = as_float64("weight_ih", weights.weight_ih, "G*H, I", (rows, inputs))
    b, c = (
        as_float64(name, np.zeros(rows) if bias is None else bias, "G*H", (rows,)).reshape(gates, 1, hidden)
        for name, bias in (("bias_ih", weights.bias_ih), ("bias_hh", weights.bias_hh))
    )
    given = [steps] * batch if lengths is None else lengths
    lengths = as_indices("lengths", given, "B", batch, (1, steps + 1))
    real = (np.arange(steps)[:, None] < lengths)[:, :, None]
    ones = np.ones((batch, hidden)) if masks.recurrent is None else masks.recurrent
    return Tape(
        cell=cell,
        x=np.where(real, x, 0),
        W=weight_ih.reshape(gates, hidden, inputs),
        R=weight_hh.reshape(gates, hidden, hidden),
        b=b,
        c=c,
        biases=(weights.bias_ih is not None, weights.bias_hh is not None),
        real=real,
        # Padding stands last, so that reading backwards holds the initial state until the last real step.
        times=range(steps - 1, -1, -1) if reverse else range(steps),
        recurrent_mask=as_float64("recurrent mask", ones, "B, H", (batch, hidden)),
        zoneout=_checked_state("zoneout mask", cell, masks.zoneout, "T, B, H", (steps, batch, hidden)),
        kept={},
    )


def _checked_state(name: str, cell: Cell, parts: State | None, letters: str, shape: tuple[int, ...]) -> State:
    if parts is None:
        return tuple(np.zeros(shape) for _ in cell.state)
    if not isinstance(parts, tuple | list) or len(parts) != len(cell.state):
        raise ShapeError(f"{name} must be a tuple of {len(cell.state)} for cell {cell.name}: {', '.join(cell.state)}")
    return tuple(as_float64(f"{name} {part}", p, letters, shape) for part, p in zip(cell.state, parts, strict=True))
