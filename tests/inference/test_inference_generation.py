"""New text: drawn as the reference says, the same for the same seed, never the unknown token."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import LanguageModel, Sampling, UnrolledError
from unrolled.engines import portable
from unrolled.errors import EngineError, UsageError
from unrolled.inference import UnknownTokenWarning, language_model

from .by_hand import log_probabilities, tokenizer_of

KINDS = ("word", "char", "bpe", "sentences")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> LanguageModel:
    return LanguageModel.load(tiny_model(request.param))


def with_output_bias(model: LanguageModel, token_id: int, bias: float) -> LanguageModel:
    """The same model, except that one token is so much more probable."""
    output_bias = model.weights.output_bias.copy()
    output_bias[token_id] += bias
    weights = dataclasses.replace(model.weights, output_bias=output_bias)
    return LanguageModel(model.config, model.tokenizer, weights, model.engine)


def test_the_same_seed_gives_the_same_text(model: LanguageModel) -> None:
    texts = model.generate("the cat", count=4, max_tokens=30, seed=5)
    assert texts == model.generate("the cat", count=4, max_tokens=30, seed=5)
    assert len(set(texts)) == 4, "continuations of one seed differ"
    assert texts != model.generate("the cat", count=4, max_tokens=30, seed=6)
    assert texts[:2] == model.generate("the cat", count=2, max_tokens=30, seed=5)
    unseeded = {model.generate("the cat", max_tokens=30)[0] for _ in range(5)}
    assert len(unseeded) > 1, "without a seed it is another text each time"


@pytest.mark.parametrize("prompt", ["", "the cat", "the cat ", "a dog sees.\nthe", "the café,\n", "Zoë won't see “"])
@pytest.mark.filterwarnings("ignore::unrolled.inference.UnknownTokenWarning")  # the quotation mark is new to the models
def test_the_pieces_of_a_stream_joined_are_the_text(model: LanguageModel, prompt: str) -> None:
    texts = model.generate(prompt, count=3, max_tokens=25, seed=8)
    for index, text in enumerate(texts):
        pieces = list(model.stream(prompt, max_tokens=25, seed=8, index=index))
        assert prompt + "".join(pieces) == text


def test_a_stream_yields_a_piece_as_soon_as_its_token_is_made(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("char"), dtype="float64")
    pieces = model.stream("the cat", max_tokens=10**9, seed=1)
    taken = [next(pieces) for _ in range(5)]
    assert all(len(piece) == 1 for piece in taken)
    pieces.close()  # type: ignore[attr-defined]


def test_the_state_is_carried_and_the_prompt_is_read_once(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel.load(tiny_model("char"), engine="portable")
    steps: Counter[str] = Counter()

    def counted(name: str, measure: Callable[..., int]) -> None:
        original: Callable[..., Any] = getattr(portable.Portable, name)

        def call(self: object, *arguments: Any, **options: Any) -> Any:
            steps[name] += measure(*arguments)
            return original(self, *arguments, **options)

        monkeypatch.setattr(portable.Portable, name, call)

    counted("unroll", lambda cell, x, *_: len(x))
    prompt = "the cat sees. " * 20
    model.generate(prompt, count=3, max_tokens=40, seed=1)
    assert len(prompt) > 128, "the prompt is longer than a window"
    assert steps == {"unroll": 2 * (len(prompt) + 40)}, "two layers, for each token once"


def test_greedy_text_follows_the_reference(tiny_model: Callable[[str], Path]) -> None:
    for kind in ("word", "char", "bpe"):
        directory = tiny_model(kind)
        tokenizer, prompt = tokenizer_of(directory), "the cat"
        ids = tokenizer.encode(prompt).tolist()
        for _ in range(20):
            logs = log_probabilities(directory, [*ids, 0])[-1]
            if tokenizer.unknown_id is not None:
                logs[tokenizer.unknown_id] = -math.inf
            ids.append(int(logs.argmax()))
        model = LanguageModel.load(directory, dtype="float64")
        texts = model.generate(prompt, count=2, max_tokens=20, sampling=Sampling(greedy=True))
        assert texts == [tokenizer.decode(ids)] * 2


def test_tokens_are_drawn_as_often_as_the_reference_says(tiny_model: Callable[[str], Path]) -> None:
    """Chi-squared over the first token, at a temperature; the unknown token's share goes to the others."""
    directory, prompt, draws = tiny_model("word"), "the naïve Füchsin sees", 3000
    tokenizer = tokenizer_of(directory)
    ids = tokenizer.encode(prompt).tolist()
    probabilities = np.exp(log_probabilities(directory, [*ids, 0])[-1] / 0.9)
    probabilities[0] = 0
    probabilities /= probabilities.sum()
    model, sampling = LanguageModel.load(directory, dtype="float64"), Sampling(temperature=0.9)
    drawn = Counter(model.generate(prompt, count=draws, max_tokens=1, sampling=sampling, seed=3))
    expected = {tokenizer.decode([*ids, i]): draws * p for i, p in enumerate(probabilities.tolist()) if p > 0}
    assert set(drawn) <= set(expected)
    common = [text for text, number in expected.items() if number >= 5]
    assert len(common) > 8
    chi_squared = sum((drawn[text] - expected[text]) ** 2 / expected[text] for text in common)
    assert chi_squared < len(common) + 4 * math.sqrt(2 * len(common)), "four standard deviations above its mean"


