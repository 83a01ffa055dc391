"""However a model directory is broken, each verb says so in one line; --debug shows where."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled.cli import app, info

from .conftest import SMALL, Call

VERBS = ("score", "evaluate", "generate", "info")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_no_model_is_one_line(verb: str, unrolled: Call, tmp_path: Path) -> None:
    hint = "give the folder that `unrolled train` wrote"
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("text")
    for name, what in (
        ("none", "there is no such folder"),
        ("file.txt", "is a file"),
        ("folder", "holds no model, for it has no manifest.json"),
    ):
        assert unrolled(verb, tmp_path / name).error(1) == f"{tmp_path / name}: {what}: {hint}"


@pytest.mark.parametrize("verb", VERBS)
def test_a_flipped_byte_is_one_line_that_names_the_file(
    verb: str, unrolled: Call, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json", "manifest.json"):
        model = Path(shutil.copytree(tiny_model("char"), tmp_path / name))
        content = bytearray((model / name).read_bytes())
        for place in (0, len(content) // 2, len(content) - 5):
            changed = bytearray(content)
            changed[place] ^= 0x10
            (model / name).write_bytes(changed)
            error = unrolled(verb, model).error(1)
            assert str(model) in error
            assert name in error


def test_a_missing_member_is_named(unrolled: Call, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model("char"), tmp_path / "model"))
    (model / "tokenizer.json").unlink()
    assert unrolled("score", model).error(1) == (
        f"{model / 'tokenizer.json'}: is missing, but manifest.json names it: restore it from a copy or train again"
    )


def test_debug_shows_the_traceback_and_the_same_line(unrolled: Call, tmp_path: Path) -> None:
    plain = unrolled("info", tmp_path)
    for arguments in (("--debug", "info", tmp_path), ("info", tmp_path, "--debug")):
        outcome = unrolled(*arguments)
        assert outcome.status == plain.status == 1
        assert outcome.errors.startswith("Traceback (most recent call last):\n")
        assert outcome.errors.endswith(plain.errors)
        assert "model_directory" in outcome.errors
    assert "Traceback" not in plain.errors


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "not enough memory: take a smaller model, batch or text"),
        (RuntimeError("CUDA out of memory. Tried"), 1, "not enough memory: take a smaller model, batch or text"),
        (RuntimeError("broken"), 1, "unexpected RuntimeError: broken: please report it with the output of --debug"),
        (ZeroDivisionError("by\nzero"), 1, "unexpected ZeroDivisionError: by zero: please report it with the output"),
        (OSError(errno.EIO, "Input/output error", "disk"), 1, "disk: Input/output error: check the path and the disk"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1, "input or output: No space left on device: check the"),
    ],
)
def test_what_else_goes_wrong_is_one_line_too(
    error: BaseException, status: int, message: str, unrolled: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(info, "_installation", fail)
    assert unrolled("info").error(status).startswith(message)


def test_a_full_disk_is_one_line_and_leaves_the_earlier_model(
    unrolled: Call, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    train = ("train", corpus, "--out", out, *SMALL, "--epochs", 0.2, "--overwrite")
    assert unrolled(*train).status == 0
    before = {name: (out / name).read_bytes() for name in ("config.json", "model.safetensors", "tokenizer.json")}

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("unrolled.model_directory.commits.write", full)
    outcome = unrolled(*train, "--seed", 5)
    assert outcome.status == 1
    last = outcome.errors.splitlines()[-1]
    assert last.startswith(f"unrolled: error: {out}")
    assert last.endswith("the disk is full: free some space and try again; what was saved before is intact")
    assert "Traceback" not in outcome.errors
    monkeypatch.undo()
    assert {name: (out / name).read_bytes() for name in before} == before
    assert unrolled("score", out, stdin=b"the cat\n").status == 0


def test_streams_that_are_no_text_files_are_left_alone(unrolled: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Notebook:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

    notebook = Notebook()
    monkeypatch.setattr("sys.stdout", notebook)
    assert app.run(["--version"]) == 0
    assert notebook.text.startswith("unrolled ")
