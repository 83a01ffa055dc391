"""What was compiled when Unrolled was installed, and which part of it this processor is to run.

Kernels are compiled once for each instruction set, into a shared library of their own; the module `_native` runs on
every processor and loads one of them. They lie in one folder, and beside them the headers for a user's own cell.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from unrolled.errors import EngineError, UsageError

VARIABLE = "UNROLLED_ISA"
"""The environment variable that forces an instruction set."""
_REINSTALL = "install again with a C++ compiler (pip install --force-reinstall --no-deps .), or use engine portable"


@dataclass(frozen=True)
class Library:
    """The compiled part of the native engine, for one instruction set.

    Attributes:
        isa: the instruction set: "avx512", "avx2" or "plain" (what every processor of the kind has).
        path: the shared library with this instruction set's kernels and built-in cells.
        include: the folder of vector.h and cell.h.
        module: `unrolled.engines.native._native`.
        kernels: its `Library` for `path`.
    """

    isa: str
    path: Path
    include: Path
    module: Any
    kernels: Any


def supported() -> tuple[str, ...]:
    """The instruction sets that this processor can run, best first.

    Raises:
        EngineError: nothing was compiled at installation.
    """
    return tuple(_module().supported())


def load(isa: str | None = None) -> Library:
    """The compiled part for that instruction set; without one for UNROLLED_ISA's, or the best that can run here.

    Raises:
        EngineError: nothing was compiled at installation.
        UsageError: an instruction set was asked for that this processor cannot run. It is no EngineError, which would
            let another engine be taken instead of what was forced.
    """
    choices = supported()
    chosen = isa or os.environ.get(VARIABLE) or choices[0]
    if chosen not in choices:
        asked = f'instruction set "{chosen}"' if isa else f"{VARIABLE}={chosen}"
        raise UsageError(f"{asked} is none that this processor can run: choose one of {', '.join(choices)}")
    return _load(chosen)


@cache
def _load(isa: str) -> Library:
    module = _module()
    folder = Path(module.__file__).parent
    path = folder / f"unrolled_kernels_{isa}.so"
    try:
        kernels = module.Library(str(path))
    except RuntimeError as error:
        raise EngineError(f"engine native cannot be loaded ({error}): {_REINSTALL}") from None
    return Library(isa, path, folder / "include", module, kernels)


def _module() -> Any:
    try:
        return import_module(f"{__package__}._native")
    except ModuleNotFoundError:
        raise EngineError(f"engine native was not compiled when Unrolled was installed: {_REINSTALL}") from None
    except ImportError as error:
        raise EngineError(f"engine native cannot be loaded ({error}): {_REINSTALL}") from None
