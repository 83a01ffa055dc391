"""The last tokens that a model has read, and some of the states that it was in meanwhile: a value."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unrolled.engines import Predictor, StackState, zero_state


@dataclass(frozen=True, eq=False)
class History:
    """Tokens of a sequence, and states on the way: enough to have the state after any of them.

    Positions count tokens from the beginning: the state at position p is the one after p tokens. A state that is not
    there is made from the last one before it. Nothing is changed in place: methods return another history, which
    shares tokens and states with this one.

    Attributes:
        first: how many tokens came before those that are here.
        tokens: (N,) the tokens from position `first` on.
        states: positions in ascending order, each with its state (B = 1); the first is `first`.
    """

    first: int
    tokens: npt.NDArray[np.int64]
    states: tuple[tuple[int, StackState], ...]

    @classmethod
    def beginning(cls, predictor: Predictor, token: int) -> "History":
        """A history of one token, before which the state was zero."""
        return cls(0, np.array([token], np.int64), ((0, zero_state(predictor.weights, 1)),))

    @property
    def end(self) -> int:
        """The position behind the last token."""
        return self.first + len(self.tokens)

    def since(self, position: int) -> npt.NDArray[np.int64]:
        """The tokens (N,) from a position on."""
        return self.tokens[position - self.first :]

    def replaced(self, position: int, tokens: Sequence[int] | npt.NDArray[np.integer]) -> "History":
        """With other tokens from a position on; states stay as long as the tokens agree."""
        old, new = self.since(position), np.asarray(tokens, np.int64)
        agree = position + common_length(old, new)
        kept = self.states[: bisect_right(self.states, agree, key=_position)]
        return History(self.first, np.concatenate([self.tokens[: position - self.first], new]), kept)

    def position_before(self, position: int) -> int:
        """Where the last state lies that is not behind a position."""
        return self._state_before(position)[0]

    def state(self, position: int) -> StackState:
        """The state at a position that has been read to."""
        at, state = self._state_before(position)
        assert at == position, "read_to comes first"
        return state

    def read_to(self, position: int, predictor: Predictor) -> "History":
        """With the state at a position, for which the model reads the tokens from the last state on in one call."""
        at, state = self._state_before(position)
        if at == position:
            return self
        tokens = self.tokens[at - self.first : position - self.first]
        made = predictor.read(tokens, np.array([len(tokens)]), state).state
        place = bisect_right(self.states, position, key=_position)
        return History(self.first, self.tokens, (*self.states[:place], (position, made), *self.states[place:]))

    def forget_before(self, position: int) -> "History":
        """Without what no position from this one on has need of."""
        place = bisect_right(self.states, position, key=_position) - 1
        first = self.states[place][0] if place > 0 else self.first
        if first == self.first:
            return self
        return History(first, self.since(first).copy(), self.states[place:])

    def _state_before(self, position: int) -> tuple[int, StackState]:
        return self.states[bisect_right(self.states, position, key=_position) - 1]


def common_length(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> int:
    """How many of the first tokens of two sequences, (N,) and (M,), are the same."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(one[:length] != other[:length])
    return int(differ[0]) if len(differ) else length


def _position(state: tuple[int, StackState]) -> int:
    return state[0]
