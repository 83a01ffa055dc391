"""Checks of operands before any kernel runs; shared by all engines."""

from typing import Any

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.contract import Array, Masks, State
from unrolled.errors import ShapeError


def check_unroll(
    cell: Cell,
    x: Array,
    weight_hh: Array,
    bias_hh: Array | None,
    state: State,
    lengths: Array | None,
    masks: Masks,
) -> None:
    """Hold the operands of `unroll` against each other.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    expect("weight_hh", weight_hh, (None, None))
    size = weight_hh.shape[1]
    rows = len(cell.gates) * size
    expect("weight_hh", weight_hh, (rows, size), f"{len(cell.gates)} gates of cell {cell.name}")
    expect("x", x, (None, None, rows))
    steps, batch = x.shape[:2]
    if steps == 0 or batch == 0:
        raise ShapeError(f"x has shape {tuple(x.shape)}: give at least one time step and one sequence")
    if bias_hh is not None:
        expect("bias_hh", bias_hh, (rows,))
    if len(state) != len(cell.state):
        raise ShapeError(f"state has {len(state)} parts: cell {cell.name} has {cell.state}")
    for name, part in zip(cell.state, state, strict=True):
        expect(f"state {name}", part, (batch, size))
    if masks.recurrent is not None:
        expect("recurrent mask", masks.recurrent, (batch, size))
    if masks.zoneout is not None:
        if len(masks.zoneout) != len(cell.state):
            raise ShapeError(f"zoneout has {len(masks.zoneout)} masks: cell {cell.name} has state {cell.state}")
        for name, mask in zip(cell.state, masks.zoneout, strict=True):
            expect(f"zoneout mask {name}", mask, (steps, batch, size))
    for name, operand in (("weight_hh", weight_hh), ("bias_hh", bias_hh), *zip(cell.state, state, strict=True)):
        if operand is not None and operand.dtype != x.dtype:
            raise ShapeError(f"{name} has dtype {operand.dtype} and x has {x.dtype}: give all operands one dtype")
    if lengths is not None:
        _check_lengths(lengths, steps, batch)


def expect(name: str, array: Array, shape: tuple[int | None, ...], reason: str = "") -> None:
    """Hold an array's shape against one in which None stands for any size.

    Raises:
        ShapeError: the shape differs.
    """
    got = tuple(array.shape)
    if len(got) == len(shape) and all(want in {None, have} for want, have in zip(shape, got, strict=True)):
        return
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    raise ShapeError(f"{name} has shape {got}: expected ({wanted}){f' for the {reason}' if reason else ''}")


def _check_lengths(lengths: Any, steps: int, batch: int) -> None:
    values = np.asarray(lengths.cpu() if hasattr(lengths, "cpu") else lengths)
    if values.shape != (batch,) or not np.issubdtype(values.dtype, np.integer):
        raise ShapeError(f"lengths have shape {values.shape} and dtype {values.dtype}: expected ({batch},) integers")
    if values.min() < 1 or values.max() > steps:
        raise ShapeError(f"lengths reach from {values.min()} to {values.max()}: each must be 1 to {steps}")
