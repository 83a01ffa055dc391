"""A bidirectional encoder over words and their spelling, and a softmax over labels at each of them."""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import Cell
from unrolled.models.network import Objective, TaskNetwork, check_sizes
from unrolled.models.settings import ModelSettings
from unrolled.nn import Dropout, Regularization
from unrolled.nn.dropout import read_as_unknown
from unrolled.nn.output import counted, target_losses
from unrolled.nn.reading import Making, draw_weights, make_stack
from unrolled.nn.spelling import SpellingEncoder


@dataclass(frozen=True)
class TaggerShape:
    """Sizes of a tagger; what config.json says under "model".

    Attributes:
        cell: name of a registered cell.
        vocabulary_size, embedding_size: V, E.
        hidden_size: H, of each of the two directions.
        layers: L.
        labels: C.
        spelling_size: units in each direction that read a token's letters; 0: none.

    Raises:
        UsageError: unknown cell, or a size below 1.
    """

    cell: str
    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    labels: int
    spelling_size: int

    def __post_init__(self) -> None:
        cells.get(self.cell)
        check_sizes(self, may_be_zero={"spelling_size"})

    @classmethod
    def of(cls, model: ModelSettings, vocabulary_size: int, *, labels: int, spelling: int) -> "TaggerShape":
        """The sizes that settings without an open choice come to."""
        sizes = (vocabulary_size, model.embedding or 0, model.hidden or 0, model.layers or 0)
        return cls(model.cell or "", *sizes, labels, spelling)

    def describe(self) -> str:
        """Cell and sizes in words."""
        spelling = f" and spelling 2 x {self.spelling_size}" if self.spelling_size else ""
        return (
            f"{self.layers} x 2 x {self.hidden_size} {self.cell}, embedding {self.embedding_size}{spelling}, "
            f"{self.labels} labels"
        )


class TaggerNetwork(TaskNetwork):
    """p(label of each token | sentence).

    Args:
        shape: the sizes.
        regularization: what is dropped while training; nothing if None.
        unknown_share: of the words that are read as unknown while training, so that their spelling has to tell.
        unknown_id: of the tokenizer.
        making: see `Making`.
    """

    shape: TaggerShape

    def __init__(
        self,
        shape: TaggerShape,
        *,
        regularization: Regularization | None = None,
        unknown_share: float = 0.0,
        unknown_id: int | None = None,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        wanted = Regularization() if regularization is None else regularization
        self.shape, self.engine, generator = shape, making.get("engine", "auto"), making.get("generator")
        self.unknown_share, self.unknown_id = unknown_share, unknown_id
        self.embedding = nn.Embedding(shape.vocabulary_size, shape.embedding_size)
        self.spelling = (
            SpellingEncoder(shape.spelling_size, shape.cell, engine=self.engine, generator=generator)
            if shape.spelling_size
            else None
        )
        self.recurrent = make_stack(
            shape.cell,
            shape.embedding_size + 2 * shape.spelling_size,
            shape.hidden_size,
            shape.layers,
            bidirectional=True,
            regularization=wanted,
            **making,
        )
        self.input_dropout = Dropout(wanted.of_inputs, locked=wanted.locked, generator=generator)
        self.output_dropout = Dropout(wanted.of_outputs, locked=wanted.locked, generator=generator)
        self.output = nn.Linear(2 * shape.hidden_size, shape.labels)
        for module in (self.output, self.embedding):
            draw_weights(module, **making)

    @property
    def cell(self) -> Cell:
        """Of the encoder."""
        return self.recurrent.cell

    def forward(self, ids: Tensor, lengths: Tensor, spelling: Tensor, spelling_lengths: Tensor) -> Tensor:
        """One vector (T, B, 2H) for each token: ids (T, B), lengths (B,), spelling (C, T, B) and its lengths (T, B)."""
        x = nn.functional.embedding(ids, self.embedding.weight)
        if self.spelling is not None:
            vectors = self.spelling(spelling.flatten(1), spelling_lengths.flatten())
            x = torch.cat([x, vectors.view(*ids.shape, -1)], dim=2)
        outputs, _ = self.recurrent(self.input_dropout(x), lengths=lengths)
        dropped: Tensor = self.output_dropout(outputs)
        return dropped

    def objective(
        self,
        ids: Tensor,
        lengths: Tensor,
        targets: Tensor,
        spelling: Tensor,
        spelling_lengths: Tensor,
        *,
        state: None = None,
    ) -> Objective:
        """Read sentences, see `forward`: targets (T, B)."""
        if self.training:
            ids = read_as_unknown(ids, self.unknown_share, self.unknown_id, self.output_dropout.generator)
        vectors, counts = self(ids, lengths, spelling, spelling_lengths), counted(lengths, len(ids))
        rows, wanted = vectors[counts], targets[counts]
        losses = target_losses(self.engine_in_use(), rows, self.output.weight, self.output.bias, wanted)
        return Objective(losses, correct=None if self.training else self.output(rows).argmax(1) == wanted)

    def log_probabilities(self, ids: Tensor, lengths: Tensor, spelling: Tensor, spelling_lengths: Tensor) -> Tensor:
        """Log p of each label of each token in nats, (T, B, C)."""
        return torch.log_softmax(self.output(self(ids, lengths, spelling, spelling_lengths)), dim=2)
