"""One run a folder: a lock that the operating system takes back when the process that holds it dies."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.files import open_own, system_errors_explained

IS_WINDOWS = os.name == "nt"  # there nothing is locked
LOCK = ".run.lock"
"""Hidden, so that it is no part of a corpus that lies in the same folder."""
_HELD = {errno.EACCES, errno.EAGAIN}


@contextmanager
def locked(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Meanwhile no other process may be in here with this directory, which is made if it is not there.

    The lock is one of the operating system's (flock) on a file that is removed at the end. A process that dies leaves
    the file, but not the lock. A directory that was made here and in which nothing was put is removed again.

    Raises:
        ModelDirectoryError: another run holds the lock, or the directory cannot be made or written.
    """
    folder = Path(directory)
    path = folder / LOCK
    with system_errors_explained(folder):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is still held, so that nobody locks a file that is about to go
        os.close(descriptor)
        if is_new:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _acquire(path: Path) -> int:
    """A descriptor of the file, locked; the file is the one that now has this name."""
    while True:
        descriptor = open_own(path, os.O_RDWR)
        try:
            if not IS_WINDOWS:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                return descriptor
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno not in _HELD:
                raise
            raise ModelDirectoryError(
                f"{path.parent}: another run (process {holder}) is writing here: wait for its end, or give another name"
            ) from None
        os.close(descriptor)  # whoever held the lock before has removed the file meanwhile


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
