"""From a model directory's tensors to the weights that engines run, and a stack of layers run over tokens."""

from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import cells
from unrolled.engines import Engine, InputWeights, LanguageModelWeights, LayerWeights, State
from unrolled.errors import ModelDirectoryError, UsageError

Floats = npt.NDArray[np.floating[Any]]
Tokens = npt.NDArray[np.int64]
StackState = tuple[State, ...]
"""One state for each layer, lowest first."""


def weights_from(config: dict[str, Any], tensors: dict[str, Floats], dtype: npt.DTypeLike) -> LanguageModelWeights:
    """The weights that config.json describes, each held against the shape that follows from it.

    Raises:
        ModelDirectoryError: config.json lacks sizes, or a tensor is missing, superfluous or of another shape.
    """
    sizes = _sizes(config)
    try:
        cell = cells.get(str(sizes.get("cell")))
    except UsageError as error:
        raise ModelDirectoryError(f"config.json: {error}") from error
    V, E, H = sizes["vocabulary_size"], sizes["embedding_size"], sizes["hidden_size"]
    if sizes["tied"] and E != H:
        raise ModelDirectoryError(
            f"config.json: tied weights need equal sizes, but embedding_size={E}, hidden_size={H}"
        )
    rows = len(cell.gates) * H
    remaining = dict(tensors)

    def take(name: str, *shape: int) -> Floats:
        if name not in remaining:
            raise ModelDirectoryError(f'model.safetensors: has no "{name}", which config.json calls for: train again')
        array = remaining.pop(name)
        if array.shape != shape:
            raise ModelDirectoryError(
                f'model.safetensors: "{name}" has shape {array.shape}, config.json calls for {shape}: train again'
            )
        return np.ascontiguousarray(array, dtype)

    embedding = take("embedding.weight", V, E)
    layers = tuple(
        LayerWeights(
            take(f"recurrent.weight_ih_l{layer}", rows, E if layer == 0 else H),
            take(f"recurrent.weight_hh_l{layer}", rows, H),
            take(f"recurrent.bias_ih_l{layer}", rows),
            take(f"recurrent.bias_hh_l{layer}", rows),
        )
        for layer in range(sizes["layers"])
    )
    output_weight = embedding if sizes["tied"] else take("output.weight", V, H)
    output_bias = take("output.bias", V)
    if remaining:
        raise ModelDirectoryError(f'model.safetensors: "{min(remaining)}" is not part of the model in config.json')
    return LanguageModelWeights(cell, embedding, layers, output_weight, output_bias)


def _sizes(config: dict[str, Any]) -> dict[str, Any]:
    sizes = config.get("model")
    if not isinstance(sizes, dict):
        raise ModelDirectoryError('config.json: has no "model" with the sizes: train again')
    for name in ("vocabulary_size", "embedding_size", "hidden_size", "layers"):
        if type(sizes.get(name)) is not int or sizes[name] < 1:
            raise ModelDirectoryError(
                f'config.json: model "{name}" is {sizes.get(name)!r}: expected a positive integer'
            )
    if type(sizes.get("tied")) is not bool:
        raise ModelDirectoryError(f'config.json: model "tied" is {sizes.get("tied")!r}: expected true or false')
    return sizes


def zero_state(weights: LanguageModelWeights, batch: int) -> StackState:
    """The state before the first token: zeros, (B, H) for each part of each layer."""
    shape = (batch, weights.layers[0].hidden_size)
    zeros = np.zeros(shape, weights.embedding.dtype)
    return tuple(tuple(zeros for _ in weights.cell.state) for _ in weights.layers)


def advance(
    engine: Engine,
    weights: LanguageModelWeights,
    ids: Tokens,
    state: StackState,
    lengths: npt.NDArray[np.int64] | None = None,
) -> tuple[Floats, StackState]:
    """Read tokens: ids (T, B) to the last layer's outputs (T, B, H) and the state after the last token."""
    first, *others = weights.layers
    inputs = InputWeights(weights.embedding, first.weight_ih, first.bias_ih)
    outputs, final, _ = engine.unroll_tokens(
        weights.cell, ids, inputs, first.weight_hh, first.bias_hh, state[0], lengths=lengths, keep=False
    )
    last = [final]
    for layer, before in zip(others, state[1:], strict=True):
        rows, _ = engine.linear(outputs.reshape(ids.size, -1), layer.weight_ih, layer.bias_ih, keep=False)
        x = rows.reshape(*ids.shape, -1)
        outputs, final, _ = engine.unroll(
            weights.cell, x, layer.weight_hh, layer.bias_hh, before, lengths=lengths, keep=False
        )
        last.append(final)
    return outputs, tuple(last)
