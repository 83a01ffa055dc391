"""Pooling: one vector for a whole sequence, from the outputs of a recurrent layer at all its steps."""

import math

import torch
from torch import Tensor, nn

from unrolled.engines.checks import expect
from unrolled.errors import ShapeError, UsageError
from unrolled.nn.attention import find_padding

KINDS = ("last", "mean", "max", "attention")


class Pooling(nn.Module):
    """Make the outputs h_t of a `Recurrent` at T steps one vector of the same size.

    - last: what each direction has when it has read everything: of the forward half the sequence's last step, of the
      backward half its first.
    - mean, max: of each element over the steps.
    - attention: the sum of a_t h_t with a = softmax over t of v . tanh(W h_t), v a learnt query (Yang et al. 2016,
      Hierarchical attention networks, NAACL; there with a bias beside W).

    Padding changes nothing, whatever it holds, infinity and nan included.

    Letters: T time steps, B batch, D directions, H hidden size.

    Args:
        kind: one of `KINDS`.
        hidden_size: H.
        num_directions: D, 1 or 2.
        generator: source of the initial weights; torch's own if None.

    Raises:
        UsageError: unknown kind, a hidden size below 1, or directions other than 1 and 2.
    """

    def __init__(
        self,
        kind: str,
        hidden_size: int,
        num_directions: int = 1,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UsageError(f'pooling is "{kind}": choose one of {", ".join(KINDS)}')
        if hidden_size < 1:
            raise UsageError(f"hidden_size is {hidden_size}: give a whole number of at least 1")
        if num_directions not in {1, 2}:
            raise UsageError(f"num_directions is {num_directions}: give 1 or 2")
        self.kind, self.hidden_size, self.num_directions = kind, hidden_size, num_directions
        if kind == "attention":
            size = hidden_size * num_directions
            self.weight_hidden = nn.Parameter(torch.empty(size, size))
            self.weight_score = nn.Parameter(torch.empty(size))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, uniform within +-1/sqrt(D*H)."""
        bound = 1 / math.sqrt(self.hidden_size * self.num_directions)
        with torch.no_grad():
            for weight in self.parameters():
                weight.uniform_(-bound, bound, generator=generator)

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pool.

        Args:
            outputs: (T, B, D*H), the forward half first.
            lengths: (B,) of the sequences, 1..T; all T if None. On another device than the CPU their values are not
                looked at.

        Returns:
            (B, D*H).

        Raises:
            ShapeError: a shape or length does not fit.
        """
        padding = self._find_padding(outputs, lengths)
        if self.kind == "last":
            return self._last(outputs, lengths)
        if self.kind == "max":
            return _filled(outputs, padding, -math.inf).amax(dim=0)
        outputs = _filled(outputs, padding, 0.0)
        if self.kind == "mean":
            if lengths is None:
                return outputs.mean(dim=0)
            return outputs.sum(dim=0) / lengths.to(outputs.device, outputs.dtype)[:, None]
        weights = self._weigh(outputs, padding)
        return (weights[..., None] * outputs).sum(dim=0)  # bmm takes several times as long for short sequences

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """How much "attention" looks at each step: (T, B), adding up to 1 over T, zero past a sequence's end.

        Args:
            outputs: (T, B, D*H).
            lengths: (B,), see `forward`.

        Raises:
            UsageError: the kind is another one.
            ShapeError: a shape or length does not fit.
        """
        if self.kind != "attention":
            raise UsageError(f"pooling {self.kind} has no weights: take attention")
        padding = self._find_padding(outputs, lengths)
        return self._weigh(_filled(outputs, padding, 0.0), padding)

    def _weigh(self, outputs: Tensor, padding: Tensor | None) -> Tensor:
        scores = nn.functional.linear(outputs, self.weight_hidden).tanh_() @ self.weight_score
        if padding is not None:
            scores = scores.masked_fill(padding, -math.inf)
        return scores.softmax(dim=0)

    def _last(self, outputs: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            last = outputs[-1]
        else:
            rows = torch.arange(outputs.shape[1], device=outputs.device)
            last = outputs[lengths.to(outputs.device) - 1, rows]
        if self.num_directions == 1:
            return last
        return torch.cat([last[:, : self.hidden_size], outputs[0, :, self.hidden_size :]], dim=-1)

    def _find_padding(self, outputs: Tensor, lengths: Tensor | None) -> Tensor | None:
        """(T, B) where there are lengths."""
        size = self.hidden_size * self.num_directions
        expect("outputs", outputs, (None, None, size), "module's hidden_size and num_directions")
        if 0 in outputs.shape:
            raise ShapeError(f"outputs has shape {tuple(outputs.shape)}: give at least one step and one sequence")
        if lengths is None:
            return None
        return find_padding(lengths, outputs.shape[0], outputs.shape[1], outputs.device).T

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"{self.kind!r}, {self.hidden_size}, num_directions={self.num_directions}"


def _filled(outputs: Tensor, padding: Tensor | None, value: float) -> Tensor:
    return outputs if padding is None else outputs.masked_fill(padding[..., None], value)
