"""The folder a model lives in: written so that a kill leaves the last good state, verified whenever it is read.

    config.json          data only: never a class name or a path to import
    model.safetensors    the weights by name, float32 or float64
    tokenizer.json       the `tokenizers` library's own format
    target_tokenizer.json  the same for the other language, where a task has two
    manifest.json        format version; name and SHA-256 of each of these
    log.jsonl            one line a report
    training/            what resuming needs, committed by itself with a manifest of its own; may be deleted
    .run.lock            while a run writes here

Nothing here imports torch, and nothing that is read is ever executed.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.commits import commit, read_committed, remove_committed
from unrolled.model_directory.files import from_json, system_errors_explained, to_json
from unrolled.model_directory.lock import locked
from unrolled.model_directory.log import append_log, clear_log, read_log
from unrolled.model_directory.manifest import MANIFEST
from unrolled.model_directory.tensors import STATE_DTYPES, WEIGHT_DTYPES, Array, from_safetensors, to_safetensors

__all__ = [
    "ModelFiles",
    "append_log",
    "clear_run",
    "clear_training",
    "has_model",
    "load",
    "load_config",
    "load_training",
    "locked",
    "read_log",
    "refuse_foreign_files",
    "save",
    "save_training",
]

AnyPath = str | PathLike[str]

_MODEL, _CONFIG, _WEIGHTS, _TOKENIZER = "unrolled-model", "config.json", "model.safetensors", "tokenizer.json"
_TARGET_TOKENIZER = "target_tokenizer.json"
_TRAINING, _STATE, _TENSORS = "unrolled-training", "state.json", "tensors.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """A model as it lies on the disk, verified; what config and tensors mean is for others to check."""

    directory: Path
    config: dict[str, Any]
    tensors: dict[str, Array]
    """By name: float32 or float64, in C order, writable."""
    tokenizer_json: str
    target_tokenizer_json: str | None = None


def has_model(directory: AnyPath) -> bool:
    """Whether a model was saved there, be it intact or not.

    Raises:
        ModelDirectoryError: the directory may not be looked into.
    """
    with system_errors_explained(Path(directory)):
        return (Path(directory) / MANIFEST).is_file()


def refuse_foreign_files(directory: AnyPath) -> None:
    """Refuse to replace what no save wrote: plain names are given only once there is a manifest.

    Raises:
        ModelDirectoryError: a file stands in the directory's place, or one in it has a name that a model needs.
    """
    folder = Path(directory)
    with system_errors_explained(folder):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        if (folder / MANIFEST).exists():
            return
        for path in (folder / name for name in (_CONFIG, _WEIGHTS, _TOKENIZER, _TARGET_TOKENIZER)):
            if path.exists():
                raise ModelDirectoryError(
                    f"{path}: is there without a {MANIFEST}, so Unrolled did not write it: choose another folder"
                )


def save(
    directory: AnyPath,
    *,
    config: Mapping[str, Any],
    tensors: Mapping[str, Array],
    tokenizer_json: str,
    target_tokenizer_json: str | None = None,
) -> None:
    """Replace the model in a directory, all of it or nothing; the directory is made if it is not there.

    Args:
        directory: where the model lives.
        config: plain data without NaN or infinities.
        tensors: float32 or float64 arrays of any shape and memory order.
        tokenizer_json: a tokenizer in the `tokenizers` library's own format.
        target_tokenizer_json: that of the other language, if there is one.

    Raises:
        ModelDirectoryError: something cannot be stored, or the directory cannot be written or holds files of these
            names that are not a model's. The last good state stays.
    """
    folder = Path(directory)
    refuse_foreign_files(folder)
    files = {
        _CONFIG: to_json(dict(config), folder / _CONFIG),
        _WEIGHTS: to_safetensors(tensors, folder / _WEIGHTS, dtypes=WEIGHT_DTYPES),
        _TOKENIZER: tokenizer_json.encode(),
    }
    if target_tokenizer_json is not None:
        files[_TARGET_TOKENIZER] = target_tokenizer_json.encode()
    commit(folder, files, file_format=_MODEL)
    if target_tokenizer_json is None:  # of a model of another task that was here before
        with suppress(OSError):
            (folder / _TARGET_TOKENIZER).unlink()


def load_config(directory: AnyPath) -> dict[str, Any]:
    """Read and verify config.json alone, which is quick whatever the size of the model.

    Raises:
        ModelDirectoryError: as `load`.
    """
    folder = _model_folder(directory)
    return from_json(read_committed(folder, (_CONFIG,), file_format=_MODEL)[_CONFIG], folder / _CONFIG)


def load(directory: AnyPath) -> ModelFiles:
    """Read and verify the model in a directory.

    Raises:
        ModelDirectoryError: there is no such directory, no model in it, or one that is incomplete, damaged or of a
            newer format version.
    """
    folder = _model_folder(directory)
    names = (_CONFIG, _WEIGHTS, _TOKENIZER)
    contents = read_committed(folder, names, optional=(_TARGET_TOKENIZER,), file_format=_MODEL)
    target = contents.get(_TARGET_TOKENIZER)
    return ModelFiles(
        directory=folder,
        config=from_json(contents[_CONFIG], folder / _CONFIG),
        tensors=from_safetensors(contents[_WEIGHTS], folder / _WEIGHTS, dtypes=WEIGHT_DTYPES),
        tokenizer_json=_decoded(contents[_TOKENIZER], folder / _TOKENIZER),
        target_tokenizer_json=None if target is None else _decoded(target, folder / _TARGET_TOKENIZER),
    )


def save_training(directory: AnyPath, *, state: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Replace what resuming needs, in training/ inside a model directory, all of it or nothing.

    The model and this are two commits and a kill may fall between them: let the state say which model it continues.

    Args:
        directory: where the model lives.
        state: plain data without NaN or infinities.
        tensors: arrays of floating-point numbers, integers or booleans, of any shape and memory order.

    Raises:
        ModelDirectoryError: something cannot be stored, or the directory cannot be written; the last good state stays.
    """
    folder = _training_folder(directory)
    files = {
        _STATE: to_json(dict(state), folder / _STATE),
        _TENSORS: to_safetensors(tensors, folder / _TENSORS, dtypes=STATE_DTYPES),
    }
    commit(folder, files, file_format=_TRAINING)


