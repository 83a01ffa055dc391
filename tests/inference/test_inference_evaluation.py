"""An evaluation is the sum over the text as training read it, and finds the text that training split off."""

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled import LanguageModel
from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.inference.evaluation_text import find_text

from .by_hand import config_of, token_log_probabilities

TEXT = "the cat sees — 日本!\n\nZoë won't see a giraffe.\n" + "the naïve Füchsin sees the €5 note, again.\n" * 30
STREAMED = ("word", "char", "bpe")


@pytest.mark.parametrize("kind", STREAMED)
def test_a_stream_is_one_sequence_from_its_first_token_to_its_last(
    tiny_model: Callable[[str], Path], kind: str
) -> None:
    directory = tiny_model(kind)
    model = LanguageModel.load(directory, dtype="float64")
    logs = token_log_probabilities(directory, TEXT)
    result = model.evaluate(TEXT)
    assert len(logs) > 250, "the text is longer than a window"
    assert result.tokens == len(logs)
    assert result.nats_per_token == pytest.approx(-logs.mean(), rel=1e-10)
    assert result.perplexity == pytest.approx(math.exp(-logs.mean()), rel=1e-10)
    assert result.bits_per_character == pytest.approx(-logs.sum() / math.log(2) / len(TEXT), rel=1e-10)
    assert result.bits_per_byte == pytest.approx(-logs.sum() / math.log(2) / len(TEXT.encode()), rel=1e-10)
    assert result.bits_per_byte < result.bits_per_character, "the text has characters of several bytes"
    assert result.tokens_per_second > 0
    unknown = {"word": 1, "char": 0, "bpe": 0}[kind]
    assert result.unknown_rate == unknown / len(logs)


def test_a_model_of_sentences_starts_each_line_anew_and_leaves_blank_ones_out(
    tiny_model: Callable[[str], Path],
) -> None:
    directory = tiny_model("sentences")
    model = LanguageModel.load(directory, dtype="float64")
    text = "the cat sees.\n\n   \nzoë won't\n" * 200  # more lines than are scored at once
    lines = [line for line in text.split("\n") if line.strip()]
    scores = model.score(lines)
    result = model.evaluate(text)
    total = -sum(score.log_probability for score in scores)
    assert result.tokens == sum(score.tokens for score in scores) == 400 + 5 * 200 + 200
    assert result.nats_per_token == pytest.approx(total / result.tokens, rel=1e-10)
    characters = sum(len(line) + 1 for line in lines)
    assert result.bits_per_character == pytest.approx(total / math.log(2) / characters, rel=1e-10)
    assert result.bits_per_byte == pytest.approx(total / math.log(2) / (characters + 200), rel=1e-10)  # ë has two


def test_a_missing_last_line_end_is_added(tiny_model: Callable[[str], Path]) -> None:
    model = LanguageModel.load(tiny_model("char"), dtype="float64")
    with_end, without = model.evaluate("a dog\nsees\n"), model.evaluate("a dog\nsees")
    assert (with_end.tokens, with_end.nats_per_token) == (without.tokens, without.nats_per_token)
    assert with_end.tokens == 11


@pytest.mark.parametrize("kind", ["word", "sentences"])
def test_progress_ends_at_all_tokens(tiny_model: Callable[[str], Path], kind: str) -> None:
    model = LanguageModel.load(tiny_model(kind), dtype="float64")
    seen: list[tuple[int, int]] = []
    tokens = model.evaluate(TEXT * 300, progress=lambda done, of: seen.append((done, of))).tokens
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (tokens, tokens)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("word", ""), ("char", "\n"), ("bpe", " \n\t\n"), ("sentences", "\n"), ("sentences", "\u2060\n")],
)
def test_an_empty_text_is_refused(tiny_model: Callable[[str], Path], kind: str, text: str) -> None:
    with pytest.raises(UsageError, match="the text to evaluate is empty"):
        LanguageModel.load(tiny_model(kind), dtype="float64").evaluate(text)


def test_json_has_these_keys_and_no_others(tiny_model: Callable[[str], Path]) -> None:
    record = LanguageModel.load(tiny_model("char"), dtype="float64").evaluate("a dog").as_dict()
    assert list(record) == [
        "tokens",
        "nats_per_token",
        "perplexity",
        "bits_per_character",
        "bits_per_byte",
        "unknown_rate",
        "tokens_per_second",
    ]


# The text that training split off


def test_the_recorded_parts_are_found_again(tiny_model: Callable[[str], Path], tiny_text: str) -> None:
    directory = tiny_model("word")
    config = config_of(directory)
    parts = {name: find_text(config, None, name)[0] for name in ("train", "validation", "test")}
    assert "".join(parts.values()) == tiny_text
    assert find_text(config, None, None)[0] == parts["validation"]
    text, name = find_text(config, [str(directory.parent / "corpus.txt")], "test")
    assert (text, name) == (parts["test"], f"test part of {directory.parent / 'corpus.txt'}")
    assert len(parts["train"]) > 6 * len(parts["test"]) > 0


def test_a_given_text_is_taken_as_a_whole(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "other.txt.gz"
    path.write_bytes(gzip.compress("Zoë\r\nsees".encode("latin-1")))
    config = config_of(tiny_model("word"))
    assert find_text(config, [str(path)], None, encoding="latin-1") == ("Zoë\nsees\n", str(path))
    assert find_text(config, [str(path)], None, errors="replace")[0] == "Zo\ufffd\nsees\n"
    with pytest.raises(CorpusError, match="line 1, byte offset 2"):
        find_text(config, [str(path)], None)
    with pytest.raises(UsageError, match='errors is "ignore"'):
        find_text(config, [str(path)], None, errors="ignore")


def test_another_text_is_not_taken_for_a_part(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("something else\n" * 9, encoding="utf-8")
    with pytest.raises(CorpusError, match="this is not the corpus that the validation part was cut from"):
        find_text(config_of(tiny_model("word")), [str(path)], "validation")


def test_a_part_that_is_not_there_is_named(tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r'part is "test": this model has train, validation$'):
        find_text(config_of(tiny_model("char")), None, "test")


@pytest.mark.parametrize("data", [None, {}, {"parts": None}, []])
def test_a_model_without_a_record_of_its_text_wants_one(tiny_model: Callable[[str], Path], data: object) -> None:
    config = {**config_of(tiny_model("char")), "data": data}
    with pytest.raises(ModelDirectoryError, match=r"config\.json: has no record of the text's parts: give a corpus"):
        find_text(config, None, "validation")


def test_validation_loss_in_config_is_that_of_the_saved_weights(tiny_model: Callable[[str], Path]) -> None:
    """The validation text of the tiny models is read as one stream, so that evaluating it means the same."""
    for kind in ("word", "char", "bpe", "sentences"):
        directory = tiny_model(kind)
        config = config_of(directory)
        result = LanguageModel.load(directory, dtype="float64").evaluate(find_text(config, None, None)[0])
        assert result.nats_per_token == pytest.approx(config["training"]["results"]["validation_loss"], rel=1e-5)
        logged = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
        best = min((r for r in logged if "validation_loss" in r), key=lambda r: r["validation_loss"])
        assert result.perplexity == pytest.approx(best["perplexity"], rel=1e-4)
        assert result.bits_per_character == pytest.approx(best["bits_per_character"], rel=1e-5)
