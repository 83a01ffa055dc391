"""Attention: for each target step, how much of each source step to look at, and what is seen there."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.engines.checks import expect
from unrolled.errors import ShapeError, UsageError

KINDS = ("additive", "dot", "general")

_AT_ONCE = 2**20
"""Hidden units of "additive", of all pairs of steps, that are looked at together; those of one target step at least."""


class Attention(nn.Module):
    """Weights over the steps of a source, from a query and the source's keys, and the mean of its memory by them.

    With a query q of a target step and the memory m_s of each source step, a_s = softmax over s of score(q, m_s) and
    the context is the sum of a_s m_s. The scores:

    - additive: v . tanh(W q + U m_s) (Bahdanau et al., arXiv:1409.0473), with as many hidden units as a query has.
    - dot: q . m_s (Luong et al., arXiv:1508.04025).
    - general: q . (W m_s) (the same).

    What depends on the source alone is computed once, by `project`, and serves all target steps. They may come all in
    one call or one after another, as in a decoder that attends before it moves on.

    Letters: T target steps, S source steps, B batch, Q and K sizes of a query and of a memory. Beside its results a
    call takes T*B*S numbers; "additive" has T*B*S*Q hidden units, which are made again for the gradients, not kept.

    Args:
        kind: one of `KINDS`.
        query_size: Q.
        key_size: K.
        generator: source of the initial weights; torch's own if None.

    Raises:
        UsageError: unknown kind, sizes below 1, or unequal ones for "dot".
    """

    def __init__(self, kind: str, query_size: int, key_size: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UsageError(f'attention is "{kind}": choose one of {", ".join(KINDS)}')
        for name, size in (("query_size", query_size), ("key_size", key_size)):
            if size < 1:
                raise UsageError(f"{name} is {size}: give a whole number of at least 1")
        if kind == "dot" and query_size != key_size:
            sizes = f"query_size {query_size} and key_size {key_size}"
            raise UsageError(f"attention dot has {sizes}: make them equal or take general")
        self.kind, self.query_size, self.key_size = kind, query_size, key_size
        if kind == "additive":
            self.weight_query = nn.Parameter(torch.empty(query_size, query_size))
            self.weight_score = nn.Parameter(torch.empty(query_size))
        if kind != "dot":
            self.weight_key = nn.Parameter(torch.empty(query_size, key_size))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, uniform within +-1/sqrt(numbers that enter a sum)."""
        with torch.no_grad():
            for weight in self.parameters():
                bound = 1 / math.sqrt(weight.shape[-1])
                weight.uniform_(-bound, bound, generator=generator)

    def project(self, memory: Tensor) -> Tensor:
        """The keys of a source, (S, B, Q), from its memory, (S, B, K): for "dot" the memory itself.

        Raises:
            ShapeError: the memory has another size, no step or no sequence.
        """
        self._check_memory(memory)
        return memory if self.kind == "dot" else nn.functional.linear(memory, self.weight_key)

    def forward(
        self, query: Tensor, keys: Tensor, memory: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend from any number of target steps at once.

        Args:
            query: (T, B, Q).
            keys: (S, B, Q), from `project`.
            memory: (S, B, K). Numbers past a source's end change nothing; they have to be finite, since 0 * nan is nan
                (what `Recurrent` returns is zero there).
            lengths: (B,) of the sources, 1..S; all S if None. On another device than the CPU their values are not
                looked at.

        Returns:
            context (T, B, K), and weights (T, B, S), which add up to 1 over S and are zero past a source's end.

        Raises:
            ShapeError: a shape or length does not fit.
        """
        self._check_memory(memory)
        steps, batch, _ = memory.shape
        expect("query", query, (None, batch, self.query_size), "memory and the module's query_size")
        expect("keys", keys, (steps, batch, self.query_size), "memory and the module's query_size")
        scores = self._score(query, keys)
        if lengths is not None:
            padding = find_padding(lengths, steps, batch, memory.device)
            scores = scores.masked_fill(padding[:, None], -math.inf)
        weights = scores.softmax(dim=-1)  # which subtracts the largest score first and so cannot overflow
        context = torch.bmm(weights, memory.transpose(0, 1))
        return context.transpose(0, 1), weights.transpose(0, 1)

    def _score(self, query: Tensor, keys: Tensor) -> Tensor:
        """(B, T, S)."""
        if self.kind == "additive":
            projected = nn.functional.linear(query, self.weight_query)
            scores: Tensor = _AdditiveScore.apply(projected, keys, self.weight_score)  # type: ignore[no-untyped-call]
            return scores.permute(2, 0, 1)
        return torch.bmm(query.transpose(0, 1), keys.permute(1, 2, 0))

    def _check_memory(self, memory: Tensor) -> None:
        expect("memory", memory, (None, None, self.key_size), "module's key_size")
        if 0 in memory.shape:
            raise ShapeError(f"memory has shape {tuple(memory.shape)}: give at least one step and one sequence")

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"{self.kind!r}, {self.query_size}, {self.key_size}"


class _AdditiveScore(torch.autograd.Function):
    """v . tanh(p_t + k_s) for all pairs of steps: p (T, B, Q), k (S, B, Q), v (Q,) to (T, S, B)."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(projected, keys, weight)
        return torch.cat([(some[:, None] + keys).tanh_() @ weight for some in _in_parts(projected, keys)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projected, keys, weight = ctx.saved_tensors
        d_projected, d_keys, d_weight, start = list[Tensor](), torch.zeros_like(keys), torch.zeros_like(weight), 0
        for some in _in_parts(projected, keys):
            d_scores = gradients[0][start : start + len(some)]
            start += len(some)
            hidden = (some[:, None] + keys).tanh()
            d_weight = d_weight + d_scores.flatten() @ hidden.flatten(0, 2)
            d_sums = torch.ops.aten.tanh_backward(d_scores[..., None] * weight, hidden)
            d_projected.append(d_sums.sum(1))
            d_keys = d_keys + d_sums.sum(0)
        return torch.cat(d_projected), d_keys, d_weight


def _in_parts(projected: Tensor, keys: Tensor) -> Iterator[Tensor]:
    """Target steps, as many together as there is room for."""
    steps = max(1, _AT_ONCE // keys.numel())
    return (projected[start : start + steps] for start in range(0, len(projected), steps))


def find_padding(lengths: Tensor, steps: int, batch: int, device: torch.device) -> Tensor:
    """Where sequences have ended already: true at what is padding, (B, steps).

    Args:
        lengths: (B,), each 1 to `steps`; on another device than the CPU the values are not looked at.
        steps: of the longest, or more.
        batch: B, at least 1.
        device: of the result.

    Raises:
        ShapeError: another shape, no integers, or a length outside 1..steps.
    """
    expect("lengths", lengths, (batch,))
    if lengths.dtype.is_floating_point or lengths.dtype == torch.bool:
        raise ShapeError(f"lengths have dtype {lengths.dtype}: expected integers")
    if lengths.is_cpu:
        low, high = (int(end) for end in lengths.aminmax())
        if low < 1 or high > steps:
            raise ShapeError(f"lengths reach from {low} to {high}: each must be 1 to {steps}")
    return torch.arange(steps, device=device) >= lengths.to(device)[:, None]
