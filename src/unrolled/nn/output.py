"""The end of a network: from vectors to what the targets cost."""

import torch
from torch import Tensor

from unrolled.engines import Engine, autograd
from unrolled.engines.checks import check_tokens
from unrolled.nn.factored import FactoredEmbedding, all_rows, rows_of
from unrolled.nn.sampling import Sampler


def target_losses(
    engine: Engine,
    rows: Tensor,
    weight: Tensor | FactoredEmbedding,
    bias: Tensor,
    targets: Tensor,
    *,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
    sparse: bool = False,
) -> Tensor:
    """Negative log-probabilities of targets in nats, (N,): -log softmax(rows @ weight^T + bias)[target].

    Args:
        engine: does it.
        rows: (N, H).
        weight, bias: (V, H) and (V,), of the output layer.
        targets: (N,) ids.
        sampler: draws tokens that stand for the vocabulary; the losses are smaller then: of finding the target among
            those drawn. None: all do.
        generator: source of its randomness; torch's own if None.
        sparse: whether the gradient of the weight is a sparse tensor of the rows that are drawn.

    Raises:
        ShapeError: a target is not an id of the vocabulary.
    """
    check_tokens("targets", targets, tuple(targets.shape), len(bias))
    if sampler is None:
        return autograd.linear_cross_entropy(engine, rows, all_rows(weight), bias, targets)
    sample = sampler.draw(targets, generator)
    drawn = rows_of(weight, sample.tokens, sparse=sparse)
    bias = bias.index_select(0, sample.tokens) - sample.log_chances.to(bias.dtype)
    return autograd.linear_cross_entropy(engine, rows, drawn, bias, sample.targets)


def counted(lengths: Tensor, steps: int) -> Tensor:
    """Which places of padded sequences count: (steps, B), true where t < length."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths
