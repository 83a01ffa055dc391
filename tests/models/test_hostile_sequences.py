"""Directories of models that fill, translate and correct, made to do harm: refused in one line, quickly, in little."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory
from unrolled.errors import ModelDirectoryError, UnrolledError
from unrolled.models.translate.predictor import Translator

from .test_hostile_tasks import BYTES, OPEN, SECONDS, Change, settings, sizes, weights, whole

TASKS = {"fill": "fill", "translate": "words", "correct": "correct"}
PAIRS = ("translate", "correct")
HERE = OPEN.replace('.answers(["warm up"], PredictionSettings())', "").replace("sys.argv[1:3]", "sys.argv[1:4]")
HERE = HERE.replace("sys.argv[3:]", "sys.argv[4:]")

EVERYWHERE: dict[str, Change] = {
    "huge hidden size": sizes(hidden_size=10**9),
    "more layers than anybody can name": sizes(layers=10**12),
    "thirty layers": sizes(layers=30),
    "huge embedding": sizes(embedding_size=10**18),
    "sizes as text": sizes(hidden_size="8"),
    "negative sizes": sizes(hidden_size=-8),
    "fractions": sizes(layers=1.5),
    "truth for a number": sizes(layers=True),
    "numbers for truth": sizes(tied=0),
    "a cell to import": sizes(cell="os.system"),
    "a size that there is none of": sizes(heads=8),
    "a list for a model": whole(model=[1, 2]),
    "another task's sizes": whole(model={"cell": "gru", "vocabulary_size": 9, "hidden_size": 8, "labels": 2}),
    "another task": whole(task="classify"),
    "no settings": whole(text=None, training=None),
    "a unit that is none": settings("text", unit=["word"]),
    "a split that is a number": settings("text", split=5),
    "data that are no object": whole(data=[1]),
    "a tensor of another shape": weights("output.bias", (3, 7)),
    "a tensor less": weights("output.bias", None),
    "a tensor more": weights("os.system", (1,)),
}
BY_TASK: dict[str, dict[str, Change]] = {
    "fill": {
        "huge vocabulary": sizes(vocabulary_size=10**15),
        "one word more": sizes(vocabulary_size=60),
        "subwords": settings("text", unit="bpe"),
        "an embedding of another shape": weights("embedding.weight", (2, 2)),
    },
    "translate": {
        "huge source": sizes(source_size=10**15),
        "huge target": sizes(target_size=10**15),
        "an odd hidden size": sizes(hidden_size=9),
        "an attention to import": sizes(attention="os.system"),
        "a list for an attention": sizes(attention=["dot"]),
        "attention that it has no weights for": sizes(attention="additive"),
        "no attention": sizes(attention="none"),
        "nothing fed": sizes(input_feeding=False),
        "tied with unequal sizes": sizes(tied=True),
        "shared with unequal sizes": sizes(shared=True),
        "most tokens as text": settings("own", most_tokens="many"),
        "own settings of nothing": lambda config, tensors: config["training"].update(own=None),
        "keys of another shape": weights("decoder.attention.weight_key", (9, 8)),
    },
    "correct": {
        "a noise that is none": settings("own", noise="loud"),
        "too much noise": settings("own", noise=2.0),
        "subwords that are words": settings("text", unit="word"),
    },
}


def write(path: Path, files: model_directory.ModelFiles, spoil: Change, target: str | None) -> None:
    files.config["training"]["results"] |= {"finished": False}
    spoil(files.config, files.tensors)
    model_directory.save(
        path,
        config=files.config,
        tensors=files.tensors,
        tokenizer_json=files.tokenizer_json,
        target_tokenizer_json=target,
    )
    state = {"steps": 1, "plan": "0:2", "highest_rate": 0.1, "seconds": 1.0}
    model_directory.save_training(path, state=state, tensors={"network.output.bias": np.zeros(1, np.float32)})


@pytest.fixture(scope="module")
def refusals(sequence_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What came of opening all of them: path, door, error, message, seconds, rise of the memory's peak."""
    folder = tmp_path_factory.mktemp("hostile sequences")
    healthy = [f"{task}:{sequence_model(kind)}" for task, kind in TASKS.items()]
    spoilt = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)  # or the disk takes half a minute
        for task, _, model in (each.partition(":") for each in healthy):
            own = BY_TASK[task]
            for name, spoil in {**(EVERYWHERE if task != "correct" else {}), **own}.items():
                path, files = folder / task / name / "model", model_directory.load(model)
                write(path, files, spoil, files.target_tokenizer_json)
                spoilt.append(f"{task}:{path}")
    command = [sys.executable, "-c", HERE, *healthy, *spoilt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("door", ["load", "evaluate", "resume"])
def test_each_is_refused_at_once(refusals: list[Any], door: str) -> None:
    asked = [each for each in refusals if each[1] == door]
    assert len(asked) == 2 * len(EVERYWHERE) + sum(map(len, BY_TASK.values()))
    for path, _, kind, message, seconds, rise in asked:
        where = f"{Path(path).parent}, {door}: {kind}: {message}"
        may_load = "data that are no object" in where and door == "load"
        assert message != "nothing was refused" or may_load, where
        assert kind in {"ModelDirectoryError", "TokenizerError", ""} or door == "resume", where
        assert "\n" not in message, where
        assert len(message) < 600, where
        assert seconds < SECONDS, where
        assert rise < BYTES, where


def test_both_tokenizers_are_listed_and_their_damage_is_found(
    sequence_model: Callable[[str], Path], tmp_path: Path
) -> None:
    files = model_directory.load(sequence_model("words"))
    assert files.target_tokenizer_json is not None
    for number, (target, message) in enumerate([
        (None, "has no target_tokenizer.json: restore it or train again"),
        (files.tokenizer_json, r"target_tokenizer\.json has \d+ tokens, the model \d+: train again"),
        ("{}", "tokenizer"),
    ]):  # fmt: skip
        path = tmp_path / str(number)
        write(path, model_directory.load(sequence_model("words")), lambda config, tensors: None, target)
        with pytest.raises(UnrolledError, match=message):
            Translator.load(path)
    path = tmp_path / "shared"
    write(path, model_directory.load(sequence_model("shared")), lambda config, tensors: None, files.tokenizer_json)
    with pytest.raises(ModelDirectoryError, match=r"^target_tokenizer\.json: the model has one vocabulary for both"):
        Translator.load(path)
    path = tmp_path / "damaged"
    write(path, files, lambda config, tensors: None, files.target_tokenizer_json)
    Translator.load(path)
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    name = manifest["files"]["target_tokenizer.json"]["name"]
    with (path / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelDirectoryError, match=r"target_tokenizer\.json"):
        Translator.load(path)
    (path / name).unlink()
    with pytest.raises(ModelDirectoryError, match=r"target_tokenizer\.json"):
        Translator.load(path)
