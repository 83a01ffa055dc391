"""Tokens through an embedding into a recurrent stack, with what is dropped on the way while training."""

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from unrolled.engines.checks import check_tokens
from unrolled.nn.dropout import Dropout, dropped_rows
from unrolled.nn.factored import FactoredEmbedding
from unrolled.nn.initialization import Beginning
from unrolled.nn.recurrent import HiddenState, Recurrent
from unrolled.nn.regularization import Regularization

EMBEDDING_RANGE = 0.1
"""Bound of an embedding's first values (as in Merity et al., arXiv:1708.01009)."""


class Making(Beginning, total=False):
    """How a network is made, whatever its shape.

    Keys:
        engine: name of the engine, or "auto".
        generator: source of the initial weights and of the dropout's randomness; torch's own if None.
    """

    engine: str
    generator: torch.Generator | None


def read_tokens(
    recurrent: Recurrent,
    embedding: Tensor | FactoredEmbedding,
    ids: Tensor,
    state: HiddenState | None,
    lengths: Tensor | None,
    *,
    dropout: Dropout,
    regularization: Regularization,
    sparse: bool = False,
) -> tuple[Tensor, HiddenState]:
    """Outputs (T, B, D*H) of a stack that reads embedding[ids], and its last state.

    Where nothing is dropped from the inputs, products are made for each different token once.

    Args:
        recurrent: the stack; whether it is training decides whether anything is dropped.
        embedding: (V, E), or what makes such vectors.
        ids: (T, B).
        state: to start from; zero if None.
        lengths: (B,), or None where all sequences are T long.
        dropout: of inputs.
        regularization: says how much is dropped of inputs and of the vocabulary, and whether at all steps the same.
        sparse: whether the gradient of the embedding is a sparse tensor of the rows that occur.
    """
    if isinstance(embedding, FactoredEmbedding):
        check_tokens("ids", ids, tuple(ids.shape), embedding.num_embeddings)
        occurring, ids = torch.unique(ids, return_inverse=True)
        embedding, sparse = embedding.rows(occurring, sparse=sparse), False
    wanted = regularization
    drops, of_tokens = recurrent.training and wanted.of_inputs > 0, wanted.dropout_embedding or 0.0
    generator = dropout.generator
    if drops and not wanted.locked:
        index, rows = dropped_rows(ids, embedding, of_tokens=of_tokens, sparse=sparse, generator=generator)
        x: Tensor = dropout(nn.functional.embedding(index, rows))
        outputs, state = recurrent(x, state, lengths=lengths)
        return outputs, state
    if drops or (recurrent.training and of_tokens > 0):
        ids, embedding = dropped_rows(
            ids,
            embedding,
            of_tokens=of_tokens,
            of_elements=wanted.of_inputs,
            sparse=sparse,
            generator=generator,
        )
        sparse = False
    return recurrent.forward_tokens(ids, embedding, state, lengths=lengths, sparse_gradient=sparse)


def make_stack(
    cell: str,
    input_size: int,
    hidden_size: int,
    layers: int,
    *,
    bidirectional: bool = False,
    regularization: Regularization,
    **making: Unpack[Making],
) -> Recurrent:
    """A recurrent stack that begins and drops as settings say; see `Recurrent`, and `draw_weights`."""
    recurrent = Recurrent(
        cell,
        input_size,
        hidden_size,
        layers,
        dropout=regularization.between_layers,
        locked=regularization.locked,
        weight_drop=regularization.weight_drop or 0.0,
        signal_norm=regularization.signal_norm or 0.0,
        bidirectional=bidirectional,
        initialization=making.get("initialization", "uniform"),
        forget_bias=making.get("forget_bias", 1.0),
        engine=making.get("engine", "auto"),
        generator=making.get("generator"),
    )
    recurrent.reset_parameters(making.get("generator"), bound=making.get("initial_range"))
    return recurrent


@torch.no_grad()
def draw_weights(module: nn.Embedding | nn.Linear, **making: Unpack[Making]) -> None:
    """Draw the weights of an embedding or an output: uniform within +-initial_range; biases are zero.

    Where no range is given it is `EMBEDDING_RANGE`, or 1/sqrt(numbers that enter a sum).
    """
    usual = EMBEDDING_RANGE if isinstance(module, nn.Embedding) else 1 / math.sqrt(module.in_features)
    bound = making.get("initial_range") or usual
    module.weight.uniform_(-bound, bound, generator=making.get("generator"))
    if isinstance(module, nn.Linear) and module.bias is not None:
        module.bias.zero_()


class TokenEncoder(nn.Module):
    """Embedding and recurrent stack: token ids to one vector for each place.

    Args:
        cell: name of a registered cell.
        vocabulary_size: V.
        embedding_size: E.
        hidden_size: H, of each direction.
        layers: L.
        bidirectional: whether D = 2.
        regularization: what is dropped while training.
        making: see `Making`.
    """

    def __init__(
        self,
        cell: str,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        layers: int,
        *,
        bidirectional: bool = True,
        regularization: Regularization,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        self.regularization = regularization
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.recurrent = make_stack(
            cell,
            embedding_size,
            hidden_size,
            layers,
            bidirectional=bidirectional,
            regularization=regularization,
            **making,
        )
        self.input_dropout = Dropout(
            regularization.of_inputs, locked=regularization.locked, generator=making.get("generator")
        )
        draw_weights(self.embedding, **making)

    def forward(
        self, ids: Tensor, lengths: Tensor | None = None, state: HiddenState | None = None
    ) -> tuple[Tensor, HiddenState]:
        """Read ids (T, B): outputs (T, B, D*H), zero past a sequence's end, and the last state."""
        return read_tokens(
            self.recurrent,
            self.embedding.weight,
            ids,
            state,
            lengths,
            dropout=self.input_dropout,
            regularization=self.regularization,
        )


def flip(values: Tensor, lengths: Tensor | None) -> Tensor:
    """Sequences read backwards: (T, B, ...), each within its length; padding stays where it is."""
    if lengths is None:
        return values.flip(0)
    steps = torch.arange(len(values), device=values.device)[:, None]
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return values.gather(0, places.reshape(*places.shape, *[1] * (values.dim() - 2)).expand_as(values))
