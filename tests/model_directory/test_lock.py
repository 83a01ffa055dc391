"""One process at a time may write a model directory; one that is dead holds nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from unrolled import model_directory
from unrolled.errors import ModelDirectoryError

HOLD = """
import sys
from unrolled import model_directory
with model_directory.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def start_holder(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def refused_with(message: str, folder: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=message), model_directory.locked(folder):
        pass


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with start_holder(folder) as holder:
        with pytest.raises(ModelDirectoryError) as caught, model_directory.locked(folder):
            pass
        assert str(caught.value) == (
            f"{folder}: another run (process {holder.pid}) is writing here: wait for its end, or give another name"
        )
        holder.communicate("")
    with model_directory.locked(folder):
        assert [path.name for path in folder.iterdir()] == [".run.lock"]
    assert not folder.exists(), "nothing was put there"


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with start_holder(folder) as holder:
        holder.send_signal(signal.SIGKILL)
    assert (folder / ".run.lock").exists()
    with model_directory.locked(folder):
        assert (folder / ".run.lock").read_text() == f"{os.getpid()}\n"
    assert not (folder / ".run.lock").exists()


def test_the_same_process_is_refused_too_and_the_lock_goes_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with model_directory.locked(tmp_path):
        refused_with("another run", tmp_path)
    with pytest.raises(ZeroDivisionError), model_directory.locked(tmp_path):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_locked_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused_with("is a file, expected a folder: choose another name", tmp_path / "file")
