"""An encoder, attention, a decoder, and a softmax over the target's vocabulary."""

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import Cell
from unrolled.errors import UsageError
from unrolled.models.network import Objective, TaskNetwork, check_sizes
from unrolled.models.settings import ModelSettings
from unrolled.models.translate import ATTENTIONS, TranslationSettings
from unrolled.nn import Dropout, Regularization
from unrolled.nn.decoder import Decoded, Decoder, DecoderState, Source
from unrolled.nn.dropout import read_as_unknown
from unrolled.nn.output import counted, target_losses
from unrolled.nn.reading import Making, TokenEncoder, draw_weights, flip
from unrolled.settings import check_choice


@dataclass(frozen=True)
class TranslationShape:
    """Sizes of a translator; what config.json says under "model".

    Attributes:
        cell: name of a registered cell.
        source_size, target_size: of the vocabularies.
        embedding_size: E, of both sides.
        hidden_size: H of the decoder, and of the encoder's directions together, so that where it ends the decoder can
            begin.
        layers: L, of each.
        attention: a kind of `nn.Attention`, or "none".
        input_feeding: see `nn.decoder`.
        reverse_source: whether the source is read backwards.
        shared: whether both sides have one embedding.
        tied: whether the output layer uses the target's embedding.
        bidirectional: whether the encoder reads in both directions, with half of H for each.

    Raises:
        UsageError: unknown cell or attention, a size below 1, an odd hidden size, or sizes that cannot be shared.
    """

    cell: str
    source_size: int
    target_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    attention: str
    input_feeding: bool
    reverse_source: bool
    shared: bool
    tied: bool
    bidirectional: bool

    def __post_init__(self) -> None:
        cells.get(self.cell)
        check_sizes(self)
        check_choice("attention", self.attention, ATTENTIONS)
        if self.hidden_size % self.num_directions:
            raise UsageError(
                f"hidden is {self.hidden_size}: give an even number, half for each direction of the encoder"
            )
        if self.tied and self.embedding_size != self.hidden_size:
            raise UsageError(
                f"tied weights need equal sizes: embedding is {self.embedding_size}, hidden is {self.hidden_size}"
            )
        if self.shared and self.source_size != self.target_size:
            raise UsageError(
                f"one embedding needs one vocabulary, not {self.source_size} and {self.target_size} tokens"
            )

    @classmethod
    def of(
        cls, model: ModelSettings, source_size: int, target_size: int, settings: TranslationSettings
    ) -> "TranslationShape":
        """The sizes that settings without an open choice come to."""
        return cls(
            model.cell or "",
            source_size,
            target_size,
            model.embedding or 0,
            model.hidden or 0,
            model.layers or 0,
            settings.attention,
            settings.input_feeding and settings.attention != "none",
            settings.reverse_source,
            bool(settings.shared_vocabulary),
            bool(model.tied),
            settings.bidirectional,
        )

    @property
    def num_directions(self) -> int:
        """D of the encoder."""
        return 2 if self.bidirectional else 1

    def describe(self) -> str:
        """Cell and sizes in words."""
        attention = "no attention" if self.attention == "none" else f"{self.attention} attention"
        parts = [f"{self.layers} x {self.hidden_size} {self.cell}, embedding {self.embedding_size}", attention]
        parts += ["input feeding"] * self.input_feeding + ["source read one way"] * (not self.bidirectional)
        parts += ["source reversed"] * self.reverse_source
        return ", ".join(parts + ["shared embedding"] * self.shared + ["tied"] * self.tied)


class TranslationNetwork(TaskNetwork):
    """p(target | source), a token at a time.

    Args:
        shape: the sizes.
        regularization: what is dropped while training; nothing if None.
        unknown_share: of the source's words that are read as unknown while training.
        unknown_id: of the source's tokenizer; None where nothing is unknown.
        making: see `Making`.
    """

    shape: TranslationShape

    def __init__(
        self,
        shape: TranslationShape,
        *,
        regularization: Regularization | None = None,
        unknown_share: float = 0.0,
        unknown_id: int | None = None,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        wanted = Regularization() if regularization is None else regularization
        self.shape, self.engine = shape, making.get("engine", "auto")
        self.unknown_share, self.unknown_id = unknown_share, unknown_id
        self.encoder = TokenEncoder(
            shape.cell,
            shape.source_size,
            shape.embedding_size,
            shape.hidden_size // shape.num_directions,
            shape.layers,
            bidirectional=shape.bidirectional,
            regularization=wanted,
            **making,
        )
        self.decoder = Decoder(
            shape.cell,
            shape.target_size,
            shape.embedding_size,
            shape.hidden_size,
            shape.layers,
            shape.hidden_size,
            attention=shape.attention,
            input_feeding=shape.input_feeding,
            regularization=wanted,
            **making,
        )
        self.output_dropout = Dropout(wanted.of_outputs, locked=wanted.locked, generator=making.get("generator"))
        self.output = nn.Linear(shape.hidden_size, shape.target_size)
        if shape.shared:
            self.decoder.embedding.weight = self.encoder.embedding.weight
        draw_weights(self.output, **making)
        if shape.tied:
            self.output.weight = self.decoder.embedding.weight

    @property
    def cell(self) -> Cell:
        """Of encoder and decoder."""
        return self.encoder.recurrent.cell

    def _shared(self) -> dict[str, str]:
        source, target = "encoder.embedding.weight", "decoder.embedding.weight"
        shared = {target: source} if self.shape.shared else {}
        return shared | ({"output.weight": source if self.shape.shared else target} if self.shape.tied else {})

    def read(self, source: Tensor, lengths: Tensor) -> tuple[Source, DecoderState]:
        """Read sources (S, B) with lengths (B,): what the decoder looks at, and where it begins."""
        if self.shape.reverse_source:
            source = flip(source, lengths)
        memory, last = self.encoder(source, lengths)
        halves = last if isinstance(last, tuple) else (last,)
        split = (-1, self.shape.num_directions)
        parts = tuple(half.unflatten(0, split).transpose(1, 2).flatten(2).contiguous() for half in halves)
        return self.decoder.look_at(memory, lengths), self.decoder.begin(parts)

    def forward(self, source: Tensor, source_lengths: Tensor, inputs: Tensor) -> Decoded:
        """Vectors (T, B, H) for known targets: source (S, B), source_lengths (B,), inputs (T, B)."""
        memory, state = self.read(source, source_lengths)
        decoded: Decoded = self.decoder(inputs, state, memory)
        return decoded

    def objective(
        self,
        source: Tensor,
        source_lengths: Tensor,
        inputs: Tensor,
        targets: Tensor,
        lengths: Tensor,
        *,
        state: None = None,
    ) -> Objective:
        """Read pairs, each step of the target given all that goes before it (teacher forcing); see `forward`."""
        if self.training:
            source = read_as_unknown(source, self.unknown_share, self.unknown_id, self.output_dropout.generator)
        vectors = self.output_dropout(self(source, source_lengths, inputs).vectors)
        counts = counted(lengths, len(targets))
        losses = target_losses(
            self.engine_in_use(), vectors[counts], self.output.weight, self.output.bias, targets[counts]
        )
        return Objective(losses)

    def log_probabilities(self, vectors: Tensor) -> Tensor:
        """Log p of each token in nats, (..., V), from what the decoder gives for a step."""
        return torch.log_softmax(self.output(vectors), dim=-1)
