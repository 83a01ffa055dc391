"""A session is the text so far, however it came: fed in pieces, generated, taken back; exceptions change nothing."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import LanguageModel, Sampling, Session
from unrolled.engines import Reading
from unrolled.errors import EngineError, TokenizerError, UsageError
from unrolled.inference.session import HISTORY
from unrolled.inference.suggestions import Suggestion, Words
from unrolled.text.pieces import settled_length

from .by_hand import log_probabilities

KINDS = ("word", "char", "bpe", "sentences")
TEXT = "the cat sees a dog, again.\nZoë won't see the giraffe: 3.14 mice — all of them!\n\nno one sees 日本 (a dog)"
PIECES = st.text(st.sampled_from(TEXT + "\t\u00a0\u2060qж “-''"), max_size=12) | st.sampled_from(TEXT.split(" "))


@pytest.fixture(scope="module", params=KINDS)
def directory(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def model(directory: Path) -> LanguageModel:
    return LanguageModel.load(directory, dtype="float64")


def next_by_hand(directory: Path, ids: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """log p of what follows ids (N,) that follow an end of line, the long way: (V,)."""
    logs: npt.NDArray[np.float64] = log_probabilities(directory, [*np.asarray(ids, np.int64), 0])[-1]
    return logs


def fed(model: LanguageModel, *texts: str, history: int = HISTORY) -> Session:
    session = model.session(history=history)
    for text in texts:
        session.feed(text)
    return session


def with_output_bias(model: LanguageModel, token_id: int, bias: float) -> LanguageModel:
    """The same model, except that one token is so much more probable."""
    output_bias = model.weights.output_bias.copy()
    output_bias[token_id] += bias
    weights = dataclasses.replace(model.weights, output_bias=output_bias)
    return LanguageModel(model.config, model.tokenizer, weights, model.engine)


# Feeding


def test_a_session_begins_as_any_text_does(directory: Path, model: LanguageModel) -> None:
    session = model.session()
    assert (session.tokens, session.unknown) == ((), 0)
    np.testing.assert_allclose(session.log_probabilities(), next_by_hand(directory, []), rtol=0, atol=1e-10)


def test_the_next_token_is_as_probable_as_the_reference_says(directory: Path, model: LanguageModel) -> None:
    session, text = model.session(), ""
    for piece in ("the c", "at se", "es", " ", "a giraffe", ",", "\n", "日", "本 (a", " dog"):
        session.feed(piece)
        text += piece
        ids = model.tokenizer.encode(text)
        logs = session.log_probabilities()
        assert session.tokens == tuple(ids.tolist())
        assert session.unknown == int(np.sum(ids == model.tokenizer.unknown_id))
        assert logs.dtype == np.float64
        np.testing.assert_allclose(logs, next_by_hand(directory, ids), rtol=0, atol=1e-10)
        assert session.log_probabilities() is logs, "nothing was fed: nothing is computed again"
        with pytest.raises(ValueError, match="read-only"):
            logs[0] = 0.0


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(PIECES, max_size=6), asks=st.lists(st.booleans(), min_size=6, max_size=6))
def test_feeding_pieces_is_feeding_the_whole(model: LanguageModel, pieces: list[str], asks: list[bool]) -> None:
    text, session = "".join(pieces), model.session(history=5)
    for piece, is_asked in zip(pieces, asks, strict=False):
        session.feed(piece)
        if is_asked:
            session.log_probabilities()
    whole = fed(model, text, history=5)
    assert fed(model, text, history=999).tokens == tuple(model.tokenizer.encode(text).tolist())
    assert session.tokens == whole.tokens
    assert session.unknown == whole.unknown == int(np.sum(model.tokenizer.encode(text) == model.tokenizer.unknown_id))
    np.testing.assert_allclose(session.log_probabilities(), whole.log_probabilities(), rtol=0, atol=1e-10)
    assert session.score("at sees") == pytest.approx(whole.score("at sees"), abs=1e-10)
    assert list(session.generate(max_tokens=9, seed=1)) == list(whole.generate(max_tokens=9, seed=1))
    for each in (session, whole):
        each.rewind(len(each.tokens))
    np.testing.assert_allclose(session.log_probabilities(), whole.log_probabilities(), rtol=0, atol=1e-10)


class Counted:
    """A predictor that writes down how many tokens each call of `read` read, and fails when it is told to."""

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self.weights = predictor.weights
        self.reads: list[int] = []
        self.fails: BaseException | None = None

    def read(self, inputs: Any, lengths: Any, state: Any = None, **options: Any) -> Reading:
        if self.fails is not None:
            raise self.fails
        self.reads.append(len(inputs))
        read: Reading = self._predictor.read(inputs, lengths, state, **options)
        return read

    def log_probabilities(self, state: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return self._predictor.log_probabilities(state)

    def decode(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        for number, piece in enumerate(self._predictor.decode(*arguments, **options)):
            if self.fails is not None and number > 0:
                raise self.fails
            yield piece


@pytest.fixture
def counted(directory: Path) -> tuple[LanguageModel, Counted]:
    model = LanguageModel.load(directory, dtype="float64", engine="portable")
    model.predictor = predictor = Counted(model.predictor)
    return model, predictor


def test_a_feed_is_one_call_and_a_long_one_two_and_nothing_is_read_twice(
    counted: tuple[LanguageModel, Counted],
) -> None:
    model, predictor = counted
    session = model.session(history=100)
    session.feed("the cat sees a dog.\n")
    tokens = len(session.tokens)
    assert predictor.reads == [tokens], "all but the last, and the first end of line"
    session.log_probabilities()
    session.log_probabilities()
    session.feed("the cat sees ")
    assert len(predictor.reads) == 3
    session.feed("the cat sees a dog.\n" * 500)
    assert len(predictor.reads) == 5
    session.feed("a dog\n")
    assert len(predictor.reads) == 6
    text = "the cat sees a dog.\nthe cat sees " + "the cat sees a dog.\n" * 500 + "a dog\n"
    assert sum(predictor.reads) == len(model.tokenizer.encode(text))


def test_a_line_without_an_end_is_not_encoded_again_and_again(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest, encode = 0, model.tokenizer.encode

    def measured(text: str) -> Any:
        nonlocal longest
        longest = max(longest, len(text))
        return encode(text)

    monkeypatch.setattr(model.tokenizer, "encode", measured)
    session, text = model.session(), "the cat sees a dog, again: " * 40
    for character in text:
        session.feed(character)
    assert longest < 10
    monkeypatch.undo()
    whole = fed(model, text)
    assert session.tokens == whole.tokens
    np.testing.assert_allclose(session.log_probabilities(), whole.log_probabilities(), rtol=0, atol=1e-10)


def test_memory_stays_bounded(model: LanguageModel) -> None:
    session = model.session(history=10)
    for number in range(400):
        session.feed("the cat sees a giraffe.\n" if number % 20 else "a dog won't see\n" * 50)
        session.log_probabilities()
        history = session._place.history
        assert len(history.tokens) < 80
        assert len(history.states) < 30
    assert len(session.tokens) == 10
    assert session.unknown == (380 if model.tokenizer.unit == "word" else 0)


def test_text_with_lone_surrogates_is_refused_and_not_fed(model: LanguageModel) -> None:
    session = fed(model, "the cat")
    if model.tokenizer.unit == "char":
        session.feed("\ud800")
        assert session.unknown == 1
        return
    for call in (session.feed, session.score):
        with pytest.raises(TokenizerError, match="lone surrogate"):
            call("a \ud800")
    assert session.tokens == fed(model, "the cat").tokens
    assert session.suggest(prefix="\ud800") == []


# What comes next


@pytest.mark.parametrize("text", ["", "the cat", "the cat ", "a dog sees ", "no one sees.", "the\n"])
def test_words_are_suggested_with_their_probabilities(directory: Path, model: LanguageModel, text: str) -> None:
    session = fed(model, text)
    before = session.tokens
    suggestions = session.suggest(4)
    assert session.tokens == before
    assert len({suggestion.text for suggestion in suggestions}) == len(suggestions) == 4
    assert [s.probability for s in suggestions] == sorted((s.probability for s in suggestions), reverse=True)
    for suggestion in suggestions:
        expected = probability_by_hand(directory, model, text, suggestion)
        assert suggestion.probability == pytest.approx(expected, rel=1e-9)
    more = session.suggest(50)
    assert more[:2] == suggestions[:2]
    if model.tokenizer.unit == "word":
        assert more[:4] == suggestions, "others are searched for, the wider the more are asked for"
    assert sum(s.probability for s in more) <= 1 + 1e-9


def probability_by_hand(directory: Path, model: LanguageModel, text: str, suggestion: Suggestion) -> float:
    """Of the suggestion's tokens one after the other, and of a token that ends the word."""
    ids = model.tokenizer.encode(text)
    if model.tokenizer.unit == "bpe" and text.endswith(" "):
        ids = model.tokenizer.encode(text[:-1])  # the blank is part of the word's token
    total = 0.0
    for token in suggestion.tokens:
        total += next_by_hand(directory, ids)[token]
        ids = np.append(ids, token)
    if model.tokenizer.unit != "word" and re.match(r"[\w'-]", suggestion.text):
        firsts = [piece.decode(errors="replace")[0] for piece in Words(model.tokenizer, lowercase=False).pieces]
        ends = [n for n, first in enumerate(firsts) if not re.match(r"[\w'’\ufffd-]", first)]  # U+FFFD: in a letter
        ends = [n for n in ends if n != model.tokenizer.unknown_id]
        total += np.logaddexp.reduce(next_by_hand(directory, ids)[ends])
    return math.exp(total)


