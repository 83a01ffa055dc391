"""Printed cells compiled: what the machine computes against the cells' lines, and the cache they lie in."""

import ctypes
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from unrolled import cells
from unrolled.cells import Cell
from unrolled.cells.derivation import complete
from unrolled.cells.elementwise import is_positive, relu, sigmoid, tanh
from unrolled.cells.recording import argument_sizes
from unrolled.engines.native.compiling import COMPILERS, INSTRUCTIONS, cache_folder, compile_cells
from unrolled.engines.native.printing import Printed, print_cell
from unrolled.errors import EngineError, UsageError

NATIVE = Path(__file__).parents[3] / "native"
CPU = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text())) if Path("/proc/cpuinfo").exists() else set()
HERE = [isa for isa, flags in INSTRUCTIONS.items() if {flag.removeprefix("-m") for flag in flags} <= CPU]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}
"""Norm-wise: a few roundings, and in float32 a tanh that is right to 5e-7."""


class Everything(Cell):
    """All that a cell may ask for and be written in, both backwards derived."""

    name = "with everything"
    gates = ("scale", "value", "unread", "output")
    state = ("h", "m")
    apart = ("scale", "value")
    late = ("output",)

    def late_operand(self, a: Any, state: Any) -> Any:
        (a_s, a_v, _), (h, m) = a, state
        return sigmoid(a_s) * h - 0.3 * a_v * m, ()

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (x_s, x_v, _, a_o), (u_s, u_v), (h_prev, m_prev) = a, u, state
        s = -tanh(x_s + u_s * h_prev)
        m = 1.5 - s * relu(x_v * u_v) + m_prev
        return (sigmoid(a_o) * m, tanh(m) * is_positive(a_o - 0.1)), ()


CELLS = [*map(cells.get, cells.names()), complete(Everything())]
WAYS = [(cell, method) for cell in CELLS for method in ("step", "late_operand")[: 1 + bool(cell.late)]]


FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_long, *[ctypes.c_void_p] * 4)
"""A count of rows and four pointers."""


class Functions(ctypes.Structure):
    """CellFunctions of cell.h."""

    _fields_ = [(name, FUNCTION) for name in ("step", "step_backward", "late_operand", "late_operand_backward")]


class CompiledCell(ctypes.Structure):
    """CompiledCell of cell.h."""

    _fields_ = [
        ("digest", ctypes.c_char_p),
        *((name, ctypes.c_int) for name in ("lanes", "gates", "apart", "late", "states", "kept", "late_kept")),
        ("apart_gates", ctypes.c_int * 16),
        ("float32", Functions),
        ("float64", Functions),
    ]


class Loaded(NamedTuple):
    path: Path
    cells: Any


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Loaded]]:
    """All cells for an instruction set, compiled when first asked for, by the machine's own compiler."""
    known: dict[str, Loaded] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNROLLED_CACHE", str(tmp_path_factory.mktemp("cells") / "cache"))

        def load(isa: str) -> Loaded:
            if isa not in known:
                path = compile_cells([print_cell(cell) for cell in CELLS], isa=isa, include=NATIVE)
                count = ctypes.c_int()
                give_out = ctypes.CDLL(str(path)).unrolled_cells
                give_out.restype = ctypes.POINTER(CompiledCell)
                known[isa] = Loaded(path, give_out(ctypes.byref(count)))
                assert count.value == len(CELLS)
            return known[isa]

        yield load


def tile(values: Sequence[Any], rows: int, lanes: int, dtype: str) -> Any:
    """Values (rows, lanes) side by side, [row][operand][lane], and behind them a row of 9 that nobody may touch."""
    whole = np.full((rows + 1, len(values), lanes), 9, dtype)
    for index, value in enumerate(values):
        whole[:rows, index] = value
    return whole


def call(function: Any, rows: int, *tiles: Any) -> None:
    function(rows, *(tile.ctypes.data for tile in tiles))
    assert all((tile[rows] == 9).all() for tile in tiles)


