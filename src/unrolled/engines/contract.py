"""What an engine does: the operations that cost time in a recurrent network, each with its backward.

Letters as everywhere: T time steps, B batch, G gates, H hidden size, E embedding size, V vocabulary, N rows. Arrays are
NumPy arrays or torch tensors, floating ones all of one dtype on one device; what goes in as one kind comes out as it.
Engines know no autograd: `engines.autograd` wraps any of them for torch. An engine may refuse arrays that are not dense
in C order.

An operation that has a backward returns a tape with its result; the tape belongs to the engine that made it, may be
used more than once, and is None where `keep=False` asked for none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from unrolled.cells import Cell
from unrolled.engines.sampling import Sampling

Array = Any
"""A NumPy array or a torch tensor."""
State = tuple[Array, ...]
"""The parts of one layer's state, each (B, H), in the order of `cell.state`."""
StackState = tuple[State, ...]
"""One state for each layer of a stack, lowest first."""
Tokens = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Masks:
    """Multipliers for regularisation inside the recurrence; None leaves a place alone.

    Attributes:
        recurrent: (B, H), multiplies the operand of every recurrent product (recurrent dropout, the same at all steps).
        zoneout: one (T, B, H) for each part of the state; 1 keeps the old value, 0 takes the new one.
    """

    recurrent: Array | None = None
    zoneout: tuple[Array, ...] | None = None


class Unrolled(NamedTuple):
    """Result of `unroll`: outputs (T, B, H), zero past a sequence's end; the state after each sequence's last step."""

    outputs: Array
    state: State
    tape: Any


class UnrollGradients(NamedTuple):
    """Gradients of `unroll`'s operands, in their shapes; bias_hh is None where there is no bias."""

    x: Array
    weight_hh: Array
    bias_hh: Array | None
    state: State


class LinearGradients(NamedTuple):
    """Gradients of an input (or embedding), a weight and a bias, in their shapes; the bias may be None."""

    inputs: Array
    weight: Array
    bias: Array | None


class InputWeights(NamedTuple):
    """What makes x of a token: embedding (V, E), weight_ih (G*H, E), bias_ih (G*H,) or None."""

    embedding: Array
    weight_ih: Array
    bias_ih: Array | None


class RowGradient(NamedTuple):
    """The gradient of a matrix of which few rows are used: rows (U,) int64, ascending, and values (U, E); else zero."""

    rows: Array
    values: Array


