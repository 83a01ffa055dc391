"""The example of a cell of one's own, with less training."""

import importlib.util
import os
import re
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from unrolled import cells

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_cell.py"


@pytest.fixture
def own_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setattr(cells, "_registry", dict(cells._registry))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # one thread: too little work for more
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("own_cell_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_checks_trains_and_writes_and_leaves_nothing_but_the_compiled_cell(
    own_cell: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_cell.main(["--epochs", "0.2"])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Gradient of ugrnn: 100% of 64 elements checked, weight_")
    assert re.fullmatch(
        r"Training 1 x 96 ugrnn, embedding 96 on the engine (native|portable) \(.*\), \d+ steps .*", said[1]
    )
    (loss,) = re.findall(r"pass 0\.2\d?  (\S+) nats per character", said[2])
    assert 2 < float(loss) < 4  # log 95 = 4.6 is a blind guess, 3.2 the best one without context
    assert re.fullmatch(r"  \d+ steps in \d+ s", said[3])
    assert len(said) == 5
    assert said[4].startswith("The ")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []


def test_the_cell_is_written_in_ten_lines_and_without_a_backward(own_cell: ModuleType) -> None:
    text = EXAMPLE.read_text(encoding="utf-8").split("class UpdateGate(Cell):")[1].split("\n\n\n")[0]
    lines = [line for line in text.splitlines() if line.strip() and '"""' not in line]
    assert len(lines) <= 10
    assert "step_backward" not in vars(own_cell.UpdateGate)
