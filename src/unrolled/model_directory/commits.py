"""Files that change together, committed together: a kill at any moment leaves the last good state.

The manifest.json of a folder names the actual file and the SHA-256 of each member. A commit writes every member under a
fresh name (model.1f2e3d4c.safetensors), flushes files and folder, and swaps in a manifest that names the fresh files by
one rename: at that moment the new state becomes the state. What follows only tidies up, and no step of it touches
a file that the manifest names: the same contents get their plain names too, a second swap names those, and the fresh
names go. One process writes a folder at a time; any number may read it meanwhile.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.files import check_size, flush_folder, read, system_errors_explained, to_json, write
from unrolled.model_directory.manifest import MANIFEST, Member, fresh_name, is_fresh_name, make_manifest, read_members


def commit(folder: Path, files: Mapping[str, bytes], *, file_format: str) -> None:
    """Make these the files of the folder, all or none, whenever the process or the machine stops.

    Args:
        folder: made if it is not there, parents too.
        files: contents by plain name.
        file_format: what the manifest calls the folder, e.g. "unrolled-model".

    Raises:
        ModelDirectoryError: the folder cannot be made or written, or a file would be too large to be read again. The
            last good state stays.
    """
    for name, content in files.items():
        check_size(folder / name, len(content), name=name)
    with system_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _commit(folder, files, file_format)
        finally:
            _remove_leftovers(folder, files, file_format)


def read_committed(
    folder: Path, names: Sequence[str], *, optional: Sequence[str] = (), file_format: str
) -> dict[str, bytes]:
    """Read members of the last commit, all of one commit, each checked against its SHA-256; optional ones if listed.

    Raises:
        ModelDirectoryError: the manifest or a member is missing, damaged, of another format or version, too large, a
            link, or named outside the folder.
    """
    path = folder / MANIFEST
    with system_errors_explained(folder):
        manifest = read(path, name=MANIFEST)
        while True:
            try:
                members = read_members(manifest, path, file_format=file_format)
                wanted = [*names, *(name for name in optional if name in members)]
                return {name: _read_member(folder, name, members) for name in wanted}
            except (ModelDirectoryError, OSError):
                latest = read(path, name=MANIFEST)
                if latest == manifest:
                    raise
                manifest = latest  # somebody saved while we read: what we look for is what they saved


def remove_committed(folder: Path, names: Iterable[str]) -> None:
    """Remove what commits of these names wrote, and the folder if nothing else is in it.

    Raises:
        ModelDirectoryError: something cannot be removed.
    """
    with system_errors_explained(folder):
        if not folder.is_dir():
            return
        (folder / MANIFEST).unlink(missing_ok=True)
        flush_folder(folder)  # from here on there is no state, whatever else is still to go
        for path in list(folder.iterdir()):
            if path.name in names or _is_leftover(path.name, names):
                path.unlink()
        with suppress(OSError):  # somebody else's files
            folder.rmdir()


def _commit(folder: Path, files: Mapping[str, bytes], file_format: str) -> None:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    fresh = {name: Member(fresh_name(name), digests[name]) for name in files}
    for name, content in files.items():
        write(folder / fresh[name].actual_name, content)
    _swap_manifest(folder, fresh, file_format)
    for name, content in files.items():
        spare = folder / fresh_name(name)
        try:
            spare.hardlink_to(folder / fresh[name].actual_name)
        except OSError:  # a file system without hard links
            write(spare, content)
        spare.replace(folder / name)
    _swap_manifest(folder, {name: Member(name, digests[name]) for name in files}, file_format)


def _swap_manifest(folder: Path, members: Mapping[str, Member], file_format: str) -> None:
    fresh = folder / fresh_name(MANIFEST)
    write(fresh, to_json(make_manifest(members, file_format=file_format), folder / MANIFEST))
    flush_folder(folder)  # the members must be on the disk under their names before a manifest there names them
    fresh.replace(folder / MANIFEST)
    flush_folder(folder)  # and the manifest before anything that the last one names is replaced or removed


def _remove_leftovers(folder: Path, names: Iterable[str], file_format: str) -> None:
    """Remove the fresh names that no manifest names, of this commit and of those killed before, as far as possible."""
    path = folder / MANIFEST
    with suppress(OSError, ModelDirectoryError):  # what cannot be removed is removed next time
        members = read_members(read(path, name=MANIFEST), path, file_format=file_format) if path.exists() else {}
        kept = {member.actual_name for member in members.values()}
        for leftover in list(folder.iterdir()):
            if leftover.name not in kept and _is_leftover(leftover.name, names):
                leftover.unlink()


def _is_leftover(actual_name: str, names: Iterable[str]) -> bool:
    return any(is_fresh_name(actual_name, name) for name in (MANIFEST, *names))


def _read_member(folder: Path, name: str, members: Mapping[str, Member]) -> bytes:
    if name not in members:
        raise ModelDirectoryError(f"{folder / MANIFEST}: does not list {name}: restore the folder or train again")
    member = members[name]
    path = folder / member.actual_name
    try:
        content = read(path, name=name)
    except FileNotFoundError:
        raise ModelDirectoryError(
            f"{path}: is missing, but {MANIFEST} names it: restore it from a copy or train again"
        ) from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != member.sha256:
        raise ModelDirectoryError(
            f"{path}: is damaged (SHA-256 is {actual}, {MANIFEST} says {member.sha256}): "
            "restore it from a copy or train again"
        )
    return content
