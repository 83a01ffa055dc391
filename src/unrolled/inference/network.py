"""From a model directory's tensors to the weights that engines run."""

from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import cells
from unrolled.engines import LanguageModelWeights, LayerWeights
from unrolled.errors import ModelDirectoryError, UsageError

Floats = npt.NDArray[np.floating[Any]]


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
