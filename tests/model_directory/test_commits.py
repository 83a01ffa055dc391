"""Whenever a save is killed, fails or runs out of disk, the folder holds the last good state or the new one."""

import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import model_directory
from unrolled.errors import ModelDirectoryError

PLAIN_NAMES = {"config.json", "manifest.json", "model.safetensors", "tokenizer.json"}
OPERATIONS = ("fsync", "link", "mkdir", "open", "replace", "unlink")


class Killed(BaseException):
    """Stands for the end of the process: nothing after it may touch the disk."""


class Disk:
    """Counts the operations on the disk and lets some of them go wrong.

    Args:
        first: number of the first operation that goes wrong.
        last: number of the last one.
        error: what they raise; a write leaves half of its bytes behind.
    """

    def __init__(self, first: int, last: float, error: BaseException) -> None:
        self.first, self.last, self.error = first, last, error
        self.count = 0

    def goes_wrong(self) -> bool:
        self.count += 1
        return self.first <= self.count <= self.last

    def wrapped(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if self.goes_wrong():
                raise self.error
            return operation(*arguments, **options)

        return run

    def opened(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def run(path: Path, mode: str) -> Iterator[Any]:
            if self.goes_wrong():
                raise self.error
            with operation(path, mode) as file:
                yield _File(file, self) if "x" in mode else file

        return run

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))
        monkeypatch.setattr(Path, "open", self.opened(Path.open))


