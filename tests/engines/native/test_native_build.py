"""The build itself: without a compiler, for another kind of processor, and under sanitizers."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled.engines.native.compiling import FLAGS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SANITIZERS = "address,undefined"
OTHER_COMPILER = "aarch64-linux-gnu-g++"
PACKAGE_OF_OTHER = "g++-aarch64-linux-gnu"


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNROLLED_")}
    return subprocess.run(
        command, env={**environment, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )


def pip(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, **variables)


def test_without_a_compiler_one_line_says_how_to_install(tmp_path: Path) -> None:
    finished = pip("wheel", "--no-deps", "--wheel-dir", tmp_path, ".", CXX=str(tmp_path / "c++"))
    assert finished.returncode != 0
    (line,) = [line for line in finished.stdout.splitlines() + finished.stderr.splitlines() if "missing:" in line]
    assert "a C++ compiler" in line
    assert "UNROLLED_NATIVE=0" in line


def test_nothing_is_compiled_where_that_is_asked_for(tmp_path: Path, run_python: Callable[..., str]) -> None:
    finished = pip("wheel", "--no-deps", "--wheel-dir", tmp_path, ".", CXX=str(tmp_path / "c++"), UNROLLED_NATIVE="0")
    assert finished.returncode == 0, finished.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        file.extractall(tmp_path / "installed")
    assert "unrolled/engines/native/library.py" in names
    assert not [name for name in names if name.endswith((".so", ".h"))]
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import unrolled
from unrolled import engines
assert unrolled.__file__.startswith(sys.argv[1]), unrolled.__file__
print(engines.get().name)
"""
    assert run_python(code, str(tmp_path / "installed")) == "portable\n"


def test_plain_vectors_compile_for_aarch64(tmp_path: Path) -> None:
    compiler = shutil.which(OTHER_COMPILER)
    assert compiler, f"missing: {OTHER_COMPILER}; install it: sudo apt-get install {PACKAGE_OF_OTHER}"
    cells = tmp_path / "cells.cpp"
    printed = run(sys.executable, "-m", "unrolled.engines.native.printing", cells)
    assert printed.returncode == 0, printed.stderr
    flags = [flag for flag in FLAGS if flag != "-shared"]
    for source in (ROOT / "native" / "kernels.cpp", cells):
        made = tmp_path / source.with_suffix(".o").name
        include, warnings = f"-I{ROOT / 'native'}", ["-Wall", "-Wextra", "-Werror"]
        finished = run(compiler, *flags, *warnings, "-fopenmp", include, "-c", source, "-o", made)
        assert finished.returncode == 0, finished.stderr
        assert made.read_bytes()[18:20] == bytes([183, 0]), "not an object for AArch64, number 183 of ELF's machines"


@pytest.fixture(scope="module")
def run_sanitized(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with the package compiled anew, under sanitizers and with warnings as errors."""
    folder = tmp_path_factory.mktemp("sanitized")
    defined = f"-Ccmake.define.UNROLLED_SANITIZE={SANITIZERS}", "-Ccmake.define.UNROLLED_STRICT=ON"
    finished = pip("install", "--no-deps", "--target", folder, *defined, "-Cinstall.strip=false", ".")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    first = run(os.environ.get("CXX", "g++"), "-print-file-name=libasan.so").stdout.strip()
    variables = {
        "LD_PRELOAD": first,  # before Python, which is compiled without
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps much until its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # else blocks lie beside each other, unguarded
        "PYTHONPATH": str(folder),
    }
    return lambda *arguments: run(sys.executable, *arguments, **variables)


def test_sanitizers_find_what_is_written_past_the_end(
    run_sanitized: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Else the next test could not fail."""
    code = """
import numpy as np
from unrolled.engines.native import library
loaded = library.load()
rows, index, gathered = np.ones((2, 3), np.float32), np.zeros(4, np.int64), np.zeros((3, 3), np.float32)
loaded.module.float32.gather_rows(
    loaded.kernels, 1, rows.ctypes.data, index.ctypes.data, len(index), 3, gathered.ctypes.data
)
"""
    finished = run_sanitized("-c", code)
    assert finished.returncode != 0
    assert "heap-buffer-overflow" in finished.stderr


def test_sanitizers_find_nothing_in_what_the_contract_asks_of_the_kernels(
    run_sanitized: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    tests = run_sanitized("-m", "pytest", "-q", "-x", "tests/contracts", "-k", "native and numpy")
    assert tests.returncode == 0, tests.stdout + tests.stderr


def test_sanitizers_find_nothing_at_sizes_that_are_cut(
    run_sanitized: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    sizes = "sizes_that_are_cut or lengths_in_any_order or several_chunks or sizes_of_zero"
    tests = run_sanitized("-m", "pytest", "-q", "-x", "tests/engines/native/test_native_engine.py", "-k", sizes)
    assert tests.returncode == 0, tests.stdout + tests.stderr
