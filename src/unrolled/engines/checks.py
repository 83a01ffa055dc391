"""Checks of operands before any kernel runs; shared by all engines."""

from collections.abc import Sequence

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.contract import Array, LanguageModelWeights, Masks, StackState, State, Tokens
from unrolled.errors import ShapeError


def check_unroll(
    cell: Cell,
    shape: tuple[int, ...],
    x: Array,
    weight_hh: Array,
    bias_hh: Array | None,
    state: State,
    lengths: Array | None,
    masks: Masks,
) -> None:
    """Hold the operands of `unroll` against each other: x has that shape, or is what has that shape when it is formed.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    expect("weight_hh", weight_hh, (None, None))
    _expect_some("weight_hh", weight_hh)
    size = weight_hh.shape[1]
    rows = len(cell.gates) * size
    expect("weight_hh", weight_hh, (rows, size), f"{len(cell.gates)} gates of cell {cell.name}")
    if len(shape) != 3 or shape[2] != rows:
        raise ShapeError(f"x has shape {shape}: expected (any, any, {rows})")
    steps, batch = shape[:2]
    if steps == 0 or batch == 0:
        raise ShapeError(f"x has shape {shape}: give at least one time step and one sequence")
    if bias_hh is not None:
        expect("bias_hh", bias_hh, (rows,))
    if len(state) != len(cell.state):
        raise ShapeError(f"state has {len(state)} parts: cell {cell.name} has {cell.state}")
    for name, part in zip(cell.state, state, strict=True):
        expect(f"state {name}", part, (batch, size))
    named = [("weight_hh", weight_hh), ("bias_hh", bias_hh), ("recurrent mask", masks.recurrent)]
    named += [(f"state {name}", part) for name, part in zip(cell.state, state, strict=True)]
    if masks.recurrent is not None:
        expect("recurrent mask", masks.recurrent, (batch, size))
    if masks.zoneout is not None:
        if len(masks.zoneout) != len(cell.state):
            raise ShapeError(f"zoneout has {len(masks.zoneout)} masks: cell {cell.name} has state {cell.state}")
        named += [(f"zoneout mask {name}", mask) for name, mask in zip(cell.state, masks.zoneout, strict=True)]
        for name, mask in named[-len(cell.state) :]:
            expect(name, mask, (steps, batch, size))
    _check_dtypes("x", x, named)
    if lengths is not None:
        _check_integers("lengths", lengths, (batch,), 1, steps)


def check_linear(inputs: Array, weight: Array, bias: Array | None) -> None:
    """Hold the operands of `linear` against each other.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    expect("inputs", inputs, (None, None))
    _expect_some("inputs", inputs)
    expect("weight", weight, (None, inputs.shape[1]), "inputs")
    _expect_some("weight", weight)
    if bias is not None:
        expect("bias", bias, (len(weight),))
    _check_dtypes("inputs", inputs, [("weight", weight), ("bias", bias)])


def check_project_tokens(ids: Array, embedding: Array, weight_ih: Array, bias_ih: Array | None) -> None:
    """Hold the operands of `project_tokens` against each other.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    expect("ids", ids, (None, None))
    expect("embedding", embedding, (None, None))
    _expect_some("embedding", embedding)
    expect("weight_ih", weight_ih, (None, embedding.shape[1]), "embedding")
    _expect_some("weight_ih", weight_ih)
    if bias_ih is not None:
        expect("bias_ih", bias_ih, (len(weight_ih),))
    _check_dtypes("embedding", embedding, [("weight_ih", weight_ih), ("bias_ih", bias_ih)])
    check_tokens("ids", ids, tuple(ids.shape), len(embedding))


def check_linear_cross_entropy(inputs: Array, weight: Array, bias: Array | None, targets: Array) -> None:
    """Hold the operands of `linear_cross_entropy` against each other.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    check_linear(inputs, weight, bias)
    check_tokens("targets", targets, (len(inputs),), len(weight))


