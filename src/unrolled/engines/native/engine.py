"""The native engine: the contract's operations in C++, on dense NumPy arrays and torch tensors in the CPU's memory.

Arrays are handed over as addresses, after the checks that all engines share and one more: dense, in C order. Results
lie in memory that is used again from step to step.
"""

from typing import Any, NamedTuple

import numpy as np

from unrolled.cells import Cell
from unrolled.engines.checks import (
    check_linear,
    check_linear_cross_entropy,
    check_project_tokens,
    check_unroll,
    expect,
)
from unrolled.engines.contract import (
    Array,
    InputWeights,
    LanguageModelWeights,
    LinearGradients,
    Masks,
    RowGradient,
    State,
    Unrolled,
    UnrollGradients,
)
from unrolled.engines.native.arrays import Arrays, address, addresses, integers, threads_of
from unrolled.engines.native.compiled import CompiledCells
from unrolled.engines.native.library import Library
from unrolled.engines.native.predictor import NativePredictor
from unrolled.errors import EngineError, ShapeError


class _UnrollTape(NamedTuple):
    arrays: Arrays
    call: Any  # the operands' addresses, in C++
    parts: list[Any]  # what the way back needs, and whose memory it is
    outputs: Array
    shapes: tuple[tuple[int, ...], tuple[int, ...], bool]  # of x and weight_hh; whether there is a bias
    held: tuple[Any, ...]  # operands that the way back reads, so that they live as long as their addresses


class _LinearTape(NamedTuple):
    arrays: Arrays
    inputs: Array
    weight: Array
    has_bias: bool


class _TokensTape(NamedTuple):
    arrays: Arrays
    occurring: Any  # (U,) ids that occur, ascending
    index: Any  # (N,) which of them each token is
    rows: Array  # (U, E) their embeddings
    weight: Array
    has_bias: bool
    vocabulary_size: int


class _CrossEntropyTape:
    """The operands, and the gradients for the mean of the losses, which are handed out once."""

    def __init__(self, operands: tuple[Any, ...], gradients: LinearGradients) -> None:
        self.operands = operands
        self.gradients: LinearGradients | None = gradients


