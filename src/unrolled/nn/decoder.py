"""A decoder: a recurrent stack that writes tokens one after the other and may look at a source meanwhile."""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn

from unrolled.engines import LayerWeights, autograd
from unrolled.nn.attention import Attention
from unrolled.nn.dropout import Dropout, dropped_rows, keep_mask
from unrolled.nn.reading import Making, draw_weights, make_stack, read_tokens
from unrolled.nn.recurrent import Parts
from unrolled.nn.regularization import Regularization

NO_ATTENTION = "none"


class Source(NamedTuple):
    """What a decoder looks at: memory (S, B, K), keys (S, B, H), lengths (B,) or None."""

    memory: Tensor
    keys: Tensor
    lengths: Tensor | None


class DecoderState(NamedTuple):
    """Where a decoder is: each part of the stack's state (L, B, H), and the last vector that it made (B, H)."""

    parts: Parts
    fed: Tensor


class Decoded(NamedTuple):
    """Vectors (T, B, H), from which the next tokens follow; attention weights (T, B, S) or None; the last state."""

    vectors: Tensor
    weights: Tensor | None
    state: DecoderState


class Decoder(nn.Module):
    """Tokens so far, and a source, to vectors from which the next token follows.

    With h_t the top layer's output, c_t what attention sees for it and a_t = tanh(W [h_t; c_t]) (Luong et al.,
    arXiv:1508.04025, equation 5), a_t is the vector. With input feeding the stack reads [embedding; a_{t-1}] (the same,
    section 3.3): so a step knows where the one before looked, as in Bahdanau et al. (arXiv:1409.0473), whose scores are
    "additive". Without, all steps of a known output are computed side by side. Without attention the vector is h_t.

    Letters: T target steps, S source steps, B batch, E embedding size, H hidden size, K size of the memory, L layers.

    Args:
        cell: name of a registered cell.
        vocabulary_size: V.
        embedding_size: E.
        hidden_size: H.
        layers: L.
        memory_size: K.
        attention: a kind of `Attention`, or "none".
        input_feeding: whether a vector is read in the next step.
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
        memory_size: int,
        *,
        attention: str = "general",
        input_feeding: bool = True,
        regularization: Regularization,
        **making: Unpack[Making],
    ) -> None:
        super().__init__()
        generator = making.get("generator")
        self.regularization, self.input_feeding = regularization, input_feeding
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.recurrent = make_stack(
            cell,
            embedding_size + (hidden_size if input_feeding else 0),
            hidden_size,
            layers,
            regularization=regularization,
            **making,
        )
        self.attention, self.meeting = None, None
        if attention != NO_ATTENTION:
            self.attention = Attention(attention, hidden_size, memory_size, generator=generator)
            self.meeting = nn.Linear(hidden_size + memory_size, hidden_size, bias=False)
        self.input_dropout = Dropout(regularization.of_inputs, locked=regularization.locked, generator=generator)
        if self.meeting is not None:
            draw_weights(self.meeting, **making)
        draw_weights(self.embedding, **making)

    def look_at(self, memory: Tensor, lengths: Tensor | None = None) -> Source:
        """Make a source ready: memory (S, B, K), lengths (B,)."""
        return Source(memory, memory if self.attention is None else self.attention.project(memory), lengths)

    def begin(self, parts: Parts) -> DecoderState:
        """The state before the first token, from each part of the stack's state (L, B, H)."""
        return DecoderState(parts, torch.zeros_like(parts[0][0]))

    def forward(self, ids: Tensor, state: DecoderState, source: Source) -> Decoded:
        """Read tokens that are known: ids (T, B).

        `source` may have fewer columns than ids, each for as many neighbouring ones: beams of one sentence.
        """
        if self.input_feeding:
            return self._one_by_one(ids, state, source)
        given = state.parts if len(state.parts) > 1 else state.parts[0]
        outputs, last = read_tokens(
            self.recurrent,
            self.embedding.weight,
            ids,
            given,
            None,
            dropout=self.input_dropout,
            regularization=self.regularization,
        )
        vectors, weights = self._meet(outputs, source)
        return Decoded(vectors, weights, DecoderState(last if isinstance(last, tuple) else (last,), vectors[-1]))

    def _one_by_one(self, ids: Tensor, state: DecoderState, source: Source) -> Decoded:
        recurrent, wanted = self.recurrent, self.regularization
        engine, cell = recurrent.engine_for(self.embedding.weight), recurrent.cell
        index, rows = ids, self.embedding.weight
        if self.training and wanted.dropout_embedding:
            generator = self.input_dropout.generator
            index, rows = dropped_rows(ids, rows, of_tokens=wanted.dropout_embedding, generator=generator)
        x = self.input_dropout(nn.functional.embedding(index, rows))
        first, *others = (recurrent.layer_weights(layer) for layer in range(recurrent.num_layers))
        size = x.shape[2]
        terms = autograd.linear(engine, x, first.weight_ih[:, :size], first.bias_ih)  # of all steps at once
        feeding = first.weight_ih[:, size:].T.contiguous()
        masks = [self._mask(state.fed) for _ in others] if self.training and wanted.between_layers else []
        parts = [tuple(part[layer] for part in state.parts) for layer in range(recurrent.num_layers)]
        fed, vectors, weights = state.fed, list[Tensor](), list[Tensor]()
        for term in terms:
            parts[0] = autograd.step(engine, cell, term + fed @ feeding, first.weight_hh, first.bias_hh, parts[0])
            for layer, each in enumerate(others, 1):
                below = parts[layer - 1][0]
                if masks:
                    below = below * (masks[layer - 1] if wanted.locked else self._mask(below))
                parts[layer] = self._step(layer, each, below, parts[layer])
            made, looked = self._meet(parts[-1][0][None], source)
            fed = made[0]
            vectors.append(fed)
            if looked is not None:
                weights.append(looked[0])
        last = tuple(torch.stack([layer[number] for layer in parts]) for number in range(len(state.parts)))
        return Decoded(torch.stack(vectors), torch.stack(weights) if weights else None, DecoderState(last, fed))

    def _step(self, layer: int, weights: LayerWeights, below: Tensor, state: Parts) -> Parts:
        engine = self.recurrent.engine_for(below)
        x = autograd.linear(engine, below, weights.weight_ih, weights.bias_ih)
        return autograd.step(engine, self.recurrent.cell, x, weights.weight_hh, weights.bias_hh, state)

    def _mask(self, like: Tensor) -> Tensor:
        """What is kept between two layers."""
        return keep_mask(tuple(like.shape), self.regularization.between_layers, like, self.input_dropout.generator)

    def _meet(self, outputs: Tensor, source: Source) -> tuple[Tensor, Tensor | None]:
        """The stack's outputs (T, N, H) with what they look at: vectors (T, N, H) and weights (T, N, S)."""
        if self.attention is None or self.meeting is None:
            return outputs, None
        steps, rows, _ = outputs.shape
        beams = rows // source.memory.shape[1]
        query = outputs
        if beams > 1:  # those of a sentence look at the same memory, as if they were steps
            query = outputs.view(steps, -1, beams, outputs.shape[2]).transpose(1, 2).flatten(0, 1)
        context, weights = self.attention(query, source.keys, source.memory, source.lengths)
        if beams > 1:
            context, weights = (
                each.unflatten(0, (steps, beams)).transpose(1, 2).flatten(1, 2) for each in (context, weights)
            )
        return torch.tanh(self.meeting(torch.cat([outputs, context], dim=2))), weights
