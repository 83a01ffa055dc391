"""What stands before a gap in one stack, what stands behind it in another; they meet at the gap and nowhere below.

A bidirectional stack would do for one layer only: from the second on, each place would hear of itself from its
neighbours. So the two directions are stacks of their own, however deep, and no place ever sees itself (as in Peters et
al., arXiv:1802.05365, there without a common softmax).
"""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import Cell
from unrolled.models.network import Objective, TaskNetwork, check_sizes
from unrolled.models.settings import ModelSettings
from unrolled.nn import Dropout, Recurrent, Regularization, Sampler
from unrolled.nn.dropout import read_as_unknown
from unrolled.nn.output import counted, target_losses
from unrolled.nn.reading import Making, draw_weights, flip, make_stack, read_tokens


@dataclass(frozen=True)
class FillShape:
    """Sizes of a network that fills gaps; what config.json says under "model".

    Attributes:
        cell: name of a registered cell.
        vocabulary_size, embedding_size: V, E.
        hidden_size: H, of each of the two stacks.
        layers: L, of each.
        tied: whether the output layer uses the embedding's weights.

    Raises:
        UsageError: unknown cell, or a size below 1.
    """

    cell: str
    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    tied: bool

    def __post_init__(self) -> None:
        cells.get(self.cell)
        check_sizes(self)

    @classmethod
    def of(cls, model: ModelSettings, vocabulary_size: int) -> "FillShape":
        """The sizes that settings without an open choice come to."""
        sizes = (vocabulary_size, model.embedding or 0, model.hidden or 0, model.layers or 0)
        return cls(model.cell or "", *sizes, bool(model.tied))

    def describe(self) -> str:
        """Cell and sizes in words."""
        tied = ", tied" if self.tied else ""
        return f"2 x {self.layers} x {self.hidden_size} {self.cell}, embedding {self.embedding_size}{tied}"


class FillNetwork(TaskNetwork):
    """p(word | all words before it, all words behind it).

    Args:
        shape: the sizes.
        end_of_line_id: what both stacks read first.
        gap_id: what is read for other gaps.
        gap_share: of the words that are read as gaps while training.
        regularization: what is dropped while training; nothing if None.
        making: see `Making`.
    """

    shape: FillShape

    def __init__(
        self,
        shape: FillShape,
        *,
        end_of_line_id: int = 1,
        gap_id: int = 0,
        gap_share: float = 0.0,
        regularization: Regularization | None = None,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        self.regularization = wanted = Regularization() if regularization is None else regularization
        self.shape, self.engine, generator = shape, making.get("engine", "auto"), making.get("generator")
        self.end_of_line_id, self.gap_id, self.gap_share = end_of_line_id, gap_id, gap_share
        self.embedding = nn.Embedding(shape.vocabulary_size, shape.embedding_size)

        def stack() -> Recurrent:
            return make_stack(
                shape.cell,
                shape.embedding_size,
                shape.hidden_size,
                shape.layers,
                regularization=wanted,
                **making,
            )

        self.before, self.behind = stack(), stack()
        self.input_dropout = Dropout(wanted.of_inputs, locked=wanted.locked, generator=generator)
        self.output_dropout = Dropout(wanted.of_outputs, locked=wanted.locked, generator=generator)
        self.meeting = nn.Linear(2 * shape.hidden_size, shape.embedding_size)
        self.output = nn.Linear(shape.embedding_size, shape.vocabulary_size)
        if shape.tied:
            self.output.weight = self.embedding.weight
        for module in (self.meeting, self.output, self.embedding):  # which has the last word where weights are tied
            draw_weights(module, **making)

    @property
    def cell(self) -> Cell:
        """Of both stacks."""
        return self.before.cell

    def _shared(self) -> dict[str, str]:
        return {"output.weight": "embedding.weight"} if self.shape.tied else {}

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """One vector (T, B, E) for each place, from all others: ids (T, B), lengths (B,)."""
        ends = torch.full_like(ids[:1], self.end_of_line_id)
        before = self._read(self.before, torch.cat([ends, ids[:-1]]), lengths)
        behind = self._read(self.behind, torch.cat([ends, flip(ids, lengths)[:-1]]), lengths)
        met = torch.tanh(self.meeting(torch.cat([before, flip(behind, lengths)], dim=2)))
        dropped: Tensor = self.output_dropout(met)
        return dropped

    def _read(self, recurrent: Recurrent, ids: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = read_tokens(
            recurrent,
            self.embedding.weight,
            ids,
            None,
            lengths,
            dropout=self.input_dropout,
            regularization=self.regularization,
        )
        return outputs

    def objective(
        self, ids: Tensor, lengths: Tensor, *, state: None = None, sampler: Sampler | None = None
    ) -> Objective:
        """Read lines and ask for each of their words: ids (T, B), lengths (B,)."""
        read, generator = ids, self.output_dropout.generator
        if self.training:
            read = read_as_unknown(ids, self.gap_share, self.gap_id, generator)
        vectors, counts = self(read, lengths), counted(lengths, len(ids))
        rows, wanted = vectors[counts], ids[counts]
        is_sampled = sampler is not None and sampler.saves(len(wanted))
        losses = target_losses(
            self.engine_in_use(),
            rows,
            self.output.weight,
            self.output.bias,
            wanted,
            sampler=sampler if is_sampled else None,
            generator=generator,
        )
        if self.training:
            return Objective(losses)
        return Objective(losses, correct=(self.output(rows).argmax(1) == wanted) & (wanted != self.gap_id))

    def log_probabilities(self, vectors: Tensor) -> Tensor:
        """Log p of each word in nats, (..., V), from what `forward` gives for a place."""
        return torch.log_softmax(self.output(vectors), dim=-1)