@dataclass(frozen=True)
class LayerWeights:
    """One layer in PyTorch's layout: weight_ih (G*H, I), weight_hh (G*H, H), biases (G*H,) or None."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.weight_hh.shape[1])


@dataclass(frozen=True)
class LanguageModelWeights:
    """A language model: cell, embedding (V, E), layers lowest first, output_weight (V, H), output_bias (V,)."""

    cell: Cell
    embedding: Array
    layers: tuple[LayerWeights, ...]
    output_weight: Array
    output_bias: Array


class Engine(Protocol):
    """An engine; `engines.portable` says what every operation means, the others must agree with it."""

    name: str
    is_batch_invariant: bool
    """Whether what comes out for a sequence has the same bits in float32 whatever sequences stand beside it."""

    def description(self) -> str:
        """Name and circumstances for a person, such as "portable (torch 2.13.0, 2 threads)"."""

    def obstacle(self, cell: Cell, device: str, dtype: str) -> str | None:
        """Why a cell cannot be run on operands of a device ("cpu", "cuda") and dtype ("float32"); None if it can.

        The reason is to stand after a colon: "no C++ compiler found, install one such as g++".
        """

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
        """Run a cell over time.

        Args:
            cell: the equations.
            x: (T, B, G*H), for each gate W_k x_t + b_k.
            weight_hh: (G*H, H), the R_k stacked in gate order.
            bias_hh: (G*H,), the c_k, or None.
            state: initial state.
            lengths: (B,) integers from 1 to T; past its length a sequence's state stands still. None: all T.
            reverse: read each sequence from its last step to its first; outputs stay at their places.
            masks: see `Masks`.
            keep: whether to return a tape.

        Raises:
            ShapeError: operands do not fit together, or a length is outside 1..T.
        """

    def unroll_backward(self, tape: Any, d_outputs: Array, d_state: State) -> UnrollGradients:
        """From dE/d(outputs) and dE/d(last state) to the gradients of `unroll`'s operands."""

    def step(
        self, cell: Cell, x: Array, weight_hh: Array, bias_hh: Array | None, state: State, *, keep: bool = True
    ) -> tuple[State, Any]:
        """One time step, for decoders: x is (B, G*H). Returns the next state and a tape."""

    def step_backward(self, tape: Any, d_state: State) -> UnrollGradients:
        """From dE/d(next state) to the gradients of `step`'s operands."""

    def linear(self, inputs: Array, weight: Array, bias: Array | None, *, keep: bool = True) -> tuple[Array, Any]:
        """The input term of a layer, inputs @ weight^T + bias: inputs (N, I), weight (M, I); (N, M) and a tape."""

    def linear_backward(self, tape: Any, d_results: Array, *, d_inputs: bool = True) -> LinearGradients:
        """From dE/d(results), (N, M), to the gradients of inputs (None without `d_inputs`), weight and bias."""

    def project_tokens(
        self, ids: Array, embedding: Array, weight_ih: Array, bias_ih: Array | None, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """embedding[ids] @ weight_ih^T + bias_ih: the first layer's x, shape ids.shape + (G*H,), and a tape."""

    def project_tokens_backward(self, tape: Any, d_x: Array, *, sparse: bool = False) -> LinearGradients:
        """From dE/dx to the gradients of embedding (as `inputs`), weight_ih and bias_ih.

        With `sparse` the embedding's is a `RowGradient` of the rows that occur in ids.
        """

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
        """`unroll` of what `project_tokens` makes of ids, (T, B), in one; arguments are theirs."""

    def unroll_tokens_backward(
        self, tape: Any, d_outputs: Array, d_state: State, *, sparse: bool = False
    ) -> tuple[LinearGradients, UnrollGradients]:
        """From dE/d(outputs) and dE/d(last state) to what the two backward passes return."""

    def linear_cross_entropy(
        self, inputs: Array, weight: Array, bias: Array | None, targets: Array, *, keep: bool = True
    ) -> tuple[Array, Any]:
        """-log softmax(inputs @ weight^T + bias)[target] in nats: inputs (N, H), targets (N,); (N,) and a tape."""

    def linear_cross_entropy_backward(self, tape: Any, d_losses: Array) -> LinearGradients:
        """From dE/d(losses), (N,), to the gradients of inputs, weight and bias."""

    def predictor(self, weights: LanguageModelWeights) -> "Predictor":
        """A language model made ready for use: what can be done once for all of its calls is done here.

        `predictor.PlainPredictor` puts one together from the operations above. NumPy arrays only.

        Raises:
            ShapeError: the weights do not fit together.
        """


class Reading(NamedTuple):
    """Result of `Predictor.read`.

    Attributes:
        losses: (M,) -log p(target) in nats; None without targets.
        ranks: (M,) place of each target among all tokens by probability, 1 the most probable; None unless asked for.
        outputs: (M, H) of the last layer, from which a target was told; None unless asked for.
        state: of each layer, after each sequence's last token.
    """

    losses: Doubles | None
    ranks: Tokens | None
    outputs: Floats | None
    state: StackState


class Predictor(Protocol):
    """A language model ready for use: p(next token | all tokens so far), on NumPy arrays.

    What comes out for a sequence depends on it alone: not on its neighbours, their order, or how many there are. State
    is a value; a predictor may be used from several threads at once.

    Attributes:
        weights: those it was made of.
    """

    weights: LanguageModelWeights

    def read(
        self,
        inputs: Tokens,
        lengths: Tokens,
        state: StackState | None = None,
        *,
        targets: Tokens | None = None,
        ranks: bool = False,
        outputs: bool = False,
        batch_size: int | None = None,
    ) -> Reading:
        """Read N sequences and say how probable the targets were.

        Args:
            inputs: (M,) token ids of all sequences, one after the other.
            lengths: (N,) how many tokens each has, at least 1; M in all.
            state: for each layer the parts of its state, each (N, H); None: zeros.
            targets: (M,) what followed each input.
            ranks: whether the targets' ranks are wanted, for about as much work again.
            outputs: whether the last layer's outputs are wanted.
            batch_size: most sequences to be read side by side; None: what is fast.

        Raises:
            ShapeError: operands do not fit together, or an id is not in the vocabulary.
        """

    def log_probabilities(self, state: StackState) -> Doubles:
        """Log p of each token as the next one, in nats, (B, V), after what led to a state (B sequences)."""

    def decode(
        self,
        state: StackState,
        tokens: Tokens,
        *,
        sampling: Sampling,
        generators: Sequence[np.random.Generator],
        forbidden: Sequence[int] = (),
        stop: int | None = None,
        max_tokens: int | None = None,
    ) -> Iterator[Tokens]:
        """Feed tokens (B,), choose the next, feed them, and so on; yields the chosen in pieces, (n, B) with n >= 1.

        How many tokens a piece has is the engine's choice: few enough that text can be shown as it is made. Row b draws
        once a token from generators[b] and from nothing else, and no token is drawn that is not yielded. To stop, close
        the iterator.

        Args:
            state: for each layer the parts of its state, each (B, H).
            tokens: (B,) the first to be fed.
            sampling: how to choose.
            generators: one a row; not to be used by others meanwhile.
            forbidden: tokens that are never chosen.
            stop: a row ends with this token, and has -1 from there on; when all rows have ended, so does the iterator.
            max_tokens: most tokens a row; None: without end.

        Raises:
            ShapeError: operands do not fit together, or a token is not in the vocabulary.
            EngineError: a row leaves no token to choose, because all are forbidden or its scores are not numbers.
        """
