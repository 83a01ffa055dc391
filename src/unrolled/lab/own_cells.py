"""Cells of a person's own, from a Python file."""

import importlib.util
import inspect
from pathlib import Path

from unrolled import cells
from unrolled.cells import Cell
from unrolled.errors import UnrolledError, UsageError


def cells_in(path: Path) -> list[Cell]:
    """The cells that a Python file defines, made known under their names. The file is run.

    Raises:
        UsageError: it cannot be read or run, or defines no cell.
    """
    if not path.is_file():
        raise UsageError(f"{path}: is no file: give a Python file that defines a cell")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise UsageError(f"{path}: cannot be run as Python: give a file that defines a cell")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except UnrolledError:
        raise
    except Exception as error:
        raise UsageError(f"{path}: fails with {type(error).__name__}: {error}") from error
    kinds = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Cell) and kind.__module__ == module.__name__
    ]
    found = [cells.register(kind()) for kind in kinds if not inspect.isabstract(kind)]
    if not found:
        raise UsageError(f"{path}: defines no cell: write a subclass of unrolled.cells.Cell")
    return found
