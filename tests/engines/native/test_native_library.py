"""Which of the compiled libraries is loaded, what lies beside them, and what is said where there is none."""

import platform
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import pytest

from unrolled import cells
from unrolled.engines.native import library
from unrolled.engines.native.printing import print_cell
from unrolled.errors import EngineError, UsageError

NATIVE = Path(__file__).parents[3] / "native"
MODULE = "unrolled.engines.native._native"
LANES = {"avx512": 16, "avx2": 8, "plain": 4}
"""Numbers of float32 in a vector: 64, 32 and 16 bytes."""


@pytest.fixture
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)


def test_supported_is_what_linux_says_of_the_processor() -> None:
    if platform.machine() != "x86_64":
        assert library.supported() == ("plain",)
        return
    flags = set(Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split())
    needed = {"avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}, "avx2": {"avx2", "fma"}}
    assert library.supported() == (*(isa for isa in needed if needed[isa] <= flags), "plain")


@pytest.mark.usefixtures("no_variable")
def test_the_best_library_is_loaded_once() -> None:
    loaded = library.load()
    assert loaded.isa == library.supported()[0]
    assert library.load() is loaded
    assert library.load(loaded.isa) is loaded
    with pytest.raises(FrozenInstanceError):
        loaded.isa = "plain"  # type: ignore[misc]


@pytest.mark.parametrize("isa", LANES)
def test_each_library_has_vectors_of_its_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isa not in library.supported():
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv(library.VARIABLE, isa)
    loaded = library.load()
    assert loaded.isa == isa
    assert loaded.kernels.lanes == LANES[isa]
    assert loaded.path.name == f"unrolled_kernels_{isa}.so"


def test_what_was_compiled_is_what_the_sources_say_now() -> None:
    """Fails where `make` does not notice that something compiled has changed."""
    loaded = library.load()
    for name in ("vector.h", "cell.h"):
        assert (loaded.include / name).read_text() == (NATIVE / name).read_text()
    built_in = {name: print_cell(cells.get(name)).digest for name in ("tanh", "gru", "gru_reset_before", "lstm")}
    assert set(built_in.values()) <= {cell.digest for cell in loaded.kernels.cells(str(loaded.path))}


def test_an_argument_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, "no such set")
    assert library.load("plain").isa == "plain"


@pytest.mark.usefixtures("no_variable")
def test_what_this_processor_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = ", ".join(library.supported())
    with pytest.raises(UsageError) as refused:
        library.load("sve")
    assert str(refused.value) == f'instruction set "sve" is none that this processor can run: choose one of {choices}'
    monkeypatch.setenv(library.VARIABLE, "sve")
    with pytest.raises(UsageError) as refused:
        library.load()
    assert str(refused.value) == f"UNROLLED_ISA=sve is none that this processor can run: choose one of {choices}"


@pytest.mark.usefixtures("no_variable")
def test_an_empty_variable_forces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    best = library.load()
    monkeypatch.setenv(library.VARIABLE, "")
    assert library.load() is best


def test_without_the_compiled_part_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(EngineError, match=r"^engine native was not compiled when .*pip install .*portable$"):
        library.load()


def test_a_compiled_part_that_cannot_be_loaded_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_python: Callable[..., str]
) -> None:
    class OtherModule(SimpleNamespace):
        Library = library.load("plain").module.Library

    other = OtherModule(__file__=str(tmp_path / "_native.so"), supported=lambda: ["missing"])
    monkeypatch.setitem(sys.modules, MODULE, other)
    with pytest.raises(EngineError, match=r"^engine native cannot be loaded \(.*unrolled_kernels_missing.so: .*\): "):
        library.load("missing")

    code = """
import importlib.machinery, sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name.endswith("._native"):
            raise ImportError("libgomp.so.1: cannot open")
sys.meta_path.insert(0, Broken())
from unrolled.engines.native import library
from unrolled.errors import EngineError
try:
    library.load()
except EngineError as error:
    print(error)
"""
    assert run_python(code).startswith("engine native cannot be loaded (libgomp.so.1: cannot open): install again ")


def test_nothing_is_loaded_before_it_is_asked_for(run_python: Callable[..., str]) -> None:
    code = f"import sys; from unrolled.engines.native import library; print({MODULE!r} in sys.modules)"
    assert run_python(code) == "False\n"
