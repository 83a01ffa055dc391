"""The examples of the tasks, each with a model that has hardly learnt anything."""

import subprocess
import sys
from pathlib import Path

import pytest

import unrolled

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = {
    "fill": (
        "the keys to the boxes are old .\nthe key is in the box .\nit was and they were .\n" * 6,
        "the keys to the cabinet ___ old .",
    ),
    "classify": ("text,label\n" + "".join(f"hotel {n},{('yes', 'no')[n % 2]}\n" for n in range(12)), "not a bad hotel"),
    "tag": ("".join(f"Dr.\tO\nMay\tB-PERSON\n{n}\tB-DATE\n\n" for n in range(8)), "Dr. May moved from Paris"),
    "translate": ("March 3\t03-03\nMay 5\t05-05\nthe 7th of May\t05-07\nJune 1\t06-01\n", "the 7th of december, 1988"),
    "correct": ("the keys are old .\nthe key is in the box .\nthe boxes are here .\n", "teh keys to the cabinet"),
}
"""Data to train on, and part of what the example shows."""


SLOW = {"classify", "tag", "correct"}


@pytest.mark.parametrize("task", [pytest.param(task, marks=[pytest.mark.slow] * (task in SLOW)) for task in TASKS])
def test_an_example_shows_what_the_model_answers(task: str, tmp_path: Path) -> None:
    data, shown = TASKS[task]
    file = tmp_path / "data.txt"
    file.write_text(data, encoding="utf-8")
    unrolled.train(
        file,
        tmp_path / "model",
        task=task,
        text=unrolled.TextSettings(split="50/50", unit="char" if task in {"translate", "correct"} else None),
        model=unrolled.ModelSettings(hidden=8, embedding=8),
        training=unrolled.TrainingSettings(epochs=1, threads=1),
    )
    command = [sys.executable, str(EXAMPLES / f"{task}.py"), str(tmp_path / "model")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
    assert "Warning" not in done.stderr
    assert shown.split(" ___ ")[0] in done.stdout
    assert done.stdout.count("\n") >= 3
