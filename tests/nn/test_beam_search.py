"""Beam search against loops over single hypotheses, against enumeration, and one sentence against many."""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unrolled.errors import ShapeError, UsageError
from unrolled.nn import Attention
from unrolled.nn.beam_search import Hypothesis, beam_search

V, START, END = 4, 1, 2
Tokens = tuple[int, ...]
After = Callable[[Tokens], list[float]]


class Found(NamedTuple):
    """A hypothesis of the loops."""

    tokens: Tokens
    log_probability: float
    score: float
    is_complete: bool


@dataclass
class Decoder:
    """Log-probabilities drawn for each sentence and each history; its state is the sentence and what was read.

    With `is_tied` they are -1, -2 and so on: many are equal, and sums are exact. The share `impossible` is -inf.
    """

    seed: int
    vocabulary: int = V
    is_tied: bool = False
    impossible: float = 0.0
    has_side: bool = True
    known: dict[tuple[int, Tokens], list[float]] = field(default_factory=dict)
    sentences: list[list[int]] = field(default_factory=list)
    selected: list[list[int]] = field(default_factory=list)

    def after(self, sentence: int, tokens: Tokens) -> list[float]:
        if (sentence, tokens) not in self.known:
            draw = np.random.default_rng([self.seed, sentence, len(tokens), *tokens])
            if self.is_tied:
                values = -draw.integers(1, 4, self.vocabulary).astype(np.float64)
            else:
                values = 1.5 * draw.normal(size=self.vocabulary)
                values -= np.log(np.exp(values).sum())
            values[draw.random(self.vocabulary) < self.impossible] = -np.inf
            self.known[sentence, tokens] = values.tolist()
        return self.known[sentence, tokens]

    def of(self, sentence: int) -> After:
        return lambda tokens: self.after(sentence, tokens)

    def step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
        state = torch.cat([state, tokens[:, None]], dim=1)
        histories = state.tolist()
        assert all(history[1] == START for history in histories)
        self.sentences.append([history[0] for history in histories])
        rows = [self.after(history[0], tuple(history[2:])) for history in histories]
        log_probabilities = torch.tensor(rows, dtype=torch.float64)
        return (log_probabilities, state, state) if self.has_side else (log_probabilities, state)

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        self.selected.append(rows.tolist())
        return state[rows]

    def search(self, sentences: Sequence[int], **options: Any) -> list[list[Hypothesis]]:
        state = torch.tensor(sentences, dtype=torch.int64)[:, None]
        return beam_search(self.step, self.select, state, batch=len(sentences), start=START, end=END, **options)


def score(log_probability: float, length: int, penalty: float) -> float:
    divisor: float = ((5 + length) / 6) ** penalty
    return log_probability / divisor


def by_loops(
    after: After, *, width: int, max_tokens: int, length_penalty: float, best: int, forbidden: Sequence[int] = ()
) -> list[Found]:
    """One sentence, one candidate after another, to the very end: nothing stops before its last step."""
    beams: list[tuple[float, Tokens]] = [(0.0, ())]
    complete: list[Found] = []
    for length in range(1, max_tokens + 1):
        candidates = [
            (-(total + value), token, number)
            for number, (total, tokens) in enumerate(beams)
            for token, value in enumerate(after(tokens))
            if token not in forbidden and value > -math.inf
        ]
        kept, before, beams = sorted(candidates)[:width], beams, []
        for negative, token, number in kept:
            tokens = before[number][1]
            if token == END:
                complete.append(Found(tokens, -negative, score(-negative, length, length_penalty), True))
                width -= 1
            else:
                beams.append((-negative, (*tokens, token)))
    complete.sort(key=lambda each: -each.score)
    incomplete = [Found(tokens, total, score(total, max_tokens, length_penalty), False) for total, tokens in beams]
    return (complete + incomplete)[:best]


def by_enumeration(after: After, *, max_tokens: int, length_penalty: float, best: int) -> list[Found]:
    """All outputs of at most so many tokens, the end token included."""
    words = [token for token in range(V) if token != END]
    found = []
    for length in range(1, max_tokens + 1):
        for tokens in itertools.product(words, repeat=length - 1):
            total = sum(after(tokens[:i])[token] for i, token in enumerate((*tokens, END)))
            found.append(Found(tokens, total, score(total, length, length_penalty), True))
    for tokens in itertools.product(words, repeat=max_tokens):
        total = sum(after(tokens[:i])[token] for i, token in enumerate(tokens))
        found.append(Found(tokens, total, score(total, max_tokens, length_penalty), False))
    return sorted(found, key=lambda each: (not each.is_complete, -each.score))[:best]


