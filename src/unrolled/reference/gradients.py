"""Three ways to the gradient of the tutorial's network: naive BPTT, one-loop BPTT, real-time recurrent learning.

All give the gradient of the same loss, and the same numbers when nothing is truncated. Where the output is fed back
(x_{t+1} = o_t), the path through o_t is one of the paths through time: it is followed, and truncated, with the others.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unrolled.errors import UsageError
from unrolled.reference.arrays import Array
from unrolled.reference.forward_pass import Inputs, Path, Token, checked_targets, forward, loss_of_path
from unrolled.reference.network import TutorialNetwork


class Backward(NamedTuple):
    """The result of a way to the gradient."""

    loss: float
    """Cross entropy in nats, a sum over the tokens or their mean as was asked for."""
    gradients: dict[str, Array]
    """dE/dU, dE/dV and dE/dW, by name."""
    back_steps: int
    """How often an error was sent through one time step; 0 for forward mode."""


def naive_bptt(
    network: TutorialNetwork, inputs: Inputs, targets: ArrayLike, *, truncate: int | None = None, mean: bool = False
) -> Backward:
    """Backpropagation through time as it is first written down: every output sends its own error back.

    Args:
        network: the network.
        inputs: see `Inputs`.
        targets: (T,) indices.
        truncate: k sends the error of output t to the k+1 steps t, t-1, ..., max(0, t-k), which is the true gradient
            when k >= T-1; None means all of them. What V gains from output t itself is never truncated.
        mean: take the loss as the mean over tokens instead of their sum.

    Returns:
        Costs (k+1) T back-steps, T (T+1) / 2 without truncation.

    Raises:
        ShapeError: inputs or targets do not fit.
        UsageError: truncate is negative.
    """
    if truncate is not None and truncate < 0:
        raise UsageError(f"truncate is {truncate}: expected 0 or more, or None for no truncation")
    path, loss, d_scores = _forward_and_errors(network, inputs, targets, mean)
    gradients = _zeros(network)
    back_steps = 0
    for t in range(len(d_scores)):
        ds = _output_backward(network, path, t, d_scores[t], gradients)
        last = 0 if truncate is None else max(0, t - truncate)
        for step in range(t, last - 1, -1):  # (33)
            ds = _back_step(network, path, step, ds, gradients)
            back_steps += 1
    return Backward(loss, gradients, back_steps)


def bptt(network: TutorialNetwork, inputs: Inputs, targets: ArrayLike, *, mean: bool = False) -> Backward:
    """Backpropagation through time in one loop: errors that meet at a step travel on as their sum. O(T), exact.

    Args and errors as for `naive_bptt`, which this equals without truncation.
    """
    path, loss, d_scores = _forward_and_errors(network, inputs, targets, mean)
    gradients = _zeros(network)
    ds = np.zeros_like(path.states[0])
    for t in reversed(range(len(d_scores))):
        ds = ds + _output_backward(network, path, t, d_scores[t], gradients)  # (34)
        ds = _back_step(network, path, t, ds, gradients)
    return Backward(loss, gradients, len(d_scores))


def rtrl(network: TutorialNetwork, inputs: Inputs, targets: ArrayLike, *, mean: bool = False) -> Backward:
    """Real-time recurrent learning (Williams and Zipser 1989): carry ds_t/d(weights) forward, never look back. Exact.

    Memory does not grow with T, but holds H numbers for each weight, and a step costs H^2 for each: for small networks.
    Args and errors as for `naive_bptt`, which this equals without truncation.
    """
    path, loss, d_scores = _forward_and_errors(network, inputs, targets, mean)
    U, V, W = network.U, network.V, network.W
    hidden, vocabulary = np.arange(len(W)), np.arange(len(V))
    gradients = _zeros(network)
    sensitivity = {name: np.zeros((len(W), *weight.shape)) for name, weight in network.parameters.items()}
    sensitivity_x: dict[str, Array] | None = None  # dx_t/d(weights), where x_t was fed back
    for t, x in enumerate(path.inputs):
        s_prev = path.states[t - 1] if t > 0 else np.zeros(len(W))
        for name, before in sensitivity.items():
            da = np.tensordot(W, before, axes=1)  # (35)
            if name == "U":
                da[hidden, hidden] += _dense(x, U.shape[1])  # (35)
            if name == "W":
                da[hidden, hidden] += s_prev  # (35)
            if sensitivity_x is not None:
                da += np.tensordot(U, sensitivity_x[name], axes=1)  # (35)
            sensitivity[name] = path.slopes[t][:, None, None] * da  # (35)
            gradients[name] += np.tensordot(V.T @ d_scores[t], sensitivity[name], axes=1)  # (36)
        gradients["V"] += np.outer(d_scores[t], path.states[t])  # (36)
        if path.fed_back:
            d_z = {name: np.tensordot(V, s, axes=1) for name, s in sensitivity.items()}  # (35)
            d_z["V"][vocabulary, vocabulary] += path.states[t]  # (35)
            o = path.probabilities[t]
            sensitivity_x = {
                name: o[:, None, None] * (d - np.tensordot(o, d, axes=1))  # (31)
                for name, d in d_z.items()
            }
    return Backward(loss, gradients, 0)


def _forward_and_errors(
    network: TutorialNetwork, inputs: Inputs, targets: ArrayLike, mean: bool
) -> tuple[Path, float, Array]:
    """Run forward; return the path, the loss, and dE/d(scores), (T, V)."""
    path = forward(network, inputs)
    wanted = checked_targets(path, targets)
    d_scores = path.probabilities.copy()  # (30)
    d_scores[np.arange(len(wanted)), wanted] -= 1  # (30)
    if mean:
        d_scores /= len(wanted)  # (29)
    return path, loss_of_path(path, wanted, mean=mean), d_scores


def _output_backward(
    network: TutorialNetwork, path: Path, t: int, d_scores: Array, gradients: dict[str, Array]
) -> Array:
    """Undo the scores z_t = V s_t: adds to dV, returns dE/ds_t."""
    gradients["V"] += np.outer(d_scores, path.states[t])  # (28)
    return network.V.T @ d_scores  # (28)


def _back_step(network: TutorialNetwork, path: Path, t: int, ds: Array, gradients: dict[str, Array]) -> Array:
    """Send dE/ds_t through one time step: adds to dU and dW, returns dE/ds_{t-1}."""
    x, da = path.inputs[t], ds * path.slopes[t]  # (32)
    if np.ndim(x) == 0:
        gradients["U"][:, x] += da  # (32): an index picks a column
    else:
        gradients["U"] += np.outer(da, x)  # (32)
    if t == 0:
        return np.zeros_like(ds)  # s_{-1} = 0 is no variable
    gradients["W"] += np.outer(da, path.states[t - 1])  # (32)
    ds_prev = network.W.T @ da  # (32)
    if path.fed_back:
        dx, o = network.U.T @ da, path.probabilities[t - 1]  # (32)
        ds_prev += _output_backward(network, path, t - 1, o * (dx - o @ dx), gradients)  # (31)
    return np.asarray(ds_prev)


def _dense(x: Token, size: int) -> Array:
    return np.eye(1, size, x)[0] if np.ndim(x) == 0 else np.asarray(x)


def _zeros(network: TutorialNetwork) -> dict[str, Array]:
    return {name: np.zeros_like(weight) for name, weight in network.parameters.items()}
