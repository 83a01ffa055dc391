"""Cells printed as C++: their own lines, recorded on symbols and written out as functions over tiles.

`native/cell.h` says what a compiled cell is. `python -m unrolled.engines.native.printing OUTPUT` writes all registered
cells, for the package's build; a user's own cell is printed, and compiled by `compiling.py`, at run time. A compiled
cell carries a digest of its printed text, so that it is never taken for a cell whose lines have changed since.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.recording import Recorded, record_cell
from unrolled.cells.symbols import Function
from unrolled.errors import EngineError, UsageError

ABI_VERSION = 1
"""Goes into every digest; to be raised when cell.h changes what its functions mean."""
MOST_GATES = 16
"""kMostGates of cell.h."""

EXPRESSIONS = {
    "add": "{} + {}",
    "subtract": "{} - {}",
    "multiply": "{} * {}",
    "negative": "-{}",
    "tanh": "tanh({})",
    "sigmoid": "sigmoid({})",
    "relu": "relu({})",
    "is_positive": "is_positive({})",
}
"""The operations of cells in C++ over vectors; the functions are those of vector.h."""

ZERO = "Vector<T>{}"

Tiles = Mapping[str, Sequence[int | None]]
"""The pointers of a function in order; for each place in a row the number of an operand or result, None for neither."""


@dataclass(frozen=True)
class Printed:
    """A cell as C++.

    Attributes:
        name: of the cell.
        identifier: the same as a word of C++; functions begin with it.
        digest: SHA-256 of text and entry, in hexadecimal digits; the compiled cell carries it.
        text: the functions.
        entry: what follows the digest in the cell's `CompiledCell`.
    """

    name: str
    identifier: str
    digest: str
    text: str
    entry: str


def print_cell(cell: Cell) -> Printed:
    """A cell as C++; the same lines give the same text.

    Raises:
        EngineError: the cell uses more than symbols can do, or has more gates than a compiled cell can have.
    """
    if len(cell.gates) > MOST_GATES:
        raise EngineError(
            f"cell {cell.name} has {len(cell.gates)} gates: the native engine takes up to {MOST_GATES}, use portable"
        )
    try:
        recorded, identifier = record_cell(cell), _identifier(cell.name)
    except UsageError as error:  # other engines can run it all the same
        raise EngineError(str(error)) from error
    text = _print_way(cell, "step", recorded.step, f"{identifier}_step")
    names = [f"{identifier}_step", f"{identifier}_step_backward", "", ""]
    if recorded.late is not None:
        text += _print_way(cell, "late_operand", recorded.late, f"{identifier}_late_operand")
        names[2:] = f"{identifier}_late_operand", f"{identifier}_late_operand_backward"
    counts = [len(cell.gates), len(cell.apart), len(cell.late), len(cell.state), recorded.step.kept]
    counts.append(0 if recorded.late is None else recorded.late.kept)
    apart = ", ".join(str(cell.gates.index(gate)) for gate in cell.apart)
    entry = f"kLanes<float>, {', '.join(map(str, counts))}, {{{apart}}}"
    for dtype in ("float", "double"):
        entry += f",\n     {{{', '.join(f'{name}<{dtype}>' if name else 'nullptr' for name in names)}}}"
    digest = hashlib.sha256(f"{ABI_VERSION}\n{text}{entry}".encode()).hexdigest()
    return Printed(cell.name, identifier, digest, text, entry)


def print_file(printed: Sequence[Printed]) -> str:
    """A whole file of C++ that holds these cells and gives them out through `unrolled_cells`."""
    entries = "".join(f'    {{"{cell.digest}",\n     {cell.entry}}},\n' for cell in printed)
    return f"""\
// Printed by unrolled.engines.native.printing from the cells' lines in Python; not to be edited.

#include "cell.h"
#include "vector.h"

namespace unrolled {{
namespace {{

{"".join(cell.text for cell in printed)}const CompiledCell kCells[] = {{
{entries}}};

}}  // namespace
}}  // namespace unrolled