def check_language_model(weights: LanguageModelWeights) -> None:
    """Hold the weights of a language model against each other.

    Raises:
        ShapeError: names the array, its shape or dtype and the one expected.
    """
    expect("embedding", weights.embedding, (None, None))
    _expect_some("embedding", weights.embedding)
    if not weights.layers:
        raise ShapeError("layers are none: give at least one")
    width, named = weights.embedding.shape[1], list[tuple[str, Array | None]]()
    for number, layer in enumerate(weights.layers):
        size, rows = layer.hidden_size, len(weights.cell.gates) * layer.hidden_size
        reason = f"{len(weights.cell.gates)} gates of cell {weights.cell.name}"
        arrays = {"weight_ih": layer.weight_ih, "weight_hh": layer.weight_hh}
        arrays |= {"bias_ih": layer.bias_ih, "bias_hh": layer.bias_hh}
        shapes = {"weight_ih": (rows, width), "weight_hh": (rows, size), "bias_ih": (rows,), "bias_hh": (rows,)}
        for name, array in arrays.items():
            if array is not None:
                expect(f"{name} of layer {number}", array, shapes[name], reason)
                _expect_some(f"{name} of layer {number}", array)
            named.append((f"{name} of layer {number}", array))
        width = size
    count = len(weights.embedding)
    expect("output_weight", weights.output_weight, (count, width))
    expect("output_bias", weights.output_bias, (count,))
    named += [("output_weight", weights.output_weight), ("output_bias", weights.output_bias)]
    _check_dtypes("embedding", weights.embedding, named)


def check_rows(
    weights: LanguageModelWeights, state: StackState, rows: int | None, tokens: Tokens | None = None
) -> None:
    """Hold a state, and the tokens that come next, against a language model and the number of sequences.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    if len(state) != len(weights.layers):
        raise ShapeError(f"state is given for {len(state)} layers: the model has {len(weights.layers)}")
    for layer, parts in zip(weights.layers, state, strict=True):
        if len(parts) != len(weights.cell.state):
            cell = weights.cell
            raise ShapeError(f"state has {len(parts)} parts: cell {cell.name} has {cell.state}")
        for name, part in zip(weights.cell.state, parts, strict=True):
            rows = len(part) if rows is None and part.ndim == 2 else rows
            expect(f"state {name}", part, (rows, layer.hidden_size))
            _check_dtypes("embedding", weights.embedding, [(f"state {name}", part)])
    if rows == 0:
        raise ShapeError("state is of no sequence: give at least one")
    if tokens is not None:
        check_tokens("tokens", tokens, (rows or 0,), len(weights.embedding))


def check_choices(weights: LanguageModelWeights, forbidden: Sequence[int], stop: int | None) -> None:
    """Hold the tokens that `decode` never chooses, and the one that it ends with, against the vocabulary.

    Raises:
        ShapeError: one is not in it.
    """
    last = len(weights.embedding) - 1
    if len(forbidden):
        _check_integers("forbidden", np.asarray(forbidden), (len(forbidden),), 0, last)
    if stop is not None:
        _check_integers("stop", np.asarray([stop]), (1,), 0, last)


def check_read(
    weights: LanguageModelWeights, inputs: Tokens, lengths: Tokens, state: StackState | None, targets: Tokens | None
) -> None:
    """Hold the operands of `read` against each other.

    Raises:
        ShapeError: names the operand, its shape and the one expected.
    """
    expect("lengths", lengths, (None,))
    _check_integers("lengths", lengths, tuple(lengths.shape), 1, len(inputs))
    check_tokens("inputs", inputs, (int(lengths.sum()),), len(weights.embedding))
    if state is not None:
        check_rows(weights, state, len(lengths))
    if targets is not None:
        check_tokens("targets", targets, tuple(inputs.shape), len(weights.embedding))


def _expect_some(name: str, array: Array) -> None:
    if 0 in array.shape:
        raise ShapeError(f"{name} has shape {tuple(array.shape)}: give at least one row and one column")


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


def _check_dtypes(first: str, like: Array, named: Sequence[tuple[str, Array | None]]) -> None:
    for name, operand in named:
        if operand is not None and operand.dtype != like.dtype:
            raise ShapeError(
                f"{name} has dtype {operand.dtype} and {first} has {like.dtype}: give all operands one dtype"
            )


def check_tokens(name: str, tokens: Array, shape: tuple[int, ...], count: int) -> None:
    """Hold token ids against their shape and the vocabulary's size; on a device their values are not looked at.

    Raises:
        ShapeError: another shape, no integers, none at all, or an id outside 0..count-1.
    """
    if hasattr(tokens, "is_cpu") and not tokens.is_cpu:
        expect(name, tokens, shape)  # to look at the values would stall the device, which looks at them itself
        return
    _check_integers(name, tokens, shape, 0, count - 1)


def _check_integers(name: str, values: Array, shape: tuple[int, ...], low: int, high: int) -> None:
    array = np.asarray(values.cpu() if hasattr(values, "cpu") else values)
    if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
        raise ShapeError(f"{name} have shape {array.shape} and dtype {array.dtype}: expected {shape} integers")
    if array.size == 0:
        raise ShapeError(f"{name} have shape {array.shape}: give at least one")
    if array.min() < low or array.max() > high:
        raise ShapeError(f"{name} reach from {array.min()} to {array.max()}: each must be {low} to {high}")
