"""The same language model as an ONNX graph: parts that writing and scoring share, and sessions that run it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import helper, numpy_helper

from decoding.model import Model
from steps.task import Tensors

Array = npt.NDArray[Any]
OPERATORS = {"tanh": "RNN", "gru": "GRU", "lstm": "LSTM"}
GATE_ORDERS = {"tanh": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Where the gates of ONNX's operators stand among ours: GRU update, reset, candidate; LSTM input, output, forget."""
OPSET, FORMAT = 18, 9
"""Versions of the operators and of the file, which any onnxruntime of these years reads."""


class Graph:
    """A graph that grows node by node; a node's outputs are known by the names that come back."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._ends: tuple[list[Any], list[Any]] = ([], [])

    def constant(self, array: Array) -> str:
        """Weights, or the axes of an operator."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> str:
        """What is fed; a dimension may have a name instead of a size."""
        self._ends[0].append(_described(name, dtype, shape))
        return name

    def output(self, name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> None:
        """What is fetched."""
        self._ends[1].append(_described(name, dtype, shape))

    def add(self, operator: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None) -> str:
        """A node with one output."""
        (name,) = self.add_many(operator, inputs, 1, attributes)
        return name

    def add_many(
        self, operator: str, inputs: Sequence[str], count: int, attributes: dict[str, Any] | None = None
    ) -> list[str]:
        """A node with several outputs."""
        names = [f"{operator}_{len(self._nodes)}_{index}" for index in range(count)]
        self._nodes.append(helper.make_node(operator, inputs, names, **(attributes or {})))
        return names

    def name(self, value: str, name: str) -> None:
        """Give an output of a node the name under which it is fetched, at no cost."""
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if known == value else known for known in names]

    def serialized(self) -> bytes:
        """The graph as a session takes it."""
        graph = helper.make_graph(self._nodes, "language_model", *self._ends, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT)
        serialized: bytes = model.SerializeToString()
        return serialized


def _described(name: str, dtype: type[np.generic], shape: Sequence[int | str]) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def layer_tensors(tensors: Tensors, layer: int) -> tuple[Array, Array, Array, Array]:
    """weight_ih, weight_hh, bias_ih and bias_hh."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weight_ih, weight_hh, bias_ih, bias_hh = (tensors[f"recurrent.{name}_l{layer}"] for name in names)
    return weight_ih, weight_hh, bias_ih, bias_hh


def add_operator(
    graph: Graph, model: Model, tensors: Tensors, layer: int, x: str, *, lengths: str = "", state: Sequence[str] = ()
) -> list[str]:
    """One layer as RNN, GRU or LSTM: x (T, B, I); outputs (T, 1, B, H) and the parts of the state, each (1, B, H)."""
    weight_ih, weight_hh, *biases = (_reordered(array, model) for array in layer_tensors(tensors, layer))
    constants = [graph.constant(array[None]) for array in (weight_ih, weight_hh, np.concatenate(biases))]
    attributes = {"hidden_size": model.hidden} | ({"linear_before_reset": 1} if model.cell == "gru" else {})
    outputs = 3 if model.cell == "lstm" else 2
    return graph.add_many(OPERATORS[model.cell], [x, *constants, lengths, *state], outputs, attributes)


def _reordered(array: Array, model: Model) -> Array:
    gates = array.reshape(model.gates, model.hidden, *array.shape[1:])
    return gates[list(GATE_ORDERS[model.cell])].reshape(array.shape)


def add_cell(graph: Graph, model: Model, tensors: Tensors, layer: int, x: str, state: Sequence[str]) -> list[str]:
    """One step of one layer written out: x (B, I) and the state (B, H) to the parts of the next state."""
    weight_ih, weight_hh, bias_ih, bias_hh = layer_tensors(tensors, layer)
    if model.cell == "gru":  # the candidate needs its two products apart
        return _gru(graph, _gemm(graph, x, weight_ih, bias_ih), _gemm(graph, state[0], weight_hh, bias_hh), state[0])
    both = graph.add("Concat", [x, state[0]], {"axis": 1})
    gates = _gemm(graph, both, np.concatenate([weight_ih, weight_hh], axis=1), bias_ih + bias_hh)
    return [graph.add("Tanh", [gates])] if model.cell == "tanh" else _lstm(graph, gates, state[1])


def _gru(graph: Graph, x: str, u: str, h: str) -> list[str]:
    hidden = {"axis": 1, "num_outputs": 3}
    (x_r, x_z, x_n), (u_r, u_z, u_n) = graph.add_many("Split", [x], 3, hidden), graph.add_many("Split", [u], 3, hidden)
    r, z = (graph.add("Sigmoid", [graph.add("Add", pair)]) for pair in ([x_r, u_r], [x_z, u_z]))
    n = graph.add("Tanh", [graph.add("Add", [x_n, graph.add("Mul", [r, u_n])])])
    return [graph.add("Add", [n, graph.add("Mul", [z, graph.add("Sub", [h, n])])])]


def _lstm(graph: Graph, gates: str, c: str) -> list[str]:
    i, f, g, o = graph.add_many("Split", [gates], 4, {"axis": 1, "num_outputs": 4})
    i, f, o = (graph.add("Sigmoid", [gate]) for gate in (i, f, o))
    c = graph.add("Add", [graph.add("Mul", [f, c]), graph.add("Mul", [i, graph.add("Tanh", [g])])])
    return [graph.add("Mul", [o, graph.add("Tanh", [c])]), c]


def add_output_layer(graph: Graph, tensors: Tensors, outputs: str) -> str:
    """Outputs (N, H) to scores (N, V)."""
    return _gemm(graph, outputs, tensors["output.weight"], tensors["output.bias"])


def _gemm(graph: Graph, x: str, weight: Array, bias: Array) -> str:
    return graph.add("Gemm", [x, graph.constant(weight.T), graph.constant(bias)])


def session(serialized: bytes, threads: int, *, spinning: bool) -> Any:
    """A session on the CPU; its threads may spin while they wait for work."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
