"""Token ids to batches, in the two ways to read a text: as one stream, or line by line.

Both predict every token they are given exactly once a pass, the end of each line too, from the tokens before it; the
first input is an end-of-line token. What only fills up a batch lies beyond `lengths` and counts nowhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import CorpusError, UsageError
from unrolled.text.examples import even_ends, grouped_by_length

Ids = NDArray[np.integer[Any]]
BLANK = 1  # tokens of a line that has nothing but its end
LONG_LINE = 2000
_SECTION = 1 << 24
"""Tokens of a text whose lines are known at once, where it is read line by line."""


@dataclass(frozen=True)
class Batch:
    """Inputs and the tokens that are to follow them.

    Attributes:
        inputs: (T, B) int64 token ids.
        targets: (T, B) int64 token ids; targets[t, b] is to be predicted from inputs[: t + 1, b].
        lengths: (B,) int64, each at least 1: only positions t < lengths[b] are text. None: all are.
        starts: whether the state before the first step is zero; otherwise it is that after the batch before.
        rate: factor of the learning rate that suits this batch.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64] | None
    starts: bool
    rate: float = 1.0

    @property
    def tokens(self) -> int:
        """How many positions are text."""
        return int(self.targets.size if self.lengths is None else self.lengths.sum())

    @property
    def width(self) -> int:
        """Sequences side by side."""
        return int(self.inputs.shape[1])

    def columns(self, taken: slice) -> Self:
        """Some of the sequences."""
        return replace(
            self,
            inputs=np.ascontiguousarray(self.inputs[:, taken]),
            targets=np.ascontiguousarray(self.targets[:, taken]),
            lengths=None if self.lengths is None else self.lengths[taken],
        )

    def arrays(self) -> dict[str, NDArray[np.int64] | None]:
        """What a language model's `objective` takes."""
        return {"ids": self.inputs, "targets": self.targets, "lengths": self.lengths}


