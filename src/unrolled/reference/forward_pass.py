"""The tutorial's network forward: states, probabilities, loss, and what its input may be."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import ShapeError, UsageError
from unrolled.reference.arrays import Array, Indices, as_float64, as_indices
from unrolled.reference.network import TutorialNetwork

Token = Any
"""One input x_t: an index, which stands for the vector with a single 1 there, or a dense vector (I,)."""


class FedBack(NamedTuple):
    """Input for `steps` steps where only the first is given and x_{t+1} = o_t: the network hears its own output.

    The gradient flows through the o_t that is fed back. With teacher forcing use `teacher_forced` instead.
    """

    first: Token
    steps: int


Inputs = ArrayLike | FedBack
"""(T,) indices, or (T, I) dense vectors, or `FedBack`."""


class Path(NamedTuple):
    """What one pass forward leaves behind."""

    inputs: list[Token]
    """x_t for each of the T steps."""
    states: Array
    """(T, H), s_t."""
    slopes: Array
    """(T, H), f'(U x_t + W s_{t-1})."""
    probabilities: Array
    """(T, V), o_t."""
    log_probabilities: Array
    """(T, V), in nats; finite where a probability is too small for float64."""
    fed_back: bool
    """Whether x_{t+1} is o_t."""


def softmax(scores: Array) -> Array:
    """Probabilities exp(z) / sum(exp(z)) over the last axis, for scores of any size."""
    return np.asarray(np.exp(log_softmax(scores)))


def log_softmax(scores: Array) -> Array:
    """Logarithm of `softmax`, in nats."""
    z = scores - scores.max(axis=-1, keepdims=True)  # (28): the largest is 0, so exp cannot overflow
    return np.asarray(z - np.log(np.exp(z).sum(axis=-1, keepdims=True)))  # (28)


def teacher_forced(first: int, targets: ArrayLike) -> Indices:
    """Make inputs for a network that hears what it should have said: `first`, then each target but the last.

    The gradient does not flow through what is heard, since it is given.
    """
    targets = as_indices("targets", targets, "T", None, (0, np.iinfo(np.int64).max))
    return np.concatenate([[first], targets[:-1]])


def advance(network: TutorialNetwork, x: Token, state: Array) -> tuple[Array, Array, Array]:
    """One time step: s_t (H,), the slope f' there (H,), and the scores V s_t (V,)."""
    a = (network.U[:, x] if np.ndim(x) == 0 else network.U @ x) + network.W @ state  # (27)
    (s,), kept = network.cell.step((a,), (), (state,))  # (27)
    (slope,), _, _ = network.cell.step_backward((np.ones_like(s),), kept)  # (27)
    return s, slope, network.V @ s  # (28)


def forward(network: TutorialNetwork, inputs: Inputs) -> Path:
    """Run the network over one sequence.

    Raises:
        ShapeError: inputs do not fit the network.
    """
    given = _checked_inputs(network, inputs)
    fed_back = isinstance(inputs, FedBack)
    steps = inputs.steps if isinstance(inputs, FedBack) else len(given)
    state = np.zeros(network.W.shape[0])
    x: Token = given[0]
    rows: list[tuple[Token, Array, Array, Array]] = []
    for t in range(steps):
        state, slope, scores = advance(network, x, state)
        rows.append((x, state, slope, log_softmax(scores)))
        if t + 1 < steps:
            x = np.exp(rows[-1][3]) if fed_back else given[t + 1]  # (31)
    xs, states, slopes, log_probabilities = (list(column) for column in zip(*rows, strict=True))
    logs = np.array(log_probabilities)
    return Path(xs, np.array(states), np.array(slopes), np.exp(logs), logs, fed_back)


def sequence_loss(network: TutorialNetwork, inputs: Inputs, targets: ArrayLike, *, mean: bool = False) -> float:
    """Cross entropy of one sequence in nats: the sum over its tokens, or with `mean` the average a token.

    Args:
        network: the network.
        inputs: see `Inputs`.
        targets: (T,) indices of the words that should have come out.
        mean: divide by T.

    Raises:
        ShapeError: inputs or targets do not fit the network or each other.
    """
    path = forward(network, inputs)
    return loss_of_path(path, checked_targets(path, targets), mean=mean)


def loss_of_path(path: Path, targets: Indices, *, mean: bool = False) -> float:
    """Take the loss of a pass forward that has already been made."""
    total = -float(path.log_probabilities[np.arange(len(targets)), targets].sum())  # (29)
    return total / len(targets) if mean else total


def checked_targets(path: Path, targets: ArrayLike) -> Indices:
    """Return the targets as one index for each step of the path."""
    steps, vocabulary = path.log_probabilities.shape
    return as_indices("targets", targets, "T", steps, (0, vocabulary))


def _checked_inputs(network: TutorialNetwork, inputs: Inputs) -> Any:
    input_size = network.U.shape[1]
    if isinstance(inputs, FedBack):
        if inputs.steps < 1:
            raise UsageError(f"steps is {inputs.steps}: expected 1 or more")
        if input_size != network.V.shape[0]:
            raise ShapeError(
                f"output of size {network.V.shape[0]} cannot be fed back into an input of size {input_size}"
            )
        inputs = np.asarray(inputs.first)[None]
    array = np.asarray(inputs)
    if array.ndim == 1:
        return as_indices("inputs", array, "T", None, (0, input_size))
    return as_float64("inputs", array, "T, I", (None, input_size))
