"""Decoders that break every symmetry, and the same with PyTorch's cells, one sentence and one step at a time."""

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.nn import Attention, Regularization
from unrolled.nn.decoder import Decoder
from unrolled.nn.recurrent import Recurrent

V, E, H, K, T, S, B = 7, 3, 4, 5, 4, 5, 3
GENERATOR = torch.Generator().manual_seed(1)
IDS = torch.randint(V, (T, B), generator=GENERATOR)
SOURCE_LENGTHS = torch.tensor([3, 5, 1])
CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "tanh": nn.RNNCell}


def memory_size(attention: str) -> int:
    return H if attention == "dot" else K


def make_memory(attention: str) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    memory = torch.randn(S, B, memory_size(attention), generator=generator, dtype=torch.float64)
    return memory * (torch.arange(S)[:, None] < SOURCE_LENGTHS)[..., None]


def make_parts(cell: str, layers: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    count = 2 if cell == "lstm" else 1
    return tuple(0.5 * torch.randn(layers, B, H, generator=generator, dtype=torch.float64) for _ in range(count))


def make_decoder(
    attention: str = "general", cell: str = "gru", *, layers: int = 2, input_feeding: bool = True, **options: Any
) -> Decoder:
    options = {"regularization": Regularization(), "generator": torch.Generator().manual_seed(4), **options}
    decoder = Decoder(
        cell, V, E, H, layers, memory_size(attention), attention=attention, input_feeding=input_feeding, **options
    )
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if "bias" in name or "embedding" in name:
                parameter.uniform_(-0.6, 0.6, generator=torch.Generator().manual_seed(5))
    return decoder.double()


def cells_of(recurrent: Recurrent, cell: str) -> list[nn.RNNCellBase]:
    """PyTorch's cells with the weights of each layer."""
    found = []
    for layer in range(recurrent.num_layers):
        width = recurrent.input_size if layer == 0 else recurrent.hidden_size
        found.append(CELLS[cell](width, recurrent.hidden_size).double())
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        found[-1].load_state_dict({name: getattr(recurrent, f"{name}_l{layer}") for name in names})
    return found


def scores_by_hand(attention: Attention, query: Tensor, memory: Tensor) -> Tensor:
    """One query, (H,), against each step of one memory, (S, K)."""
    rows = []
    for seen in memory:
        if attention.kind == "dot":
            rows.append(query @ seen)
        elif attention.kind == "general":
            rows.append(query @ (attention.weight_key @ seen))
        else:
            hidden = torch.tanh(attention.weight_query @ query + attention.weight_key @ seen)
            rows.append(attention.weight_score @ hidden)
    return torch.stack(rows)


def by_hand(
    decoder: Decoder, steps: list[nn.RNNCellBase], ids: Tensor, parts: list[list[Tensor]], memory: Tensor
) -> tuple[Tensor, Tensor, list[list[Tensor]]]:
    """One sentence: ids (T,), for each layer its state's parts (H,), memory (S, K) without padding.

    Returns vectors (T, H), weights (T, S), and the state after the last step.
    """
    fed, vectors, looked = torch.zeros(decoder.recurrent.hidden_size, dtype=torch.float64), [], []
    for token in ids:
        x = decoder.embedding.weight[token]
        if decoder.input_feeding:
            x = torch.cat([x, fed])
        for layer, step in enumerate(steps):
            given = tuple(part[None] for part in parts[layer])
            after = step(x[None], given if len(given) > 1 else given[0])
            parts[layer] = [part[0] for part in (after if isinstance(after, tuple) else (after,))]
            x = parts[layer][0]
        fed = x
        if decoder.attention is not None and decoder.meeting is not None:
            weights = scores_by_hand(decoder.attention, x, memory).softmax(0)
            context = sum((weight * seen for weight, seen in zip(weights, memory, strict=True)), torch.zeros(()))
            fed = torch.tanh(decoder.meeting.weight @ torch.cat([x, context]))
            looked.append(weights)
        vectors.append(fed)
    return torch.stack(vectors), torch.stack(looked) if looked else torch.zeros(len(ids), 0), parts