@pytest.mark.parametrize("kind", ["word", "char", "sentences"])
@pytest.mark.parametrize("options", [{}, {"greedy": True}, {"top_k": 1}, {"top_p": 0.01}, {"temperature": 9.0}])
def test_the_unknown_token_is_never_written(
    tiny_model: Callable[[str], Path], kind: str, options: dict[str, Any]
) -> None:
    model = LanguageModel.load(tiny_model(kind), dtype="float64")
    unknown = model.tokenizer.unknown_id
    assert unknown is not None
    eager = with_output_bias(model, unknown, 50.0)
    ranks = [token.rank for token in eager.score(["the giraffe q"], details=True)[0].details or ()]
    assert 1 in ranks, "the unknown token is the most probable one"
    for text in eager.generate("the cat", count=3, max_tokens=40, sampling=Sampling(**options), seed=2):
        assert "<unk>" not in text
        assert len(text) > len("the cat")
        read = re.sub(r"\.{2,}", ".", text)  # two full stops in a row are read again as one token
        assert eager.score([line for line in read.split("\n") if line])[0].unknown == 0


def test_a_model_of_sentences_stops_at_the_end_of_the_line(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("sentences"), dtype="float64")
    texts = model.generate("the cat", count=20, max_tokens=500, seed=4)
    assert all(text.endswith("\n") and text.count("\n") == 1 for text in texts)
    assert len({len(text) for text in texts}) > 3
    (cut,) = model.generate("the cat", max_tokens=1, sampling=Sampling(greedy=True))
    assert len(model.tokenizer.encode(cut)) == 3
    ending = with_output_bias(model, model.tokenizer.end_of_line_id, 99.0)
    assert ending.generate("the cat", count=2) == ["the cat\n"] * 2
    assert list(ending.stream("the cat")) == ["\n", ""]


def test_a_model_of_streams_goes_on_after_the_end_of_a_line(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("word"), dtype="float64")
    ending = with_output_bias(model, model.tokenizer.end_of_line_id, 99.0)
    assert ending.generate("the cat", max_tokens=7, seed=1) == ["the cat" + "\n" * 7]


def test_max_tokens_are_tokens(model: LanguageModel) -> None:
    never_ending = with_output_bias(model, model.tokenizer.end_of_line_id, -99.0)
    for most in (1, 17):
        pieces = list(never_ending.stream("the cat", max_tokens=most, seed=3))
        assert len(pieces) == most + 1, "one each, and what was held back"


# Prompts


