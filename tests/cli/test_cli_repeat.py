"""The command that a run prints in the end repeats it to the last bit, whatever it was asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from unrolled.training import output as output_module
from unrolled.training.settings import OPTIMIZERS

from .conftest import SMALL, Call, printed, weights_of

FEW = (*SMALL, "--epochs", 0.2)


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training so small a network."""
    monkeypatch.setattr(output_module, "draw_curve", lambda records, **_: b"no picture")


def repeated(unrolled: Call, first: Any, out: Path) -> list[str]:
    """The words of the command that the first run printed, once it has been run and has printed the same."""
    words = printed(first, "repeat")
    assert "--anneal" in words
    place = words.index("NEW")
    words[place] = str(out)
    again = unrolled(*words)
    assert again.status == 0, again.errors
    words[place] = "NEW"
    assert printed(again, "repeat") == words
    return words


def test_the_repetition_that_is_printed_repeats(unrolled: Call, tiny_text: str, tmp_path: Path) -> None:
    corpus = tmp_path / "it's a corpus.txt"
    corpus.write_text(tiny_text, encoding="utf-8")
    options = ("--unit", "char", "--cell", "gru", "--dropout", 0.25, "--optimizer", "rmsprop", "--seed", 9, "--tied")
    first = unrolled("train", corpus, "--out", tmp_path / "model", *FEW, *options)
    repeated(unrolled, first, tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "model")


def test_the_repetition_spells_out_what_was_left_open(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    first = unrolled("train", corpus, "--out", tmp_path / "model", *FEW, "--dropout", 0.1)
    words = printed(first, "repeat")
    assert words[:4] == ["train", str(corpus), "--out", "NEW"]
    options = " ".join(words[4:])
    for expected in (
        "--cell lstm --hidden 6 --embedding 6 --layers 1 --no-tied",
        "--dropout 0.1",
        "--batch 8 --window 16",
        "--learning-rate 0.01",
        "--threads 1",
    ):
        assert expected in options
    assert "--epochs" not in words


EVERYTHING = (
    *("--cell", "tanh", "--layers", 2, "--initialization", "identity", "--initial-range", 0.2, "--no-tied"),
    *("--dropout", 0.2, "--dropout-input", 0.1, "--dropout-between", 0.3, "--dropout-output", 0.15),
    *("--dropout-embedding", 0.1, "--no-locked", "--weight-drop", 0.25),
    *("--activation", 0.5, "--temporal-activation", 0.25, "--signal-norm", 0.01),
    *("--random-windows", "--schedule", "cosine", "--warm-up", 3, "--hold", 0.2, "--weight-decay", 0.1),
    *("--average", "triggered", "--clip", 0.5, "--clip-value", 0.05, "--seed", 3),
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_with_every_option_is_repeated(optimizer: str, unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    command = ("train", corpus, *SMALL, "--epochs", 1.5, *EVERYTHING, "--optimizer", optimizer)
    words = repeated(unrolled, unrolled(*command, "--out", tmp_path / "model"), tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "model")
    for name, value in zip(EVERYTHING, (*EVERYTHING[1:], ""), strict=True):
        if str(name).startswith("--"):
            place = words.index(str(name))
            if not str(value).startswith("--"):
                assert words[place + 1] == str(value), name
    assert ("--optimizer" in words) == (optimizer != "adamw")


def test_what_came_of_a_run_is_one_json_object_where_asked_for(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    outcome = unrolled("train", corpus, "--out", tmp_path / "model", *FEW, "--json")
    assert outcome.status == 0, outcome.errors
    (line,) = outcome.lines
    record = json.loads(line)
    results = json.loads((tmp_path / "model" / "config.json").read_text())["training"]["results"]
    assert list(record) == ["directory", "steps", "loss", "seconds", "repeat", "sources"]
    assert record["directory"] == str(tmp_path / "model")
    assert (record["steps"], record["loss"]) == (results["steps"], results["validation_loss"])
    assert record["repeat"] == results["repeat"]
    assert record["sources"] == [str(corpus)]
    assert record["seconds"] >= results["seconds"]
