"""The portable engine: the cells' own lines, on NumPy arrays or on torch tensors of any device.

It says what the operations mean. The backward passes call the cells' `step_backward` in one loop and form each weight
gradient as one large product after it. On tensors with autograd switched on, the forward lines record themselves: that
is where second derivatives come from (see engines/autograd.py).
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.arrays import library, log_softmax, multiply_add, same_kind, sum_rows_by_index
from unrolled.engines.checks import (
    check_linear,
    check_linear_cross_entropy,
    check_project_tokens,
    check_unroll,
)
from unrolled.engines.contract import (
    Array,
    InputWeights,
    LanguageModelWeights,
    LinearGradients,
    Masks,
    RowGradient,
    State,
    Unrolled,
    UnrollGradients,
)
from unrolled.engines.one_step import RecurrentWeights, StepTape, split_weights, step_backward, step_forward, with_bias
from unrolled.engines.predictor import PlainPredictor


class _Tape(NamedTuple):
    cell: Cell
    weights: RecurrentWeights
    has_bias: bool
    steps: list[StepTape]
    times: list[int]
    live: Array | None
    zoneout: tuple[Array, ...] | None


class Portable:
    """See `contract.Engine`."""

    name = "portable"
    is_batch_invariant = False

    def description(self) -> str:
        """Name and versions of the libraries that the cells' lines run on; torch only where it is loaded."""
        torch = sys.modules.get("torch")
        if torch is None:
            return f"portable (numpy {np.__version__})"
        return f"portable (torch {torch.__version__}, {torch.get_num_threads()} threads)"

    def obstacle(self, cell: Cell, device: str, dtype: str) -> str | None:
        """None: NumPy and torch run every cell's lines, on whatever they can hold; see `contract.Engine.obstacle`."""
        return None

    def unroll(
        self,
        cell: Cell,
        x: Array,
        weight_hh: Array,
        bias_hh: Array | None,
        state: State,
        *,
        lengths: Array | None = None,
        reverse: bool = False,
        masks: Masks | None = None,
        keep: bool = True,
    ) -> Unrolled:
        """Run a cell over time; see `contract.Engine.unroll`."""
        masks = masks or Masks()
        check_unroll(cell, tuple(x.shape), x, weight_hh, bias_hh, state, lengths, masks)
        weights = split_weights(cell, weight_hh, bias_hh, masks.recurrent)
        x, xp = with_bias(cell, x, weights), library(x)
        times = list(range(len(x)))
        live = None
        if lengths is not None:
            live = same_kind(np.arange(len(x))[:, None], x) < same_kind(lengths, x)[None, :]
            live = live[:, :, None]
            x = xp.where(live, x, 0)  # not even times 0: padding may hold anything
        outputs: list[Array] = [None] * len(x)
        steps: list[StepTape] = []
        if reverse:
            times.reverse()
        for t in times:
            new, step = step_forward(cell, x[t], weights, state)
            if masks.zoneout is not None:
                new = tuple(n + z[t] * (o - n) for n, o, z in zip(new, state, masks.zoneout, strict=True))
            if live is not None:
                new = tuple(xp.where(live[t], n, o) for n, o in zip(new, state, strict=True))
            outputs[t] = new[0] if live is None else new[0] * live[t]
            state = new
            if keep:
                steps.append(step)
        tape = _Tape(cell, weights, bias_hh is not None, steps, times, live, masks.zoneout) if keep else None
        return Unrolled(xp.stack(outputs), state, tape)

    def unroll_backward(self, tape: _Tape, d_outputs: Array, d_state: State) -> UnrollGradients:
        """Back through time, one loop; see `contract.Engine.unroll_backward`."""
        d_x: list[Array] = [None] * len(tape.times)
        d_u: list[Array] = [None] * len(tape.times)
        for t, step in zip(reversed(tape.times), reversed(tape.steps), strict=True):
            live = None if tape.live is None else tape.live[t]
            d_h = d_outputs[t] if live is None else library(live).where(live, d_outputs[t], 0)
            d_new: State = (d_state[0] + d_h, *d_state[1:])
            d_held: list[State] = []  # what goes straight to the state before, past the cell
            if live is not None:
                d_held.append(tuple(d * ~live for d in d_new))
                d_new = tuple(d * live for d in d_new)
            if tape.zoneout is not None:
                d_held.append(tuple(z[t] * d for z, d in zip(tape.zoneout, d_new, strict=True)))
                d_new = tuple(d - k for d, k in zip(d_new, d_held[-1], strict=True))
            d_x[t], d_u[t], d_state = step_backward(tape.cell, tape.weights, step, d_new)
            for held in d_held:
                d_state = tuple(d + k for d, k in zip(d_state, held, strict=True))
        order = np.argsort(tape.times)
        return _gradients(tape, [tape.steps[i] for i in order], d_x, d_u, d_state)

    def step(
        self, cell: Cell, x: Array, weight_hh: Array, bias_hh: Array | None, state: State, *, keep: bool = True
    ) -> tuple[State, Any]:
        """One time step; see `contract.Engine.step`."""
        check_unroll(cell, (1, *x.shape), x, weight_hh, bias_hh, state, None, Masks())
        weights = split_weights(cell, weight_hh, bias_hh, None)
        state, step = step_forward(cell, with_bias(cell, x, weights), weights, state)
        return state, _Tape(cell, weights, bias_hh is not None, [step], [0], None, None) if keep else None

    def step_backward(self, tape: _Tape, d_state: State) -> UnrollGradients:
        """Undo `step`; see `contract.Engine.step_backward`."""
        d_x, d_u, d_previous = step_backward(tape.cell, tape.weights, tape.steps[0], d_state)
        gradients = _gradients(tape, tape.steps, [d_x], [d_u], d_previous)
        return gradients._replace(x=gradients.x[0])

    def linear(self, inputs: Array, weight: Array, bias: Array | None, *, keep: bool = True) -> tuple[Array, Any]:
        """A linear layer; see `contract.Engine.linear`."""
        check_linear(inputs, weight, bias)
        results = inputs @ weight.T if bias is None else multiply_add(bias, inputs, weight.T)
        return results, (inputs, weight, bias is not None) if keep else None

    def linear_backward(self, tape: Any, d_results: Array, *, d_inputs: bool = True) -> LinearGradients:
        """Undo `linear`; see `contract.Engine.linear_backward`."""
        inputs, weight, has_bias = tape
        d_bias = d_results.sum(0) if has_bias else None
        return LinearGradients(d_results @ weight if d_inputs else None, d_results.T @ inputs, d_bias)

    def project_tokens(
        self, ids: Array, embedding: Array, weight_ih: Array, bias_ih: Array | None, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """The first layer's input term from token ids; see `contract.Engine.project_tokens`.

        With fewer kinds of token than tokens the product is taken once for each kind and its rows are looked up.
        """
        check_project_tokens(ids, embedding, weight_ih, bias_ih)
        from_table = len(embedding) <= ids.shape[0] * ids.shape[1]
        rows = embedding if from_table else embedding[ids.reshape(-1)]
        projected = rows @ weight_ih.T if bias_ih is None else multiply_add(bias_ih, rows, weight_ih.T)
        if from_table:
            projected = projected[ids.reshape(-1)]
        tape = (ids, rows, from_table, len(embedding), weight_ih, bias_ih is not None) if keep else None
        return projected.reshape(*ids.shape, -1), tape

    def project_tokens_backward(self, tape: Any, d_x: Array, *, sparse: bool = False) -> LinearGradients:
        """Undo `project_tokens`; see `contract.Engine.project_tokens_backward`."""
        ids, rows, from_table, count, weight_ih, has_bias = tape
        d_rows, ids = d_x.reshape(-1, d_x.shape[-1]), ids.reshape(-1)
        if from_table:
            d_rows = sum_rows_by_index(d_rows, ids, count)
        d_embedding: Array | RowGradient
        if sparse:
            d_embedding = _rows_of_product(d_rows, ids, weight_ih, is_summed=from_table)
        elif from_table:
            d_embedding = d_rows @ weight_ih
        else:
            d_embedding = sum_rows_by_index(d_rows @ weight_ih, ids, count)
        return LinearGradients(d_embedding, d_rows.T @ rows, d_rows.sum(0) if has_bias else None)

    def unroll_tokens(
        self,
        cell: Cell,
        ids: Array,
        inputs: InputWeights,
        weight_hh: Array,
        bias_hh: Array | None,
        state: State,
        *,
        lengths: Array | None = None,
        reverse: bool = False,
        masks: Masks | None = None,
        keep: bool = True,
    ) -> Unrolled:
        """Tokens to outputs; see `contract.Engine.unroll_tokens`."""
        x, tokens = self.project_tokens(ids, *inputs, keep=keep)
        done = self.unroll(cell, x, weight_hh, bias_hh, state, lengths=lengths, reverse=reverse, masks=masks, keep=keep)
        return done._replace(tape=(tokens, done.tape)) if keep else done

    def unroll_tokens_backward(
        self, tape: Any, d_outputs: Array, d_state: State, *, sparse: bool = False
    ) -> tuple[LinearGradients, UnrollGradients]:
        """Undo `unroll_tokens`; see `contract.Engine.unroll_tokens_backward`."""
        tokens, unrolled = tape
        gradients = self.unroll_backward(unrolled, d_outputs, d_state)
        return self.project_tokens_backward(tokens, gradients.x, sparse=sparse), gradients

    def linear_cross_entropy(
        self, inputs: Array, weight: Array, bias: Array | None, targets: Array, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """Output layer, softmax and loss; see `contract.Engine.linear_cross_entropy`."""
        check_linear_cross_entropy(inputs, weight, bias, targets)
        scores = inputs @ weight.T if bias is None else multiply_add(bias, inputs, weight.T)
        log_probabilities = log_softmax(scores)
        rows = same_kind(np.arange(len(targets)), inputs)
        tape = (inputs, weight, bias is not None, rows, targets, log_probabilities) if keep else None
        return -log_probabilities[rows, targets], tape

    def linear_cross_entropy_backward(self, tape: Any, d_losses: Array) -> LinearGradients:
        """Undo `linear_cross_entropy`; see `contract.Engine.linear_cross_entropy_backward`."""
        inputs, weight, has_bias, rows, targets, log_probabilities = tape
        d_scores = library(inputs).exp(log_probabilities)
        d_scores[rows, targets] -= 1
        d_scores *= d_losses[:, None]
        return LinearGradients(d_scores @ weight, d_scores.T @ inputs, d_scores.sum(0) if has_bias else None)

    def predictor(self, weights: LanguageModelWeights) -> PlainPredictor:
        """The operations put together; see `contract.Engine.predictor`."""
        return PlainPredictor(self, weights)


def _rows_of_product(d_rows: Array, ids: Array, weight: Array, *, is_summed: bool) -> RowGradient:
    """The rows that ids name of sums @ weight; the sums are d_rows, one a kind, or are formed of them, one a token."""
    xp = library(d_rows)
    present, index = xp.unique(ids, return_inverse=True)
    sums = d_rows[present] if is_summed else sum_rows_by_index(d_rows, index, len(present))
    return RowGradient(xp.asarray(present, dtype=xp.int64), sums @ weight)


def _gradients(
    tape: _Tape, steps: Sequence[StepTape], d_x: Sequence[Array], d_u: Sequence[Array], d_state: State
) -> UnrollGradients:
    """The gradients of the weights, each as one product over all steps; steps in the order of d_x and d_u."""
    xp = library(d_x[0])
    all_x = xp.stack(d_x)
    all_u = all_x if d_u[0] is d_x[0] else xp.stack(d_u)
    flat = all_u.reshape(-1, all_u.shape[-1])
    rows = len(tape.weights.early)
    d_weight = flat[:, :rows].T @ xp.concatenate([step.operand for step in steps])
    if tape.weights.late is not None:
        d_late = flat[:, rows:].T @ xp.concatenate([step.late_operand for step in steps])
        d_weight = xp.concatenate([d_weight, d_late])
    return UnrollGradients(all_x, d_weight, flat.sum(0) if tape.has_bias else None, d_state)
