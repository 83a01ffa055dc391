"""A bidirectional encoder, pooling, and a softmax over labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import Cell
from unrolled.models.network import Objective, TaskNetwork, check_sizes
from unrolled.models.settings import ModelSettings
from unrolled.nn import Dropout, Pooling, Regularization
from unrolled.nn.dropout import read_as_unknown
from unrolled.nn.output import target_losses
from unrolled.nn.reading import Making, TokenEncoder, draw_weights


@dataclass(frozen=True)
class ClassifierShape:
    """Sizes of a classifier; what config.json says under "model".

    Attributes:
        cell: name of a registered cell.
        vocabulary_size, embedding_size: V, E.
        hidden_size: H, of each of the two directions.
        layers: L.
        labels: C.
        pooling: see `nn.Pooling`.

    Raises:
        UsageError: unknown cell, or a size below 1.
    """

    cell: str
    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    labels: int
    pooling: str

    def __post_init__(self) -> None:
        cells.get(self.cell)
        check_sizes(self)

    @classmethod
    def of(cls, model: ModelSettings, vocabulary_size: int, *, labels: int, pooling: str) -> "ClassifierShape":
        """The sizes that settings without an open choice come to."""
        sizes = (vocabulary_size, model.embedding or 0, model.hidden or 0, model.layers or 0)
        return cls(model.cell or "", *sizes, labels, pooling)

    def describe(self) -> str:
        """Cell and sizes in words."""
        return (
            f"{self.layers} x 2 x {self.hidden_size} {self.cell}, embedding {self.embedding_size}, "
            f"{self.pooling} pooling, {self.labels} labels"
        )


class ClassifierNetwork(TaskNetwork):
    """p(label | text).

    Args:
        shape: the sizes.
        regularization: what is dropped while training; nothing if None.
        class_weights: (C,) how much an example of each label counts while training.
        unknown_share: of the words that are read as unknown while training.
        unknown_id: of the tokenizer; None where nothing is unknown.
        making: see `Making`.
    """

    shape: ClassifierShape

    def __init__(
        self,
        shape: ClassifierShape,
        *,
        regularization: Regularization | None = None,
        class_weights: Sequence[float] | None = None,
        unknown_share: float = 0.0,
        unknown_id: int | None = None,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        wanted = Regularization() if regularization is None else regularization
        self.shape, self.engine, generator = shape, making.get("engine", "auto"), making.get("generator")
        self.unknown_share, self.unknown_id = unknown_share, unknown_id
        self.class_weights = torch.ones(shape.labels) if class_weights is None else torch.tensor(class_weights)
        self.encoder = TokenEncoder(
            shape.cell,
            shape.vocabulary_size,
            shape.embedding_size,
            shape.hidden_size,
            shape.layers,
            regularization=wanted,
            **making,
        )
        self.pooling = Pooling(shape.pooling, shape.hidden_size, 2, generator=generator)
        self.output_dropout = Dropout(wanted.of_outputs, generator=generator)
        self.output = nn.Linear(2 * shape.hidden_size, shape.labels)
        draw_weights(self.output, **making)

    @property
    def cell(self) -> Cell:
        """Of the encoder."""
        return self.encoder.recurrent.cell

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One vector (B, 2H) for each text: ids (T, B)."""
        outputs, _ = self.encoder(ids, lengths)
        pooled: Tensor = self.output_dropout(self.pooling(outputs, lengths))
        return pooled

    def objective(self, ids: Tensor, lengths: Tensor, targets: Tensor, *, state: None = None) -> Objective:
        """Read texts: ids (T, B), lengths (B,), targets (B,)."""
        if self.training:
            ids = read_as_unknown(ids, self.unknown_share, self.unknown_id, self.output_dropout.generator)
        pooled = self(ids, lengths)
        losses = target_losses(self.engine_in_use(), pooled, self.output.weight, self.output.bias, targets)
        if self.training:
            return Objective(losses * self.class_weights.to(losses)[targets])
        return Objective(losses, correct=self.output(pooled).argmax(1) == targets)

    def log_probabilities(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Log p of each label in nats, (B, C)."""
        return torch.log_softmax(self.output(self(ids, lengths)), dim=1)
