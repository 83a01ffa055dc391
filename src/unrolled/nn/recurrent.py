"""Any cell, any number of layers, one or both directions: a drop-in for nn.RNN, nn.GRU and nn.LSTM."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled import cells, engines
from unrolled.cells import Cell
from unrolled.engines import Engine, InputWeights, LayerWeights, autograd
from unrolled.engines.checks import expect
from unrolled.errors import ShapeError, UsageError
from unrolled.nn.dropout import Dropout, check_share, keep_mask
from unrolled.nn.initialization import check_initialization, initialize
from unrolled.nn.penalties import check_signal_norm, with_signal_norm

Parts = tuple[Tensor, ...]
"""The parts of a state, in the order of `Cell.state`."""
HiddenState = Tensor | tuple[Tensor, ...]
"""(L*D, B, H) for cells whose state is h alone, else a tuple with one such tensor for each part: (h, c)."""


class Recurrent(nn.Module):
    """A stack of recurrent layers over a sequence.

    Parameters carry the names and layouts of PyTorch's modules (`weight_ih_l0`, `weight_hh_l0_reverse`, ...), so state
    dicts load in both directions for the cells that PyTorch has ("tanh", "relu", "gru", "lstm").

    Args:
        cell: name of a registered cell.
        input_size: I.
        hidden_size: H.
        num_layers: L.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether inputs and outputs are (B, T, ...) instead of (T, B, ...). States are not affected.
        dropout: probability of zeroing an output of each layer but the last, while training.
        locked: whether these zeros are the same at all steps (arXiv:1512.05287), or others at each.
        weight_drop: probability of zeroing a recurrent weight, while training, the same at all steps (DropConnect on
            weight_hh, arXiv:1708.01009).
        signal_norm: factor of a penalty on backward signals that shrink or grow; see `penalties.with_signal_norm`.
        bidirectional: D = 2; the outputs of both directions stand side by side.
        initialization: of the weights, see `initialization.initialize`; biases are zero but for "uniform".
        forget_bias: where given and the cell has a gate "forget", its bias starts at this value (Jozefowicz et al.
            2015 recommend 1); PyTorch's initialisation otherwise. It is an initialisation, not a constant in the cell.
        engine: name of the engine, or "auto".
        generator: source of the dropouts' randomness; torch's own if None.
        proj_size: not supported; here to be refused by name.
        device, dtype: of the parameters.

    Raises:
        UsageError: unknown cell or initialisation, sizes below 1, shares outside 0..1, what the cell cannot have, or
            proj_size.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        locked: bool = False,
        weight_drop: float = 0.0,
        signal_norm: float = 0.0,
        bidirectional: bool = False,
        initialization: str = "uniform",
        forget_bias: float | None = None,
        engine: str = "auto",
        generator: torch.Generator | None = None,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if proj_size:
            raise UsageError(f"proj_size is {proj_size}: projections are not supported, leave it at 0")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size < 1:
                raise UsageError(f"{name} is {size}: give a whole number of at least 1")
        self.cell_name = cells.get(cell).name
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.forget_bias, self.engine = forget_bias, engine
        check_share("weight_drop", weight_drop)
        check_signal_norm(cell, signal_norm)
        check_initialization(initialization, len(self.cell.gates))
        self.weight_drop, self.signal_norm, self.initialization = weight_drop, signal_norm, initialization
        self.dropout = Dropout(dropout, locked=locked, generator=generator)
        rows = len(self.cell.gates) * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.num_directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(empty))
        self.reset_parameters()

    @property
    def cell(self) -> Cell:
        """The cell, from the registry."""
        return cells.get(self.cell_name)

    def engine_for(self, like: Tensor) -> Engine:
        """The engine that runs the cell on tensors such as `like`.

        Raises:
            EngineError: it cannot.
        """
        return engines.choose(self.engine, self.cell, like)

    @property
    def num_directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def reset_parameters(self, generator: torch.Generator | None = None, *, bound: float | None = None) -> None:
        """Draw all parameters anew, as `initialization` says; uniform ones within +-bound, by default 1/sqrt(H)."""
        bound = 1 / math.sqrt(self.hidden_size) if bound is None else bound
        gates = self.cell.gates
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                initialize(
                    self.initialization,
                    self._weights(suffix),
                    bound=bound,
                    forget=gates.index("forget") if "forget" in gates else None,
                    forget_bias=self.forget_bias,
                    generator=generator,
                )

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - the name that PyTorch's modules use
        hx: HiddenState | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, HiddenState]:
        """Run the stack over a sequence.

        Args:
            input: (T, B, I), (B, T, I) if batch_first, (T, I) without a batch, or a PackedSequence.
            hx: initial state, zero if None; without the B axis for an input without a batch.
            lengths: (B,) real lengths of padded sequences, 1..T; not with a PackedSequence.

        Returns:
            outputs like the input with D*H in place of I, zero past a sequence's end; and the state after the last
            step of each sequence (for the reverse direction after its first), like hx.

        Raises:
            ShapeError: a shape, dtype or length does not fit.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths)
        if input.dim() not in {2, 3}:
            raise ShapeError(f"input has shape {tuple(input.shape)}: expected 3 axes, or 2 without a batch")
        self._check(input)
        batched, batch_first = input.dim() == 3, self.batch_first and input.dim() == 3
        x = input if batched else input[:, None]
        x = x.transpose(0, 1) if batch_first else x
        state = self._initial(hx, x.shape[1], batched, x)
        outputs, last = self._stack(lambda suffix, initial: self._layer(x, suffix, initial, lengths), state, lengths)
        outputs = outputs.transpose(0, 1) if batch_first else outputs
        if not batched:
            outputs, last = outputs[:, 0], tuple(part[:, 0] for part in last)
        return outputs, self._as_given(last)

    def forward_tokens(
        self,
        ids: Tensor,
        embedding: Tensor,
        hx: HiddenState | None = None,
        *,
        lengths: Tensor | None = None,
        sparse_gradient: bool = False,
    ) -> tuple[Tensor, HiddenState]:
        """`forward` of embedding[ids], without forming it: ids (T, B), embedding (V, I), always time first.

        With `sparse_gradient` the embedding's gradient is a sparse tensor of the rows that occur.
        """
        expect("ids", ids, (None, None))
        engine, cell = self.engine_for(embedding), self.cell
        state = self._initial(hx, ids.shape[1], True, embedding)

        def first(suffix: str, initial: Parts) -> tuple[Tensor, Parts]:
            weight_ih, weight_hh, bias_ih, bias_hh = self._weights(suffix)
            weights = InputWeights(embedding, weight_ih, bias_ih)
            if self.training and self.signal_norm > 0:
                x = autograd.project_tokens(engine, ids, *weights, sparse_gradient=sparse_gradient)
                return self._unroll(engine, x, suffix, initial, lengths)
            return autograd.unroll_tokens(
                engine,
                cell,
                ids,
                weights,
                self._dropped(weight_hh),
                bias_hh,
                initial,
                lengths=lengths,
                reverse=suffix.endswith("_reverse"),
                sparse_gradient=sparse_gradient,
            )

        outputs, last = self._stack(first, state, lengths)
        return outputs, self._as_given(last)

    def _forward_packed(
        self, packed: PackedSequence, hx: HiddenState | None, lengths: Tensor | None
    ) -> tuple[PackedSequence, HiddenState]:
        if lengths is not None:
            raise ShapeError("lengths are given beside a PackedSequence, which has its own: leave them out")
        self._check(packed.data)
        # Longest first, as they are packed: engines then spend no time on padding.
        x, own_lengths = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        state = self._initial(hx, x.shape[1], True, x)
        if packed.sorted_indices is not None:
            state = tuple(part[:, packed.sorted_indices] for part in state)
        outputs, last = self._stack(
            lambda suffix, initial: self._layer(x, suffix, initial, own_lengths), state, own_lengths
        )
        if packed.unsorted_indices is not None:
            last = tuple(part[:, packed.unsorted_indices] for part in last)
        data = pack_padded_sequence(outputs, own_lengths).data
        repacked = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return repacked, self._as_given(last)

    def _check(self, x: Tensor) -> None:
        expect("input", x, (*x.shape[:-1], self.input_size), "module's input_size")
        dtype = self.weight_ih_l0.dtype
        if x.dtype != dtype:
            raise ShapeError(f"input has dtype {x.dtype} and the module's weights have {dtype}: convert one of them")

    def _stack(
        self,
        first: Callable[[str, Parts], tuple[Tensor, Parts]],
        state: Parts,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Parts]:
        """All layers, time first, the lowest run by `first`; state and result are one (L*D, B, H) for each part."""
        last: list[Parts] = []
        outputs: list[Tensor] = []
        for layer in range(self.num_layers):
            below = self.dropout(_side_by_side(outputs)) if outputs else None
            outputs = []
            for suffix in self._suffixes(layer):
                initial = tuple(part[len(last)] for part in state)
                run = first(suffix, initial) if below is None else self._layer(below, suffix, initial, lengths)
                outputs.append(run[0])
                last.append(run[1])
        return _side_by_side(outputs), tuple(torch.stack(parts) for parts in zip(*last, strict=True))

    def _layer(self, x: Tensor, suffix: str, initial: Parts, lengths: Tensor | None) -> tuple[Tensor, Parts]:
        """One layer in one direction: x (T, B, I) to outputs (T, B, H) and the state after the last step."""
        engine = self.engine_for(x)
        weight_ih, _, bias_ih, _ = self._weights(suffix)
        return self._unroll(engine, autograd.linear(engine, x, weight_ih, bias_ih), suffix, initial, lengths)

    def _unroll(
        self, engine: Engine, x: Tensor, suffix: str, initial: Parts, lengths: Tensor | None
    ) -> tuple[Tensor, Parts]:
        """One layer in one direction from its input term (T, B, G*H), regularised while training."""
        _, weight_hh, _, bias_hh = self._weights(suffix)
        weight_hh, reverse = self._dropped(weight_hh), suffix.endswith("_reverse")
        penalised = self.training and self.signal_norm > 0
        made: list[Tensor] = []
        if penalised:
            x, weight_hh = with_signal_norm(
                x,
                weight_hh,
                self.signal_norm,
                cell=self.cell_name,
                outputs=lambda: made[0],
                lengths=lengths,
                reverse=reverse,
            )
        outputs, last = autograd.unroll(
            engine, self.cell, x, weight_hh, bias_hh, initial, lengths=lengths, reverse=reverse
        )
        if penalised:
            made.append(outputs.detach())
        return outputs, last

    def _dropped(self, weight_hh: Tensor) -> Tensor:
        if not self.training or self.weight_drop == 0:
            return weight_hh
        return weight_hh * keep_mask(tuple(weight_hh.shape), self.weight_drop, weight_hh, self.dropout.generator)

    def _weights(self, suffix: str) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        weight_ih, weight_hh = getattr(self, "weight_ih" + suffix), getattr(self, "weight_hh" + suffix)
        if not self.bias:
            return weight_ih, weight_hh, None, None
        return weight_ih, weight_hh, getattr(self, "bias_ih" + suffix), getattr(self, "bias_hh" + suffix)

    def layer_weights(self, layer: int) -> LayerWeights:
        """Weights of a layer's forward direction, for who runs it step by step; while training, some are dropped."""
        weight_ih, weight_hh, bias_ih, bias_hh = self._weights(f"_l{layer}")
        return LayerWeights(weight_ih, self._dropped(weight_hh), bias_ih, bias_hh)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def _initial(self, hx: HiddenState | None, batch: int, batched: bool, like: Tensor) -> tuple[Tensor, ...]:
        """The initial state as one (L*D, B, H) for each part."""
        shape = (self.num_layers * self.num_directions, batch, self.hidden_size)
        if hx is None:
            return tuple(like.new_zeros(shape) for _ in self.cell.state)
        parts = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        if len(parts) != len(self.cell.state):
            raise ShapeError(f"hx has {len(parts)} parts: cell {self.cell_name} has state {self.cell.state}")
        for name, part in zip(self.cell.state, parts, strict=True):
            expect(f"hx {name}", part, shape if batched else (shape[0], shape[2]))
        return parts if batched else tuple(part[:, None] for part in parts)

    def _as_given(self, parts: tuple[Tensor, ...]) -> HiddenState:
        return parts if len(parts) > 1 else parts[0]

    def flatten_parameters(self) -> None:
        """Nothing to do: engines lay weights out themselves. Code written for PyTorch's modules may call it."""

    def extra_repr(self) -> str:
        """The settings, for printing."""
        options = [f"{self.cell_name!r}", f"{self.input_size}", f"{self.hidden_size}", f"num_layers={self.num_layers}"]
        options += [f"{name}={getattr(self, name)}" for name in ("bias", "batch_first", "bidirectional", "engine")]
        return ", ".join(options)


def _side_by_side(outputs: list[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
