"""Beam search: the most probable outputs of a decoder, for many sentences at once.

It knows nothing of networks: a decoder is a function that takes one step and one that picks rows of its state.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unrolled.engines.checks import expect
from unrolled.errors import UsageError

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Truths = npt.NDArray[np.bool_]
State = TypeVar("State")
Stepped = tuple[Tensor, State] | tuple[Tensor, State, Tensor]
"""Log-probabilities (N, V), the state after the step, and side rows (N, ...) where the decoder has some to keep."""

_BLOCK = 64
"""Tokens of which the largest is found first."""


@dataclass(frozen=True)
class Hypothesis:
    """An output for a sentence.

    Attributes:
        tokens: ids, without the end token.
        log_probability: of the tokens, and of the end token where it is complete, in nats.
        score: log_probability / ((5 + length) / 6) ** length_penalty, where the length counts the end token too (Wu et
            al., arXiv:1609.08144, equation 14 without its term for coverage).
        is_complete: whether the end token was reached.
        side: what the decoder returned beside each of its tokens, the end token included: a row for each.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    is_complete: bool
    side: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)


@torch.no_grad()
def beam_search(
    step: Callable[[Tensor, State], Stepped[State]],
    select: Callable[[State, Tensor], State],
    state: State,
    *,
    batch: int,
    width: int,
    start: int,
    end: int,
    max_tokens: Sequence[int],
    length_penalty: float = 0.0,
    best: int = 1,
    forbidden: Sequence[int] = (),
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """Search for the best outputs of each sentence; a width of 1 is greedy decoding.

    Each sentence begins with one open hypothesis and `width` places. At each step the most probable continuations of
    its open hypotheses, as many as it has places left, are kept: one that ends takes its place with it, the others stay
    open. Among equally probable ones the lower token comes first, then the continuation of the better hypothesis. A
    sentence is finished when it has no open hypothesis, when none can come among its best any more, or after its
    `max_tokens` steps, which leave what is open incomplete. Neighbours in the batch change nothing besides rounding.

    Args:
        step: takes the tokens to read, (N,) int64, and the state of N rows; returns log-probabilities (N, V) of the
            tokens that come next, the state after it, and, if it likes, a tensor (N, ...) of side rows, such as the
            weights of attention, from which each hypothesis gets those of its own steps.
        select: takes a state and row numbers, (N',) int64, which may repeat or leave out rows; returns the state of
            these. Rows of a sentence stay next to each other, as many of them for each sentence. It is not called where
            rows stay as they are.
        state: before the first step, with `batch` rows, one for each sentence.
        batch: number of sentences.
        width: of the beam.
        start: token that is read first.
        end: token that ends a hypothesis.
        max_tokens: for each sentence the most tokens of a hypothesis, an end token included.
        length_penalty: exponent, at least 0; 0 ranks by probability, a larger one favours what is longer.
        best: how many hypotheses of each sentence are wanted, at most `width`.
        forbidden: tokens that are never chosen.
        device: of the tokens and rows that the functions are given.

    Returns:
        For each sentence its hypotheses, by falling score, at most `best`; incomplete ones only where complete ones are
        too few, and behind them. What has probability zero is not among them.

    Raises:
        UsageError: a number is outside its range, or log-probabilities are nan or above zero.
        ShapeError: what the decoder returned has not N rows.
    """
    _check(batch, width, start, end, max_tokens, length_penalty, best, forbidden)
    history, lists = _History(), _Lists(max_tokens, length_penalty, best)
    sentences, places = np.arange(batch), np.full(batch, width)
    tokens, parents, totals = np.full(batch, start, np.int64), np.arange(batch), np.zeros((batch, 1), np.float32)
    for length in range(1, max(max_tokens, default=0) + 1):
        stepped = step(torch.from_numpy(tokens).to(device), state)
        state = stepped[1]
        history.add(tokens, parents, stepped[2] if len(stepped) == 3 else None)
        values, beams, chosen = _continue(stepped[0], totals, width, end, forbidden)
        rows = beams + totals.shape[1] * np.arange(len(sentences))[:, None]
        is_kept = (np.arange(values.shape[1]) < places[:, None]) & (values > -np.inf)
        is_end = is_kept & (chosen == end)
        is_open = is_kept & ~is_end
        is_last = lists.limits[sentences] == length
        for i, k in np.argwhere(is_end):
            lists.add(sentences[i], float(values[i, k]), _Ending(length, int(rows[i, k]), None))
        for i, k in np.argwhere(is_open & is_last[:, None]):
            lists.add(sentences[i], float(values[i, k]), _Ending(length, int(rows[i, k]), int(chosen[i, k])))
        goes_on = lists.can_gain(sentences, np.where(is_open, values, -np.inf).max(axis=1)) & ~is_last
        if not goes_on.any():
            break
        sentences, places = sentences[goes_on], (places - is_end.sum(axis=1))[goes_on]
        kept, is_real = _open_first(is_open, goes_on)
        tokens, parents = chosen[kept].ravel(), rows[kept].ravel()
        totals = np.where(is_real, values[kept], np.float32(-np.inf))
        if not np.array_equal(parents, np.arange(len(stepped[0]))):
            state = select(state, torch.from_numpy(parents).to(device))
    return lists.trace(history)


class _Ending(NamedTuple):
    """The step after which a hypothesis ended, counted from 1, its row there, and the last token if not the end."""

    step: int
    row: int
    token: int | None

    @property
    def is_complete(self) -> bool:
        return self.token is None


class _History:
    """What each step read and returned; hypotheses share their beginnings and are put together when all is over."""

    def __init__(self) -> None:
        self._tokens: list[Integers] = []
        self._parents: list[Integers] = []
        self._sides: list[Tensor | None] = []

    def add(self, tokens: Integers, parents: Integers, side: Tensor | None) -> None:
        """A step that read these tokens, (N,), after the rows `parents`, (N,), of the step before it."""
        if side is not None:
            expect("side", side, (len(tokens), *side.shape[1:]), "rows of the step")
        self._tokens.append(tokens)
        self._parents.append(parents)
        self._sides.append(side)

    def trace(self, ending: _Ending) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
        """Tokens and side rows of a hypothesis, from its first to its last."""
        tokens = [] if ending.token is None else [ending.token]
        sides: list[Tensor] = []
        row = ending.row
        for step in reversed(range(ending.step)):
            side = self._sides[step]
            if side is not None:
                sides.append(side[row].clone())  # a view would keep the rows of all others alive
            if step > 0:  # the first step read the start token
                tokens.append(int(self._tokens[step][row]))
            row = int(self._parents[step][row])
        return tuple(reversed(tokens)), tuple(reversed(sides))


class _Lists:
    """The best hypotheses of each sentence so far."""

    def __init__(self, max_tokens: Sequence[int], length_penalty: float, best: int) -> None:
        self._best, self._penalty = best, length_penalty
        self._found: list[list[tuple[float, float, _Ending]]] = [[] for _ in max_tokens]
        self.limits = np.array(max_tokens, np.int64)
        self._longest = np.array([self._divisor(limit) for limit in max_tokens], np.float64)
        self._to_beat = np.full(len(max_tokens), -np.inf)

    def add(self, sentence: int, log_probability: float, ending: _Ending) -> None:
        """Take a hypothesis into a sentence's list; of equal scores the one that came first is ahead."""
        found = self._found[sentence]
        found.append((log_probability, log_probability / self._divisor(ending.step), ending))
        found.sort(key=lambda each: (not each[2].is_complete, -each[1]))
        del found[self._best :]
        if len(found) == self._best and found[-1][2].is_complete:
            self._to_beat[sentence] = found[-1][1]

    def can_gain(self, sentences: Integers, log_probabilities: Floats) -> Truths:
        """Whether an open hypothesis of that log-probability, (N,), may still come into the list of its sentence.

        What it becomes has a log-probability p' <= p <= 0 and a length n up to the sentence's limit m. The divisor
        d grows with the length, so p' / d(n) <= p / d(n) <= p / d(m): a list whose last score is at least that is
        final, since of equal scores the one that came first stays. -inf, where there is no open one, gains nothing.
        """
        gains: Truths = log_probabilities / self._longest[sentences] > self._to_beat[sentences]
        return gains

    def trace(self, history: _History) -> list[list[Hypothesis]]:
        """All lists as hypotheses."""
        made: list[list[Hypothesis]] = []
        for found in self._found:
            made.append([])
            for log_probability, score, ending in found:
                tokens, side = history.trace(ending)
                made[-1].append(Hypothesis(tokens, log_probability, score, ending.is_complete, side))
        return made

    def _divisor(self, length: int) -> float:
        return float(((5 + length) / 6) ** self._penalty)


def _continue(
    log_probabilities: Tensor, totals: Floats, width: int, end: int, forbidden: Sequence[int]
) -> tuple[Floats, Integers, Integers]:
    """The best continuations of each sentence's beams, (sentences, up to width) each.

    Args:
        log_probabilities: of the next token, (sentences * beams, V).
        totals: of what beams have so far, (sentences, beams); -inf where there is no beam.
        width: how many to return.
        end, forbidden: see `beam_search`.

    Returns:
        Their log-probabilities, the numbers of the beams that they continue, and their tokens.
    """
    count, beams = totals.shape
    expect("log_probabilities", log_probabilities, (count * beams, None), "rows of the step")
    vocabulary = log_probabilities.shape[1]
    highest = max(end, *forbidden, 0)
    if highest >= vocabulary:
        raise UsageError(f"token {highest} is named and the decoder knows {vocabulary}: name one below that")
    padded = nn.functional.pad(log_probabilities, (0, -vocabulary % _BLOCK), value=-math.inf)  # always a copy
    if len(forbidden):
        padded[:, list(forbidden)] = -math.inf
    vocabulary = padded.shape[1]
    padded, before = padded.view(count, beams, vocabulary), torch.from_numpy(totals).to(padded.device)
    values, places = (each.cpu().numpy() for each in _largest(padded, before, width + 1))
    if not (values[:, 0] <= 0).all():  # topk takes nan for the largest
        raise UsageError("the decoder returned log-probabilities that are nan or above zero: check its weights")
    order = places // vocabulary + beams * (places % vocabulary)  # by token, then by beam
    # topk leaves open which of equal ones it takes. One more than needed shows whether any was left out.
    is_tied = ((values[:, width:] == values[:, width - 1 : width]) & (values[:, width:] > -np.inf)).any(axis=1)
    if is_tied.any():
        tied = torch.from_numpy(is_tied).to(padded.device)
        by_token = (padded[tied] + before[tied][..., None]).transpose(1, 2).flatten(1)
        in_order = by_token.sort(dim=1, descending=True, stable=True).indices
        order[is_tied] = in_order[:, : order.shape[1]].cpu().numpy()
    values, order = values[:, :width], order[:, :width]
    ranks = (np.arange(count)[:, None], np.lexsort((order, -values)))
    values, order = values[ranks], order[ranks]
    return values, order % beams, order // beams


def _largest(log_probabilities: Tensor, before: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest sums of each sentence, largest first, and their places among its beams * V.

    The `count` largest are in the `count` blocks with the largest maxima. So all numbers are read once, without a sum,
    and few twice; topk of all sums takes several times as long.

    Args:
        log_probabilities: (sentences, beams, V), V a multiple of the block's size.
        before: to be added, (sentences, beams).
        count: how many; all where there are fewer.
    """
    blocks = log_probabilities.view(*before.shape, -1, _BLOCK)
    maxima = (blocks.amax(dim=3) + before[..., None]).flatten(1)
    which = maxima.topk(min(count, maxima.shape[1])).indices
    inside = blocks.flatten(1, 2).gather(1, which[..., None].expand(-1, -1, _BLOCK))
    sums = (inside + before.gather(1, which // blocks.shape[2])[..., None]).flatten(1)
    largest, places = sums.topk(min(count, sums.shape[1]))
    return largest, which.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK


def _open_first(is_open: Truths, goes_on: Truths) -> tuple[tuple[Integers, Integers], Truths]:
    """Where the open beams of the sentences that go on are, as many for each as the one with most has.

    Where a sentence has fewer, its first one stands in, and the second result is false.
    """
    going = np.flatnonzero(goes_on)[:, None]
    counts = is_open[goes_on].sum(axis=1, keepdims=True)
    order = np.argsort(~is_open[goes_on], axis=1, kind="stable")[:, : counts.max()]
    is_real = np.arange(order.shape[1]) < counts
    return (going, np.where(is_real, order, order[:, :1])), is_real


def _check(
    batch: int,
    width: int,
    start: int,
    end: int,
    max_tokens: Sequence[int],
    length_penalty: float,
    best: int,
    forbidden: Sequence[int],
) -> None:
    if width < 1:
        raise UsageError(f"width is {width}: give a whole number of at least 1")
    if not 1 <= best <= width:
        raise UsageError(f"best is {best}: give at least 1 and at most the width, {width}")
    if len(max_tokens) != batch:
        raise UsageError(f"max_tokens has {len(max_tokens)} numbers for {batch} sentences: give one for each")
    if batch and min(max_tokens) < 1:
        raise UsageError(f"max_tokens has {min(max_tokens)}: give whole numbers of at least 1")
    if not 0 <= length_penalty < math.inf:
        raise UsageError(f"length_penalty is {length_penalty}: give a number of at least 0")
    if min(start, end, *forbidden) < 0:
        raise UsageError(f"token {min(start, end, *forbidden)} is named: tokens are at least 0")
