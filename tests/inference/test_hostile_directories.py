"""Model directories made to do harm are refused in one line, in under a second and under 100 MB."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory

SECONDS, BYTES = 1.0, 100_000_000
DEEP = b"[" * 200_000

OPEN = """
import json, resource, sys, time
import unrolled
from unrolled.training import ModelSettings, Settings, TextSettings, TrainingSettings
from unrolled.training.run import run
unrolled.LanguageModel.load(sys.argv[1]).score(["warm up"])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
defaults = Settings(TextSettings(), ModelSettings(), TrainingSettings())
doors = {"load": unrolled.LanguageModel.load, "resume": lambda path: list(run([], path, defaults, resume=True))}
for path in sys.argv[2:]:
    for door, knock in doors.items():
        before, start = peak(), time.perf_counter()
        try:
            knock(__import__("pathlib").Path(path))
            message = "nothing was refused"
        except unrolled.UnrolledError as error:
            message = str(error)
        print(json.dumps([path, door, message, time.perf_counter() - start, peak() - before]), flush=True)
"""


def with_config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A directory whose config.json has been changed by somebody who knows how to write a manifest."""

    def spoil(directory: Path) -> None:
        files = model_directory.load(directory)
        change(files.config)
        model_directory.save(directory, config=files.config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)

    return spoil


def with_file(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The same for the bytes of a file."""

    def spoil(directory: Path) -> None:
        import hashlib

        path = directory / name
        written = content(path.read_bytes())
        path.write_bytes(written)
        manifest = json.loads((directory / "manifest.json").read_text())
        manifest["files"][name]["sha256"] = hashlib.sha256(written).hexdigest()
        (directory / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def huge_tensor(content: bytes) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 64


def link_out(directory: Path) -> None:
    path = directory / "config.json"
    (directory.parent / "elsewhere.json").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(directory.parent / "elsewhere.json")


def name_out(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"]["config.json"]["name"] = "../elsewhere.json"
    (directory / "manifest.json").write_text(json.dumps(manifest))


def deep_manifest(directory: Path) -> None:
    (directory / "manifest.json").write_bytes(DEEP)


def sizes(**changed: Any) -> Callable[[Path], None]:
    def change(config: dict[str, Any]) -> None:
        config["model"] |= changed
        names = {"hidden_size": "hidden", "embedding_size": "embedding", "layers": "layers", "cell": "cell"}
        config["training"]["model"] |= {names[name]: value for name, value in changed.items() if name in names}

    return with_config(change)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "huge hidden size": sizes(hidden_size=10**9),
    "more layers than anybody can name": sizes(layers=10**12),
    "huge vocabulary": sizes(vocabulary_size=10**15),
    "sizes as text": sizes(hidden_size="8"),
    "negative sizes": sizes(hidden_size=-8),
    "fractions": sizes(layers=1.5),
    "truth for a number": sizes(layers=True),
    "a cell to import": sizes(cell="os.system"),
    "a cell from a file": sizes(cell="/etc/passwd"),
    "a class": with_config(lambda config: config.update(task="unrolled.LanguageModel")),
    "no model": with_config(lambda config: config.pop("model")),
    "a list for a model": with_config(lambda config: config.update(model=[1, 2])),
    "no settings": with_config(lambda config: config.update(text=None, training=None)),
    "huge tensor": with_file("model.safetensors", huge_tensor),
    "a header longer than the file": with_file("model.safetensors", lambda old: b"\xff" * 7 + b"\x7f" + old[8:]),
    "an empty file": with_file("model.safetensors", lambda old: b""),
    "deep config": with_file("config.json", lambda old: DEEP),
    "deep tokenizer": with_file("tokenizer.json", lambda old: DEEP),
    "a tokenizer of something else": with_file("tokenizer.json", lambda old: b'{"model": {"vocab": {"a": 1e999}}}'),
    "deep manifest": deep_manifest,
    "a link out of the folder": link_out,
    "a name out of the folder": name_out,
}


@pytest.fixture(scope="module")
def refusals(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What came of opening all of them: path, door, message, seconds, rise of the memory's peak."""
    folder = tmp_path_factory.mktemp("hostile")
    healthy = tiny_model("word")
    paths = []
    for name, spoil in HOSTILE.items():
        path = folder / name.replace("/", " ") / "model"
        files = model_directory.load(healthy)
        model_directory.save(path, config=files.config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)
        state = {"steps": 1, "plan": "0:2", "highest_rate": 0.1, "seconds": 1.0}
        model_directory.save_training(path, state=state, tensors={"network.output.bias": np.zeros(1, np.float32)})
        spoil(path)
        paths.append(str(path))
    command = [sys.executable, "-c", OPEN, str(healthy), *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_each_is_refused_at_once(refusals: list[Any]) -> None:
    assert len(refusals) == 2 * len(HOSTILE)
    for path, door, message, seconds, rise in refusals:
        where = f"{Path(path).parent.name}, {door}: {message}"
        assert message != "nothing was refused", where
        assert "\n" not in message, where
        assert len(message) < 500, where
        assert seconds < SECONDS, where
        assert rise < BYTES, where
