"""Files that change together, committed together: a kill at any moment leaves the last good state.

A folder's manifest.json names the actual file and the SHA-256 of each member. A commit writes every member under a
fresh name (model.1f2e3d4c.safetensors), flushes files and folder, and swaps in a manifest that names the fresh files by
one `os.replace`: that is the moment at which the new state becomes the state. What follows only tidies up, and each
step of it leaves every file that the manifest names where it is: the same content gets the plain name too, a second
swap names the plain names, and the fresh names go. One process writes a folder at a time; any number may read it.
"""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.json_files import from_json, to_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 1

MEGABYTE = 2**20
SIZE_LIMITS = {MANIFEST: MEGABYTE, "config.json": MEGABYTE, "state.json": 16 * MEGABYTE, "tokenizer.json": 64 * MEGABYTE}
"""Most bytes that are read of a file, and so written to it; tensors may have any size."""

_REASONS = {
    errno.ENOSPC: "the disk is full: free some space and try again; what was saved before is intact",
    errno.EDQUOT: "the disk quota is used up: free some space and try again; what was saved before is intact",
    errno.EACCES: "permission denied: ask for access or choose another folder",
    errno.EPERM: "permission denied: ask for access or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EEXIST: "is a file, expected a folder: choose another name",
    errno.ENOTDIR: "is a file, expected a folder: choose another name",
}


def commit(folder: Path, files: Mapping[str, bytes], *, file_format: str) -> None:
    """Make these the files of the folder, all or none, whenever the process or the machine stops.

    Args:
        folder: made if it is not there, parents too.
        files: content by plain name; the same names at every commit to this folder.
        file_format: what the manifest says the folder is, e.g. "unrolled-model".

    Raises:
        ModelDirectoryError: the folder cannot be made or written, holds files of those names that no manifest names, or
            a file is larger than will be read again. The state is then the last good one.
    """
    for name, content in files.items():
        _check_size(folder / name, len(content), SIZE_LIMITS.get(name))
    with system_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign_files(folder, files)
        try:
            _commit(folder, files, file_format)
        finally:
            _remove_leftovers(folder, files)


def _commit(folder: Path, files: Mapping[str, bytes], file_format: str) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    fresh = {name: _fresh_name(name) for name in files}
    for name, content in files.items():
        _write(folder / fresh[name], content)
    _swap_manifest(folder, fresh, digests, file_format)
    for name, content in files.items():
        spare = folder / _fresh_name(name)
        try:
            os.link(folder / fresh[name], spare)
        except OSError:  # a file system without hard links
            _write(spare, content)
        os.replace(spare, folder / name)
    _swap_manifest(folder, {name: name for name in files}, digests, file_format)


def _swap_manifest(folder: Path, names: Mapping[str, str], digests: Mapping[str, str], file_format: str) -> None:
    members = {name: {"name": names[name], "sha256": digests[name]} for name in names}
    manifest = {"format": file_format, "format_version": FORMAT_VERSION, "files": members}
    fresh = folder / _fresh_name(MANIFEST)
    _write(fresh, to_json(manifest, folder / MANIFEST))
    _flush_folder(folder)  # the files must be on the disk under their names before a manifest there names them
    os.replace(fresh, folder / MANIFEST)
    _flush_folder(folder)  # and the manifest before anything that the last one names is replaced or removed


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder, and needs no flush of it
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_foreign_files(folder: Path, names: Iterator[str] | Mapping[str, bytes]) -> None:
    """A commit puts plain names in place only after its manifest: without one they are not ours to replace."""
    if (folder / MANIFEST).exists():
        return
    for name in names:
        if (folder / name).exists():
            raise ModelDirectoryError(
                f"{folder / name}: is there without a {MANIFEST}, so it was not written by Unrolled and is not replaced: "
                f"choose another folder"
            )


def _fresh_name(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    return f"{stem}.{secrets.token_hex(4)}{suffix}"


def _is_name_for(actual: str, name: str) -> bool:
    """Whether a member may be stored as `actual`: its plain name or a fresh one, hence never outside the folder."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    return re.fullmatch(rf"{re.escape(stem)}(\.[0-9a-f]{{8}})?{re.escape(suffix)}", actual) is not None


def _remove_leftovers(folder: Path, files: Mapping[str, bytes]) -> None:
    """Remove fresh names that the manifest on the disk does not name, those of earlier kills too, as far as possible."""
    with suppress(OSError, ModelDirectoryError):
        path = folder / MANIFEST
        content = _read(path, SIZE_LIMITS[MANIFEST]) if path.exists() else None
        kept = {MANIFEST, *files}
        if content is not None:
            listed = from_json(content, path).get("files")
            kept |= {member["name"] for member in listed.values()} if isinstance(listed, dict) else set()
        for path in list(folder.iterdir()):
            if path.name not in kept and any(_is_name_for(path.name, name) for name in (MANIFEST, *files)):
                path.unlink()
