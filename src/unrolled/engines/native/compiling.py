"""Printed cells compiled at run time into a shared library that lies in the user's cache.

Code is loaded from that folder, so it has to belong to the user and be closed to the others. A library is made under
another name and then put in place, so that processes may race; its name tells all that it was made from.
"""

import hashlib
import os
import shlex
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from unrolled.cache import cache_home
from unrolled.engines.native.printing import Printed, print_file
from unrolled.errors import EngineError, UsageError

INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"),
    "avx2": ("-mavx2", "-mfma"),
    "plain": (),
}
"""Flags by instruction set, for the package's build too."""
FLAGS = (
    *("-O3", "-std=c++20", "-fPIC", "-shared", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
)
GCC_FLAGS = ("-fno-gnu-unique",)
COMPILERS = ("c++", "g++", "clang++")
"""Looked for in this order where CXX names none."""


class Compiler(NamedTuple):
    """A compiler that is here: the command that starts it, and what it says about its version."""

    command: tuple[str, ...]
    version: str


def flags_for(isa: str, compiler: Compiler) -> tuple[str, ...]:
    """All flags that a library for this instruction set is compiled with.

    Raises:
        UsageError: there is no such instruction set.
    """
    if isa not in INSTRUCTIONS:
        raise UsageError(f'instruction set "{isa}" is not known: choose one of {", ".join(INSTRUCTIONS)}')
    is_gcc = "Free Software Foundation" in compiler.version
    return (*FLAGS, *(GCC_FLAGS if is_gcc else ()), *INSTRUCTIONS[isa])


def compile_cells(printed: Sequence[Printed], *, isa: str, include: Path) -> Path:
    """The shared library of these cells, taken from the cache or compiled now.

    Args:
        printed: one cell or several; the library gives them out through `unrolled_cells`, in this order.
        isa: instruction set, a key of INSTRUCTIONS.
        include: the folder of cell.h and vector.h.

    Raises:
        EngineError: no compiler is found, it fails, or the cache cannot be used; each says what to do.
        UsageError: there is no such instruction set.
    """
    compiler, folder, text = find_compiler(), cache_folder(), print_file(printed)
    flags = flags_for(isa, compiler)
    stem = f"{printed[0].identifier[:80] if len(printed) == 1 else 'cells'}-{_digest(text)}"
    headers = [path.read_text(encoding="utf-8") for path in sorted(include.glob("*.h"))]
    library = folder / f"{stem}-{isa}-{_digest(*compiler.command, compiler.version, *flags, *headers)}.so"
    if library.exists():
        _check_closed(library)
        if _is_whole(library):
            return library
    source = folder / f"{stem}.cpp"
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as making:
            written, made = Path(making, "cells.cpp"), Path(making, "cells.so")
            written.write_text(text, encoding="utf-8")
            written.replace(source)  # it stays: what runs can be read, whether it compiles or not
            _run([*compiler.command, *flags, f"-I{include}", str(source), "-o", str(made)], source)
            made.chmod(0o700)
            with made.open("rb") as whole:
                os.fsync(whole.fileno())
            made.replace(library)
    except OSError as error:
        raise EngineError(f"{folder} cannot be used ({error}): name another in UNROLLED_CACHE") from error
    return library


def find_compiler() -> Compiler:
    """The compiler that CXX names, else the first of COMPILERS that is here.

    Raises:
        EngineError: there is none, or CXX is no command.
    """
    try:
        named = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise EngineError(f"CXX cannot be read ({error}): name a compiler in it, or none") from None
    wanted = [named] if named else [[name] for name in COMPILERS]
    for command in wanted:
        path = shutil.which(command[0])
        if path is not None:
            found = (path, *command[1:])
            return Compiler(found, _version(found))
    sought = f"{named[0]} (from CXX)" if named else ", ".join(COMPILERS)
    raise EngineError(
        f"no C++ compiler found, looked for {sought}: sudo apt-get install g++, or name one in CXX; "
        "--engine portable runs the cell without one"
    )


def cache_folder() -> Path:
    """The folder of the cache, made if it is not there.

    Raises:
        EngineError: it cannot be made, belongs to somebody else, or others may write into it.
    """
    try:
        folder = cache_home()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise EngineError(f"no cache for compiled cells ({error}): name a folder of yours in UNROLLED_CACHE") from error
    _check_closed(folder)
    return folder


def _check_closed(path: Path) -> None:
    """Code is loaded from here: refuse what others could have put here."""
    found = path.stat()
    if found.st_uid != os.getuid():
        raise EngineError(
            f"{path} belongs to user {found.st_uid}, not to you: name a folder of yours in UNROLLED_CACHE"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):o}) and code is loaded from it: "
            f"empty it and chmod 700 it, or name another folder in UNROLLED_CACHE"
        )


ELF_HEADER = 64
"""Bytes of the header of a 64-bit ELF file, the format of shared libraries on Linux."""


def _is_whole(library: Path) -> bool:
    """Whether a shared library ends where its header says: to load one that was cut short would end the process."""
    data = library.read_bytes()
    if data[:5] != b"\x7fELF\x02":
        return data[:4] != b"\x7fELF" and len(data) > 0  # of another system: the loader is to say what it is
    if len(data) < ELF_HEADER:
        return False
    (sections,), (size, count) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<HH", data, 58)
    return len(data) >= int(sections) + int(size) * int(count)


@cache
def _version(command: tuple[str, ...]) -> str:
    return _call([*command, "--version"]).stdout


def _call(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    english = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=english)
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be run ({error}): name another C++ compiler in CXX") from error


def _run(command: Sequence[str], source: Path) -> None:
    done = _call(command)
    if done.returncode or not Path(command[-1]).exists():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line), lines[0] if lines else f"exit {done.returncode}")
        raise EngineError(f"{command[0]} cannot compile {source}: {first}; --engine portable runs the cell")


def _digest(*texts: str) -> str:
    """Enough hexadecimal digits of a SHA-256 for the name of a file."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
