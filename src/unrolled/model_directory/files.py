"""Single files: what the operating system says in one line, reading with a limit, writing with a flush, and JSON."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from unrolled.errors import ModelDirectoryError

_MEGABYTE = 2**20
SIZE_LIMITS = {
    "manifest.json": _MEGABYTE,
    "config.json": _MEGABYTE,
    "state.json": 16 * _MEGABYTE,
    "tokenizer.json": 64 * _MEGABYTE,
    "log.jsonl": 256 * _MEGABYTE,
}
"""Most bytes that a file of that name may have, read or written; a file that is not listed may have any size."""

_FULL = "free some space and try again; what was saved before is intact"
_REASONS = {
    errno.ENOSPC: f"the disk is full: {_FULL}",
    errno.EDQUOT: f"the disk quota is used up: {_FULL}",
    errno.EACCES: "permission denied: ask for access or choose another folder",
    errno.EPERM: "permission denied: ask for access or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EEXIST: "is a file, expected a folder: choose another name",
    errno.ENOTDIR: "is a file, expected a folder: choose another name",
    errno.EISDIR: "is a folder, expected a file: move it away",
}


@contextmanager
def system_errors_explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path`, or about a file that the error names, into a ModelDirectoryError of one line."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, f"{error.strerror or error}: check the path and the disk and try again")
        raise ModelDirectoryError(f"{error.filename or path}: {reason}") from error


def check_size(path: Path, size: int, *, name: str) -> None:
    """Refuse more bytes than SIZE_LIMITS allows for `name`, of which `path` is the actual file."""
    limit = SIZE_LIMITS.get(name)
    if limit is not None and size > limit:
        raise ModelDirectoryError(
            f"{path}: is larger than the {limit // _MEGABYTE} MiB that {name} may have: it is not a file of this kind"
        )


def read(path: Path, *, name: str) -> bytes:
    """Read a regular file of at most as many bytes as SIZE_LIMITS allows for `name`; links are not followed.

    Raises:
        ModelDirectoryError: not a regular file, or too large.
        OSError: what the operating system says.
    """
    _refuse_strange(path)
    with path.open("rb") as file:
        limit = SIZE_LIMITS.get(name)
        content = file.read() if limit is None else file.read(limit + 1)
    check_size(path, len(content), name=name)
    return content


def open_own(path: Path, flags: int) -> int:
    """Open a regular file, made if it is not there; a link is not followed, for it may lead out of the folder.

    Raises:
        ModelDirectoryError: it is a link, or no regular file.
        OSError: what the operating system says.
    """
    _refuse_strange(path)
    flags |= os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags, 0o666)


def _refuse_strange(path: Path) -> None:
    if path.is_symlink():
        raise ModelDirectoryError(f"{path}: is a symbolic link, expected the file itself: replace the link by the file")
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ModelDirectoryError(f"{path}: is not a regular file: restore it from a copy or train again")


def write(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, as fsync of a file does its content."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: object, path: Path, *, indent: int | None = 2) -> bytes:
    """Write UTF-8 JSON that ends in a newline; NaN and infinities, which JSON lacks, are refused."""
    try:
        return (json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelDirectoryError(f"{path}: cannot be written as JSON ({error}): pass plain finite data") from error


def from_json(content: bytes, path: Path) -> dict[str, Any]:
    """Parse the JSON object in `content`; `path` is where an error says that it stands."""
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise ModelDirectoryError(f"{path}: is nested too deeply: restore it from a copy or train again") from None
    except ValueError as error:
        raise ModelDirectoryError(f"{path}: is not JSON ({error}): restore it from a copy or train again") from error
    if not isinstance(value, dict):
        raise ModelDirectoryError(f"{path}: is not a JSON object: restore it from a copy or train again")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
