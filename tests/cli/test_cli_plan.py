"""`unrolled train --show-plan` says what a run would do, and `--minutes` does it."""

import json
import shlex
from pathlib import Path

import pytest

from .conftest import Call


@pytest.fixture(autouse=True)
def no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.training.output.draw_curve", lambda records, **_: b"no picture")


def test_the_plan_goes_to_standard_output_and_nothing_is_written(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = unrolled("train", corpus, "--minutes", 0.05, "--threads", 1, "--show-plan")
    assert shown.status == 0, shown.errors
    assert shown.output.startswith("plan        1 x ")
    for word in ("parameters", "tokens/s", "passes", "--hidden"):
        assert word in shown.output
    assert "vocabulary" in shown.errors
    assert sorted(tmp_path.rglob("*")) == before


def test_the_plan_as_json(unrolled: Call, corpus: Path) -> None:
    shown = unrolled("train", corpus, "--epochs", 2, "--hidden", 6, "--threads", 1, "--show-plan", "--json")
    record = json.loads(shown.output)
    assert record["passes"] == pytest.approx(2, rel=1e-12)
    assert record["seconds"] == pytest.approx(record["tokens"] / record["tokens_per_second"])
    assert list(record["tried"]) == ["6"]


def test_a_plan_needs_a_text_but_no_place(unrolled: Call) -> None:
    assert unrolled("train", "--show-plan").error(2).startswith("DATA is missing")


def test_a_planned_run_prints_its_plan_and_is_repeated_bit_for_bit(
    unrolled: Call, corpus: Path, tmp_path: Path
) -> None:
    first = unrolled("train", corpus, "--minutes", 0.05, "--threads", 1, "--out", tmp_path / "first", "--json")
    assert first.status == 0, first.errors
    assert "plan        1 x " in first.errors
    finished = json.loads(first.output)
    assert finished["directory"] == str(tmp_path / "first")
    stored = json.loads((tmp_path / "first" / "config.json").read_text(encoding="utf-8"))["training"]
    assert None not in {stored["model"]["hidden"], stored["model"]["tied"], stored["options"]["learning_rate"]}
    (line,) = [line for line in first.errors.splitlines() if line.startswith("repeat with ")]
    words = shlex.split(line.removeprefix("repeat with "))
    again = [str(tmp_path / "second") if word == "NEW" else word for word in words[words.index("train") :]]
    assert "--minutes" not in again
    assert unrolled(*again).status == 0
    first_weights, second_weights = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")
    )
    assert first_weights == second_weights


def test_a_limit_that_cannot_be_kept_is_one_line(unrolled: Call, corpus: Path, tmp_path: Path) -> None:
    options = ("--minutes", 0.05, "--hidden", 30, "--most-parameters", 100, "--threads", 1)
    refused = unrolled("train", corpus, "--out", tmp_path / "model", *options)
    assert refused.status == 2
    wanted = "unrolled: error: most_parameters is 100, and 1 x 30 gru, embedding 30, tied has "
    assert refused.errors.splitlines()[-1].startswith(wanted)
    assert not (tmp_path / "model").exists()
