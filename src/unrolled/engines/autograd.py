"""Engines under torch's autograd.

First derivatives come from the engine's own backward passes. Where a graph of the gradient itself is asked for
(`create_graph=True`), the operation is run again with the portable engine's recording lines, for any engine.

What an engine returns is passed on as it is, both ways: a gradient of a parameter becomes its `.grad` without a copy,
and a result may be on the engine's tape, so that to change it in place before the backward pass is torch's usual error.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.cells import Cell
from unrolled.engines.contract import Engine, InputWeights, Masks, RowGradient
from unrolled.engines.portable import Portable

# torch 2.11 warns of it even where it is told not to check.
warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")

_recording = Portable()
_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
"""Whether the backward pass under way may be run again; None where this torch cannot say."""


def unroll(
    engine: Engine,
    cell: Cell,
    x: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    state: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    masks: Masks | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`Engine.unroll` with gradients for x, weights, bias and initial state (masks are constants).

    Returns:
        outputs (T, B, H) and the last state, one (B, H) for each part.
    """

    def forward(engine: Engine, keep: bool, x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor) -> Any:
        done = engine.unroll(cell, x, weight, bias, state, lengths=lengths, reverse=reverse, masks=masks, keep=keep)
        return (done.outputs, *done.state), done.tape

    def backward(tape: Any, d_outputs: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        gradients = engine.unroll_backward(tape, d_outputs, d_state)
        return gradients.x, gradients.weight_hh, gradients.bias_hh, *gradients.state

    outputs, *last = _apply(engine, forward, backward, x, weight_hh, bias_hh, *state)
    return outputs, tuple(last)


def step(
    engine: Engine, cell: Cell, x: Tensor, weight_hh: Tensor, bias_hh: Tensor | None, state: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """`Engine.step` with gradients: x (B, G*H) to the next state, one (B, H) for each part."""

    def forward(engine: Engine, keep: bool, x: Tensor, weight: Tensor, bias: Tensor | None, *state: Tensor) -> Any:
        return engine.step(cell, x, weight, bias, state, keep=keep)

    def backward(tape: Any, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        gradients = engine.step_backward(tape, d_state)
        return gradients.x, gradients.weight_hh, gradients.bias_hh, *gradients.state

    return tuple(_apply(engine, forward, backward, x, weight_hh, bias_hh, *state))


def linear(engine: Engine, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`Engine.linear` with gradients: inputs (..., I) to (..., M)."""
    wants_inputs = inputs.requires_grad

    def forward(engine: Engine, keep: bool, *operands: Any) -> Any:
        results, tape = engine.linear(*operands, keep=keep)
        return (results,), tape

    def backward(tape: Any, d_results: Tensor) -> tuple[Tensor | None, ...]:
        return engine.linear_backward(tape, d_results, d_inputs=wants_inputs)

    rows = inputs.reshape(-1, inputs.shape[-1]).contiguous()
    return _apply(engine, forward, backward, rows, weight, bias)[0].view(*inputs.shape[:-1], len(weight))


def project_tokens(
    engine: Engine,
    ids: Tensor,
    embedding: Tensor,
    weight_ih: Tensor,
    bias_ih: Tensor | None,
    *,
    sparse_gradient: bool = False,
) -> Tensor:
    """`Engine.project_tokens` with gradients: ids (T, B) to (T, B, G*H).

    With `sparse_gradient` the embedding's gradient is a sparse tensor of the rows that occur, each once and ascending;
    but where a graph of it is asked for it is dense.
    """

    def forward(engine: Engine, keep: bool, *operands: Any) -> Any:
        projected, tape = engine.project_tokens(*operands, keep=keep)
        return (projected,), tape

    def backward(tape: Any, d_x: Tensor) -> tuple[Tensor | None, ...]:
        gradients = engine.project_tokens_backward(tape, d_x, sparse=sparse_gradient)
        return None, _as_tensor(gradients.inputs, embedding), gradients.weight, gradients.bias

    return _apply(engine, forward, backward, ids, embedding, weight_ih, bias_ih)[0]


def unroll_tokens(
    engine: Engine,
    cell: Cell,
    ids: Tensor,
    inputs: InputWeights,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    state: Sequence[Tensor],
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    masks: Masks | None = None,
    sparse_gradient: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`Engine.unroll_tokens` with gradients; arguments and results as of `project_tokens` and `unroll`."""

    def forward(engine: Engine, keep: bool, ids: Tensor, *operands: Any) -> Any:
        embedding, weight_ih, bias_ih, weight_hh, bias_hh, *initial = operands
        weights = InputWeights(embedding, weight_ih, bias_ih)
        options: dict[str, Any] = {"lengths": lengths, "reverse": reverse, "masks": masks, "keep": keep}
        done = engine.unroll_tokens(cell, ids, weights, weight_hh, bias_hh, tuple(initial), **options)
        return (done.outputs, *done.state), done.tape

    def backward(tape: Any, d_outputs: Tensor, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        first, then = engine.unroll_tokens_backward(tape, d_outputs, d_state, sparse=sparse_gradient)
        d_embedding = _as_tensor(first.inputs, inputs.embedding)
        return None, d_embedding, first.weight, first.bias, then.weight_hh, then.bias_hh, *then.state

    outputs, *last = _apply(engine, forward, backward, ids, *inputs, weight_hh, bias_hh, *state)
    return outputs, tuple(last)


def linear_cross_entropy(
    engine: Engine, inputs: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
) -> Tensor:
    """`Engine.linear_cross_entropy` with gradients: inputs (N, H), targets (N,) to losses (N,) in nats."""

    def forward(engine: Engine, keep: bool, *operands: Any) -> Any:
        losses, tape = engine.linear_cross_entropy(*operands, keep=keep)
        return (losses,), tape

    def backward(tape: Any, d_losses: Tensor) -> tuple[Tensor | None, ...]:
        return *engine.linear_cross_entropy_backward(tape, d_losses), None

    return _apply(engine, forward, backward, inputs, weight, bias, targets)[0]


def _as_tensor(gradient: Tensor | RowGradient, embedding: Tensor) -> Tensor:
    """The gradient of an embedding, sparse where it is given by rows."""
    if isinstance(gradient, Tensor):
        return gradient
    rows, values = gradient
    return torch.sparse_coo_tensor(rows[None], values, embedding.shape, is_coalesced=True, check_invariants=False)


def _apply(
    engine: Engine, forward: Callable[..., Any], backward: Callable[..., Any], *operands: Tensor | None
) -> tuple[Tensor, ...]:
    """Run an operation, under autograd only where something asks for gradients.

    Token ids are operands too: torch then notices if they are changed between forward and backward.
    """
    operands = tuple([o if o is None else o.contiguous() for o in operands])  # engines want them dense
    if torch.is_grad_enabled():
        for operand in operands:
            if operand is not None and operand.requires_grad:
                results: tuple[Tensor, ...] = _Operation.apply(engine, forward, backward, *operands)  # type: ignore[no-untyped-call]
                return results
    return forward(engine, False, *operands)[0]  # type: ignore[no-any-return]


class _Operation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, engine: Engine, forward: Callable[..., Any], backward: Callable[..., Any], *operands: Tensor | None
    ) -> tuple[Tensor, ...]:
        results, ctx.tape = forward(engine, True, *operands)
        ctx.again, ctx.undo, ctx.count = forward, backward, len(operands)
        ctx.save_for_backward(*operands, *results)
        # A tensor that the tape holds as well would keep itself alive through its own graph: hand out others, which
        # share memory and count of changes with it.
        return tuple([result.detach() for result in results])

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        operands = ctx.saved_tensors[: ctx.count]  # torch raises here if one, or a result, has been changed in place
        if not torch.is_grad_enabled():
            gradients = ctx.undo(ctx.tape, *[d.contiguous() for d in d_results])
            if _keeps_graph is not None and not _keeps_graph():
                ctx.tape = None  # a loss that is kept would keep it, as torch keeps none of what it saved
            return None, None, None, *gradients
        # Views: one operand may have been computed from another, whose gradient must not count that history again.
        operands = tuple(o if o is None else o.view_as(o) for o in operands)
        results, _ = ctx.again(_recording, False, *operands)
        wanted = [o for o in operands if o is not None and o.requires_grad]
        derived = iter(torch.autograd.grad(results, wanted, d_results, create_graph=True, allow_unused=True))
        return None, None, None, *(next(derived) if o is not None and o.requires_grad else None for o in operands)