def test_a_prefix_leaves_out_other_words_and_changes_nothing_else(model: LanguageModel) -> None:
    for text in ("", "the cat ", "the cat", "a dog sees the "):
        session = fed(model, text)
        everything = session.suggest(60)
        for prefix in ("s", "n", "the", "won", "caf", "Zo"):
            found = session.suggest(60, prefix)
            written = prefix.lower() if model.config["text"]["lowercase"] else prefix
            assert all(suggestion.text.startswith(written) for suggestion in found)
            texts = [suggestion.text for suggestion in found]
            assert [s.text for s in everything if s.text.startswith(written) and s.text not in texts] == []
    assert fed(model, "the ").suggest(1, "ca")[0].text in {"cat", "café"}
    if model.tokenizer.unit != "bpe":  # which can write all
        assert fed(model, "the cat ").suggest(3, "zzz") == []


def test_what_is_suggested_can_be_fed(model: LanguageModel) -> None:
    session = fed(model, "the cat ")
    for suggestion in session.suggest(3):
        branch = session.branch()
        branch.feed(suggestion.text)
        if model.tokenizer.unit != "bpe":  # which may put the same word together in another way
            assert branch.tokens == (*session.tokens, *suggestion.tokens)
    assert session.suggest(1)[0].text.startswith("see")


