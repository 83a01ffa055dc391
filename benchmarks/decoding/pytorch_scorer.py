"""Scoring in PyTorch, in all the ways that may be the fastest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from decoding.model import Model
from decoding.scorer import END_OF_LINE, Doubles, Ids, PeerScorer, batches
from steps.pytorch import CHUNKED, FUSED, Network
from steps.pytorch import Variant as NetworkVariant
from steps.task import Tensors

WHOLE, ROWS = "cross_entropy of a batch", "cross_entropy of 512 rows"
ROWS_AT_ONCE = 512
BATCH_SIZES = (64, 128, 256, 512)
LARGEST_WHOLE = 128
"""Sentences whose scores, of all tokens and the whole vocabulary, are there at once; more take gigabytes."""


@dataclass(frozen=True)
class Variant:
    """One way to score: sentences in a batch, and how the losses are had from the last outputs."""

    batch: int = 128
    head: str = ROWS

    def __str__(self) -> str:
        return f"batches of {self.batch}, {self.head}"


def heads(batch: int) -> list[str]:
    """What this version of PyTorch offers for batches of a size."""
    names = [ROWS, *([WHOLE] if batch <= LARGEST_WHOLE else [])]
    if hasattr(functional, "linear_cross_entropy"):
        names += [CHUNKED, *([FUSED] if batch <= LARGEST_WHOLE else [])]
    return names


def variants() -> Iterator[Variant]:
    """All that can be asked for."""
    for batch in BATCH_SIZES:
        for head in heads(batch):
            yield Variant(batch, head)


class PyTorchScorer(PeerScorer):
    """nn.RNN, nn.GRU or nn.LSTM over PackedSequence, sentences sorted by length; no padding is calculated.

    Attributes:
        way: the variant.
    """

    name = "pytorch"

    def __init__(self, model: Model, tensors: Tensors, variant: Variant, threads: int) -> None:
        self.way, self.variant, self.threads = variant, str(variant), threads
        self.batch, self._head = variant.batch, variant.head
        self._network = Network(model.task, NetworkVariant()).eval().requires_grad_(False)
        self._network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})

    def score(self, sentences: Sequence[Ids]) -> Doubles:
        """Batch by batch."""
        scores = np.empty(len(sentences))
        with torch.inference_mode():
            for places, batch in batches(sentences, self.batch):
                scores[places] = self._score(batch).numpy()
        return scores

    def _score(self, sentences: list[Ids]) -> Tensor:
        targets = pack_sequence([torch.from_numpy(sentence) for sentence in sentences])
        inputs = pack_sequence([torch.from_numpy(np.append(END_OF_LINE, sentence[:-1])) for sentence in sentences])
        embedded = PackedSequence(self._network.embedding(inputs.data), inputs.batch_sizes)
        outputs, _ = self._network.recurrent(embedded)
        losses = self._losses(outputs.data, targets.data).double()
        owners = torch.cat([torch.arange(count) for count in targets.batch_sizes.tolist()])
        return -torch.zeros(len(sentences), dtype=torch.float64).index_add_(0, owners, losses)

    def _losses(self, rows: Tensor, targets: Tensor) -> Tensor:
        """Last outputs (N, H) and targets (N,) to losses (N,)."""
        output = self._network.output
        if self._head in {WHOLE, ROWS}:
            size = len(rows) if self._head == WHOLE else ROWS_AT_ONCE
            parts = zip(torch.split(rows, size), torch.split(targets, size), strict=True)
            return torch.cat(
                [functional.cross_entropy(output(part), wanted, reduction="none") for part, wanted in parts]
            )
        return functional.linear_cross_entropy(
            rows,
            output.weight,
            targets,
            linear_bias=output.bias,
            reduction="none",
            options=nn.LinearCrossEntropyOptions() if self._head == CHUNKED else None,
        )
