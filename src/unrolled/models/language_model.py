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

from unrolled import cells, engines
from unrolled.engines import autograd
from unrolled.engines.checks import expect
from unrolled.errors import UsageError
from unrolled.nn import Dropout, Recurrent
from unrolled.nn.recurrent import HiddenState


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


class LanguageModelNetwork(nn.Module):
    """p(next token | all tokens so far), for training.

    Args:
        shape: the sizes.
        dropout: probability of dropping elements of the embedded input, between layers and of the last output
            (Zaremba et al., arXiv:1409.2329: never along time).
        engine: name of the engine, or "auto".
        sparse_gradients: whether the embedding's gradient is a sparse tensor of the rows that a batch uses, where that
            is less: with weights that are not tied and V > T*B. Not every optimizer takes it, as with nn.Embedding.
        generator: source of the initial weights and of the dropout's randomness; torch's own if None.
    """

    def __init__(
        self,
        shape: LanguageModelShape,
        *,
        dropout: float = 0.0,
        engine: str = "auto",
        sparse_gradients: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.engine, self.sparse_gradients = shape, engine, sparse_gradients
        self.embedding = nn.Embedding(shape.vocabulary_size, shape.embedding_size)
        self.recurrent = Recurrent(
            shape.cell,
            shape.embedding_size,
            shape.hidden_size,
            shape.layers,
            dropout=dropout,
            forget_bias=1.0,
            engine=engine,
            generator=generator,
        )
        self.dropout = Dropout(dropout, generator=generator)
        self.output = nn.Linear(shape.hidden_size, shape.vocabulary_size)
        if shape.tied:
            self.output.weight = self.embedding.weight
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Uniform +-1/sqrt(incoming connections) everywhere, +-0.1 for the embedding, output bias zero."""
        self.recurrent.reset_parameters(generator)
        bound = 1 / math.sqrt(self.shape.hidden_size)
        with torch.no_grad():
            self.output.weight.uniform_(-bound, bound, generator=generator)
            self.output.bias.zero_()
            self.embedding.weight.uniform_(-0.1, 0.1, generator=generator)

    def forward(
        self, ids: Tensor, state: HiddenState | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, HiddenState]:
        """Read tokens: ids (T, B) to the last layer's outputs (T, B, H) and the state after the last token."""
        embedding = self.embedding.weight
        sparse = self.sparse_gradients and not self.shape.tied and self.shape.vocabulary_size > ids.numel()
        if self.training and self.dropout.p > 0:
            x = self.dropout(nn.functional.embedding(ids, embedding, sparse=sparse))
            outputs, state = self.recurrent(x, state, lengths=lengths)
        else:
            outputs, state = self.recurrent.forward_tokens(
                ids, embedding, state, lengths=lengths, sparse_gradient=sparse
            )
        return self.dropout(outputs), state

    def losses(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Negative log-probabilities of the targets in nats, (N,): one for each token that counts, in time order.

        Args:
            outputs: (T, B, H), from `forward`.
            targets: (T, B) token ids.
            lengths: (B,); targets at and past a sequence's length do not count. None: all count.

        Raises:
            ShapeError: targets have another shape than outputs, or one is not an id of the vocabulary.
        """
        expect("targets", targets, tuple(outputs.shape[:2]), "outputs")
        rows, wanted = outputs.flatten(0, 1), targets.flatten()
        if lengths is not None:
            times = torch.arange(len(targets), device=targets.device)
            counts = (times[:, None] < lengths.to(targets.device)[None, :]).flatten()
            rows, wanted = rows[counts], wanted[counts]
        engine = engines.choose(self.engine, self.recurrent.cell, rows)
        return autograd.linear_cross_entropy(engine, rows, self.output.weight, self.output.bias, wanted)

    def parameter_count(self) -> int:
        """Number of weights that are learnt; tied ones count once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The weights as stored in a model directory: a copy of each, tied ones once."""
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        if self.shape.tied:
            del arrays["output.weight"]
        return arrays

    def load_tensors(self, tensors: dict[str, npt.NDArray[Any]]) -> None:
        """Take over weights in the form that `tensors` gives them."""
        state = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
        if self.shape.tied:
            state["output.weight"] = state["embedding.weight"]
        self.load_state_dict(state)
