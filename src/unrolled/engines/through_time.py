"""Backpropagation through time taken apart: what each step's error is at each earlier step, layer by layer.

An ordinary backward pass adds up the errors that meet at a step. Here they stay apart: dE_t/ds_k for all pairs k <= t.
All errors are sent back side by side, one step further each time, so that T steps take T products and not T^2 / 2; the
lines are the cells' own (`one_step`), on NumPy arrays of any precision.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.arrays import Array, log_softmax
from unrolled.engines.contract import LanguageModelWeights, State
from unrolled.engines.one_step import RecurrentWeights, StepTape, split_weights, step_backward, step_forward, with_bias

FORGOTTEN = 0.01
"""Share of the size at lag 0 under which an error counts as forgotten."""
FEW = 10
"""Fewest errors whose median counts: of the last lags there are only some."""
WHOLE = "state"
"""The name of all parts of a state together."""


class LayerRecord(NamedTuple):
    """One layer's way through a text; T steps, no batch."""

    cell: Cell
    weight_ih: Array
    """(G*H, I)."""
    recurrent: RecurrentWeights
    inputs: Array
    """(T, I): what it read at each step."""
    x: Array
    """(T, G*H): the input term at each step, with the recurrent biases where no gate wants its recurrent term apart."""
    tape: StepTape
    """Of all steps: each array (T, H)."""
    states: State
    """Each part (T+1, H): the state before the first step, then after each."""


class Record(NamedTuple):
    """A language model's way through a text, with all that the way back needs."""

    layers: tuple[LayerRecord, ...]
    log_probabilities: Array
    """(T, V): of each token at each step, in nats."""
    losses: Array
    """(T,): E_t, how surprising each target was, in nats."""
    d_outputs: Array
    """(T, H): dE_t/dh_t of the last layer's output."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.losses)


class LayerErrors(NamedTuple):
    """The errors of steps t = lag .. T-1 at steps k = t - lag = 0 .. T-1-lag of one layer, a row each."""

    state: State
    """dE_t/ds_k, each part (T-lag, H): as the future sees the state, its parts independent of each other."""
    x: Array
    """dE_t/d(input term of step k), (T-lag, G*H)."""
    u: Array
    """dE_t/d(recurrent term of step k), (T-lag, G*H)."""


def record(
    weights: LanguageModelWeights, inputs: Array, targets: Array, states: Sequence[State] | None = None
) -> Record:
    """Read a text from a state.

    Args:
        weights: NumPy arrays of one dtype, in which all is calculated.
        inputs, targets: token ids, (T,) each.
        states: of each layer, each part (H,); None: zeros.
    """
    outputs = weights.embedding[inputs]
    layers = []
    for index, layer in enumerate(weights.layers):
        zeros = tuple(np.zeros(layer.hidden_size, outputs.dtype) for _ in weights.cell.state)
        recurrent = split_weights(weights.cell, layer.weight_hh, layer.bias_hh, None)
        term = outputs @ layer.weight_ih.T
        if layer.bias_ih is not None:
            term += layer.bias_ih
        x = with_bias(weights.cell, term, recurrent)
        done = record_layer(weights.cell, x, recurrent, zeros if states is None else states[index])
        layers.append(LayerRecord(weights.cell, layer.weight_ih, recurrent, outputs, x, *done))
        outputs = layers[-1].states[0][1:]
    log_probabilities = log_softmax(outputs @ weights.output_weight.T + weights.output_bias)
    d_scores = np.exp(log_probabilities)
    rows = np.arange(len(targets))
    d_scores[rows, targets] -= 1
    losses = -log_probabilities[rows, targets]
    return Record(tuple(layers), log_probabilities, losses, d_scores @ weights.output_weight)


def record_layer(cell: Cell, x: Array, recurrent: RecurrentWeights, state: State) -> tuple[StepTape, State]:
    """Take a layer through time: the tape of all its steps, and its states as in `LayerRecord`.

    Args:
        cell: of the layer.
        x: as in `LayerRecord`.
        recurrent: weights of the recurrent term.
        state: each part (H,).
    """
    now, steps = tuple(part[None] for part in state), list[StepTape]()
    passed = [now]
    for row in x[:, None]:
        now, step = step_forward(cell, row, recurrent, now)
        steps.append(step)
        passed.append(now)
    operands = [np.concatenate([step.operand for step in steps])]
    if recurrent.late is not None:
        operands.append(np.concatenate([step.late_operand for step in steps]))
    kept = (_over_time([step.kept for step in steps]), _over_time([step.late_kept for step in steps]))
    tape = StepTape(operands[0], operands[1] if recurrent.late is not None else None, *kept)
    return tape, _over_time(passed)


def _over_time(steps: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """What each step gave, over all steps; a cell may keep numbers, which are the same at each."""
    columns = list(zip(*steps, strict=True))
    return tuple(np.concatenate(each) if isinstance(each[0], np.ndarray) else each[0] for each in columns)


def errors_by_lag(done: Record, lags: int | None = None) -> Iterator[list[LayerErrors]]:
    """The errors of all steps at lag 0, then at lag 1, and so on; of each layer, lowest first.

    Args:
        done: a text that has been read.
        lags: how many; None: T, all that there are.
    """
    arriving = [tuple(np.zeros_like(part[1:]) for part in layer.states) for layer in done.layers]
    arriving[-1] = (arriving[-1][0] + done.d_outputs, *arriving[-1][1:])
    for lag in range(done.steps if lags is None else min(lags, done.steps)):
        errors = list[LayerErrors]()
        for index in reversed(range(len(done.layers))):
            layer, d_state = done.layers[index], arriving[index]
            d_x, d_u, d_before = step_backward(
                layer.cell, layer.recurrent, _first_steps(layer.tape, done.steps - lag), d_state
            )
            errors.append(LayerErrors(d_state, d_x, d_u))
            arriving[index] = tuple(part[1:] for part in d_before)  # the first row has reached the beginning
            if index:
                below = arriving[index - 1]
                arriving[index - 1] = (below[0] + d_x @ layer.weight_ih, *below[1:])
        yield errors[::-1]


def error_sizes(done: Record) -> dict[str, Array]:
    """The norm of dE_t/ds_k of each layer at [layer, t, k], (L, T, T); NaN for k > t.

    By part of the state, such as "h" and "c", and under `WHOLE` for all of it.
    """
    layers, steps = len(done.layers), done.steps
    names = done.layers[0].cell.state
    squares = np.full((len(names), layers, steps, steps), np.nan)
    for lag, errors in enumerate(errors_by_lag(done)):
        t = np.arange(lag, steps)
        for layer, error in enumerate(errors):
            for part, d in enumerate(error.state):
                squares[part, layer, t, t - lag] = np.einsum("ij,ij->i", d, d)
    sizes = {name: np.sqrt(square) for name, square in zip(names, squares, strict=True)}
    return {WHOLE: sizes[names[0]]} if len(names) == 1 else sizes | {WHOLE: np.sqrt(squares.sum(0))}


def over_the_lag(sizes: Array, whole: Array | None = None) -> Array:
    """Median and quartiles over the steps t at each lag t-k of one layer's sizes (T, T), (T, 3).

    Args:
        sizes: from `error_sizes`.
        whole: where given, sizes count against the whole state's error at lag 0 of the same step.
    """
    rows = []
    for lag in range(len(sizes)):
        values = np.diagonal(sizes, -lag)
        if whole is not None:
            at_zero = np.diagonal(whole)[lag:]
            values = np.divide(values, at_zero, out=np.zeros_like(values), where=at_zero != 0)
        rows.append(np.quantile(values, [0.5, 0.25, 0.75]))
    return np.array(rows)


def relative_curve(done: Record, layer: int = -1) -> Array:
    """Median size of a layer's errors against lag 0, over the lag, (T,)."""
    sizes = error_sizes(done)[WHOLE][layer]
    curve: Array = over_the_lag(sizes, sizes)[:, 0]
    return curve


