"""Examples to batches: sequences of tokens, each from a zero state, beside others of about equal length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import CorpusError, UsageError

Ids = NDArray[np.integer[Any]]
ROOM = 3
"""How many times as many tokens as usual a batch may have."""
Integers = NDArray[np.int64]


class Sequences:
    """Many sequences of token ids, kept one after the other.

    Args:
        sequences: one array of ids for each.

    Attributes:
        lengths: (N,) tokens of each.
    """

    def __init__(self, sequences: Sequence[Ids]) -> None:
        self.lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
        self._ids: Ids = np.concatenate([np.empty(0, np.int32), *sequences])
        self._starts = np.cumsum(self.lengths) - self.lengths

    @classmethod
    def lines(cls, ids: Ids, end_of_line_id: int) -> Self:
        """The lines of a text that are not blank, without their ends; nothing is copied."""
        found = cls([])
        ends = np.flatnonzero(ids == end_of_line_id)
        if not len(ids) or ids[-1] != end_of_line_id:
            ends = np.append(ends, len(ids))
        starts = np.concatenate([[0], ends[:-1] + 1])
        has_tokens = ends > starts
        found.lengths, found._starts, found._ids = (ends - starts)[has_tokens], starts[has_tokens], ids
        return found

    def __len__(self) -> int:
        """N."""
        return len(self.lengths)

    def taken(self, rows: Integers) -> Self:
        """Some of them; nothing is copied."""
        found = type(self)([])
        found.lengths, found._starts, found._ids = self.lengths[rows], self._starts[rows], self._ids
        return found

    def padded(self, rows: Integers) -> Integers:
        """Some sequences side by side, (T, B), T as long as the longest; what lies behind an end is 0."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max())[:, None]
        is_text = steps < lengths
        places = np.where(is_text, self._starts[rows] + steps, 0)
        return np.where(is_text, self._ids[places].astype(np.int64), 0)


@dataclass(frozen=True)
class ExampleBatch:
    """Examples side by side.

    Attributes:
        values: arrays by the names of a network's parameters, each with its examples on the last axis.
        counts: (B,) targets of each example.
        starts: every example starts from a zero state.
        rate: every batch has the full learning rate.
    """

    values: dict[str, NDArray[Any]]
    counts: Integers
    starts: bool = True
    rate: float = 1.0

    @property
    def tokens(self) -> int:
        """How many targets count."""
        return int(self.counts.sum())

    @property
    def width(self) -> int:
        """Examples side by side."""
        return len(self.counts)

    def columns(self, taken: slice) -> Self:
        """Some of the examples."""
        values = {name: np.ascontiguousarray(array[..., taken]) for name, array in self.values.items()}
        return type(self)(values, self.counts[taken])

    def arrays(self) -> dict[str, NDArray[Any] | None]:
        """What the network's `objective` takes."""
        return dict(self.values)


Make = Callable[[Integers, int], dict[str, NDArray[Any]]]
"""The arrays of a batch from the numbers of its examples and that of the pass."""


class ExampleReader:
    """Batches of examples of about equal length, others in every pass, in a new order.

    Args:
        lengths: (N,) how long each example is.
        counts: (N,) targets of each.
        make: a batch's arrays.
        batch_size: examples side by side; fewer where there are fewer, of long ones, and in the last batch of lengths.
        seed: for the order; the same seed and pass give the same batches.

    Attributes:
        tokens: targets in a pass.
        notes: what differs from what was asked, one line each.

    Raises:
        CorpusError: there are no examples.
        UsageError: batch_size is below 1.
    """

    def __init__(self, lengths: Integers, counts: Integers, make: Make, *, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size} is too small: give at least 1")
        if not len(lengths):
            raise CorpusError("there are no examples to learn from: give more data")
        self._lengths, self._counts, self._make, self._seed = lengths, counts, make, seed
        self.batch_size = min(batch_size, len(lengths))
        self._ends = bounded_ends(lengths, self.batch_size)
        self.tokens = int(counts.sum())
        is_less = self.batch_size != batch_size
        self.notes = (f"batch {batch_size} -> {self.batch_size}: there are no more examples",) if is_less else ()

    def __len__(self) -> int:
        """Batches in a pass."""
        return len(self._ends)

    def batches(self, pass_index: int = 0, start: int = 0) -> Iterator[ExampleBatch]:
        """The batches of one pass, from number `start` on; what they hold depends on seed and pass alone."""
        for rows in grouped_by_length(self._lengths, self._ends, [self._seed, pass_index])[start:]:
            yield ExampleBatch(self._make(rows, pass_index), self._counts[rows])


def grouped_by_length(lengths: Integers, ends: Integers, seed: Sequence[int]) -> list[Integers]:
    """All numbers from 0 to N - 1 in groups of about equal length, in an order of chance.

    Args:
        lengths: (N,) at least one.
        ends: where each group ends among the numbers by length, ascending; the last is N.
        seed: what the order depends on; equally long ones meet in other groups for another.
    """
    generator = np.random.default_rng(seed)
    by_length = np.lexsort((generator.permutation(len(lengths)), lengths))
    groups = np.split(by_length, ends[:-1])
    return [groups[number] for number in generator.permutation(len(groups))]


def even_ends(count: int, batch_size: int) -> Integers:
    """Ends of groups of `batch_size` members, the last of what is left."""
    return np.append(np.arange(batch_size, count, batch_size), count)


def bounded_ends(lengths: Integers, batch_size: int) -> Integers:
    """The same, but groups of long examples have fewer members, so that a few of these do not fill the memory.

    No group has more tokens, padding included, than `batch_size` examples of `ROOM` times the mean length.
    """
    ascending, most = np.sort(lengths), ROOM * batch_size * lengths.mean()
    ends, start = list[int](), 0
    while start < len(lengths):
        end = min(start + batch_size, len(lengths))
        while end - start > 1 and (end - start) * ascending[end - 1] > most:
            end = start + max(1, min(end - start - 1, int(most // ascending[end - 1])))
        ends.append(end)
        start = end
    return np.array(ends, dtype=np.int64)