def assert_near(got: Any, expected: Sequence[Any], dtype: str, what: str) -> None:
    for index, values in enumerate(expected):
        found, wanted = got[:-1, index].astype(np.float64), np.zeros(got[:-1, index].shape) + values
        size = np.linalg.norm(wanted)
        error = np.linalg.norm(found - wanted) / size if size else np.abs(found).max()
        assert error <= TOLERANCE[dtype], f"{what}, number {index}, is off by {error:.1e}"


def laid_out(cell: Cell, groups: Sequence[Sequence[Any]]) -> list[Any]:
    """The terms a and u of a cell, or their gradients, as they lie in a row; 0 for one that a method does not have."""
    a = dict(zip(cell.gates, groups[0], strict=False))
    u = dict(zip(cell.apart, groups[1] if len(groups) > 1 else [0.0] * len(cell.apart), strict=True))
    return [(u if gate in u else a).get(gate, 0.0) for gate in cell.gates] + [a[gate] for gate in cell.apart]


def try_out(compiled: Any, cell: Cell, method: str, dtype: str, rows: int) -> None:
    """One method and its backward, compiled, on random tiles against the cell's lines in float64."""
    random = np.random.default_rng(rows)
    lanes = compiled.lanes if dtype == "float32" else compiled.lanes // 2
    single = method == "late_operand"

    def draw(count: int) -> tuple[Any, ...]:
        return tuple(random.normal(size=(count, rows, lanes)).astype(dtype).astype(np.float64))

    def put(values: Sequence[Any]) -> Any:
        return tile(values, rows, lanes, dtype)

    arguments = [draw(size) for size in argument_sizes(cell, method)]
    d_results = draw(1 if single else len(cell.state))
    results, kept = getattr(cell, method)(*arguments)
    results = (results,) if single else results
    groups = getattr(cell, f"{method}_backward")(d_results[0] if single else d_results, kept)

    functions = getattr(compiled, dtype)
    terms, before = put(laid_out(cell, arguments[:-1])), put(arguments[-1])
    after, kept_tile = put([9] * len(results)), put([9] * (compiled.late_kept if single else compiled.kept))
    call(getattr(functions, method), rows, terms, before, after, kept_tile)
    assert_near(after, results, dtype, f"{cell.name} {method}")
    d_terms, d_before = np.full_like(terms, 9), np.full_like(before, 9)
    call(getattr(functions, f"{method}_backward"), rows, put(d_results), kept_tile, d_terms, d_before)
    assert_near(d_terms, laid_out(cell, groups[:-1]), dtype, f"{cell.name} {method}_backward terms")
    assert_near(d_before, groups[-1], dtype, f"{cell.name} {method}_backward before")
    if not single:
        call(functions.step, rows, terms, before, before, kept_tile)
        assert np.array_equal(before, after), f"{cell.name}: the state cannot be written where it was read"


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("isa", HERE)
def test_compiled_cells_compute_what_their_lines_say(compiled: Any, isa: str, dtype: str, rows: int) -> None:
    assert len(WAYS) == 9
    for cell, method in WAYS:
        try_out(compiled(isa).cells[CELLS.index(cell)], cell, method, dtype, rows)


@pytest.mark.parametrize("isa", HERE)
def test_compiled_cells_say_what_they_are(compiled: Any, isa: str) -> None:
    lanes = {"avx512": 16, "avx2": 8, "plain": 4}[isa]
    for index, cell in enumerate(CELLS):
        found = compiled(isa).cells[index]
        assert found.digest.decode() == print_cell(cell).digest
        assert found.lanes == lanes
        counts = (found.gates, found.apart, found.late, found.states)
        assert counts == tuple(map(len, (cell.gates, cell.apart, cell.late, cell.state)))
        assert [cell.gates[i] for i in found.apart_gates[: found.apart]] == list(cell.apart)
        assert bool(found.float32.late_operand) == bool(found.float64.late_operand_backward) == bool(cell.late)