class StreamReader:
    """One text as B contiguous streams side by side, cut into windows; the state is carried from window to window.

    The streams' lengths differ by one token at most. Each begins with a zero state and with the token before its own
    as first input; the first stream with an end of line. The last window may be shorter, or longer by the one token
    that some streams have more than others.

    With `random_windows` the cuts lie elsewhere in each pass, each up to a quarter of a window before or behind where
    it would be, so that it is not always the same tokens that learn from little context; a window's rate is in
    proportion to its length (after Merity et al., arXiv:1708.01009, who draw one length after the other; here a pass
    keeps its number of windows).

    Args:
        ids: (N,) the tokens of the text.
        end_of_line_id: the first input.
        batch_size: streams side by side; fewer where the text does not fill a window for each.
        window: time steps between two cuts; fewer where the text is shorter.
        random_windows: whether cuts are moved at random.
        seed: for the cuts; the same seed and pass give the same ones.

    Attributes:
        batch_size: streams in use.
        window: time steps in use.
        tokens: predicted in one pass: N.
        notes: what differs from what was asked, one line each.

    Raises:
        CorpusError: there are no tokens.
        UsageError: batch_size or window is below 1.
    """

    def __init__(
        self,
        ids: Ids,
        *,
        end_of_line_id: int,
        batch_size: int,
        window: int,
        random_windows: bool = False,
        seed: int = 0,
    ) -> None:
        _check_at_least_one(batch_size=batch_size, window=window)
        self._jitter, self._seed = window // 4 if random_windows else 0, seed
        self.tokens = _check_tokens(ids)
        self.window = min(window, self.tokens)
        self.batch_size = min(batch_size, self.tokens // self.window)
        self.notes = tuple(
            f"{name} {asked} -> {used}: the text has only {self.tokens:,} tokens"
            for name, asked, used in (("batch", batch_size, self.batch_size), ("window", window, self.window))
            if used != asked
        )
        self._text = _Text(ids, end_of_line_id)
        self._shortest, longer = divmod(self.tokens, self.batch_size)
        self._lengths = self._shortest + (np.arange(self.batch_size) < longer)
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])

    def __len__(self) -> int:
        """Batches in one pass."""
        return (self._shortest + self.window - 1) // self.window

    def batches(self, pass_index: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one pass, from number `start` on; what they hold depends on seed and pass alone."""
        cuts = np.minimum(np.arange(len(self) + 1) * self.window, self._shortest)
        if self._jitter:
            moves = np.random.default_rng([self._seed, pass_index]).integers(-self._jitter, self._jitter + 1, len(cuts))
            cuts[1:-1] = np.minimum(cuts[1:-1] + moves[1:-1], self._shortest - 1)
        return (self._batch(cuts[number], cuts[number + 1]) for number in range(start, len(self)))

    def _batch(self, first: int, after: int) -> Batch:
        is_last = after == self._shortest
        lengths = (self._lengths if is_last else np.full_like(self._lengths, after)) - first
        inputs, targets = self._text.stretches(self._starts + first, lengths)
        rate = len(inputs) / self.window if self._jitter else 1.0
        return Batch(inputs, targets, _unless_equal(lengths), starts=bool(first == 0), rate=rate)


class SentenceReader:
    """Each line from a zero state, in batches of lines of about equal length.

    A line's first input and last target are the end-of-line token. Blank lines have nothing to learn from and are
    left out. Lines of equal length meet in new batches in every pass, and the batches come in a new order. A long text
    is read in sections, in a new order too, so that where lines begin never takes more memory than for one of them.

    Args:
        ids: (N,) the tokens of the text.
        end_of_line_id: what divides the lines.
        batch_size: lines side by side; fewer where the text has fewer.
        seed: for the order; the same seed and pass give the same batches.

    Attributes:
        batch_size: lines side by side in use; the last of each section may have fewer.
        lines: read in one pass.
        blank_lines: left out.
        tokens: predicted in one pass; the blank lines' ends are not among them.
        notes: what differs from what was asked, and what may surprise, one line each.

    Raises:
        CorpusError: there is no line that is not blank.
        UsageError: batch_size is below 1.
    """

    def __init__(self, ids: Ids, *, end_of_line_id: int, batch_size: int, seed: int) -> None:
        _check_at_least_one(batch_size=batch_size)
        _check_tokens(ids)
        if ids[-1] != end_of_line_id:
            ids = np.append(ids, end_of_line_id)
        self._text, self._ids, self._end_of_line_id, self._seed = _Text(ids, end_of_line_id), ids, end_of_line_id, seed
        self._sections = list(_sections(ids, end_of_line_id))
        self._counts, longest = list[int](), 0
        self.blank_lines = self.tokens = 0
        for section in self._sections:
            _, lengths = self._lines(section)
            self._counts.append(len(lengths))
            self.tokens += int(lengths.sum())
            self.blank_lines += section[1] - section[0] - int(lengths.sum())  # each of them is one token
            longest = max(longest, int(lengths.max(initial=0)))
        self.lines = sum(self._counts)
        if not self.lines:
            raise CorpusError("text: every line is blank, so that there is no sentence to learn from: give more text")
        self.batch_size = min(batch_size, self.lines)
        self.notes = tuple(self._observations(batch_size, longest))

    def __len__(self) -> int:
        """Batches in one pass."""
        return sum(map(self._batches_of, self._counts))

    def batches(self, pass_index: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one pass, from number `start` on; what they hold depends on seed and pass alone."""
        for number in np.random.default_rng([self._seed, pass_index, 1]).permutation(len(self._sections)):
            count = self._counts[number]
            skipped = min(start, self._batches_of(count))
            start -= skipped
            if skipped == self._batches_of(count):
                continue
            starts, lengths = self._lines(self._sections[number])
            seed = [self._seed, pass_index, 0, int(number)]
            for lines in grouped_by_length(lengths, even_ends(count, self.batch_size), seed)[skipped:]:
                inputs, targets = self._text.stretches(starts[lines], lengths[lines])
                yield Batch(inputs, targets, _unless_equal(lengths[lines]), starts=True)

    def _batches_of(self, lines: int) -> int:
        return (lines + self.batch_size - 1) // self.batch_size

    def _lines(self, section: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the lines of a section begin and how many tokens they have, blank ones left out."""
        lengths = _line_lengths(self._ids[slice(*section)], self._end_of_line_id)
        starts = section[0] + np.cumsum(lengths) - lengths
        return starts[lengths > BLANK], lengths[lengths > BLANK]

    def _observations(self, batch_size: int, longest: int) -> Iterator[str]:
        if self.batch_size != batch_size:
            yield f"batch {batch_size} -> {self.batch_size}: the text has no more lines that are not blank"
        if self.blank_lines:
            yield f"{self.blank_lines:,} blank lines are left out"
        if longest > LONG_LINE:
            yield f"the longest line has {longest:,} tokens: reading as a stream takes less memory"


def without_blank_lines(text: str, ids: Ids, end_of_line_id: int) -> tuple[str, Ids]:
    """Text and ids without the lines that `SentenceReader` leaves out.

    Args:
        text: lines, each with its end.
        ids: (N,) its tokens.
        end_of_line_id: what divides the lines.
    """
    lengths = _line_lengths(ids, end_of_line_id)
    lines = text.removesuffix("\n").split("\n")
    kept = "".join(line + "\n" for line, length in zip(lines, lengths, strict=True) if length > BLANK)
    return kept, ids[np.repeat(lengths > BLANK, lengths)]


def _line_lengths(ids: Ids, end_of_line_id: int) -> NDArray[np.int64]:
    """Tokens of each line, its end included; ids end a line."""
    after = np.concatenate([np.array([-1]), np.flatnonzero(ids == end_of_line_id)]).astype(np.int64)
    lengths: NDArray[np.int64] = after[1:] - after[:-1]
    return lengths


def _sections(ids: Ids, end_of_line_id: int) -> Iterator[tuple[int, int]]:
    """Where sections of whole lines begin and end; each is the longest that `_SECTION` has room for, or a line."""
    start = at = 0
    while start < len(ids):
        ends = np.flatnonzero(ids[at : at + _SECTION] == end_of_line_id)
        if ends.size:
            end = at + int(ends[-1]) + 1
            yield start, end
            start = at = end
        else:
            at += _SECTION


class _Text:
    """Tokens behind an end of line, whether in memory or mapped: from each token the next is to be predicted."""

    def __init__(self, ids: Ids, end_of_line_id: int) -> None:
        self._ids, self._end_of_line_id = ids, end_of_line_id

    def stretches(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and targets (T, B) of the stretches that begin at `starts`; beyond their lengths is id 0."""
        steps = np.arange(lengths.max())[:, None]
        is_text = steps < lengths
        places = np.where(is_text, starts + steps, 0)
        targets = self._ids[places].astype(np.int64)
        inputs = np.where(places > 0, self._ids[np.maximum(places - 1, 0)].astype(np.int64), self._end_of_line_id)
        return np.where(is_text, inputs, 0), np.where(is_text, targets, 0)


def _unless_equal(lengths: NDArray[np.int64]) -> NDArray[np.int64] | None:
    return None if lengths.min() == lengths.max() else lengths


def _check_tokens(ids: Ids) -> int:
    if ids.ndim != 1 or not ids.size:
        raise CorpusError(f"text: token ids of shape {ids.shape} cannot be read: give one or more in one row")
    return ids.size


def _check_at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UsageError(f"{name} {value} is too small: give at least 1")