def test_the_end_of_the_line_is_suggested_as_it_is_and_the_unknown_token_never(model: LanguageModel) -> None:
    ending = with_output_bias(model, model.tokenizer.end_of_line_id, 50.0)
    for text in ("the cat", "the cat sees no one."):
        (first, *_) = fed(ending, text).suggest()
        assert first.text == "\n"
        assert first.probability == pytest.approx(1)
    if model.tokenizer.unknown_id is not None:
        eager = with_output_bias(model, model.tokenizer.unknown_id, 50.0)
        suggestions = fed(eager, "the cat ").suggest(100)
        assert suggestions
        assert all("unk" not in suggestion.text for suggestion in suggestions)
        assert sum(suggestion.probability for suggestion in suggestions) < 1e-9


def test_symbols_that_read_alike_are_suggested_once(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("word"))
    texts = [suggestion.text for suggestion in fed(model, "the").suggest(1000)]
    assert len(texts) == len(set(texts)) == len({t.replace("\u2060", "") for t in model.tokenizer.tokens}) - 1


# Scores


def test_a_line_is_worth_what_the_model_says_of_it(model: LanguageModel) -> None:
    for line in TEXT.split("\n"):
        session = model.session()
        assert session.score(line + "\n") == pytest.approx(model.score([line])[0].log_probability, rel=1e-10)
        assert session.tokens == ()


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(PIECES, min_size=1, max_size=5))
def test_the_scores_of_pieces_add_up(model: LanguageModel, pieces: list[str]) -> None:
    session, whole, total = model.session(history=3), model.session().score("".join(pieces)), 0.0
    for piece in pieces:
        before = session.tokens
        score = session.score(piece)
        assert session.tokens == before
        assert session.branch().score(piece) == score
        session.feed(piece)
        total += score
    assert total == pytest.approx(whole, abs=1e-9)
    assert session.score("") == 0.0


