"""A damaged or full disk: what is wrong is said before a run goes on, and what was saved before stays."""

import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from unrolled import LanguageModel, model_directory
from unrolled.errors import ModelDirectoryError, UnrolledError
from unrolled.training.events import Finished, Stopped, Warned
from unrolled.training.run import run

from .runs import DEFAULTS, SETTINGS, all_of, stop_after

pytestmark = pytest.mark.usefixtures("no_curve")

PLACES = 24
MODEL = ("config.json", "model.safetensors", "tokenizer.json", "manifest.json")
CHECKPOINT = ("training/manifest.json", "training/state.json", "training/tensors.safetensors")


@pytest.fixture
def stopped(corpus: Path, tmp_path: Path) -> Path:
    """The directory of a run that was stopped."""
    end, _ = all_of(run([corpus], tmp_path / "model", SETTINGS, should_stop=stop_after(30)))
    assert isinstance(end, Stopped)
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "damage"), [*product([*MODEL, *CHECKPOINT], ["flipped", "cut"]), ("log.jsonl", "flipped")]
)
def test_damage_anywhere_is_found(name: str, damage: str, stopped: Path, tmp_path: Path) -> None:
    path = stopped / name
    whole = path.read_bytes()
    before = shutil.copytree(stopped, tmp_path / "before")
    for place in range(PLACES):
        content = bytearray(whole)
        at = place * (len(whole) - 1) // (PLACES - 1)
        if damage == "flipped":
            content[at] ^= 1
        else:
            del content[at:]
        if content.strip() == whole.strip():
            continue  # nothing but the last end of a line is gone
        path.write_bytes(content)
        with pytest.raises(UnrolledError) as caught:
            next(run([], stopped, DEFAULTS, resume=True))
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 500
        if name in MODEL:
            with pytest.raises(UnrolledError):
                LanguageModel.load(stopped)
        else:
            LanguageModel.load(stopped)
    path.write_bytes(whole)
    assert {p.relative_to(stopped): p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == {
        p.relative_to(before): p.read_bytes() for p in before.rglob("*") if p.is_file()
    }, "nothing else was touched"
    end, _ = all_of(run([], stopped, DEFAULTS, resume=True))
    assert isinstance(end, Finished)


def test_a_log_with_a_line_that_is_none_is_found_before_the_run_goes_on(stopped: Path) -> None:
    log = stopped / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"step"', b'"step', 1))
    with pytest.raises(ModelDirectoryError, match=r"log\.jsonl, line 1: is not JSON"):
        next(run([], stopped, DEFAULTS, resume=True))
    log.unlink()
    end, _ = all_of(run([], stopped, DEFAULTS, resume=True))
    assert isinstance(end, Finished), "nothing but the picture depends on it"


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        ("model", {"hidden": 20_000}),
        ("model", {"layers": 10_000}),
        ("model", {"cell": "gru" * 9}),
        ("options", {"threads": 10**9}),
        ("options", {"batch": 2.5}),
        ("options", {"seed": True}),
        ("regularization", {"dropout": "0.5"}),
    ],
)
def test_settings_that_are_not_those_of_the_weights_are_refused_at_once(
    stopped: Path, group: str, changes: dict[str, Any]
) -> None:
    files = model_directory.load(stopped)
    files.config["training"][group] |= changes
    model_directory.save(stopped, config=files.config, tensors=files.tensors, tokenizer_json=files.tokenizer_json)
    start = time.perf_counter()
    with pytest.raises(UnrolledError) as caught:
        next(run([], stopped, DEFAULTS, resume=True))
    assert time.perf_counter() - start < 1
    assert next(iter(changes)) in str(caught.value)


def test_what_hinders_the_curve_does_not_fail_the_run(stopped: Path) -> None:
    (stopped / "curve.png").unlink(missing_ok=True)
    (stopped / "curve.png").mkdir()
    seen = list(run([], stopped, DEFAULTS, resume=True))
    assert isinstance(seen[-1], Finished)
    assert any("there is no curve" in event.message for event in seen if isinstance(event, Warned))


FULL = """
import pathlib, sys
import unrolled
from unrolled import ModelSettings, TrainingSettings
out = pathlib.Path(sys.argv[2])
few = TrainingSettings(epochs=1, threads=1)
unrolled.train(sys.argv[1], out / "model", model=ModelSettings(hidden=8), training=few)
expected = unrolled.LanguageModel.load(out / "model").score(["the cat"])
print("first", flush=True)
(out / "filler").write_bytes(b"x" * 60_000)
try:
    unrolled.train(sys.argv[1], out / "model", model=ModelSettings(hidden=64), training=few, overwrite=True)
except unrolled.UnrolledError as error:
    print(error)
assert unrolled.LanguageModel.load(out / "model").score(["the cat"]) == expected
print(sorted(path.name for path in (out / "model").iterdir()))
"""


def test_a_full_disk_leaves_what_was_saved(corpus: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=300k tmpfs "$1" && shift && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(small)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no file system of its own can be mounted here (unshare --map-root-user --mount)")
    code = [sys.executable, "-c", FULL, str(corpus), str(small)]
    done = subprocess.run([*command, *code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    first, message, names = done.stdout.splitlines()
    assert first == "first"
    assert message.endswith(": the disk is full: free some space and try again; what was saved before is intact")
    assert names == str(sorted([*MODEL, "curve.png", "log.jsonl"])), "no half-written file is left"
