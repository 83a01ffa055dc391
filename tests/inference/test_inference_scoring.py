"""A line's score is what the reference network says of its tokens, whatever is scored beside it."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import LanguageModel, UnrolledError
from unrolled.errors import UsageError

from .by_hand import log_probabilities, token_log_probabilities, tokenizer_of

KINDS = ("word", "char", "bpe", "sentences")
LINES = [
    "the cat sees a dog.",
    "",
    "Zoë won't see the café, again.",
    "a   dog  sees the naïve Füchsin!",
    "a giraffe sees 日本語",  # words and a character that are new to the models
    "the dog " * 90 + "sees no one.",  # longer than the window
]
SIZES = (1, 7, 64)


@pytest.fixture(scope="module", params=KINDS)
def directory(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Path:
    return tiny_model(request.param)


@pytest.fixture(scope="module")
def model(directory: Path) -> LanguageModel:
    return LanguageModel.load(directory, dtype="float64")


def test_a_line_costs_what_the_reference_says_of_its_tokens(directory: Path, model: LanguageModel) -> None:
    for line, score in zip(LINES, model.score(LINES), strict=True):
        logs = token_log_probabilities(directory, line + "\n")
        assert score.text == line
        assert score.tokens == len(logs)
        assert score.log_probability == pytest.approx(logs.sum(), rel=1e-10)
        assert score.perplexity == pytest.approx(math.exp(-logs.mean()), rel=1e-10)
        assert score.details is None


def test_the_end_of_a_line_is_a_token_and_the_only_one_of_an_empty_line(model: LanguageModel) -> None:
    (empty,) = model.score([""], details=True)
    assert (empty.tokens, empty.unknown) == (1, 0)
    assert empty.details is not None
    assert empty.details[0].log_probability == empty.log_probability < 0


def test_details_are_the_tokens_with_their_ranks(directory: Path, model: LanguageModel) -> None:
    tokenizer = tokenizer_of(directory)
    ranks = set()
    for line, score in zip(LINES, model.score(LINES, details=True), strict=True):
        ids = tokenizer.encode(line + "\n")
        logs = log_probabilities(directory, ids)
        own = logs[np.arange(len(ids)), ids]
        assert score.details is not None
        assert [token.token for token in score.details] == [tokenizer.token(int(i)) for i in ids]
        assert [token.rank for token in score.details] == (1 + (logs > own[:, None]).sum(axis=1)).tolist()
        ranks |= {token.rank for token in score.details}
        np.testing.assert_allclose([token.log_probability for token in score.details], own, rtol=1e-9)
        np.testing.assert_allclose([token.surprisal_bits for token in score.details], -own / math.log(2), rtol=1e-9)
        assert math.fsum(t.log_probability for t in score.details) == pytest.approx(score.log_probability, rel=1e-12)
    assert {1, 2, 3} < ranks


def random_lines(count: int, seed: int) -> list[str]:
    choose = random.Random(seed)
    words = ["the", "cat", "sees", "Zoë", "giraffe", ",", "日本", ".", "no", "won't"]
    return [
        " ".join(choose.choices(words, k=choose.choice((0, 1, 2, 9, 40, 127, 128, 129, 300)))) for _ in range(count)
    ]


def test_a_score_depends_neither_on_batch_size_nor_on_order_nor_on_neighbours(model: LanguageModel) -> None:
    lines = random_lines(24, seed=3)
    alone = [model.score([line])[0].log_probability for line in lines]
    assert len({len(line.split()) for line in lines}) > 5
    for size in SIZES:
        together = [score.log_probability for score in model.score(lines, batch_size=size)]
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    shuffled = random.Random(4).sample(range(len(lines)), len(lines))
    scores = model.score_stream((lines[i] for i in shuffled), batch_size=5, lines_at_once=6)
    np.testing.assert_allclose([s.log_probability for s in scores], [alone[i] for i in shuffled], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=150), max_size=5))
def test_any_text_has_a_score_of_its_own(tiny_model: Callable[[str], Path], lines: list[str]) -> None:
    model = LanguageModel.load(tiny_model("bpe"), dtype="float64")
    together = model.score(lines)
    assert [score.text for score in together] == lines
    for line, score in zip(lines, together, strict=True):
        assert score.tokens == len(model.tokenizer.encode(line + "\n"))
        assert score.log_probability == pytest.approx(model.score([line])[0].log_probability, abs=1e-6)


def test_lines_stream_through(model: LanguageModel) -> None:
    taken = []

    def lines() -> object:
        for number in range(1000):
            taken.append(number)
            yield f"the cat sees {number}"

    scores = model.score_stream(lines(), lines_at_once=10)  # type: ignore[arg-type]
    assert next(scores).text == "the cat sees 0"
    assert len(taken) == 10, "only so many lines are read ahead"


def test_float32_is_close_to_float64(directory: Path, model: LanguageModel) -> None:
    single = LanguageModel.load(directory, dtype="float32")
    assert single.weights.embedding.dtype == np.float32
    for rough, fine in zip(single.score(LINES), model.score(LINES), strict=True):
        assert rough.log_probability == pytest.approx(fine.log_probability, rel=1e-5)
        assert isinstance(rough.log_probability, float)


# Tokens that the model does not know


def test_unknown_tokens_are_counted_left_out_or_refused(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("word")
    model = LanguageModel.load(directory, dtype="float64")
    line = "the giraffe sees a zebra."
    logs = token_log_probabilities(directory, line + "\n")
    (scored,) = model.score([line], details=True)
    assert (scored.tokens, scored.unknown) == (7, 2)
    assert scored.log_probability == pytest.approx(logs.sum(), rel=1e-10)
    assert [token.token for token in scored.details or ()] == ["the", "<unk>", "sees", "a", "<unk>", ".", "\n"]
    (skipped,) = model.score([line], unknown="skip", details=True)
    assert (skipped.tokens, skipped.unknown) == (5, 2)
    assert skipped.log_probability == pytest.approx(logs.sum() - logs[1] - logs[4], rel=1e-10)
    assert skipped.perplexity == pytest.approx(math.exp(-skipped.log_probability / 5), rel=1e-10)
    assert [token.token for token in skipped.details or ()] == ["the", "sees", "a", ".", "\n"]
    with pytest.raises(UsageError, match=r"^line 3 has .*: 'giraffe', 'zebra'; choose unknown=score or unknown=skip"):
        model.score(["the cat.", "", line], unknown="error")
    assert len(model.score(["the cat.", ""], unknown="error")) == 2


def test_the_refused_line_is_counted_from_the_first_of_all(tiny_model: Callable[[str], Path]) -> None:
    scores = LanguageModel.load(tiny_model("char"), dtype="float64").score_stream(
        ["the cat"] * 7 + ["the q"], unknown="error", lines_at_once=3
    )
    with pytest.raises(UsageError, match=r"^line 8 has .*: 'q';"):
        list(scores)


def test_a_literal_unknown_token_is_named_too(tiny_text: str, tmp_path: Path) -> None:
    import unrolled

    corpus = tmp_path / "corpus.txt"
    corpus.write_text(tiny_text.replace("cat", "<unk>"), encoding="utf-8")
    unrolled.train(
        corpus,
        tmp_path / "model",
        text=unrolled.TextSettings(pre_tokenized=True),
        model=unrolled.ModelSettings(hidden=4),
        training=unrolled.TrainingSettings(epochs=0.05, threads=1),
    )
    model = LanguageModel.load(tmp_path / "model")
    assert model.score(["the <unk> sees a dog."])[0].unknown == 1
    with pytest.raises(UsageError, match="line 1 has tokens that the model does not know: '<unk>';"):
        model.score(["the <unk> sees"], unknown="error")


def test_subwords_know_every_text(tiny_model: Callable[[str], Path]) -> None:
    (score,) = LanguageModel.load(tiny_model("bpe"), dtype="float64").score(["жираф 🦒"], unknown="error")
    assert score.unknown == 0


def test_json_has_these_keys_and_no_others(model: LanguageModel) -> None:
    (plain,), (detailed,) = model.score(["a dog"]), model.score(["a dog"], details=True)
    assert list(plain.as_dict()) == ["text", "tokens", "log_probability", "perplexity", "unknown"]
    assert list(detailed.as_dict()) == [*plain.as_dict(), "details"]
    for token in detailed.as_dict()["details"]:
        assert list(token) == ["token", "log_probability", "rank", "surprisal_bits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0: give a whole number of at least 1"),
        ({"lines_at_once": -1}, "lines_at_once is -1: give a whole number of at least 1"),
        ({"unknown": "guess"}, 'unknown is "guess": choose one of score, skip, error'),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tiny_model: Callable[[str], Path], options: dict[str, object], message: str
) -> None:
    model = LanguageModel.load(tiny_model("char"), dtype="float64")
    with pytest.raises(UnrolledError) as caught:
        list(model.score_stream(["a"], **options))  # type: ignore[arg-type]
    assert str(caught.value) == message