class _File:
    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk
        self.flush, self.fileno = file.flush, file.fileno

    def write(self, content: bytes) -> None:
        if self.disk.goes_wrong():
            self.file.write(content[: len(content) // 2])
            raise self.disk.error
        self.file.write(content)


def save(directory: Path, seed: int) -> None:
    tensors = {"w": np.random.default_rng(seed).normal(size=(3, 5))}
    model_directory.save(directory, config={"seed": seed}, tensors=tensors, tokenizer_json=f'{{"seed": {seed}}}')


def loaded_seed(directory: Path) -> int:
    """Which save the folder holds; all three files have to be of that one."""
    model = model_directory.load(directory)
    seed = int(model.config["seed"])
    assert json.loads(model.tokenizer_json) == {"seed": seed}
    np.testing.assert_array_equal(model.tensors["w"], np.random.default_rng(seed).normal(size=(3, 5)))
    return seed


def end_of(
    act: Callable[[Path, int], None], directory: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> BaseException | None:
    """What a second save on this disk ends with."""
    with monkeypatch.context() as patch:
        disk.patch(patch)
        try:
            act(directory, 2)
        except (ModelDirectoryError, Killed) as raised:
            return raised
    return None


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def fresh_names(directory: Path) -> set[str]:
    return names(directory) - PLAIN_NAMES


def named_by_manifest(directory: Path) -> set[str]:
    manifest = json.loads((directory / "manifest.json").read_text())
    return {member["name"] for member in manifest["files"].values()}


def no_links(*arguments: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of flushes would take minutes on a busy disk, and only a power cut shows what they do."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["hard links", "no hard links"])
def any_file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", no_links)


@pytest.mark.usefixtures("any_file_system")
@pytest.mark.parametrize("kind", ["killed", "fails once", "disk full"])
def test_a_save_that_ends_at_any_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error = Killed() if kind == "killed" else OSError(errno.ENOSPC, "No space left on device")
    seen = {}
    for number in itertools.count(1):
        directory = tmp_path / str(number)
        save(directory, 1)
        disk = Disk(number, number if kind == "fails once" else float("inf"), error)
        raised = end_of(save, directory, disk, monkeypatch)
        seen[number] = loaded_seed(directory)
        assert raised is not None or seen[number] == 2
        if isinstance(raised, ModelDirectoryError):
            assert "the disk is full" in str(raised)
            if kind == "fails once":
                assert fresh_names(directory) <= named_by_manifest(directory)
        save(directory, 3)
        assert loaded_seed(directory) == 3
        assert names(directory) == PLAIN_NAMES
        if disk.count < number:
            break
    assert number > 30, "the operations of a save were not seen"
    order = list(seen.values())[1:]  # the first makes the folder, and that it cannot be made again is no failure
    assert order == sorted(order), "the new state, once there, stays"
    assert 10 < order.count(1) < number - 10, "operations before and after the moment of the commit are both tried"


@pytest.mark.parametrize("kind", ["killed", "fails once", "disk full"])
def test_a_checkpoint_that_ends_at_any_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    error = Killed() if kind == "killed" else OSError(errno.EIO, "Input/output error")

    def checkpoint(directory: Path, seed: int) -> None:
        tensors = {"w": np.random.default_rng(seed).normal(size=(3, 5)), "count": np.array(seed)}
        model_directory.save_training(directory, state={"seed": seed}, tensors=tensors)

    def checkpoint_there(directory: Path) -> int:
        found = model_directory.load_training(directory)
        assert found is not None
        seed = int(found[0]["seed"])
        np.testing.assert_array_equal(found[1]["w"], np.random.default_rng(seed).normal(size=(3, 5)))
        assert found[1]["count"] == seed
        return seed

    seen = {}
    for number in itertools.count(1):
        directory = tmp_path / str(number)
        save(directory, 1)
        checkpoint(directory, 1)
        disk = Disk(number, number if kind == "fails once" else float("inf"), error)
        raised = end_of(checkpoint, directory, disk, monkeypatch)
        seen[number] = checkpoint_there(directory)
        assert raised is not None or seen[number] == 2
        assert loaded_seed(directory) == 1, "the model beside it is another matter"
        checkpoint(directory, 3)
        assert checkpoint_there(directory) == 3
        assert len(names(directory / "training")) == 3
        if disk.count < number:
            break
    order = list(seen.values())[1:]
    assert order == sorted(order), "the new state, once there, stays"
    assert 5 < order.count(1) < number - 5, "operations before and after the moment of the commit are both tried"


def test_a_first_save_that_ends_at_any_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in itertools.count(1):
        directory = tmp_path / str(number)
        disk = Disk(number, float("inf"), Killed())
        with monkeypatch.context() as patch:
            disk.patch(patch)
            with suppress(Killed):
                save(directory, 2)
        if model_directory.has_model(directory):
            assert loaded_seed(directory) == 2
        else:
            assert not names(directory) & PLAIN_NAMES
        save(directory, 3)
        assert loaded_seed(directory) == 3
        assert names(directory) == PLAIN_NAMES
        if disk.count < number:
            break
    assert number > 30, "the operations of a save were not seen"


def test_a_process_that_ends_at_any_line(tmp_path: Path, run_python: Callable[..., str]) -> None:
    """Real processes that stop dead at a line of the package, two in a row: every seventh line is tried."""
    save(tmp_path / "start", 1)
    code = """
import os, shutil, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # os.fork is for processes of one thread
import numpy as np
import safetensors.numpy
from unrolled import model_directory

os.fsync = lambda descriptor: None

def save(directory, seed, last_line):
    line = 0
    def trace(frame, event, argument):
        nonlocal line
        if "model_directory" not in frame.f_code.co_filename:
            return None
        line += event == "line"
        if line == last_line:
            os._exit(9)
        return trace
    tensors = {"w": np.random.default_rng(seed).normal(size=(3, 5))}
    sys.settrace(trace)
    model_directory.save(directory, config={"seed": seed}, tensors=tensors, tokenizer_json='{"seed": %d}' % seed)

last_line, status = 1, 9
while status == 9:
    directory = f"{sys.argv[1]}/{last_line}"
    shutil.copytree(f"{sys.argv[1]}/start", directory)
    for seed in (2, 3):
        if os.fork() == 0:
            save(directory, seed, last_line + seed - 2)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.wait()[1])
    last_line += 7
print(last_line)
"""
    last_line = int(run_python(code, str(tmp_path)))
    assert last_line > 200, "the lines of a save were not seen"
    seen = [loaded_seed(tmp_path / str(line)) for line in range(1, last_line, 7)]
    assert seen[0] == 1
    assert seen.count(2) + seen.count(3) > 10
    assert seen[-1] == 3
    for directory in tmp_path.iterdir():
        save(directory, 4)
        assert names(directory) == PLAIN_NAMES
        assert loaded_seed(directory) == 4


def test_leftovers_of_earlier_kills_go_and_other_files_stay(tmp_path: Path) -> None:
    save(tmp_path, 1)
    leftovers = {"model.0123abcd.safetensors", "config.ffffffff.json", "manifest.00000000.json"}
    others = {"log.jsonl", "curve.png", "model.old.safetensors", "config.0123ABCD.json", "notes.0123abcd.json"}
    for name in leftovers | others:
        (tmp_path / name).write_text("x")
    save(tmp_path, 2)
    assert names(tmp_path) == PLAIN_NAMES | others


def test_a_state_with_fresh_names_survives_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two swaps of the manifest the plain names are the last state's: nobody may take them for the new."""
    save(tmp_path / "model", 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *arguments: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            save(tmp_path / "model", 2)
    assert len(fresh_names(tmp_path / "model") & named_by_manifest(tmp_path / "model")) == 3
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    assert loaded_seed(tmp_path / "copy") == 2


def test_what_a_manifest_names_is_on_the_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is safe once it is flushed, and so is its folder after the last new name; else power loss breaks both."""
    save(tmp_path, 1)
    flushed: set[int] = set()
    folder = tmp_path.stat().st_ino
    swaps = 0
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def note_flush(descriptor: int) -> None:
        flushed.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def check_replace(source: Path, target: Path) -> None:
        nonlocal swaps
        assert source.stat().st_ino in flushed
        if target.name == "manifest.json":
            members = json.loads(source.read_text())["files"].values()
            assert {(tmp_path / member["name"]).stat().st_ino for member in members} | {folder} <= flushed
            swaps += 1
        else:
            assert swaps == 1
            assert folder in flushed, "the manifest is safe before the files of the last one go"
        replace(source, target)
        flushed.discard(folder) if target.name == "manifest.json" else None

    def check_unlink(path: Path) -> None:
        assert swaps == 2
        assert folder in flushed
        unlink(path)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "replace", check_replace)
    monkeypatch.setattr(os, "unlink", check_unlink)
    save(tmp_path, 2)
    assert swaps == 2
    assert names(tmp_path) == PLAIN_NAMES