def test_nothing_but_the_cells_is_visible(compiled: Any) -> None:
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", str(compiled("plain").path)]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["unrolled_cells"]


def test_a_text_that_does_not_compile_is_named_with_its_first_error(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    wrong = Printed("wrong", "wrong", "0" * 64, "int f() { return undeclared; }\nint g() { return neither; }\n", "")
    with pytest.raises(EngineError) as caught:
        compile_cells([wrong], isa="plain", include=NATIVE)
    (source,) = (tmp_path / "cache").iterdir()  # the text stays, half-made libraries do not
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("/")
    assert f" cannot compile {source}: {source}:9:18: error: 'undeclared' was not declared" in message
    assert "neither" not in message
    assert source.read_text().count("undeclared") == 1


FAKE = """#!/bin/sh
case "$*" in *--version) echo "$VERSION"; exit;; esac
printf '%s\\n' "$@" END >> "$LOG"
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """A compiler that writes down how it was called, named by CXX, and a cache of its own."""
    program, log = tmp_path / "fake c++", tmp_path / "log"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{program}' -m99")
    monkeypatch.setenv("LOG", str(log))
    monkeypatch.setenv("VERSION", "fake 1")
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    from unrolled.engines.native import compiling

    monkeypatch.setattr(compiling, "_version", compiling._version.__wrapped__)
    return lambda: [call.split("\n")[:-1] for call in log.read_text().split("END\n")[:-1]] if log.exists() else []


LSTM = print_cell(cells.get("lstm"))


def test_a_library_is_compiled_once_for_all_that_it_depends_on(fake: Any, tmp_path: Path, monkeypatch: Any) -> None:
    include = tmp_path / "include"
    include.mkdir()
    (include / "cell.h").write_text("one")
    first = compile_cells([LSTM], isa="avx2", include=include)
    assert compile_cells([LSTM], isa="avx2", include=include) == first
    assert len(fake()) == 1
    assert re.fullmatch(r"lstm-[0-9a-f]{20}-avx2-[0-9a-f]{20}\.so", first.name)
    paths = {first, compile_cells([LSTM], isa="plain", include=include)}
    paths.add(compile_cells([print_cell(cells.get("gru"))], isa="avx2", include=include))
    (include / "cell.h").write_text("another")
    paths.add(compile_cells([LSTM], isa="avx2", include=include))
    monkeypatch.setenv("VERSION", "fake 2")
    paths.add(compile_cells([LSTM], isa="avx2", include=include))
    monkeypatch.setenv("CXX", os.environ["CXX"] + " -m98")
    paths.add(compile_cells([LSTM], isa="avx2", include=include))
    assert len(paths) == len(fake()) == 6


@pytest.mark.parametrize("version", ["g++ 12\nCopyright (C) Free Software Foundation, Inc.", "clang version 19"])
def test_flags_are_those_of_instruction_set_and_compiler(fake: Any, monkeypatch: Any, version: str) -> None:
    monkeypatch.setenv("VERSION", version)
    for isa in INSTRUCTIONS:
        compile_cells([LSTM], isa=isa, include=NATIVE)
    assert list(INSTRUCTIONS) == ["avx512", "avx2", "plain"]
    for isa, arguments in zip(INSTRUCTIONS, fake(), strict=True):
        assert arguments[0] == "-m99"
        assert f"-I{NATIVE}" in arguments
        assert {"-O3", "-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"} < set(arguments)
        assert ("-fno-gnu-unique" in arguments) == ("Free Software" in version)
        assert {flag for flag in arguments if flag.startswith(("-mavx", "-mfma"))} == set(INSTRUCTIONS[isa])


@pytest.mark.usefixtures("fake")
def test_processes_may_race_and_leave_nothing_behind(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: compile_cells([LSTM], isa="plain", include=NATIVE), range(8)))
    (library,) = found
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".cpp", ".so"]
    assert library.read_text() == "library\n"
    assert stat.S_IMODE(library.stat().st_mode) == 0o700
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700


def test_no_compiler_is_told_what_was_looked_for_and_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(EngineError) as caught:
        compile_cells([LSTM], isa="plain", include=NATIVE)
    message = str(caught.value)
    for part in ("no C++ compiler found", ", ".join(COMPILERS), "sudo apt-get install g++", "CXX", "--engine portable"):
        assert part in message
    assert "\n" not in message
    monkeypatch.setenv("CXX", "icecc; touch gone")
    with pytest.raises(EngineError, match=r"looked for icecc; \(from CXX\): sudo"):
        compile_cells([LSTM], isa="plain", include=NATIVE)
    monkeypatch.setenv("CXX", "'g++")
    with pytest.raises(EngineError, match=r"^CXX cannot be read \(No closing quotation\): name a compiler in it"):
        compile_cells([LSTM], isa="plain", include=NATIVE)
    assert list(tmp_path.iterdir()) == []


def test_the_first_compiler_that_is_there_is_taken(fake: Any, tmp_path: Path, monkeypatch: Any) -> None:
    program = tmp_path / "fake c++"
    for name in COMPILERS[1:]:
        (tmp_path / name).write_text(program.read_text().replace('"$@"', f'{name} "$@"'))
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    compile_cells([LSTM], isa="plain", include=NATIVE)
    assert [arguments[0] for arguments in fake()] == [COMPILERS[1]]


def test_an_unknown_instruction_set_is_refused(fake: Any) -> None:
    with pytest.raises(UsageError, match=r'"avx3" is not known: choose one of avx512, avx2, plain'):
        compile_cells([LSTM], isa="avx3", include=NATIVE)
    assert fake() == []


def test_where_the_cache_is(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("UNROLLED_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "unrolled"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / "home" / ".cache" / "unrolled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "unrolled"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_a_cache_that_others_can_write_is_refused(fake: Any, tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(EngineError, match=rf"cache can be written by others \(mode {mode:o}\).* chmod 700"):
        compile_cells([LSTM], isa="plain", include=NATIVE)
    assert fake() == []
    (tmp_path / "cache").chmod(0o755)
    assert compile_cells([LSTM], isa="plain", include=NATIVE).exists()


@pytest.mark.usefixtures("fake")
def test_a_cache_or_library_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    library = compile_cells([LSTM], isa="plain", include=NATIVE)
    library.chmod(0o777)
    with pytest.raises(EngineError, match=r"lstm-.*\.so can be written by others"):
        compile_cells([LSTM], isa="plain", include=NATIVE)
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(EngineError, match=rf"cache belongs to user {user}, not to you: name a folder of yours in UNR"):
        compile_cells([LSTM], isa="plain", include=NATIVE)


@pytest.mark.usefixtures("fake")
def test_a_cache_that_cannot_be_made_is_told_what_to_do(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EngineError, match=r"^no cache for compiled cells \(.*\): name a folder of yours in UNROLLED_C"):
        compile_cells([LSTM], isa="plain", include=NATIVE)


@pytest.mark.parametrize("kept", [0, 40, 3000])
def test_a_library_that_was_cut_short_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setenv("UNROLLED_CACHE", str(tmp_path / "cache"))
    library = compile_cells([LSTM], isa="plain", include=NATIVE)
    whole = library.read_bytes()
    library.write_bytes(whole[:kept])
    assert compile_cells([LSTM], isa="plain", include=NATIVE) == library
    assert len(library.read_bytes()) == len(whole)


def test_a_compiler_that_cannot_be_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "broken"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    monkeypatch.setenv("CXX", str(program))
    with pytest.raises(EngineError, match=r"cannot be run .*: name another C\+\+ compiler in CXX$"):
        compile_cells([LSTM], isa="plain", include=NATIVE)
