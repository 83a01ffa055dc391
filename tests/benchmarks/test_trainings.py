"""Benchmarks that train by the command line do so with options that it knows and takes together."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ablation
import language_models
import reproduce
import tasks
from unrolled.cli.app import run


def trainings() -> Iterator[str]:
    """The options of each, without the text."""
    groups = [
        *language_models.GROUPS.values(),
        *(language_models.elsewhere(["text.txt"], unit) for unit in ("word", "char")),
    ]
    for options in (*(options for group in groups for options in group), *tasks.MADE, *tasks.LENGTH, *tasks.FILL):
        yield options.split(maxsplit=1)[1]
    for options in (tasks.COUNTING, tasks.BEAM):
        yield options.split(maxsplit=1)[1]
    for unit, recipe in ablation.RECIPE.items():
        yield f"--unit {unit} {recipe} --epochs 6 --seed 1 --threads 1"
    yield from (f"{ablation.RECIPE['word']} {switch}" for switch in ablation.SWITCHES.values())
    for experiment in reproduce.experiments(5, 3):
        yield f"--pre-tokenized --vocabulary-size 10000 {experiment.options}"


@pytest.mark.parametrize("options", sorted(set(trainings())))
def test_each_training_gets_as_far_as_its_text(
    options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.txt"
    assert run(["train", str(missing), *options.split(), "--out", str(tmp_path / "model")]) == 1
    assert capsys.readouterr().err.startswith(f"unrolled: error: {missing}: ")


def test_joined_dates_are_pairs_of_all_lengths() -> None:
    lines = [line.split("\t") for line in tasks.joined_dates().splitlines()]
    counts = [target.count(" ") + 1 for _, target in lines]
    assert {counts.count(number) for number in range(1, tasks.MOST_JOINED + 1)} == {len(lines) // tasks.MOST_JOINED}
    assert all(source for source, _ in lines)


@pytest.mark.slow
def test_a_published_experiment_on_another_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results")
    for part, count in (("train", 400), ("valid", 40), ("test", 40)):
        lines = "".join(f" the cat {number % 7} sees <unk> \n" for number in range(count))
        (tmp_path / f"ptb.{part}.txt").write_text(lines, encoding="utf-8")
    command = ["reproduce.py", "ptb-small", "--data", str(tmp_path), "--minutes", "0.2", "--epochs", "2"]
    monkeypatch.setattr("sys.argv", command)
    reproduce.main()
    shown = capsys.readouterr().out
    assert "2 x 200 LSTM without dropout" in shown
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["reproduce_another_text.json"]
    shutil.rmtree(tmp_path / "results")