def greedily(after: After, max_tokens: int) -> tuple[Tokens, float, bool]:
    tokens: Tokens = ()
    total = 0.0
    while len(tokens) < max_tokens:
        values = after(tokens)
        token = values.index(max(values))
        total += values[token]
        if token == END:
            return tokens, total, True
        tokens += (token,)
    return tokens, total, False


def as_found(hypotheses: list[Hypothesis]) -> list[Found]:
    assert all(type(token) is int for each in hypotheses for token in each.tokens)
    return [Found(each.tokens, each.log_probability, each.score, each.is_complete) for each in hypotheses]


def assert_same(got: list[Hypothesis], expected: list[Found]) -> None:
    assert [(each.tokens, each.is_complete) for each in got] == [(each.tokens, each.is_complete) for each in expected]
    for one, two in zip(got, expected, strict=True):
        assert one.log_probability == pytest.approx(two.log_probability, rel=1e-13)
        assert one.score == pytest.approx(two.score, rel=1e-13)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_width_of_one_is_greedy(seed: int, length_penalty: float) -> None:
    decoder = Decoder(seed, is_tied=seed % 2 == 1)
    limits = [9, 1, 4, 2, 12, 7]
    found = decoder.search(range(6), width=1, max_tokens=limits, length_penalty=length_penalty)
    for sentence, (hypotheses, limit) in enumerate(zip(found, limits, strict=True)):
        tokens, total, is_complete = greedily(decoder.of(sentence), limit)
        length = len(tokens) + is_complete
        assert_same(hypotheses, [Found(tokens, total, score(total, length, length_penalty), is_complete)])


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("max_tokens", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_all_outputs_finds_the_best_of_all(seed: int, max_tokens: int, length_penalty: float) -> None:
    decoder, width = Decoder(seed), V**max_tokens
    for best in {1, min(7, width), width}:
        options = {"length_penalty": length_penalty, "best": best}
        (got,) = decoder.search([seed], width=width, max_tokens=[max_tokens], **options)
        assert_same(got, by_enumeration(decoder.of(seed), max_tokens=max_tokens, **options))


def settings(seed: int) -> tuple[Decoder, dict[str, Any], list[int]]:
    choose = random.Random(seed)
    decoder = Decoder(
        seed,
        vocabulary=choose.choice([3, 4, 5, 7, 64, 65, 200]),
        is_tied=choose.random() < 0.5,
        impossible=choose.choice([0.0, 0.0, 0.3, 0.6]),
        has_side=choose.random() < 0.5,
    )
    width = choose.randint(1, 9)
    options = {
        "width": width,
        "length_penalty": choose.choice([0.0, 0.0, 0.7, 2.0]),
        "best": choose.randint(1, width),
        "forbidden": choose.sample(range(decoder.vocabulary), choose.choice([0, 0, 1, 2])),
    }
    return decoder, options, [choose.randint(1, 9) for _ in range(choose.randint(1, 5))]


@pytest.mark.parametrize("seed", range(120))
def test_it_is_the_loops_that_never_stop_early(seed: int) -> None:
    """To the last bit: ties are broken as there, and no sentence feels its neighbours."""
    decoder, options, limits = settings(seed)
    found = decoder.search(range(len(limits)), max_tokens=limits, **options)
    for sentence, (got, limit) in enumerate(zip(found, limits, strict=True)):
        assert as_found(got) == by_loops(decoder.of(sentence), max_tokens=limit, **options)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_among_equal_ones_far_apart_the_lowest_tokens_win(width: int) -> None:
    """A few equally probable tokens among many, in rows of their own for each of 50 sentences."""
    draw = np.random.default_rng(width)
    likely = [sorted(draw.choice(np.arange(3, 2000), 9, replace=False).tolist()) for _ in range(50)]

    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.full((50, 2000), -9.0)
        for row, chosen in zip(rows, likely, strict=True):
            row[chosen] = -1.0
        return rows, state

    options: dict[str, Any] = {"width": width, "best": width, "max_tokens": [1] * 50}
    found = beam_search(step, lambda state, _: state, torch.zeros(50), batch=50, start=START, end=END, **options)
    assert [[each.tokens[0] for each in hypotheses] for hypotheses in found] == [each[:width] for each in likely]


@pytest.mark.parametrize("seed", range(40))
def test_a_sentence_in_a_batch_is_the_sentence_alone(seed: int) -> None:
    decoder, options, limits = settings(seed)
    together = decoder.search(range(len(limits)), max_tokens=limits, **options)
    backwards = decoder.search(range(len(limits))[::-1], max_tokens=limits[::-1], **options)
    alone = [decoder.search([i], max_tokens=[limit], **options)[0] for i, limit in enumerate(limits)]
    assert together == alone == backwards[::-1]


@pytest.mark.parametrize("seed", range(40))
def test_side_rows_belong_to_their_hypothesis(seed: int) -> None:
    decoder, options, limits = settings(seed)
    for sentence, hypotheses in enumerate(decoder.search(range(len(limits)), max_tokens=limits, **options)):
        for hypothesis in hypotheses:
            if not decoder.has_side:
                assert hypothesis.side == ()
                continue
            read = [START, *hypothesis.tokens][: len(hypothesis.side)]
            assert len(hypothesis.side) == len(hypothesis.tokens) + hypothesis.is_complete
            assert [row.tolist() for row in hypothesis.side] == [[sentence, *read[: i + 1]] for i in range(len(read))]


@pytest.mark.parametrize("forbidden", [[0], [3, 0], [END], [END, 0, 1]])
def test_forbidden_tokens_never_occur(forbidden: list[int]) -> None:
    decoder = Decoder(5)
    found = decoder.search(range(5), width=4, max_tokens=[6] * 5, best=4, forbidden=forbidden)
    for hypotheses in found:
        assert hypotheses
        assert not any(token in forbidden for hypothesis in hypotheses for token in hypothesis.tokens)
        if END in forbidden:
            assert not any(hypothesis.is_complete for hypothesis in hypotheses)
    free = decoder.search(range(5), width=4, max_tokens=[6] * 5, best=4)
    assert {token for hypotheses in free for each in hypotheses for token in each.tokens} == {0, 1, 3}


def test_with_nothing_left_to_choose_there_is_no_hypothesis() -> None:
    assert Decoder(1).search([0, 1], width=3, max_tokens=[4, 4], forbidden=range(V)) == [[], []]
    assert Decoder(1).search([], width=3, max_tokens=[]) == []


def test_incomplete_ones_fill_up_behind_complete_ones() -> None:
    """The end has e^-5 at each step, the other token 1: what ends is far less probable and still ahead."""

    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[0.0, -math.inf, -5.0, -math.inf]]).repeat(len(tokens), 1), state

    (got,) = beam_search(
        step,
        lambda state, rows: state[rows],
        torch.zeros(1, 1),
        batch=1,
        width=3,
        start=START,
        end=END,
        max_tokens=[2],
        length_penalty=1.0,
        best=3,
    )
    assert as_found(got) == [
        Found((0,), -5.0, -5 / (7 / 6), True),
        Found((), -5.0, -5.0, True),
        Found((0, 0), 0.0, 0.0, False),
    ]


