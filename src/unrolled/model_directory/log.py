"""The log of a model: one JSON object a line with a checksum, appended while training goes on."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.files import from_json, open_own, read, system_errors_explained, to_json

LOG = "log.jsonl"
_SUM = "crc32"


def append_log(directory: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Append one line to log.jsonl in a model directory, which is made if it is not there.

    Raises:
        ModelDirectoryError: the record is not plain finite data, or the file cannot be written.
    """
    path = Path(directory) / LOG
    line = to_json(dict(record) | {_SUM: _sum_of(record, path)}, path, indent=None)
    with system_errors_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), "ab+") as file:
            _mend_last_line(file, path)
            file.write(line)


def clear_log(directory: str | os.PathLike[str]) -> None:
    """Remove the log, if there is one, and see to it that another can be written.

    Raises:
        ModelDirectoryError: the file cannot be removed or made.
    """
    path = Path(directory) / LOG
    with system_errors_explained(path):
        path.unlink(missing_ok=True)
        os.close(open_own(path, os.O_WRONLY))


def read_log(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All records, oldest first; none if there is no log. A last line that a kill has cut short is left out.

    Raises:
        ModelDirectoryError: the file cannot be read, or a line is not a JSON object.
    """
    path = Path(directory) / LOG
    with system_errors_explained(path):
        if not path.exists():
            return []
        *lines, last = read(path, name=LOG).split(b"\n")
    if _is_whole(last, path):
        lines.append(last)
    return [_checked(line, Path(f"{path}, line {number}")) for number, line in enumerate(lines, start=1)]


def _is_whole(line: bytes, path: Path) -> bool:
    """Whether a last line without its end lacks nothing else."""
    try:
        _checked(line, path)
    except ModelDirectoryError:
        return False
    return True


def _checked(line: bytes, path: Path) -> dict[str, Any]:
    record = from_json(line, path)
    if record.pop(_SUM, None) != _sum_of(record, path):
        raise ModelDirectoryError(f"{path}: is damaged (its {_SUM} is another): remove the file to go on without a log")
    return record


def _sum_of(record: Mapping[str, Any], path: Path) -> str:
    """Of the record as it is written."""
    return f"{zlib.crc32(to_json(dict(record), path, indent=None)):08x}"


def _mend_last_line(file: BinaryIO, path: Path) -> None:
    """End a last line without its end, or cut off what there is of it, so that the next record does not continue it."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        log = file.read()
        whole = log.rfind(b"\n") + 1
        if _is_whole(log[whole:], path):
            file.write(b"\n")
        else:
            file.truncate(whole)