def load_training(directory: AnyPath) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """Read and verify what `save_training` wrote: state and tensors, or None if nothing was ever saved there.

    Raises:
        ModelDirectoryError: what is there is incomplete, damaged or of a newer format version.
    """
    folder = _training_folder(directory)
    if not has_model(folder):
        return None
    contents = read_committed(folder, (_STATE, _TENSORS), file_format=_TRAINING)
    state = from_json(contents[_STATE], folder / _STATE)
    return state, from_safetensors(contents[_TENSORS], folder / _TENSORS, dtypes=STATE_DTYPES)


def clear_run(directory: AnyPath) -> None:
    """Make a directory ready for a new run: make it, and remove log and training state of an earlier one.

    A model that is there stays until it is replaced.

    Raises:
        ModelDirectoryError: the directory cannot be made or written, or holds files that `save` refuses to replace.
    """
    with system_errors_explained(Path(directory)):
        Path(directory).mkdir(parents=True, exist_ok=True)
    refuse_foreign_files(Path(directory))
    clear_log(directory)
    clear_training(directory)


def clear_training(directory: AnyPath) -> None:
    """Remove what `save_training` wrote, if anything: there is nothing to resume afterwards.

    Raises:
        ModelDirectoryError: it cannot be removed.
    """
    remove_committed(_training_folder(directory), (_STATE, _TENSORS))


def _training_folder(directory: AnyPath) -> Path:
    folder = Path(directory) / "training"
    with system_errors_explained(folder):
        if folder.is_symlink():
            raise ModelDirectoryError(
                f"{folder}: is a symbolic link, expected a folder: replace the link by the folder"
            )
    return folder


def _model_folder(directory: AnyPath) -> Path:
    folder = Path(directory)
    expected = "give the folder that `unrolled train` wrote"
    with system_errors_explained(folder):
        if not folder.exists():
            raise ModelDirectoryError(f"{folder}: there is no such folder: {expected}")
        if not folder.is_dir():
            raise ModelDirectoryError(f"{folder}: is a file: {expected}")
        if not has_model(folder):
            raise ModelDirectoryError(f"{folder}: holds no model, for it has no {MANIFEST}: {expected}")
    return folder


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ModelDirectoryError(f"{path}: is not UTF-8 ({error}): restore it from a copy or train again") from error
