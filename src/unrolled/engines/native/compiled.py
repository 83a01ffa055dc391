"""Which compiled code a cell has: built in, or compiled when it is first asked for."""

from typing import Any

from unrolled.cells import Cell
from unrolled.engines.native.library import Library
from unrolled.engines.native.printing import print_cell
from unrolled.errors import EngineError


class CompiledCells:
    """The compiled cells of a library, found by what the cells' own lines say now."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._by_digest = {cell.digest: cell for cell in library.kernels.cells(str(library.path))}
        self._found: dict[Cell, Any] = {}

    def get(self, cell: Cell) -> Any:
        """The compiled form of a cell.

        Raises:
            EngineError: it is not built in, and there is no compiler or it refuses the printed text.
        """
        if cell not in self._found:
            self._found[cell] = self._by_digest.get(print_cell(cell).digest) or self._compile(cell)
        return self._found[cell]

    def _compile(self, cell: Cell) -> Any:
        from unrolled.engines.native.compiling import compile_cells  # takes time, and most cells are built in

        library = self._library
        path = compile_cells([print_cell(cell)], isa=library.isa, include=library.include)
        try:
            (compiled,) = library.kernels.cells(str(path))
        except RuntimeError as error:
            raise EngineError(
                f"the compiled cell cannot be used ({error}): remove that file to have it made anew"
            ) from error
        return compiled
