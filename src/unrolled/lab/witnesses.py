"""The gradients of an operation as PyTorch finds them: by forward mode, by reverse mode, by its own modules."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from unrolled import engines
from unrolled.cells import Cell
from unrolled.engines.arrays import Array
from unrolled.engines.contract import Unrolled
from unrolled.lab.operations import HIDDEN, STEPS, Operation

FORWARD, PYTORCH, MODULES = "forward mode", "PyTorch", "PyTorch's module"


def torch_gradients(operation: Operation, cell: Cell | None) -> Iterator[tuple[str, dict[str, Array]]]:
    """The gradient by forward mode, by PyTorch's reverse mode, and by PyTorch's own module where it has the cell."""
    import torch

    portable = engines.get("portable")
    names = list(operation.parameters)
    tensors = tuple(torch.from_numpy(array) for array in operation.parameters.values())

    def loss(*values: Any) -> Any:
        return operation.loss(portable, dict(zip(names, values, strict=True)))

    yield FORWARD, dict(zip(names, (_forward(loss, tensors, place) for place in range(len(names))), strict=True))
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    backward = torch.autograd.grad(loss(*leaves), leaves)
    yield PYTORCH, {name: gradient.numpy() for name, gradient in zip(names, backward, strict=True)}
    if cell is not None and operation.name == "unroll" and cell.name in _MODULES:
        yield MODULES, _module_gradients(operation, cell)


def _forward(loss: Callable[..., Any], tensors: Sequence[Any], place: int) -> Array:
    """The gradient of one parameter, an element at a time, with dual numbers."""
    import torch
    from torch.autograd import forward_ad

    wanted = tensors[place]
    found = torch.empty_like(wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what torch loads for it
        for index in np.ndindex(tuple(wanted.shape)):
            direction = torch.zeros_like(wanted)
            direction[index] = 1
            with forward_ad.dual_level():
                given = list(tensors)
                given[place] = forward_ad.make_dual(wanted, direction)  # type: ignore[no-untyped-call]
                tangent = forward_ad.unpack_dual(loss(*given)).tangent  # type: ignore[no-untyped-call]
            found[index] = 0.0 if tangent is None else tangent
    return found.numpy()


_MODULES = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}


def _module_gradients(operation: Operation, cell: Cell) -> dict[str, Array]:
    """The gradient of `unroll` by nn.LSTM, nn.GRU or nn.RNN: an input weight that is the identity hands on x."""
    import torch

    rows = len(cell.gates) * HIDDEN
    options = {"nonlinearity": cell.name} if _MODULES[cell.name] == "RNN" else {}
    module = getattr(torch.nn, _MODULES[cell.name])(rows, HIDDEN, dtype=torch.float64, **options)
    leaves = {name: torch.from_numpy(array).clone().requires_grad_() for name, array in operation.parameters.items()}
    with torch.no_grad():
        module.weight_ih_l0.copy_(torch.eye(rows))
        module.bias_ih_l0.zero_()
        module.weight_hh_l0.copy_(leaves["weight_hh"])
        module.bias_hh_l0.copy_(leaves["bias_hh"])
    leaves |= {"weight_hh": module.weight_hh_l0, "bias_hh": module.bias_hh_l0}

    class Stepping:
        """The portable engine's place, taken by PyTorch's module."""

        def unroll(self, _: Cell, x: Any, weight: Any, bias: Any, state: Any, *, lengths: Any, **__: Any) -> Unrolled:
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            initial = tuple(part[None] for part in state)
            outputs, last = module(packed, initial if len(initial) > 1 else initial[0])
            padded, _lengths = torch.nn.utils.rnn.pad_packed_sequence(outputs, total_length=STEPS)
            last = last if isinstance(last, tuple) else (last,)
            return Unrolled(padded, tuple(part[0] for part in last), None)

    result = operation.loss(Stepping(), leaves)  # type: ignore[arg-type]
    found = torch.autograd.grad(result, list(leaves.values()))
    return {name: gradient.numpy() for name, gradient in zip(leaves, found, strict=True)}
