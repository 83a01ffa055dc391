"""Scoring in ONNX Runtime, in all the ways that may be the fastest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from decoding.model import Model
from decoding.onnx_graphs import Graph, add_operator, add_output_layer, session
from decoding.scorer import END_OF_LINE, Doubles, Ids, PeerScorer, batches
from steps.task import Tensors

LOG_SOFTMAX, LOG_SUM = "LogSoftmax", "ReduceLogSumExp"
HEADS = tuple(product((LOG_SOFTMAX, LOG_SUM), (True, False)))
"""What makes log-probabilities, and whether of the live rows only."""
BATCH_SIZES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Variant:
    """One way to score.

    Attributes:
        batch: sentences in a batch.
        head: the operator that makes log-probabilities of scores.
        live: whether the rows of padding are taken out before the output layer.
        spinning: whether threads spin while they wait.
    """

    batch: int = 32
    head: str = LOG_SOFTMAX
    live: bool = True
    spinning: bool = True

    def __str__(self) -> str:
        rows = "rows that count" if self.live else "all rows"
        return f"batches of {self.batch}, {self.head} of {rows}" + (", spinning" if self.spinning else "")


def variants() -> Iterator[Variant]:
    """All that can be asked for."""
    for batch, (head, live), spinning in product(BATCH_SIZES, HEADS, (True, False)):
        yield Variant(batch, head, live, spinning)


class OnnxScorer(PeerScorer):
    """RNN, GRU or LSTM with sequence_lens over batches of like length; the graph ends with the targets' log p.

    Attributes:
        way: the variant.
    """

    name = "onnxruntime"

    def __init__(self, model: Model, tensors: Tensors, variant: Variant, threads: int) -> None:
        self.way, self.variant, self.threads = variant, str(variant), threads
        self.batch, self._live = variant.batch, variant.live
        graph = scoring_graph(model, tensors, variant)
        self._session = session(graph, threads, spinning=variant.spinning and threads > 1)

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        """Batch by batch."""
        scores = np.empty(len(sentences))
        for places, batch in batches(sentences, self.batch):
            scores[places] = self._score(batch)
        return scores

    def _score(self, sentences: list[Ids]) -> Doubles:
        lengths = np.array([len(sentence) for sentence in sentences])
        counts = np.arange(lengths[0])[:, None] < lengths  # (T, B)
        targets = np.full(counts.shape, END_OF_LINE)
        targets.T[counts.T] = np.concatenate(sentences)
        inputs = np.concatenate([np.full((1, len(sentences)), END_OF_LINE), targets[:-1]])
        fed: dict[str, Any] = {"tokens": inputs, "lengths": lengths.astype(np.int32)}
        if self._live:
            rows = np.flatnonzero(counts)
            fed |= {"rows": rows, "targets": targets.ravel()[rows, None]}
            owners = rows % len(sentences)
        else:
            fed["targets"] = targets.reshape(-1, 1)
            owners = np.tile(np.arange(len(sentences)), len(counts))
        (logs,) = self._session.run(None, fed)
        counted = logs[:, 0] if self._live else np.where(counts.ravel(), logs[:, 0], 0)
        return np.bincount(owners, counted, len(sentences)).astype(np.float64)


def scoring_graph(model: Model, tensors: Tensors, variant: Variant) -> bytes:
    """Tokens (T, B), lengths (B,), the rows of T*B that count and targets (N, 1) to the targets' log p (N, 1)."""
    graph = Graph()
    tokens = graph.input("tokens", np.int64, ("T", "B"))
    lengths = graph.input("lengths", np.int32, ("B",))
    targets = graph.input("targets", np.int64, ("N", 1))
    x = graph.add("Gather", [graph.constant(tensors["embedding.weight"]), tokens])
    direction = graph.constant(np.array([1]))
    for layer in range(model.layers):
        outputs, *_ = add_operator(graph, model, tensors, layer, x, lengths=lengths)
        x = graph.add("Squeeze", [outputs, direction])
    rows = graph.add("Reshape", [x, graph.constant(np.array([-1, model.hidden]))])
    if variant.live:
        rows = graph.add("Gather", [rows, graph.input("rows", np.int64, ("N",))])
    scores = add_output_layer(graph, tensors, rows)
    if variant.head == LOG_SOFTMAX:
        logs = graph.add("GatherElements", [graph.add("LogSoftmax", [scores]), targets], {"axis": 1})
    else:
        total = graph.add("ReduceLogSumExp", [scores, direction])
        logs = graph.add("Sub", [graph.add("GatherElements", [scores, targets], {"axis": 1}), total])
    graph.name(logs, "log_probabilities")
    graph.output("log_probabilities", np.float32, ("N", 1))
    return graph.serialized()
