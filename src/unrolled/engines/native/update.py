"""Norm of the gradients and update of the parameters in C++: each one pass over all tensors. See native/update.h.

Arguments are lists of tensors that belong together by position: on the CPU, in C order, all float32 or all float64. A
gradient may be a coalesced sparse tensor of rows where a function says so. `scale`, the factor of clipping, multiplies
the gradients as they are read; they stay as they are. The rest is changed in place, and autograd learns of it. Formulas
are those of torch.optim.

Every function raises ShapeError where tensors do not belong together or are not of that kind, and EngineError where the
native engine cannot run here.
"""

from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from unrolled import engines
from unrolled.errors import EngineError, ShapeError

NAMES = {torch.float32: "float32", torch.float64: "float64"}


def is_available() -> bool:
    """Whether the kernels can run here."""
    try:
        return "native" in engines.names() and engines.get("native") is not None
    except EngineError:
        return False


def suits(parameters: Sequence[Tensor]) -> bool:
    """Whether all parameters are of the kind that these functions update."""
    is_one_kind = len({parameter.dtype for parameter in parameters}) == 1 and parameters[0].dtype in NAMES
    return is_one_kind and all(p.layout is torch.strided and p.is_cpu and p.is_contiguous() for p in parameters)


def sum_of_squares(gradients: Sequence[Tensor]) -> float:
    """Over all elements of all gradients, dense or of rows; in double, the same bits for any number of threads."""
    items = array("q")
    for index, gradient in enumerate(gradients):
        values = gradient._values() if gradient.is_sparse else gradient
        _check("gradient", index, values, gradients[0], values.shape)
        items.extend((0, values.data_ptr(), 0, 0, 0, 0, 0, values.numel()))
    return float(_run("sum_of_squares", gradients[0].dtype, items)) if gradients else 0.0


def sgd(parameters: Sequence[Tensor], gradients: Sequence[Tensor], *, rate: float, scale: float) -> None:
    """Plain descent, parameter -= rate * scale * gradient; a gradient of rows touches only these."""
    items, all_rows = array("q"), []  # the rows live until they have been read
    for index, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        _check("parameter", index, parameter, parameters[0], parameter.shape)
        values, rows, width = _rows(index, gradient, parameter)
        all_rows.append(rows)
        address = 0 if rows is None else rows.data_ptr()
        items.extend((parameter.data_ptr(), values.data_ptr(), 0, 0, 0, address, width, values.numel()))
    _update("sgd", parameters, items, rate, scale)


def momentum(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    buffers: Sequence[Tensor],
    *,
    rate: float,
    scale: float,
    momentum: float,
) -> None:
    """With buffers that start at zero: buffer = momentum * buffer + scale * gradient; parameter -= rate * buffer."""
    items = array("q")
    for index, (parameter, gradient, buffer) in enumerate(zip(parameters, gradients, buffers, strict=True)):
        _check("parameter", index, parameter, parameters[0], parameter.shape)
        _check("gradient", index, gradient, parameter, parameter.shape)
        _check("buffer", index, buffer, parameter, parameter.shape)
        addresses = (parameter.data_ptr(), gradient.data_ptr(), buffer.data_ptr())
        items.extend((*addresses, 0, 0, 0, 0, parameter.numel()))
    _update("momentum", parameters, items, rate, scale, momentum)
    increment_version(buffers)


def adamw(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    *,
    rate: float,
    scale: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
) -> None:
    """Adam with decoupled weight decay (arXiv:1711.05101), bias corrected; steps, float32 scalars, are counted up.

    A gradient of rows touches only these, as torch.optim.SparseAdam does it.
    """
    items, all_rows = array("q"), []  # the rows live until they have been read
    together = zip(parameters, gradients, means, squares, steps, strict=True)
    for index, (parameter, gradient, mean, square, step) in enumerate(together):
        _check("parameter", index, parameter, parameters[0], parameter.shape)
        for name, tensor in (("mean", mean), ("square", square)):
            _check(name, index, tensor, parameter, parameter.shape)
        values, rows, width = _rows(index, gradient, parameter)
        all_rows.append(rows)
        if step.dtype is not torch.float32 or not step.is_cpu or step.numel() != 1:
            raise ShapeError(f"step {index} is {_described(step)}: expected one torch.float32 on cpu")
        addresses = (parameter.data_ptr(), values.data_ptr(), mean.data_ptr(), square.data_ptr(), step.data_ptr())
        items.extend((*addresses, 0 if rows is None else rows.data_ptr(), width, values.numel()))
    _update("adamw", parameters, items, rate, scale, *betas, epsilon, weight_decay)
    for changed in (means, squares, steps):
        increment_version(changed)


def _check(name: str, index: int, tensor: Tensor, like: Tensor, shape: Sequence[int]) -> None:
    """Hold a tensor against what it has to be; a sparse one is not contiguous."""
    is_plain = tensor.is_cpu and tensor.is_contiguous() and not tensor.is_neg()
    if is_plain and tensor.dtype is like.dtype and tensor.shape == shape:
        return
    wanted = f"a contiguous {tuple(shape)} of {like.dtype} on cpu"
    raise ShapeError(f"{name} {index} is {_described(tensor)}: expected {wanted}")


def _rows(index: int, gradient: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor | None, int]:
    """Values, row numbers and width of a gradient; no numbers where it is dense."""
    if not gradient.is_sparse:
        _check("gradient", index, gradient, parameter, parameter.shape)
        return gradient, None, 0
    if gradient.shape != parameter.shape or gradient.sparse_dim() != 1 or not gradient.is_coalesced():
        wanted = f"coalesced rows of {tuple(parameter.shape)}"
        raise ShapeError(f"gradient {index} is {_described(gradient)}: expected {wanted}")
    rows, values = gradient._indices(), gradient._values()
    _check("gradient", index, values, parameter, (rows.shape[1], *parameter.shape[1:]))
    return values, rows[0].contiguous(), parameter[0].numel()


def _described(tensor: Tensor) -> str:
    is_dense = tensor.layout is torch.strided
    kind = "" if not is_dense or tensor.is_contiguous() else "non-contiguous "
    return f"a {kind}{tuple(tensor.shape)} of {tensor.dtype} on {tensor.device.type}" + ("" if is_dense else ", sparse")


def _update(name: str, parameters: Sequence[Tensor], items: "array[int]", *numbers: float) -> None:
    if parameters:
        _run(name, parameters[0].dtype, items, *numbers)
        increment_version(parameters)


def _run(name: str, dtype: torch.dtype, items: "array[int]", *numbers: float) -> Any:
    """Call a kernel; items are the table of `Item`s of native/update.h, eight integers each."""
    if dtype not in NAMES:
        raise ShapeError(f"parameters and gradients are {dtype}: expected torch.float32 or torch.float64")
    address, length = items.buffer_info()
    return _kernel(NAMES[dtype], name)(torch.get_num_threads(), address, length // 8, *numbers)


@cache
def _kernel(dtype: str, name: str) -> Callable[..., Any]:
    native: Any = engines.get("native")
    return partial(getattr(getattr(native.library.module, dtype), name), native.library.kernels)