def lags_judged(steps: int) -> int:
    """So many lags of a text have enough errors for a median to say something."""
    return steps - min(FEW - 1, steps // 2)


def effective_memory(relative: Array) -> int | None:
    """The first lag from which on a curve against lag 0 stays under `FORGOTTEN`, as far as lags can be judged.

    Returns:
        None where it ends above, and where it holds what is no number.
    """
    judged = relative[: lags_judged(len(relative))]
    if not np.isfinite(judged).all():
        return None
    above = np.flatnonzero(judged >= FORGOTTEN)
    first = int(above[-1]) + 1 if len(above) else 0
    return first if first < len(judged) else None


def state_jacobian(layer: LayerRecord, step: int) -> Array:
    """ds_t/ds_{t-1} at one step, (S, S): rows and columns are all parts of the state, one after the other.

    The inputs of the layer are held; S is H times the number of parts.
    """
    parts, hidden = len(layer.states), layer.states[0].shape[1]
    rows = np.eye(parts * hidden, dtype=layer.states[0].dtype).reshape(-1, parts, hidden)
    one = _some_steps(layer.tape, slice(step, step + 1))
    _, _, before = step_backward(layer.cell, layer.recurrent, one, tuple(rows[:, part] for part in range(parts)))
    return np.concatenate(before, axis=1)


def _first_steps(tape: StepTape, count: int) -> StepTape:
    return _some_steps(tape, slice(count))


def _some_steps(tape: StepTape, steps: slice) -> StepTape:
    late = None if tape.late_operand is None else tape.late_operand[steps]
    kept, late_kept = (
        tuple(each[steps] if isinstance(each, np.ndarray) else each for each in group)
        for group in (tape.kept, tape.late_kept)
    )
    return StepTape(tape.operand[steps], late, kept, late_kept)
