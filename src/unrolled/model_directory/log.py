"""The log of a model: one JSON object a line, appended while training goes on."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from unrolled.model_directory.files import from_json, system_errors_explained, to_json

LOG = "log.jsonl"


def append_log(directory: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Append one line to log.jsonl in a model directory, which is made if it is not there.

    Raises:
        ModelDirectoryError: the record is not plain finite data, or the file cannot be written.
    """
    path = Path(directory) / LOG
    line = to_json(dict(record), path, indent=None)
    with system_errors_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            _remove_torn_line(file)
            file.write(line)


def clear_log(directory: str | os.PathLike[str]) -> None:
    """Remove the log, if there is one, and see to it that another can be written.

    Raises:
        ModelDirectoryError: the file cannot be removed or made.
    """
    path = Path(directory) / LOG
    with system_errors_explained(path):
        path.write_bytes(b"")


def read_log(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All records, oldest first; none if there is no log. A last line that a kill cut short is left out.

    Raises:
        ModelDirectoryError: the file cannot be read, or a line is not a JSON object.
    """
    path = Path(directory) / LOG
    with system_errors_explained(path):
        if not path.exists():
            return []
        *lines, _torn = path.read_bytes().split(b"\n")
    return [from_json(line, Path(f"{path}, line {number}")) for number, line in enumerate(lines, start=1)]


def _remove_torn_line(file: BinaryIO) -> None:
    """Cut off a last line without its end, so that the next record does not continue it."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
