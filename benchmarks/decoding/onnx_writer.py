"""Writing in ONNX Runtime, in all the ways that may be the fastest."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, product
from typing import Any

import numpy as np
import onnxruntime

from decoding.model import Model
from decoding.onnx_graphs import Graph, add_cell, add_operator, add_output_layer, session
from decoding.writer import FIRST, Doubles, Tokens, Writer
from steps.task import Tensors
from unrolled.engines.arrays import log_softmax

Shapes = dict[str, tuple[type[np.generic], tuple[int, ...]]]
"""Arrays by name: type and shape."""
OPERATOR, WRITTEN_OUT = "operator", "written out"


@dataclass(frozen=True)
class Variant:
    """One way to write.

    Attributes:
        way: the RNN, GRU or LSTM operator, or the cell of products, sigmoids and so on.
        threads: how many the session has.
        spinning: whether these spin while they wait.
    """

    way: str = OPERATOR
    threads: int = 1
    spinning: bool = False

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        return f"{self.way}, {threads}" + (", spinning" if self.spinning else "")


def variants(threads: int) -> Iterator[Variant]:
    """All ways, for as many threads as there are and for one, which has nobody to spin for."""
    several = [(threads, False), (threads, True)] if threads > 1 else []
    for way, (count, spinning) in product((OPERATOR, WRITTEN_OUT), [(1, False), *several]):
        yield Variant(way, count, spinning)


class OnnxWriter(Writer):
    """A graph of one step that ends with the choice of the most probable token.

    Token and state lie in two sets of arrays, bound once: a step reads one set and writes the other, the next step the
    other way round. Nothing is copied between two steps, and Python only starts them.
    """

    name = "onnxruntime"

    def __init__(self, model: Model, tensors: Tensors, variant: Variant) -> None:
        self.variant, self.threads = str(variant), variant.threads
        self._session = session(writing_graph(model, tensors, variant.way), variant.threads, spinning=variant.spinning)
        shapes = _shapes(model, variant.way)
        self._sets = [_arrays(shapes), _arrays(shapes)]
        self._scores = np.zeros((1, model.vocabulary), np.float32)
        sets = [{name: _value(array) for name, array in arrays.items()} for arrays in self._sets]
        scores = _value(self._scores)
        bindings = [self._bind(sets[0], sets[1], scores), self._bind(sets[1], sets[0], scores)]
        self._steps = [(bindings[0], self._sets[1]["token"]), (bindings[1], self._sets[0]["token"])]

    def _bind(self, before: dict[str, Any], after: dict[str, Any], scores: Any) -> Any:
        binding = self._session.io_binding()
        for name, value in before.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in after.items():
            binding.bind_ortvalue_output(f"next_{name}", value)
        binding.bind_ortvalue_output("scores", scores)
        return binding

    def generate(self, count: int) -> Tokens:
        """Start one step after the other; a step finds the token that the last one chose."""
        self._begin()
        made, run = np.empty(count, np.int64), self._session.run_with_iobinding
        for index, (binding, token) in zip(range(count), cycle(self._steps), strict=False):
            run(binding)
            made[index] = token.item()
        return made

    def log_probabilities(self, tokens: Tokens) -> Doubles:
        """The same steps, with other tokens than those that were chosen."""
        self._begin()
        rows = []
        for token, arrays, (binding, _) in zip(tokens, cycle(self._sets), cycle(self._steps), strict=False):
            arrays["token"].fill(token)
            self._session.run_with_iobinding(binding)
            rows.append(self._scores.astype(np.float64))
        logs: Doubles = log_softmax(np.concatenate(rows))
        return logs

    def _begin(self) -> None:
        for array in self._sets[0].values():
            array.fill(0)
        self._sets[0]["token"].fill(FIRST)


def writing_graph(model: Model, tensors: Tensors, way: str) -> bytes:
    """One step: "token" and the state to "scores" and to "next_token" and the next state, in the same shapes."""
    graph, shapes = Graph(), _shapes(model, way)
    for name, (dtype, shape) in shapes.items():
        graph.input(name, dtype, shape)
    x = graph.add("Gather", [graph.constant(tensors["embedding.weight"]), "token"])
    after: dict[str, str] = {}
    for layer in range(model.layers):
        names = [name for name in shapes if name.endswith(f"_{layer}")]
        if way == OPERATOR:
            _, *parts = add_operator(graph, model, tensors, layer, x, state=names)
        else:
            parts = add_cell(graph, model, tensors, layer, x, names)
        after |= dict(zip(names, parts, strict=True))
        x = parts[0]
    row = graph.add("Squeeze", [x, graph.constant(np.array([0]))]) if way == OPERATOR else x
    scores = add_output_layer(graph, tensors, row)
    after["token"] = graph.add("ArgMax", [scores], {"axis": 1, "keepdims": len(shapes["token"][1]) - 1})
    for name, value in after.items():
        graph.name(value, f"next_{name}")
        graph.output(f"next_{name}", *shapes[name])
    graph.name(scores, "scores")
    graph.output("scores", np.float32, (1, model.vocabulary))
    return graph.serialized()


def _shapes(model: Model, way: str) -> Shapes:
    """What goes from step to step, by name; the operators want axes for time and for direction."""
    leading = (1, 1) if way == OPERATOR else (1,)
    parts = ("h", "c") if model.cell == "lstm" else ("h",)
    shapes: Shapes = {"token": (np.int64, leading)}
    for layer in range(model.layers):
        shapes |= {f"{part}_{layer}": (np.float32, (*leading, model.hidden)) for part in parts}
    return shapes


def _arrays(shapes: Shapes) -> dict[str, Any]:
    return {name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes.items()}


def _value(array: Any) -> Any:
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)  # on the CPU the array's own memory
