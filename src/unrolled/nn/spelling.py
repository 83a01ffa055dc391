"""What a word looks like: its bytes through a small bidirectional network, so that unknown words tell something."""

import torch
from torch import Tensor, nn

from unrolled.nn.reading import draw_weights
from unrolled.nn.recurrent import Recurrent

BYTES = 256


class SpellingEncoder(nn.Module):
    """A vector for each word from the bytes of its UTF-8 (after Lample et al., arXiv:1603.01360, who take characters).

    Bytes need no vocabulary: whatever the script, nothing is unknown.

    Args:
        size: of each of the two directions; the vector has twice as much.
        cell: name of a registered cell.
        engine: name of the engine, or "auto".
        generator: source of the initial weights; torch's own if None.
    """

    def __init__(self, size: int, cell: str, *, engine: str = "auto", generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.size = 2 * size
        self.embedding = nn.Embedding(BYTES, size)
        self.recurrent = Recurrent(cell, size, size, bidirectional=True, engine=engine, forget_bias=1.0)
        self.recurrent.reset_parameters(generator)
        draw_weights(self.embedding, generator=generator)

    def forward(self, spelling: Tensor, lengths: Tensor) -> Tensor:
        """Read words: spelling (C, N) bytes, lengths (N,) from 1 to C; vectors (N, 2*size)."""
        _, last = self.recurrent.forward_tokens(spelling, self.embedding.weight, lengths=lengths)
        h = last if isinstance(last, Tensor) else last[0]
        return torch.cat([h[0], h[1]], dim=1)