extern "C" __attribute__((visibility("default"))) const unrolled::CompiledCell* unrolled_cells(int* count) {{
  *count = {len(printed)};
  return unrolled::kCells;
}}
"""


def main(arguments: Sequence[str]) -> None:
    """Write all registered cells into the file that is named."""
    (path,) = arguments
    text = print_file([print_cell(cells.get(name)) for name in cells.names()])
    Path(path).write_text(text, encoding="utf-8")


def _print_way(cell: Cell, method: str, recorded: Recorded, name: str) -> str:
    """A forward method and its backward."""
    gates = cell.gates if method == "step" else cell.gates[: len(cell.gates) - len(cell.late)]
    apart = cell.apart if method == "step" else ()
    terms = [f"a_{gate}" for gate in gates] + [f"u_{gate}" for gate in apart]
    operands = terms + [f"{part}_before" for part in cell.state]
    inputs = {"terms": _slots(cell, len(gates), bool(apart)), "before": range(len(terms), len(operands))}
    results, tile, kept = [f"{part}_after" for part in cell.state], "after", "kept"
    if method == "late_operand":
        results, tile, kept = ["p"], "operand", "late_kept"
    first = len(results)
    outputs = {tile: range(first), kept: range(first, first + recorded.kept)}
    forward, found = _print_function(name, recorded.forward, operands, results, inputs, outputs)
    backward, _ = _print_function(
        f"{name}_backward",
        recorded.backward,
        [*(f"d_{result}" for result in results), *found[first:]],
        [f"d_{operand}" for operand in operands],
        {f"d_{tile}": range(first), kept: outputs[kept]},
        {f"d_{pointer}": numbers for pointer, numbers in inputs.items()},
    )
    return forward + backward


def _slots(cell: Cell, gates: int, with_u: bool) -> list[int | None]:
    """The operands a (of so many gates) and then u by their places in a row of terms, which cell.h gives."""
    slots: list[int | None] = []
    for index, gate in enumerate(cell.gates):
        if gate in cell.apart:
            slots.append(gates + cell.apart.index(gate) if with_u else None)
        else:
            slots.append(index if index < gates else None)
    return slots + [cell.gates.index(gate) for gate in cell.apart]


def _print_function(
    name: str, function: Function, operands: Sequence[str], results: Sequence[str], inputs: Tiles, outputs: Tiles
) -> tuple[str, list[str]]:
    """One function over tiles, and what its results are called: those after `results` as their values are.

    Each row is read whole before any of it is written, so that an output may be an input.
    """
    lines, values = _statements(function, operands, results)
    found = [ZERO if place is None else values[place] for place in function.results]
    used = {place for node in function.nodes for place in node.operands} | set(function.results)
    loads, stores, advances = [], [], []
    parameters = ["long rows"]
    for tile, numbers in inputs.items():
        read = [(slot, number) for slot, number in enumerate(numbers) if number is not None and number in used]
        loads += [f"const Vector<T> {values[number]} = load({tile} + {slot} * lanes);" for slot, number in read]
        parameters.append(f"const T* {tile}" if read else f"const T* /*{tile}*/")
        advances += [f"{tile} += {len(numbers)} * lanes;"] if read else []
    for tile, numbers in outputs.items():
        given = [ZERO if number is None else found[number] for number in numbers]
        stores += [f"store<T>({tile} + {slot} * lanes, {value});" for slot, value in enumerate(given)]
        parameters.append(f"T* {tile}" if given else f"T* /*{tile}*/")
        advances += [f"{tile} += {len(given)} * lanes;"] if given else []
    body = "".join(f"    {line}\n" for line in [*loads, *lines, *stores, *advances])
    return (
        f"template <class T>\nvoid {name}({', '.join(parameters)}) {{\n"
        f"  constexpr int lanes = kLanes<T>;\n  for (long row = 0; row < rows; ++row) {{\n{body}  }}\n}}\n\n",
        found,
    )


def _statements(function: Function, operands: Sequence[str], results: Sequence[str]) -> tuple[list[str], list[str]]:
    """A line for each operation, and the name or number that stands for each value."""
    taken = {"rows", "row", "lanes"}
    values = [_unique(_word(name), taken) for name in operands]
    wanted = {place: name for place, name in zip(function.results, results, strict=False) if place is not None}
    lines, count = [], 0
    for place, node in enumerate(function.nodes, start=len(operands)):
        if node.operation == "number":
            values.append(f"T({node.number!r})")
            continue
        given = [values[operand] for operand in node.operands]
        if place in wanted:
            name = _word(wanted[place])
        elif node.operation in {"tanh", "sigmoid", "relu", "is_positive"}:
            name = f"{node.operation}_{given[0]}"
        else:
            count += 1
            name = f"v{count}"
        values.append(_unique(name, taken))
        lines.append(f"const Vector<T> {values[-1]} = {EXPRESSIONS[node.operation].format(*given)};")
    return lines, values


def _unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _word(name: str) -> str:
    """A name as a word of C++, where it does not begin with a digit."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII)


def _identifier(name: str) -> str:
    """A cell's name as a word of C++ that no other cell's name becomes."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return name
    return f"cell_{_word(name)}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


if __name__ == "__main__":
    main(sys.argv[1:])
