"""The training step as it is written in JAX: one compiled function whose weights and state are overwritten in place."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from steps.task import CLIP, RATE, Task, Tensors, TrainingStep
from unrolled.text.batches import Batch

Array = Any
State = tuple[Array, ...]
Weights = dict[str, Array]
UNROLLED_STEPS = (1, 4)
"""How many time steps lax.scan writes out in one turn of its loop; the faster is kept."""


class Jax(TrainingStep):
    """lax.scan a layer, input products of all time steps taken out of it, jit with donated weights and state."""

    name = "jax"

    def __init__(self, task: Task, weights: Tensors, unroll: int) -> None:
        self.variant = f"jit, donated buffers, scan of {unroll} steps a turn"
        self._weights: Weights = {name: jnp.array(array) for name, array in weights.items()}
        parts = 2 if task.cell == "lstm" else 1
        self._zero = [tuple(np.zeros((task.batch, task.hidden), np.float32) for _ in range(parts))] * task.layers
        self._state: list[State] = [tuple(jnp.array(part) for part in layer) for layer in self._zero]
        self._loss: Array = jnp.nan

        def loss(weights: Weights, state: list[State], inputs: Array, targets: Array) -> tuple[Array, list[State]]:
            return language_model_loss(CELLS[task.cell], unroll, weights, state, inputs, targets)

        self._gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))

        def update(weights: Weights, state: list[State], inputs: Array, targets: Array) -> tuple[Any, ...]:
            (value, state), gradients = jax.value_and_grad(loss, has_aux=True)(weights, state, inputs, targets)
            norm = jnp.sqrt(sum(jnp.vdot(gradient, gradient) for gradient in gradients.values()))
            rate = RATE * jnp.minimum(1.0, CLIP / (norm + 1e-6))
            return {name: weights[name] - rate * gradients[name] for name in weights}, state, value

        self._update = jax.jit(update, donate_argnums=(0, 1))

    def ready(self, batch: Batch) -> tuple[Array, Array]:
        return jnp.asarray(batch.inputs, jnp.int32), jnp.asarray(batch.targets, jnp.int32)

    def step(self, ready: tuple[Array, Array]) -> None:
        self._weights, self._state, self._loss = self._update(self._weights, self._state, *ready)

    def finish(self) -> None:
        for array in (*self._weights.values(), self._loss):
            array.block_until_ready()

    def loss(self) -> float:
        return float(self._loss)

    def gradients(self, batch: Batch) -> tuple[float, Tensors]:
        (loss, _), gradients = self._gradients(self._weights, self._zero, *self.ready(batch))
        return float(loss), {name: np.array(gradient) for name, gradient in gradients.items()}

    def weights(self) -> Tensors:
        return {name: np.array(array) for name, array in self._weights.items()}


def language_model_loss(
    cell: Callable[..., State], unroll: int, weights: Weights, state: list[State], inputs: Array, targets: Array
) -> tuple[Array, list[State]]:
    """Tokens (T, B) and what is to follow them to the mean loss in nats, and each layer's state after them."""
    outputs = weights["embedding.weight"][inputs]
    last = []
    for layer, initial in enumerate(state):
        w, r, b, c = (
            weights[f"recurrent.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )

        def step(state: State, x: Array, r: Array = r, c: Array = c) -> tuple[State, Array]:
            state = cell(x, state[0] @ r.T + c, state)
            return state, state[0]

        final, outputs = lax.scan(step, initial, outputs @ w.T + b, unroll=unroll)
        last.append(final)
    logits = outputs @ weights["output.weight"].T + weights["output.bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)
    return -chosen.mean(), last


def _tanh(x: Array, u: Array, state: State) -> State:
    return (jnp.tanh(x + u),)


def _gru(x: Array, u: Array, state: State) -> State:
    (x_r, x_z, x_n), (u_r, u_z, u_n) = jnp.split(x, 3, axis=-1), jnp.split(u, 3, axis=-1)
    z = jax.nn.sigmoid(x_z + u_z)
    n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + u_r) * u_n)
    return ((1 - z) * n + z * state[0],)


def _lstm(x: Array, u: Array, state: State) -> State:
    i, f, g, o = jnp.split(x + u, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELLS: dict[str, Callable[..., State]] = {"tanh": _tanh, "gru": _gru, "lstm": _lstm}