def test_a_score_counts_words_that_the_text_completes(directory: Path, model: LanguageModel) -> None:
    def total(text: str) -> float:
        ids = model.tokenizer.encode(text)
        return float(log_probabilities(directory, ids)[np.arange(len(ids)), ids].sum()) if len(ids) else 0.0

    for text, more in (("the ca", "t sees"), ("the cat", "s"), ("the cat ", "sees a"), ("3", ".14 mice"), ("", "a")):
        assert fed(model, text).score(more) == pytest.approx(total(text + more) - total(text), abs=1e-9)


# Branching and going back


def test_branches_are_independent(directory: Path, model: LanguageModel) -> None:
    session = fed(model, "the cat ")
    logs = session.log_probabilities().copy()
    one, other = session.branch(), session.branch()
    one.feed("sees a dog")
    "".join(other.generate(max_tokens=5, seed=1))
    other.rewind(3)
    for each in (session, one, other):
        expected = next_by_hand(directory, each.tokens)
        np.testing.assert_allclose(each.log_probabilities(), expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(session.log_probabilities(), logs)
    assert one.tokens == tuple(model.tokenizer.encode("the cat sees a dog").tolist())


def test_going_back_is_never_having_read(directory: Path, model: LanguageModel) -> None:
    session = fed(model, TEXT + "\n", "a d")
    ids = session.tokens
    for taken in (0, 1, 2, 7, 1):
        session.rewind(taken)
        ids = ids[: len(ids) - taken]
        assert session.tokens == ids
        np.testing.assert_allclose(session.log_probabilities(), next_by_hand(directory, ids), rtol=0, atol=1e-10)
    session.feed("the café")
    ids = (*ids, *model.tokenizer.encode("the café").tolist())
    assert session.tokens == ids, "what is left stays as it is: new text begins new tokens"
    np.testing.assert_allclose(session.log_probabilities(), next_by_hand(directory, ids), rtol=0, atol=1e-10)
    session.rewind(len(ids))
    assert session.tokens == ()
    with pytest.raises(
        UsageError, match=r"^1 tokens are to be taken back, and only 0 can be: take back fewer, or begin"
    ):
        session.rewind()


def test_going_back_is_bounded_by_the_history(model: LanguageModel) -> None:
    session = fed(model, TEXT * 9 + "\n", history=20)
    before = session.tokens
    assert before == tuple(model.tokenizer.encode(TEXT * 9 + "\n").tolist()[-20:])
    with pytest.raises(UsageError, match=r"^21 tokens are .* only 20 can be: .* model\.session\(history=\.\.\.\)"):
        session.rewind(21)
    with pytest.raises(UsageError, match=r"^tokens is -1: give a whole number of at least 0$"):
        session.rewind(-1)
    assert session.tokens == before
    session.rewind(20)
    assert session.tokens == ()
    session.feed("the cat ")
    assert session.tokens[:2] == tuple(model.tokenizer.encode("the cat ").tolist()[:2])
    with pytest.raises(UsageError, match=r"^history is 0: give a whole number of at least 1$"):
        model.session(history=0)


def test_going_back_reads_no_more_than_the_history_again(counted: tuple[LanguageModel, Counted]) -> None:
    model, predictor = counted
    session = fed(model, "the cat sees a dog.\n" * 300, history=50)
    predictor.reads.clear()
    for _ in range(50):
        session.rewind()
        session.log_probabilities()
    assert max(predictor.reads) < 60


# Generating


@pytest.mark.parametrize("prompt", ["", "the cat", "the cat ", "a dog sees.\nthe", "the café,\n", "日本"])
@pytest.mark.filterwarnings("ignore::unrolled.inference.UnknownTokenWarning")
def test_what_follows_a_prompt_is_what_the_model_generates(model: LanguageModel, prompt: str) -> None:
    for seed, sampling in ((1, None), (2, Sampling(temperature=2.0)), (3, Sampling(greedy=True))):
        (expected,) = model.generate(prompt, max_tokens=25, seed=seed, sampling=sampling)
        for cut in {0, len(prompt) // 2, len(prompt)}:
            session = fed(model, prompt[:cut], prompt[cut:])
            made = "".join(session.generate(max_tokens=25, seed=seed, sampling=sampling))
            assert prompt + made == expected


def test_the_session_has_read_what_was_handed_out(directory: Path, model: LanguageModel) -> None:
    for stop in (0, 1, 2, 9):
        session = fed(model, "the cat")
        before = session.tokens
        pieces = session.generate(max_tokens=40, seed=7, sampling=Sampling(temperature=3.0))
        taken = list(itertools.islice(pieces, stop))
        pieces.close()  # type: ignore[attr-defined]
        made = session.tokens[len(before) :]
        writer = model.tokenizer.decode_stream(before)
        assert "".join(taken) == "".join(writer.push(token) for token in made)
        assert "\ufffd" not in taken
        assert bool(made) == bool(stop)
        expected = next_by_hand(directory, session.tokens)
        np.testing.assert_allclose(session.log_probabilities(), expected, rtol=0, atol=1e-10)
        assert "".join(session.generate(max_tokens=3, seed=1))


def test_asking_in_the_middle_is_allowed_and_changing_is_refused(directory: Path, model: LanguageModel) -> None:
    session, other = fed(model, "the cat"), fed(model, "the cat")
    expected = list(other.generate(max_tokens=12, seed=3))
    pieces, taken = session.generate(max_tokens=12, seed=3), []
    for piece in pieces:
        taken.append(piece)
        expected_next = next_by_hand(directory, session.tokens)
        np.testing.assert_allclose(session.log_probabilities(), expected_next, rtol=0, atol=1e-10)
        session.suggest()
        session.score("a dog")
        session.branch().feed("a dog")
    assert taken == expected
    for change in (lambda: session.feed("a"), session.rewind, lambda: next(session.generate())):
        pieces = session.generate(max_tokens=50, seed=2, sampling=Sampling(temperature=5.0))
        next(pieces)
        change()
        after = session.tokens
        with pytest.raises(UsageError, match=r"^the session was changed while it generated: end that first, or"):
            next(pieces)
        assert session.tokens == after
    early = session.generate(seed=1)
    session.feed("the")
    with pytest.raises(UsageError, match="was changed while it generated"):
        next(early)


def test_characters_in_parts_are_handed_out_whole(tiny_model: Callable[[str], Path]) -> None:
    """Subwords that are bytes: a token whose character is not complete is not read before the character is."""
    model = LanguageModel.load(tiny_model("bpe"), dtype="float64")
    first, last = (model.tokenizer.tokens.index(symbol) for symbol in "Ð¶")  # the two bytes of ж
    greedy = Sampling(greedy=True)
    begins, ends = with_output_bias(model, first, 60.0), with_output_bias(model, last, 60.0)
    session = fed(begins, "the ")
    before = session.tokens
    pieces = session.generate(max_tokens=4, sampling=greedy)
    assert next(pieces) == "\ufffd", "what cannot become a character any more is shown as that"
    assert session.tokens == (*before, first, first)
    assert "".join(pieces) == "\ufffd\ufffd\ufffd", "and at the end there is nothing to wait for"
    assert session.tokens == (*before, first, first, first, first)
    session = fed(ends, "the ж")
    session.rewind()
    assert session.tokens == (*model.tokenizer.encode("the ").tolist(), first)
    assert "".join(session.generate(max_tokens=1, sampling=greedy)) == "ж", "what was begun is gone on with"
    assert session.tokens == tuple(model.tokenizer.encode("the ж").tolist())


def test_long_texts_are_made_in_bounded_memory(counted: tuple[LanguageModel, Counted]) -> None:
    model, predictor = counted
    model = with_output_bias(model, model.tokenizer.end_of_line_id, -60.0)
    model.predictor = predictor = Counted(model.predictor)
    session = fed(model, "the cat", history=16)
    for _ in session.generate(max_tokens=300, seed=1):
        assert len(session._place.history.tokens) < 60
    assert len(session.tokens) == 16
    assert sum(predictor.reads) < 330, "nothing is read twice"


def test_a_model_of_sentences_stops_at_the_end_of_the_line(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("sentences"), dtype="float64")
    session = fed(model, "the cat")
    made = "".join(session.generate(max_tokens=500, seed=4))
    assert made.count("\n") == 1
    assert made.endswith("\n")
    assert session.tokens[-1] == model.tokenizer.end_of_line_id


def test_options_are_checked_when_they_are_given(model: LanguageModel) -> None:
    session = fed(model, "the cat")
    for call, message in (
        (lambda: session.generate(max_tokens=0), "max_tokens is 0: give a whole number of at least 1"),
        (lambda: session.generate(seed=-1), "seed is -1: give a whole number of at least 0"),
        (lambda: session.suggest(0), "count is 0: give a whole number of at least 1"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert str(caught.value) == message


# Exceptions


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_exception_leaves_the_session_as_it_was(
    directory: Path, counted: tuple[LanguageModel, Counted], error: BaseException
) -> None:
    model, predictor = counted
    calls: list[Callable[[Session], object]] = [
        lambda session: session.feed("og, again\n"),
        Session.log_probabilities,
        Session.suggest,
        lambda session: session.score("og"),
        lambda session: list(session.generate(max_tokens=5, seed=1)),
    ]
    for call in calls:
        session = fed(model, "the cat sees a d")
        before, predictor.fails = session.tokens, error
        with pytest.raises(type(error)):
            call(session)
        predictor.fails = None
        made = session.tokens[len(before) :]  # generating may have begun
        assert session.tokens == (*before, *made)
        expected = next_by_hand(directory, session.tokens)
        np.testing.assert_allclose(session.log_probabilities(), expected, rtol=0, atol=1e-10)
        if not made:
            session.feed("og")
            assert session.tokens == tuple(model.tokenizer.encode("the cat sees a dog").tolist())


@pytest.mark.parametrize("error", [EngineError("no"), KeyboardInterrupt()])
def test_an_exception_in_the_middle_of_generating_leaves_what_was_handed_out(
    directory: Path, counted: tuple[LanguageModel, Counted], error: BaseException
) -> None:
    model, predictor = counted
    session, taken = fed(model, "the cat"), list[str]()
    before = session.tokens
    pieces = session.generate(max_tokens=50, seed=5, sampling=Sampling(temperature=2.0))
    taken.extend(itertools.islice(pieces, 4))
    predictor.fails = error
    with pytest.raises(type(error)):
        taken.extend(pieces)
    predictor.fails = None
    writer = model.tokenizer.decode_stream(before)
    assert "".join(writer.push(token) for token in session.tokens[len(before) :]) == "".join(taken)
    expected = next_by_hand(directory, session.tokens)
    np.testing.assert_allclose(session.log_probabilities(), expected, rtol=0, atol=1e-10)
    session.feed(" a dog")
    assert "".join(session.generate(max_tokens=3, seed=1))


# All of it together


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_sequence_of_calls_is_the_long_way(directory: Path, model: LanguageModel, data: st.DataObject) -> None:
    """Held against a list: tokens that are fixed, and the text fed behind them."""
    session, limit, floor = model.session(history=6), 6, 0
    fixed, text, tokens = list[int](), "", list[int]()
    for call in data.draw(st.lists(st.sampled_from(["feed", "rewind", "generate", "ask", "score"]), max_size=8)):
        tokens = [*fixed, *model.tokenizer.encode(text).tolist()]
        if call == "feed":
            piece = data.draw(PIECES)
            session.feed(piece)
            text += piece
        elif call == "rewind":
            count = data.draw(st.integers(0, len(tokens) - floor))
            session.rewind(count)
            if count:
                fixed, text = tokens[: len(tokens) - count], ""
        elif call == "generate":
            count = data.draw(st.integers(0, 4))
            made = list(itertools.islice(session.branch().generate(max_tokens=6, seed=2), count))
            pieces = session.generate(max_tokens=6, seed=2)
            assert list(itertools.islice(pieces, count)) == made
            pieces.close()  # type: ignore[attr-defined]
            if count:
                added = session._place.history.end - 1 - len(tokens)
                fixed, text = [*tokens, *(session.tokens[-added:] if added else ())], ""
        elif call == "ask":
            np.testing.assert_allclose(session.log_probabilities(), next_by_hand(directory, tokens), rtol=0, atol=1e-10)
        else:
            session.score(data.draw(PIECES))
        tokens = [*fixed, *model.tokenizer.encode(text).tolist()]
        settled = len(fixed) + len(model.tokenizer.encode(text[: settled_length(text, model.tokenizer.unit)]))
        floor = max(floor, settled - limit)
        assert session.tokens == tuple(tokens[floor:])
    np.testing.assert_allclose(session.log_probabilities(), next_by_hand(directory, tokens), rtol=0, atol=1e-10)
