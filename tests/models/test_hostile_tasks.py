"""Directories of classifiers and taggers made to do harm are refused in one line, quickly and in little memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory

SECONDS, BYTES = 2.0, 100_000_000

OPEN = """
import json, resource, sys, time
from pathlib import Path
import unrolled
from unrolled import models
from unrolled.models.predictor import PredictionSettings
from unrolled.training import ModelSettings, Settings, TextSettings, TrainingSettings
from unrolled.training.run import run
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
defaults = Settings(TextSettings(), ModelSettings(), TrainingSettings())
def resume(task, path):
    list(run([], path, defaults, resume=True))
def load(task, path):
    models.get(task).load(path)
def evaluate(task, path):
    models.get(task).load(path).evaluate()
for task, path in (pair.split(":", 1) for pair in sys.argv[1:3]):
    models.get(task).load(path).answers(["warm up"], PredictionSettings())
assert "torch._dynamo" not in sys.modules, "to draw values without memory loads torch's compiler, which takes seconds"
for pair in sys.argv[3:]:
    task, path = pair.split(":", 1)
    for door in (load, evaluate, resume):
        before, start = peak(), time.perf_counter()
        try:
            door(task, Path(path))
            kind, message = "", "nothing was refused"
        except unrolled.UnrolledError as error:
            kind, message = type(error).__name__, str(error)
        took = time.perf_counter() - start
        print(json.dumps([path, door.__name__, kind, message, took, peak() - before]), flush=True)
"""

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def sizes(**changed: Any) -> Change:
    return lambda config, tensors: config["model"].update(changed)


def settings(group: str, **changed: Any) -> Change:
    def change(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        (config["training"]["own"] if group == "own" else config[group]).update(changed)

    return change


def whole(**changed: Any) -> Change:
    return lambda config, tensors: config.update(changed)


def recorded(entry: Any) -> Change:
    return lambda config, tensors: config["data"].update(labels=entry)


def weights(name: str, shape: tuple[int, ...] | None) -> Change:
    def change(config: dict[str, Any], tensors: dict[str, Any]) -> None:
        if shape is None:
            del tensors[name]
        else:
            tensors[name] = np.zeros(shape, np.float32)

    return change


HOSTILE: dict[str, Change] = {
    "huge hidden size": sizes(hidden_size=10**9),
    "more layers than anybody can name": sizes(layers=10**12),
    "a thousand layers": sizes(layers=1000),
    "huge vocabulary": sizes(vocabulary_size=10**15),
    "huge embedding": sizes(embedding_size=10**18),
    "more labels than memory has room for": sizes(labels=10**10),
    "one label more": sizes(labels=6),
    "sizes as text": sizes(hidden_size="8"),
    "negative sizes": sizes(hidden_size=-8),
    "fractions": sizes(layers=1.5),
    "truth for a number": sizes(layers=True),
    "a cell to import": sizes(cell="os.system"),
    "a list for a cell": sizes(cell=["gru"]),
    "a size that there is none of": sizes(heads=8),
    "no model": lambda config, tensors: config.pop("model"),
    "a list for a model": whole(model=[1, 2]),
    "another task's sizes": whole(
        model={
            "cell": "gru",
            "vocabulary_size": 9,
            "embedding_size": 7,
            "hidden_size": 8,
            "layers": 2,
            "tied": False,
        }
    ),
    "another task": whole(task="language"),
    "a task that is none": whole(task="unrolled.models"),
    "a list for a task": whole(task=["classify"]),
    "no settings": whole(text=None, training=None),
    "another unit": settings("text", unit="char"),
    "a unit that is none": settings("text", unit=["word"]),
    "a split that is a number": settings("text", split=5),
    "a vocabulary of nothing": settings("text", vocabulary_size=None),
    "own settings of nothing": lambda config, tensors: config["training"].update(own=None),
    "own settings of another task": lambda config, tensors: config["training"].update(own={"gap_share": 0.1}),
    "most tokens as text": settings("own", most_tokens="many"),
    "no labels": recorded(None),
    "labels that are numbers": recorded([1, 2, 3, 4, 5]),
    "too few labels": recorded(["a", "b"]),
    "a dictionary of labels": recorded({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}),
    "data that are no object": whole(data=[1]),
    "data that are text": whole(data="reviews.csv"),
    "no data": lambda config, tensors: config.pop("data"),
    "a tensor of another shape": weights("output.weight", (3, 7)),
    "a tensor less": weights("output.bias", None),
    "a tensor more": weights("os.system", (1,)),
}


def write(path: Path, files: model_directory.ModelFiles, spoil: Change) -> None:
    """A directory that somebody has changed who knows how to write a manifest."""
    files.config["training"]["results"] |= {"finished": False}
    spoil(files.config, files.tensors)
    model_directory.save(path, config=files.config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)
    state = {"steps": 1, "plan": "0:2", "highest_rate": 0.1, "seconds": 1.0}
    model_directory.save_training(path, state=state, tensors={"network.output.bias": np.zeros(1, np.float32)})


@pytest.fixture(scope="module")
def refusals(task_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What came of opening all of them: path, door, error, message, seconds, rise of the memory's peak."""
    folder = tmp_path_factory.mktemp("hostile")
    healthy = [f"{task}:{task_model(task)}" for task in ("classify", "tag")]
    spoilt = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)  # or the disk takes half a minute
        for task, _, model in (each.partition(":") for each in healthy):
            for name, spoil in HOSTILE.items():
                path = folder / task / name / "model"
                write(path, model_directory.load(model), spoil)
                spoilt.append(f"{task}:{path}")
    command = [sys.executable, "-c", OPEN, *healthy, *spoilt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("door", ["load", "evaluate", "resume"])
def test_each_is_refused_at_once(refusals: list[Any], door: str) -> None:
    asked = [each for each in refusals if each[1] == door]
    assert len(asked) == 2 * len(HOSTILE)
    for path, _, kind, message, seconds, rise in asked:
        where = f"{Path(path).parent}, {door}: {kind}: {message}"
        assert message != "nothing was refused", where
        assert kind in {"ModelDirectoryError", "TokenizerError"} or door == "resume", where
        assert "\n" not in message, where
        assert len(message) < 600, where
        assert seconds < SECONDS, where
        assert rise < BYTES, where
