"""Penalties on what a recurrent layer does, beside the loss: on activations, and on the norm of the backward signal."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import UsageError

SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda s: 1 - s * s,
    "relu": lambda s: (s > 0).to(s.dtype),
    "sigmoid": lambda s: s * (1 - s),
}
"""f'(a) of the Elman cells from s = f(a)."""


def activation_penalty(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """AR: the mean square of the outputs (T, B, H) over what is text; padding has to be zero.

    Source: Merity et al., arXiv:1708.01009, with the mean over elements as in their programs.
    """
    count = outputs.numel() if lengths is None else int(lengths.sum()) * outputs.shape[-1]
    penalty: Tensor = torch.linalg.vector_norm(outputs).square() / count
    return penalty


def temporal_activation_penalty(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """TAR: the mean square of h_t - h_{t-1} over all pairs of steps that are text; zero where there is none.

    Source: Merity et al., arXiv:1708.01009.
    """
    if lengths is not None:
        times = torch.arange(1, len(outputs), device=outputs.device)
        is_text = (times[:, None] < lengths.to(outputs.device)).to(outputs.dtype)[..., None]
        changes = (outputs[1:] - outputs[:-1]) * is_text
        count = int((lengths - 1).sum()) * outputs.shape[-1]
    else:
        changes = outputs[1:] - outputs[:-1]
        count = changes.numel()
    penalty: Tensor = torch.linalg.vector_norm(changes).square() / max(1, count)
    return penalty


def check_signal_norm(cell: str, factor: float) -> None:
    """Refuse a signal-norm penalty for a cell whose Jacobian is not R^T times a slope.

    Raises:
        UsageError: the cell is none of the Elman cells, or the factor is not at least 0.
    """
    if not factor >= 0:
        raise UsageError(f"signal_norm is {factor}: give a factor of at least 0")
    if factor > 0 and cell not in SLOPES:
        raise UsageError(f"signal_norm is for the cells {', '.join(SLOPES)}, not for {cell}: leave it out")


def with_signal_norm(
    x: Tensor,
    weight: Tensor,
    factor: float,
    *,
    cell: str,
    outputs: Callable[[], Tensor],
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """The input term and recurrent weight of an Elman layer; the weight's gradient will have the penalty's in it.

    With a_t = x_t + R s_{t-1}, s_t = f(a_t), the backward signal is g_t = dE/da_t, and what of it arrives one step
    earlier is v_t = (g_t R) f'(a_{t-1}). The penalty is factor times the mean of (|v_t| / |g_t| - 1)^2 over all t >= 1
    and sequences with a signal; its gradient is taken where R stands in it, the signals and slopes being constants. It
    is not part of the loss.

    Source: Pascanu et al., arXiv:1211.5063, equations 9 and 10; there the sum over time, here the mean.

    Args:
        x: (T, B, H), the layer's input term.
        weight: (H, H), its recurrent weight R.
        factor: of the penalty.
        cell: name of an Elman cell.
        outputs: gives s, (T, B, H), when the backward pass asks for it.
        lengths: (B,) of the sequences; None: all T.
        reverse: whether the layer reads from the last step to the first.
    """

    def gradient(d_x: Tensor) -> Tensor:
        signals, states = d_x, outputs()
        if reverse and lengths is not None:  # no step was read before a sequence's last one
            times = torch.arange(len(d_x), device=d_x.device)
            signals = signals * (times[:, None] < lengths.to(d_x.device) - 1)[..., None]
        if reverse:
            signals, states = signals.flip(0), states.flip(0)
        return factor * signal_norm_gradient(signals, states, weight.detach(), SLOPES[cell])

    result: tuple[Tensor, Tensor] = _WithPenalty.apply(x, weight, gradient)  # type: ignore[no-untyped-call]
    return result


def signal_norm_gradient(signals: Tensor, outputs: Tensor, weight: Tensor, slope: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of the mean of (|v_t| / |g_t| - 1)^2 for the weight; see `with_signal_norm`."""
    g, slopes = signals[1:].flatten(0, 1), slope(outputs[:-1]).flatten(0, 1)
    largest = g.abs().amax(dim=1, keepdim=True)
    g = g / torch.where(largest > 0, largest, 1)  # shares alone count, and small signals must not become zero
    arriving = (g @ weight) * slopes
    norms, arrived = torch.linalg.vector_norm(g, dim=1), torch.linalg.vector_norm(arriving, dim=1)
    counts = (norms > 0) & (arrived > 0)
    share = torch.where(counts, 2 * (arrived / norms - 1) / (norms * arrived), 0) / max(1, int((norms > 0).sum()))
    return g.T @ (arriving * slopes * share[:, None])


class _WithPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gradient: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        ctx.gradient = gradient
        return x.view_as(x), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, d_x: Tensor, d_weight: Tensor) -> tuple[Tensor | None, ...]:
        return d_x, d_weight + ctx.gradient(d_x), None
