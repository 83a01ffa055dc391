"""The manifest of a folder: which file holds which member, and what its SHA-256 is.

    {"format": "unrolled-model", "format_version": 1,
     "files": {"config.json": {"name": "config.json", "sha256": "..."}, ...}}

A member's name is its plain one, except between the two swaps of a commit, when it is a fresh one.
"""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unrolled.errors import ModelDirectoryError
from unrolled.model_directory.files import from_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


class Member(NamedTuple):
    """Where a member of a commit is stored, and the SHA-256 of its content in hexadecimal."""

    actual_name: str
    sha256: str


def fresh_name(name: str) -> str:
    """Make a name that no file has yet: model.1f2e3d4c.safetensors for model.safetensors."""
    return f"{Path(name).stem}.{secrets.token_hex(4)}{Path(name).suffix}"


def is_fresh_name(actual_name: str, name: str) -> bool:
    """Whether `fresh_name(name)` may have made this name; such a name never leaves the folder."""
    pattern = re.escape(Path(name).stem) + r"\.[0-9a-f]{8}" + re.escape(Path(name).suffix)
    return re.fullmatch(pattern, actual_name) is not None


def make_manifest(members: Mapping[str, Member], *, file_format: str) -> dict[str, Any]:
    """Make the manifest, as data for JSON, of members by plain name."""
    files = {name: {"name": member.actual_name, "sha256": member.sha256} for name, member in members.items()}
    return {"format": file_format, "format_version": FORMAT_VERSION, "files": files}


def read_members(content: bytes, path: Path, *, file_format: str) -> dict[str, Member]:
    """Parse the members by plain name from the bytes of the manifest at `path`.

    Raises:
        ModelDirectoryError: not a manifest, one of another format or version, or one that names files elsewhere.
    """
    manifest = from_json(content, path)
    if manifest.get("format") != file_format:
        raise ModelDirectoryError(f'{path}: does not say "format": "{file_format}", so this is not such a folder')
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        raise ModelDirectoryError(f"{path}: has no valid format_version: restore it from a copy or train again")
    if version > FORMAT_VERSION:
        raise ModelDirectoryError(
            f"{path}: has format version {version}, this Unrolled reads up to {FORMAT_VERSION}: use a newer Unrolled"
        )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelDirectoryError(f"{path}: has no list of files: restore it from a copy or train again")
    return {name: _read_member(name, entry, path) for name, entry in files.items()}


def _read_member(name: str, entry: object, path: Path) -> Member:
    actual_name = entry.get("name") if isinstance(entry, dict) else None
    sha256 = entry.get("sha256") if isinstance(entry, dict) else None
    if not isinstance(actual_name, str) or not isinstance(sha256, str):
        raise ModelDirectoryError(f"{path}: gives no name or no SHA-256 for {name!r}: restore it or train again")
    if actual_name != name and not is_fresh_name(actual_name, name):
        raise ModelDirectoryError(
            f"{path}: names {actual_name!r:.80} as {name!r:.80}, expected no other name or folder: "
            "restore it from a copy or train again"
        )
    return Member(actual_name, sha256)
