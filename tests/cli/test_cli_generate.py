"""`unrolled generate`: text as it is made, the same for the same seed, warnings and refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import LanguageModel, Sampling

from .conftest import Call

KINDS = ("word", "char", "bpe", "sentences")


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_that_of_the_library(tiny_model: Callable[[str], Path], unrolled: Call, kind: str) -> None:
    model = LanguageModel.load(tiny_model(kind))
    options = ("--prompt", "the cat", "--max-tokens", 20, "--seed", 5, "--temperature", 0.7, "--top-k", 9)
    sampling = Sampling(temperature=0.7, top_k=9)
    texts = model.generate("the cat", count=3, max_tokens=20, sampling=sampling, seed=5)
    outcome = unrolled("generate", tiny_model(kind), *options, "--count", 3)
    assert (outcome.status, outcome.errors) == (0, "")
    assert outcome.output == "---\n".join(text if text.endswith("\n") else f"{text}\n" for text in texts)
    records = [
        json.loads(line) for line in unrolled("generate", tiny_model(kind), *options, "--count", 3, "--json").lines
    ]
    assert records == [{"prompt": "the cat", "text": t, "seed": 5, "index": i} for i, t in enumerate(texts)]


def test_greedy_and_top_p_are_passed_on(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    model = LanguageModel.load(tiny_model("char"))
    for option, sampling in (("--greedy", Sampling(greedy=True)), ("--top-p=0.3", Sampling(top_p=0.3))):
        (text,) = model.generate("a", max_tokens=30, sampling=sampling, seed=1)
        outcome = unrolled("generate", tiny_model("char"), "--prompt", "a", "--max-tokens", 30, option, "--seed", 1)
        assert outcome.output.rstrip("\n") == text.rstrip("\n")


def test_without_a_seed_one_is_made_up_that_repeats_the_text(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    first, second = (json.loads(unrolled("generate", tiny_model("char"), "--json").output) for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["text"] != second["text"]
    again = json.loads(unrolled("generate", tiny_model("char"), "--json", "--seed", first["seed"]).output)
    assert again == first


def test_unseen_characters_are_said_and_generation_goes_on(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    outcome = unrolled("generate", tiny_model("char"), "--prompt", "the Ж", "--count", 2, "--max-tokens", 3)
    assert outcome.status == 0
    assert outcome.errors == (
        "unrolled: warning: the prompt has characters that the model has never seen: 'Ж'; they are read as unknown\n"
    )
    assert outcome.output.startswith("the Ж")


@pytest.mark.parametrize("kind", ["word", "char"])
def test_a_prompt_in_another_alphabet_is_one_line(tiny_model: Callable[[str], Path], unrolled: Call, kind: str) -> None:
    error = unrolled("generate", tiny_model(kind), "--prompt", "Привет мир").error(2)
    assert error.startswith(f"the prompt has {'characters' if kind == 'char' else 'words'} that the model has never")
    assert error.endswith("nothing in it is known: prompt with text like that of the training")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", 0), "--count is 0: give a whole number of at least 1"),
        (("--max-tokens", 0), "max_tokens is 0: give a whole number of at least 1"),
        (("--seed", -1), "seed is -1: give a whole number of at least 0"),
        (("--temperature", 0), "temperature is 0.0: give a number above 0 (or use greedy)"),
        (("--temperature", "nan"), "temperature is nan: give a number above 0 (or use greedy)"),
        (("--top-k", -2), "top_k is -2: give 0 (all tokens) or a positive count"),
        (("--top-p", 1.5), "top_p is 1.5: give a share above 0 and at most 1"),
    ],
)
def test_options_are_checked(
    tiny_model: Callable[[str], Path], unrolled: Call, options: tuple[str, object], message: str
) -> None:
    assert unrolled("generate", tiny_model("char"), *options).error(2) == message
    assert unrolled("generate", tiny_model("char"), "--json", *options).error(2) == message
