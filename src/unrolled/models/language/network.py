"""The trainable language model: embedding, recurrent stack, softmax.

Words, characters or subwords are only a matter of the tokenizer. `inference.LanguageModel` runs the saved weights
without torch.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unrolled import cells
from unrolled.cells import Cell
from unrolled.engines import LanguageModelWeights, LayerWeights
from unrolled.engines.checks import expect
from unrolled.errors import UsageError
from unrolled.models.network import Objective, TaskNetwork
from unrolled.models.settings import ModelSettings
from unrolled.nn import Dropout, Recurrent, Regularization, Sampler
from unrolled.nn.factored import FactoredEmbedding
from unrolled.nn.output import target_losses
from unrolled.nn.penalties import activation_penalty, temporal_activation_penalty
from unrolled.nn.reading import EMBEDDING_RANGE, read_tokens
from unrolled.nn.recurrent import HiddenState

LAYER_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class LanguageModelShape:
    """Sizes of a language model; what config.json says under "model".

    Attributes:
        cell: name of a registered cell.
        vocabulary_size: V.
        embedding_size: E.
        hidden_size: H, of every layer.
        layers: L.
        tied: whether the output layer uses the embedding's weights (arXiv:1608.05859); needs E = H.

    Raises:
        UsageError: unknown cell, a size below 1, or tied weights of unequal sizes.
    """

    cell: str
    vocabulary_size: int
    embedding_size: int
    hidden_size: int
    layers: int
    tied: bool

    def __post_init__(self) -> None:
        cells.get(self.cell)
        for name in ("vocabulary_size", "embedding_size", "hidden_size", "layers"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: give a whole number of at least 1")
        if self.tied and self.embedding_size != self.hidden_size:
            raise UsageError(
                f"tied weights need equal sizes: embedding is {self.embedding_size}, hidden is {self.hidden_size}"
            )

    def describe(self) -> str:
        """Cell and sizes in words."""
        sizes = f"{self.layers} x {self.hidden_size} {self.cell}, embedding {self.embedding_size}"
        return sizes + (", tied" if self.tied else "")


def shape_of(model: ModelSettings, vocabulary_size: int) -> LanguageModelShape:
    """The sizes of the network; a choice that is left open is refused."""
    sizes = (vocabulary_size, model.embedding or 0, model.hidden or 0, model.layers or 0)
    return LanguageModelShape(model.cell or "", *sizes, bool(model.tied))


class LanguageModelNetwork(TaskNetwork):
    """p(next token | all tokens so far), for training.

    Args:
        shape: the sizes.
        factors: (V, K), what tokens have in common, see `FactoredEmbedding`; None: nothing.
        regularization: what is dropped and penalised while training; nothing if None.
        initialization: of the recurrent layers, see `nn.initialization`.
        initial_range: bound of all weights and recurrent biases that begin uniform; None: see `reset_parameters`.
        forget_bias: where the bias of a forget gate begins.
        engine: name of the engine, or "auto".
        sparse_gradients: whether the gradients of embedding and of a sampled output layer are sparse tensors of the
            rows that a batch uses, where that is less than all: with V > T*B, and with tied weights only where the
            output layer is sampled too. Not every optimizer takes them, as with nn.Embedding.
        generator: source of the initial weights and of the dropout's randomness; torch's own if None.
    """

    def __init__(
        self,
        shape: LanguageModelShape,
        *,
        factors: npt.NDArray[np.int64] | None = None,
        regularization: Regularization | None = None,
        initialization: str = "uniform",
        initial_range: float | None = None,
        forget_bias: float = 1.0,
        engine: str = "auto",
        sparse_gradients: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if initial_range is not None and not 0 < initial_range < math.inf:
            raise UsageError(f"initial_range is {initial_range}: give a number above 0")
        self.shape, self.engine, self.sparse_gradients = shape, engine, sparse_gradients
        self.regularization = wanted = Regularization() if regularization is None else regularization
        self.initial_range = initial_range
        self.embedding = (
            nn.Embedding(shape.vocabulary_size, shape.embedding_size)
            if factors is None
            else FactoredEmbedding(factors, shape.embedding_size)
        )
        self.recurrent = Recurrent(
            shape.cell,
            shape.embedding_size,
            shape.hidden_size,
            shape.layers,
            dropout=wanted.between_layers,
            locked=wanted.locked,
            weight_drop=wanted.weight_drop or 0.0,
            signal_norm=wanted.signal_norm or 0.0,
            initialization=initialization,
            forget_bias=forget_bias,
            engine=engine,
            generator=generator,
        )
        self.input_dropout = Dropout(wanted.of_inputs, locked=wanted.locked, generator=generator)
        self.output_dropout = Dropout(wanted.of_outputs, locked=wanted.locked, generator=generator)
        self.output = nn.Linear(shape.hidden_size, shape.vocabulary_size)
        if shape.tied:
            self.output.weight = self.embedding.weight
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Uniform +-1/sqrt(H) but +-0.1 for the embedding, or all within +-initial_range; output bias zero.

        What the recurrent layers' initialisation says otherwise goes before.
        """
        self.recurrent.reset_parameters(generator, bound=self.initial_range)
        bound = self.initial_range or 1 / math.sqrt(self.shape.hidden_size)
        with torch.no_grad():
            self.output.weight.uniform_(-bound, bound, generator=generator)
            self.output.bias.zero_()
            bound = self.initial_range or EMBEDDING_RANGE
            self.embedding.weight.uniform_(-bound, bound, generator=generator)

    def forward(
        self, ids: Tensor, state: HiddenState | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, HiddenState]:
        """Read tokens: ids (T, B) to the last layer's outputs (T, B, H) and the state after the last token."""
        outputs, state = self._read(ids, state, lengths)
        return self.output_dropout(outputs), state

    def objective(
        self,
        ids: Tensor,
        targets: Tensor,
        state: HiddenState | None = None,
        *,
        lengths: Tensor | None = None,
        sampler: Sampler | None = None,
    ) -> Objective:
        """Read tokens and say what is to be made small: losses, and penalties while training.

        Args:
            ids, targets: (T, B).
            state: to start from; zero if None.
            lengths: (B,); what lies at and past a sequence's length does not count. None: all counts.
            sampler: draws tokens that stand for the vocabulary, where that saves work; None: all do.
        """
        is_sampled = sampler is not None and sampler.saves(targets.numel())
        raw, state = self._read(ids, state, lengths, is_sampled=is_sampled)
        outputs = self.output_dropout(raw)
        losses, wanted, penalty = self.losses(outputs, targets, lengths, sampler=sampler), self.regularization, None
        if self.training and wanted.activation:  # as in the source: outputs as the next layer sees them
            penalty = wanted.activation * activation_penalty(outputs, lengths)
        if self.training and wanted.temporal_activation:  # and as they are
            changes = wanted.temporal_activation * temporal_activation_penalty(raw, lengths)
            penalty = changes if penalty is None else penalty + changes
        return Objective(losses, penalty, state)

    def _read(
        self, ids: Tensor, state: HiddenState | None, lengths: Tensor | None, *, is_sampled: bool = False
    ) -> tuple[Tensor, HiddenState]:
        """Tokens to the last layer's outputs as they are; `is_sampled` tells that the output layer uses some rows."""
        uses_all = self.shape.tied and not is_sampled
        return read_tokens(
            self.recurrent,
            self._vectors(),
            ids,
            state,
            lengths,
            dropout=self.input_dropout,
            regularization=self.regularization,
            sparse=self.sparse_gradients and not uses_all and self.shape.vocabulary_size > ids.numel(),
        )

    def _vectors(self) -> Tensor | FactoredEmbedding:
        return self.embedding if isinstance(self.embedding, FactoredEmbedding) else self.embedding.weight

    @property
    def _generator(self) -> torch.Generator | None:
        return self.input_dropout.generator

    def losses(
        self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None, *, sampler: Sampler | None = None
    ) -> Tensor:
        """Negative log-probabilities of the targets in nats, (N,): one for each token that counts, in time order.

        Args:
            outputs: (T, B, H), from `forward`.
            targets: (T, B) token ids.
            lengths: (B,); targets at and past a sequence's length do not count. None: all count.
            sampler: see `objective`; the losses are smaller then: of finding the target among those drawn.

        Raises:
            ShapeError: targets have another shape than outputs, or one is not an id of the vocabulary.
        """
        expect("targets", targets, tuple(outputs.shape[:2]), "outputs")
        rows, wanted = outputs.flatten(0, 1), targets.flatten()
        if lengths is not None:
            times = torch.arange(len(targets), device=targets.device)
            counts = (times[:, None] < lengths.to(targets.device)[None, :]).flatten()
            rows, wanted = rows[counts], wanted[counts]
        return target_losses(
            self.engine_in_use(),
            rows,
            self._vectors() if self.shape.tied else self.output.weight,
            self.output.bias,
            wanted,
            sampler=sampler if sampler is not None and sampler.saves(targets.numel()) else None,
            generator=self._generator,
            sparse=self.sparse_gradients,
        )

    @property
    def cell(self) -> Cell:
        """The cell of the recurrent layers."""
        return self.recurrent.cell

    def parameter_count(self) -> int:
        """Number of weights of the model; tied ones count once, and those of factors are in the sums."""
        own = super().parameter_count()
        return own - self.embedding.factors.numel() if isinstance(self.embedding, FactoredEmbedding) else own

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The weights as stored in a model directory, which knows sums and no factors."""
        tensors = super().tensors()
        if isinstance(self.embedding, FactoredEmbedding):
            del tensors["embedding.factors"]
            tensors["embedding.weight"] = self.embedding.table().detach().cpu().numpy()
        return tensors

    def _shared(self) -> dict[str, str]:
        return {"output.weight": "embedding.weight"} if self.shape.tied else {}

    def weights(self, dtype: npt.DTypeLike = np.float32) -> LanguageModelWeights:
        """The weights as engines take them, copied into NumPy arrays of a dtype."""
        tensors = {name: array.astype(dtype, copy=False) for name, array in self.tensors().items()}
        layers = tuple(
            LayerWeights(*(tensors[f"recurrent.{name}_l{layer}"] for name in LAYER_WEIGHTS))
            for layer in range(self.shape.layers)
        )
        embedding = tensors["embedding.weight"]
        output = tensors.get("output.weight", embedding), tensors["output.bias"]
        return LanguageModelWeights(self.recurrent.cell, embedding, layers, *output)