def test_rows_of_finished_sentences_are_dropped_and_the_rest_stays_in_order() -> None:
    decoder = Decoder(3)
    limits = [2, 12, 5, 1, 12]
    decoder.search(range(5), width=3, max_tokens=limits)
    assert decoder.sentences[0] == [0, 1, 2, 3, 4]
    for number, sentences in enumerate(decoder.sentences):
        each = sorted(set(sentences))
        assert all(number < limits[sentence] for sentence in each)
        assert len(sentences) <= 3 * len(each)
        assert sentences == [sentence for sentence in each for _ in range(len(sentences) // len(each))]
    assert len(decoder.sentences) <= max(limits)


def test_what_can_no_longer_win_is_not_followed() -> None:
    """Ending at once has -1; the open one has -2, which as -2 / ((5 + m) / 6) beats -1 where m > 7."""

    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        read.append(len(tokens))
        first, later = [-2.0, -math.inf, -1.0, -math.inf], [0.0, -math.inf, -math.inf, -math.inf]
        return torch.tensor([first if len(read) == 1 else later] * len(tokens)), state

    for limit, steps in ((7, 1), (8, 8)):
        read: list[int] = []
        (got,) = beam_search(
            step,
            lambda state, rows: state[rows],
            torch.zeros(1, 1),
            batch=1,
            width=2,
            start=START,
            end=END,
            max_tokens=[limit],
            length_penalty=1.0,
        )
        assert as_found(got) == [Found((), -1.0, -1.0, True)]
        assert read == [1] * steps


def test_rows_are_selected_only_where_they_change() -> None:
    decoder = Decoder(2)
    decoder.search([4], width=1, max_tokens=[6], forbidden=[END])
    assert len(decoder.sentences) == 6
    assert decoder.selected == []


@pytest.mark.parametrize("vocabulary", [5, 64, 128])
def test_what_the_decoder_returned_is_left_alone(vocabulary: int) -> None:
    table = torch.randn(2, vocabulary, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    before = table.clone()
    search_two(lambda tokens, state: (table[: len(tokens)], state), forbidden=[0, 3])
    assert torch.equal(table, before)


class Translator(nn.Module):
    """A small decoder with attention: GRU cell, general attention, output layer."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.embedding, self.cell, self.output = nn.Embedding(7, 4), nn.GRUCell(4, 5), nn.Linear(5 + 3, 7)
        self.attention = Attention("general", 5, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-1.2, 1.2, generator=generator)
        self.double()

    def step(self, tokens: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        hidden, keys, memory, lengths = state
        hidden = self.cell(self.embedding(tokens), hidden)
        context, weights = self.attention(hidden[None], keys, memory, lengths)
        scores = self.output(torch.cat([hidden, context[0]], dim=-1))
        return scores.log_softmax(-1), (hidden, keys, memory, lengths), weights[0]

    def begin(self, memory: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        hidden = torch.zeros(len(lengths), 5, dtype=torch.float64)
        return hidden, self.attention.project(memory), memory, lengths


def select_rows(state: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    hidden, keys, memory, lengths = state
    return hidden[rows], keys[:, rows], memory[:, rows], lengths[rows]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_decoder_with_attention(length_penalty: float) -> None:
    """Each hypothesis, read again by itself from its source alone, has the probability and the weights it came with."""
    translator, lengths = Translator(), torch.tensor([4, 1, 6])
    memory = 2 * torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = beam_search(
        translator.step,
        select_rows,
        translator.begin(memory, lengths),
        batch=3,
        width=5,
        start=START,
        end=END,
        max_tokens=[8, 3, 12],
        length_penalty=length_penalty,
        best=4,
        forbidden=[START],
    )
    for i, hypotheses in enumerate(found):
        length = int(lengths[i])
        assert len({each.tokens for each in hypotheses}) == 4
        for hypothesis in hypotheses:
            state, total, token = translator.begin(memory[:length, [i]], lengths[[i]]), 0.0, START
            targets = [*hypothesis.tokens, END] if hypothesis.is_complete else [*hypothesis.tokens]
            for target, side in zip(targets, hypothesis.side, strict=True):
                log_probabilities, state, weights = translator.step(torch.tensor([token]), state)
                total, token = total + log_probabilities[0, target].item(), target
                assert not side.requires_grad
                assert (side[length:] == 0).all()
                torch.testing.assert_close(side[:length], weights[0].detach(), rtol=0, atol=1e-12)
            assert hypothesis.log_probability == pytest.approx(total, abs=1e-11)
            assert hypothesis.score == pytest.approx(score(total, len(targets), length_penalty), abs=1e-11)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, "width is 0: give a whole number of at least 1"),
        ({"best": 0}, "best is 0: give at least 1 and at most the width, 3"),
        ({"best": 4}, "best is 4: give at least 1 and at most the width, 3"),
        ({"max_tokens": [3]}, "max_tokens has 1 numbers for 2 sentences: give one for each"),
        ({"max_tokens": [3, 0]}, "max_tokens has 0: give whole numbers of at least 1"),
        ({"length_penalty": -0.1}, "length_penalty is -0.1: give a number of at least 0"),
        ({"length_penalty": math.nan}, "length_penalty is nan: give a number of at least 0"),
        ({"forbidden": [0, -1]}, "token -1 is named: tokens are at least 0"),
        ({"forbidden": [0, V]}, "token 4 is named and the decoder knows 4: name one below that"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    fitting: dict[str, Any] = {"width": 3, "max_tokens": [3, 4]}
    Decoder(1).search([0, 1], **fitting)
    with pytest.raises(UsageError) as error:
        Decoder(1).search([0, 1], **fitting | changed)
    assert str(error.value) == message


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_what_is_no_log_probability_is_refused(value: float) -> None:
    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[-1.0, -2.0, -3.0, -4.0], [-1.0, value, -3.0, -4.0]]), state

    with pytest.raises(UsageError, match=r"^the decoder returned log-probabilities that are nan or above zero"):
        search_two(step)


def test_another_number_of_rows_is_refused() -> None:
    def short(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full((1, V), -1.0), state

    def beside(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.full((2, V), -1.0), state, torch.zeros(3, 5)

    with pytest.raises(ShapeError, match=r"^log_probabilities has shape \(1, 4\): expected \(2, any\)"):
        search_two(short)
    with pytest.raises(ShapeError, match=r"^side has shape \(3, 5\): expected \(2, 5\)"):
        search_two(beside)


def search_two(step: Callable[[Tensor, Tensor], Any], forbidden: Sequence[int] = ()) -> None:
    beam_search(
        step,
        lambda state, rows: state[rows],
        torch.zeros(2, 1),
        batch=2,
        width=1,
        start=START,
        end=END,
        max_tokens=[3, 3],
        forbidden=forbidden,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_kept_in_single_precision_at_least(dtype: torch.dtype) -> None:
    def step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tensor([[-0.0078125, -9.0, -9.0, -9.0]], dtype=dtype).repeat(len(tokens), 1), state

    ((got,),) = beam_search(
        step,
        lambda state, rows: state[rows],
        torch.zeros(1, 1),
        batch=1,
        width=1,
        start=START,
        end=END,
        max_tokens=[400],
    )
    assert got.log_probability == -3.125
    assert got.tokens == (0,) * 400
