"""What a model should say, found the long way: the reference network in float64, one token after the other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from unrolled import cells
from unrolled.reference.unrolling import Weights, unroll
from unrolled.text.tokenizer import Tokenizer

Doubles = npt.NDArray[np.float64]


def config_of(directory: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    return config


def tokenizer_of(directory: Path) -> Tokenizer:
    text = (directory / "tokenizer.json").read_text(encoding="utf-8")
    return Tokenizer.from_json(text, config_of(directory)["text"]["unit"])


def log_probabilities(directory: Path, ids: npt.ArrayLike) -> Doubles:
    """log p(token | all before it) for every next token: ids (N,) that follow an end of line, to (N, V)."""
    config, tensors = config_of(directory)["model"], load_file(directory / "model.safetensors")
    w = {name: array.astype(np.float64) for name, array in tensors.items()}
    inputs = np.concatenate([[tokenizer_of(directory).end_of_line_id], np.asarray(ids, np.int64)[:-1]])
    h = w["embedding.weight"][inputs][:, None, :]
    for layer in range(config["layers"]):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = Weights(*(w[f"recurrent.{name}_l{layer}"] for name in names))
        h = unroll(cells.get(config["cell"]), h, weights).outputs
    output = w["embedding.weight" if config["tied"] else "output.weight"]
    scores = h[:, 0] @ output.T + w["output.bias"]
    above = scores.max(axis=1, keepdims=True)
    logs: Doubles = scores - above - np.log(np.exp(scores - above).sum(axis=1, keepdims=True))
    return logs


def token_log_probabilities(directory: Path, text: str) -> Doubles:
    """log p of each token of a text that is read from its first line on as one sequence, (N,)."""
    ids = tokenizer_of(directory).encode(text)
    logs: Doubles = log_probabilities(directory, ids)[np.arange(len(ids)), ids]
    return logs