def test_an_empty_prompt_starts_as_a_text_does(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("char")
    model = LanguageModel.load(directory, dtype="float64")
    logs = log_probabilities(directory, [0])[0]
    logs[0] = -math.inf
    (text,) = model.generate(max_tokens=1, sampling=Sampling(greedy=True))
    assert text == model.tokenizer.decode([int(logs.argmax())])
    assert model.generate("\n", max_tokens=9, seed=1)[0].startswith("\n")


def test_a_blank_at_the_end_of_a_prompt_is_not_written_twice(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("word"), dtype="float64")
    greedy = Sampling(greedy=True)
    (without,), (with_blank,) = (model.generate(p, max_tokens=9, sampling=greedy) for p in ("the cat", "the cat "))
    assert without == with_blank
    assert with_blank.startswith("the cat sees")


def test_a_very_long_prompt_is_read_to_its_end(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("char")
    prompt = "the cat sees a dog.\n" * 300
    ids = tokenizer_of(directory).encode(prompt + "x")
    logs = log_probabilities(directory, ids)[-1]
    logs[0] = -math.inf
    (text,) = LanguageModel.load(directory, dtype="float64").generate(
        prompt, max_tokens=1, sampling=Sampling(greedy=True)
    )
    assert text == prompt + tokenizer_of(directory).decode([int(logs.argmax())])


def test_unseen_characters_and_words_of_a_prompt_are_named(tiny_model: Callable[[str], Path]) -> None:
    expected = {
        "char": "^the prompt has characters that the model has never seen: 'q', 'ж'; they are read as unknown$",
        "word": "^the prompt has words that the model has never seen: 'quick', 'жук'; they are read as unknown$",
        "sentences": "^the prompt has words that the model has never seen: 'quick', 'жук'; they are read as unknown$",
    }
    prompts = {"char": "the qжq cat", "word": "the quick жук", "sentences": "The quick жук"}
    for kind, message in expected.items():
        model = LanguageModel.load(tiny_model(kind), dtype="float64")
        with pytest.warns(UnknownTokenWarning, match=message):
            (text,) = model.generate(prompts[kind], max_tokens=3, seed=1)
        assert text.startswith(prompts[kind])
    LanguageModel.load(tiny_model("bpe"), dtype="float64").generate(
        "жук", max_tokens=3, seed=1
    )  # no warning: it knows every text


def test_many_unseen_characters_are_cut_short(tiny_model: Callable[[str], Path]) -> None:
    with pytest.warns(UnknownTokenWarning, match=r"'B', 'C', 'E', 'G', 'H', \.\.\.; they"):
        LanguageModel.load(tiny_model("char"), dtype="float64").generate("a BCEGHIJK", max_tokens=1)


@pytest.mark.parametrize(("kind", "prompt"), [("char", "Привет мир"), ("word", "Привет мир\n"), ("sentences", "жук")])
def test_a_prompt_of_which_nothing_is_known_is_refused(
    tiny_model: Callable[[str], Path], kind: str, prompt: str
) -> None:
    model = LanguageModel.load(tiny_model(kind), dtype="float64")
    message = r"has never seen: '\w.*; nothing in it is known: prompt with text like that of the training$"
    with pytest.raises(UsageError, match=message):
        model.generate(prompt)
    with pytest.raises(UsageError, match=message):
        next(model.stream(prompt))


# What cannot be meant


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count is 0: give a whole number of at least 1"),
        ({"max_tokens": 0}, "max_tokens is 0: give a whole number of at least 1"),
        ({"max_tokens": -5}, "max_tokens is -5: give a whole number of at least 1"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
    ],
)
def test_options_are_checked(tiny_model: Callable[[str], Path], options: dict[str, int], message: str) -> None:
    model = LanguageModel.load(tiny_model("char"), dtype="float64")
    with pytest.raises(UnrolledError) as caught:
        model.generate("a", **options)  # type: ignore[arg-type]
    assert str(caught.value) == message
    if "count" not in options:
        with pytest.raises(UnrolledError) as caught:
            list(model.stream("a", **options))  # type: ignore[arg-type]
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_sampling_is_checked(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"^{name} is "):
        Sampling(**options)


def test_weights_that_are_not_numbers_are_an_error(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("word"), dtype="float64")
    with pytest.raises(EngineError, match="leaves no token to choose"):
        with_output_bias(model, 3, math.nan).generate("the cat")


def test_large_seeds_and_indices_are_seeds_of_their_own(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("char"), dtype="float64")

    def texts() -> Iterator[str]:
        for power, index in zip((0, 31, 32, 64, 200), count(0, 1000)):
            yield "".join(model.stream("a", max_tokens=30, seed=2**power, index=index))

    assert len(set(texts())) == 5


def test_many_continuations_are_made_some_at_a_time(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel.load(tiny_model("sentences"))
    together = model.generate("the cat", count=7, max_tokens=12, seed=5)
    monkeypatch.setattr(language_model, "ROWS_AT_ONCE", 3)
    assert model.generate("the cat", count=7, max_tokens=12, seed=5) == together
    assert len({len(text) for text in together}) > 1, "they end at different lengths"
