"""`unrolled evaluate` and `unrolled info`."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unrolled import LanguageModel
from unrolled.version import VERSION

from .conftest import Call

KEYS = [
    "tokens",
    "nats_per_token",
    "perplexity",
    "bits_per_character",
    "bits_per_byte",
    "unknown_rate",
    "tokens_per_second",
]


def evaluated(unrolled: Call, *arguments: object, stdin: bytes = b"") -> dict[str, Any]:
    outcome = unrolled("evaluate", *arguments, "--json", stdin=stdin)
    assert (outcome.status, outcome.errors) == (0, "")
    (line,) = outcome.lines
    record: dict[str, Any] = json.loads(line)
    assert list(record) == KEYS
    assert record.pop("tokens_per_second") > 0
    return record


def test_a_text_is_evaluated_however_it_comes(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    text = "Zoë sees a giraffe — again.\n" * 9
    model, path = tiny_model("word"), tmp_path / "text.txt"
    expected = LanguageModel.load(model, dtype="float32").evaluate(text).as_dict()
    del expected["tokens_per_second"]
    path.write_text(text, encoding="utf-8")
    assert evaluated(unrolled, model, path) == expected
    assert evaluated(unrolled, model, "-", stdin=text.encode()) == expected
    assert evaluated(unrolled, model, "-", stdin=gzip.compress(text.encode())) == expected
    path.write_text(text.replace("—", "-"), encoding="latin-1")
    changed = evaluated(unrolled, model, path, "--encoding", "latin-1")
    assert changed["tokens"] == expected["tokens"]
    assert changed["bits_per_byte"] > expected["bits_per_byte"]
    assert "give its --encoding, or --errors replace to go on" in unrolled("evaluate", model, path).error(1)
    assert evaluated(unrolled, model, path, "--errors", "replace")["tokens"] > 0


def test_the_parts_of_training_are_found_again(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    model = tiny_model("word")
    parts = {part: evaluated(unrolled, model, "--part", part) for part in ("train", "validation", "test")}
    assert evaluated(unrolled, model) == parts["validation"]
    assert evaluated(unrolled, model, model.parent / "corpus.txt", "--part", "test") == parts["test"]
    assert parts["train"]["tokens"] > 6 * parts["test"]["tokens"]
    assert len({part["nats_per_token"] for part in parts.values()}) == 3
    outcome = unrolled("evaluate", tiny_model("char"), "--part", "test")
    assert outcome.error(2) == 'part is "test": this model has train, validation'


def test_for_people_it_is_a_table(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    model = tiny_model("word")
    record = evaluated(unrolled, model)
    outcome = unrolled("evaluate", model)
    assert outcome.errors == f"text                validation part of {model.parent / 'corpus.txt'}\n"
    rows = dict(re.findall(r"^(\w[\w ]*\w) {2,}(\S+)", outcome.output, re.MULTILINE))
    assert len(rows) == len(outcome.lines)
    assert list(rows) == [
        *("tokens", "nats per token", "perplexity", "bits per character", "bits per byte"),
        *("unknown tokens", "tokens per second"),
    ]
    assert rows["tokens"] == f"{record['tokens']:,}"
    assert rows["nats per token"] == f"{record['nats_per_token']:.4f}"
    assert rows["bits per byte"] == f"{record['bits_per_byte']:.4f}"
    assert "comparable only with the same tokens" in outcome.output


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 1, "the corpus is empty: give a file with text in it"),
        (b"\n  \n", 1, "the corpus is empty: give a file with text in it"),
        (b"\x7fELF\x02\x01\x01\x00\x80\x81", 1, "it looks like a binary file: give a text file"),
        ("the cat\n".encode("utf-16"), 1, "it begins with a UTF-16 byte order mark: give --encoding utf-16"),
        (b"the\0cat\n", 1, "a NUL character: this looks like a binary file"),
        (gzip.compress(b"the cat\n" * 99, mtime=0)[:30], 1, "the gzip data is damaged or cut short"),
    ],
)
def test_what_is_no_text_is_an_error(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path, content: bytes, status: int, message: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    error = unrolled("evaluate", tiny_model("word"), path).error(status)
    assert error.startswith(str(path))
    assert message in error


def test_wrong_paths_and_options_are_one_line(
    tiny_model: Callable[[str], Path], unrolled: Call, tmp_path: Path
) -> None:
    model = tiny_model("word")
    assert "there is no such file or directory: check the path" in unrolled("evaluate", model, tmp_path / "no").error(1)
    assert "the directory holds no files" in unrolled("evaluate", model, tmp_path).error(1)
    assert unrolled("evaluate", model, "-", "--errors", "ignore").error(2).startswith('errors is "ignore"')
    assert unrolled("evaluate", model, "-", "--encoding", "morse").error(2).startswith('encoding "morse" is not known')
    assert "is not the corpus that the validation part was cut from" in unrolled(
        "evaluate", model, __file__, "--part", "validation"
    ).error(1)


# info


def test_info_says_what_is_in_a_model_directory(tiny_model: Callable[[str], Path], unrolled: Call) -> None:
    model = tiny_model("char")
    record = json.loads(unrolled("info", model, "--json").output)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    assert record["directory"] == str(model)
    assert (record["task"], record["written by"]) == ("language", VERSION)
    for part in ("model", "text", "data", "training"):
        assert record[part] == config[part]
    weights = LanguageModel.load(model).weights
    arrays = [weights.embedding, weights.output_weight, weights.output_bias]
    arrays += [array for layer in weights.layers for array in vars(layer).values()]
    assert record["parameters"] == sum(array.size for array in arrays)
    assert record["bytes"] == {path.name: path.stat().st_size for path in model.iterdir() if path.is_file()}
    shown = unrolled("info", model).output
    assert re.search(r"^model\.cell +gru$", shown, re.MULTILINE)
    assert re.search(rf"^parameters +{record['parameters']:,}$", shown, re.MULTILINE)
    assert re.search(r"^training\.options\.epochs +8$", shown, re.MULTILINE)
    assert all(len(line.split(maxsplit=1)) == 2 for line in shown.splitlines())


def test_info_without_a_directory_is_about_the_installation(unrolled: Call) -> None:
    record = json.loads(unrolled("info", "--json").output)
    assert record["unrolled"] == VERSION
    assert record["threads"] >= 1
    assert "lstm" in record["cells"]
    assert "numpy" in record["engines"]["portable"] or "torch" in record["engines"]["portable"]
    shown = unrolled("info").output
    for name in ("unrolled", "python", "numpy", "torch", "tokenizers", "safetensors", "threads", "engine auto"):
        assert re.search(rf"^{name} +\S", shown, re.MULTILINE)