class Native:
    """See `contract.Engine`. Operands have to be dense, in C order."""

    name = "native"
    is_batch_invariant = True

    def __init__(self, library: Library) -> None:
        self.library = library
        self._cells = CompiledCells(library)

    def description(self) -> str:
        """Instruction set and threads."""
        return f"native ({self.library.isa}, {threads_of(self.library)} threads)"

    def obstacle(self, cell: Cell, device: str, dtype: str) -> str | None:
        """Why not, in a few words; see `contract.Engine.obstacle`."""
        if device != "cpu":
            return f"it runs on the CPU, not on {device}"
        if dtype not in {"float32", "float64"}:
            return f"it knows float32 and float64, not {dtype}"
        try:
            self._cells.get(cell)
        except EngineError as error:
            return str(error)
        return None

    def _arrays(self, like: Array) -> Arrays:
        return Arrays(self.library, like)

    def unroll(
        self,
        cell: Cell,
        x: Array,
        weight_hh: Array,
        bias_hh: Array | None,
        state: State,
        *,
        lengths: Array | None = None,
        reverse: bool = False,
        masks: Masks | None = None,
        keep: bool = True,
    ) -> Unrolled:
        """Run a cell over time; see `contract.Engine.unroll`."""
        masks = masks or Masks()
        check_unroll(cell, tuple(x.shape), x, weight_hh, bias_hh, state, lengths, masks)
        return self._unroll(cell, x, None, weight_hh, bias_hh, state, lengths, reverse, masks, keep)

    def _unroll(
        self,
        cell: Cell,
        x: Array,
        rows: Any,
        weight_hh: Array,
        bias_hh: Array | None,
        state: State,
        lengths: Array | None,
        reverse: bool,
        masks: Masks,
        keep: bool,
    ) -> Unrolled:
        """`unroll` of checked operands; with rows, (T, B), x is a table of which they are rows."""
        arrays = self._arrays(x)
        (steps, batch), size = (x if rows is None else rows).shape[:2], weight_hh.shape[1]
        lengths = None if lengths is None else integers(lengths)
        zoneout = masks.zoneout or ()
        held = (weight_hh, bias_hh, state, lengths, masks)
        call = arrays.functions.Unroll(
            self.library.kernels,
            self._cells.get(cell),
            [steps, batch, size],
            threads_of(self.library),
            reverse,
            address("x", x),
            0 if rows is None else rows.ctypes.data,
            address("weight_hh", weight_hh),
            address("bias_hh", bias_hh),
            addresses("state", state),
            0 if lengths is None else lengths.ctypes.data,
            address("recurrent mask", masks.recurrent),
            addresses("zoneout mask", zoneout),
        )
        kept, late_kept, operands, late_operands = call.tape_sizes()
        sizes = (kept if keep else 0, late_kept if keep else 0, operands, late_operands)
        parts = [arrays.block(count) for count in sizes]
        outputs = arrays.empty(steps, batch, size)
        last = tuple(arrays.empty(batch, size) for _ in state)
        call.forward([part.address for part in parts], address("outputs", outputs), addresses("state", last))
        shapes = ((steps, batch, len(weight_hh)), tuple(weight_hh.shape), bias_hh is not None)
        return Unrolled(outputs, last, _UnrollTape(arrays, call, parts, outputs, shapes, held) if keep else None)

    def unroll_backward(self, tape: _UnrollTape, d_outputs: Array, d_state: State) -> UnrollGradients:
        """Back through time; see `contract.Engine.unroll_backward`."""
        arrays, (x_shape, weight_shape, has_bias) = tape.arrays, tape.shapes
        expect("d_outputs", d_outputs, (*x_shape[:2], weight_shape[1]))
        if len(d_state) != len(tape.held[2]):
            raise ShapeError(f"d_state has {len(d_state)} parts: the state has {len(tape.held[2])}")
        for part in d_state:
            expect("d_state", part, (x_shape[1], weight_shape[1]))
        d_x, d_weight = arrays.empty(*x_shape), arrays.empty(*weight_shape)
        d_bias = arrays.empty(weight_shape[0]) if has_bias else None
        d_initial = tuple(arrays.empty(x_shape[1], weight_shape[1]) for _ in d_state)
        tape.call.backward(
            [part.address for part in tape.parts],
            address("outputs", tape.outputs),
            arrays.address("d_outputs", d_outputs),
            [arrays.address("d_state", part) for part in d_state],
            address("d_x", d_x),
            address("d_weight_hh", d_weight),
            address("d_bias_hh", d_bias),
            addresses("d_state", d_initial),
        )
        return UnrollGradients(d_x, d_weight, d_bias, d_initial)

    def step(
        self, cell: Cell, x: Array, weight_hh: Array, bias_hh: Array | None, state: State, *, keep: bool = True
    ) -> tuple[State, Any]:
        """One time step; see `contract.Engine.step`."""
        expect("x", x, (None, None))
        _, state, tape = self.unroll(cell, x[None], weight_hh, bias_hh, state, keep=keep)
        return state, tape

    def step_backward(self, tape: _UnrollTape, d_state: State) -> UnrollGradients:
        """Undo `step`; see `contract.Engine.step_backward`."""
        zeros = tape.arrays.zeros(*tape.outputs.shape)
        gradients = self.unroll_backward(tape, zeros, d_state)
        return gradients._replace(x=gradients.x[0])

    def linear(self, inputs: Array, weight: Array, bias: Array | None, *, keep: bool = True) -> tuple[Array, Any]:
        """A linear layer; see `contract.Engine.linear`."""
        check_linear(inputs, weight, bias)
        arrays = self._arrays(inputs)
        result = arrays.times_transposed(inputs, weight, bias)
        return result, _LinearTape(arrays, inputs, weight, bias is not None) if keep else None

    def linear_backward(self, tape: _LinearTape, d_results: Array, *, d_inputs: bool = True) -> LinearGradients:
        """Undo `linear`; see `contract.Engine.linear_backward`."""
        arrays = tape.arrays
        expect("d_results", d_results, (len(tape.inputs), len(tape.weight)))
        arrays.address("d_results", d_results)
        return LinearGradients(
            arrays.times(d_results, tape.weight) if d_inputs else None,
            arrays.transposed_times(d_results, tape.inputs),
            arrays.sum_all_rows(d_results) if tape.has_bias else None,
        )

    def project_tokens(
        self, ids: Array, embedding: Array, weight_ih: Array, bias_ih: Array | None, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """The first layer's input term from token ids; see `contract.Engine.project_tokens`.

        The product is taken once for each token that occurs, and its rows are looked up.
        """
        check_project_tokens(ids, embedding, weight_ih, bias_ih)
        table, tape = self._token_table(ids, embedding, weight_ih, bias_ih)
        x = self._arrays(embedding).gather(table, tape.index)
        return x.reshape(*ids.shape, -1), tape if keep else None

    def _token_table(
        self, ids: Array, embedding: Array, weight_ih: Array, bias_ih: Array | None
    ) -> tuple[Array, _TokensTape]:
        """The input term of each token that occurs, (U, G*H), and which of these rows each token has."""
        arrays = self._arrays(embedding)
        occurring, index = self.library.module.index_tokens(integers(ids).reshape(-1), len(embedding))
        rows = arrays.gather(embedding, occurring)
        table = arrays.times_transposed(rows, weight_ih, bias_ih)
        return table, _TokensTape(arrays, occurring, index, rows, weight_ih, bias_ih is not None, len(embedding))

    def project_tokens_backward(self, tape: _TokensTape, d_x: Array, *, sparse: bool = False) -> LinearGradients:
        """Undo `project_tokens`; see `contract.Engine.project_tokens_backward`."""
        arrays, width = tape.arrays, len(tape.weight)
        arrays.address("d_x", d_x)
        expect("d_x", d_x.reshape(-1, width), (len(tape.index), width))
        d_table = arrays.sum_rows(d_x.reshape(-1, width), tape.index, len(tape.occurring))
        d_rows: Any = arrays.times(d_table, tape.weight)
        if sparse:
            d_rows = RowGradient(arrays.integers(tape.occurring.copy()), d_rows)
        else:
            d_embedding = arrays.zeros(tape.vocabulary_size, d_rows.shape[1])
            d_embedding[arrays.integers(tape.occurring)] = d_rows
            d_rows = d_embedding
        d_bias = arrays.sum_all_rows(d_table) if tape.has_bias else None
        return LinearGradients(d_rows, arrays.transposed_times(d_table, tape.rows), d_bias)

    def unroll_tokens(
        self,
        cell: Cell,
        ids: Array,
        inputs: InputWeights,
        weight_hh: Array,
        bias_hh: Array | None,
        state: State,
        *,
        lengths: Array | None = None,
        reverse: bool = False,
        masks: Masks | None = None,
        keep: bool = True,
    ) -> Unrolled:
        """Tokens to outputs, whose x is never there as a whole; see `contract.Engine.unroll_tokens`."""
        masks = masks or Masks()
        check_project_tokens(ids, *inputs)
        shape = (*ids.shape, len(inputs.weight_ih))
        check_unroll(cell, shape, inputs.embedding, weight_hh, bias_hh, state, lengths, masks)
        table, tokens = self._token_table(ids, *inputs)
        rows = tokens.index.reshape(tuple(ids.shape))
        done = self._unroll(cell, table, rows, weight_hh, bias_hh, state, lengths, reverse, masks, keep)
        return done._replace(tape=(tokens, done.tape)) if keep else done

    def unroll_tokens_backward(
        self, tape: Any, d_outputs: Array, d_state: State, *, sparse: bool = False
    ) -> tuple[LinearGradients, UnrollGradients]:
        """Undo `unroll_tokens`; see `contract.Engine.unroll_tokens_backward`."""
        tokens, unrolled = tape
        gradients = self.unroll_backward(unrolled, d_outputs, d_state)
        return self.project_tokens_backward(tokens, gradients.x, sparse=sparse), gradients

    def linear_cross_entropy(
        self, inputs: Array, weight: Array, bias: Array | None, targets: Array, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """Output layer, softmax and loss; see `contract.Engine.linear_cross_entropy`.

        With `keep` the gradients of the mean loss are made at once, while the scores are there. Where the backward pass
        brings other gradients of the losses than those of a mean or a multiple of it, they are made anew.
        """
        check_linear_cross_entropy(inputs, weight, bias, targets)
        operands = (inputs, weight, bias, integers(targets))
        losses, gradients = self._cross_entropy(operands, None, wants_gradients=keep)
        return losses, None if gradients is None else _CrossEntropyTape(operands, gradients)

    def linear_cross_entropy_backward(self, tape: _CrossEntropyTape, d_losses: Array) -> LinearGradients:
        """Undo `linear_cross_entropy`; see `contract.Engine.linear_cross_entropy_backward`."""
        expect("d_losses", d_losses, (len(tape.operands[0]),))
        self._arrays(tape.operands[0]).address("d_losses", d_losses)
        gradients, tape.gradients = tape.gradients, None
        lowest, highest = float(d_losses.min()), float(d_losses.max())
        if gradients is not None and lowest == highest:
            one = np.ones((), str(d_losses.dtype).removeprefix("torch."))
            if lowest != float(one / one.dtype.type(len(d_losses))):
                gradients = LinearGradients(*(g if g is None else g * (lowest * len(d_losses)) for g in gradients))
            return gradients
        del gradients
        _, again = self._cross_entropy(tape.operands, d_losses, wants_gradients=True)
        assert again is not None
        return again

    def _cross_entropy(
        self, operands: tuple[Any, ...], d_losses: Array | None, *, wants_gradients: bool
    ) -> tuple[Array, LinearGradients | None]:
        inputs, weight, bias, targets = operands
        arrays = self._arrays(inputs)
        losses, gradients = arrays.empty(len(inputs)), None
        if wants_gradients:
            d_bias = None if bias is None else arrays.empty(len(weight))
            gradients = LinearGradients(arrays.empty(*inputs.shape), arrays.empty(*weight.shape), d_bias)
        arrays.functions.linear_cross_entropy(
            self.library.kernels,
            threads_of(self.library),
            [*inputs.shape, len(weight)],
            wants_gradients and d_losses is None,
            address("inputs", inputs),
            address("weight", weight),
            address("bias", bias),
            targets.ctypes.data,
            0 if d_losses is None else arrays.address("d_losses", d_losses),
            address("losses", losses),
            *(addresses("gradient", gradients) if gradients else (0, 0, 0)),
        )
        return losses, gradients

    def predictor(self, weights: LanguageModelWeights) -> NativePredictor:
        """Weights packed and loops in C++; see `contract.Engine.predictor`."""
        return NativePredictor(self.library, self._cells.get(weights.cell), weights)
