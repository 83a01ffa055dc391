"""The tables of the contract tests are complete: nothing that exists escapes them."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import numpy as np

import unrolled.cells
import unrolled.engines
from unrolled import cells, engines
from unrolled.cells import Cell
from unrolled.engines.native import library
from unrolled.engines.native.engine import Native

from .contract_cases import DTYPES, ENGINES, KINDS, MASKS, PLACES, TOLERANCE
from .test_unroll_contract import GRID

OPERATIONS = ("unroll", "step", "linear", "unroll_tokens", "project_tokens", "linear_cross_entropy")


def classes_in(package: ModuleType) -> Iterator[type]:
    """All classes that the package's own modules define."""
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.split(".")[-1].startswith("unrolled_kernels"):
            continue  # a library of kernels, which is no module
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if member.__module__ == module.name:
                yield member


def test_every_cell_is_registered() -> None:
    defined = {c for c in classes_in(unrolled.cells) if issubclass(c, Cell) and not inspect.isabstract(c)}
    assert {type(cells.get(name)) for name in cells.names()} == defined
    assert len(defined) >= 6


def test_every_engine_is_registered_and_complete() -> None:
    protocol = unrolled.engines.Engine
    defined = {c for c in classes_in(unrolled.engines) if hasattr(c, "unroll_backward") and c is not protocol}
    assert {type(engines.get(name)) for name in engines.names()} == defined
    for name in engines.names():
        engine = engines.get(name)
        assert engine.name == name
        assert engine.description().startswith(name)
        assert all(callable(getattr(engine, operation + "_backward")) for operation in OPERATIONS)


def test_the_grid_covers_every_cell_engine_instruction_set_and_option() -> None:
    assert set(ENGINES) >= set(engines.names())
    isas = {engine.library.isa for engine in ENGINES.values() if isinstance(engine, Native)}
    assert isas == set(library.supported())
    assert {(engine, kind) for engine, kind, _ in GRID} == set(PLACES)
    assert {(engine, kind) for engine in ENGINES for kind in ("numpy", "torch")} <= set(PLACES)
    for place in PLACES:
        settings = [setting for engine, kind, setting in GRID if (engine, kind) == place]
        assert {setting.cell.name for setting in settings} >= set(cells.names())
        for name in cells.names():
            options = {(s.unequal, s.reverse, s.masks, s.bias) for s in settings if s.cell.name == name}
            assert len(options) == 2 * 2 * len(MASKS) * 2


def test_every_floating_dtype_that_engines_promise_has_a_tolerance_far_above_its_rounding() -> None:
    assert set(DTYPES) == {"float32", "float64"}
    assert {"numpy", "torch"} <= set(KINDS)
    for dtype, tolerance in TOLERANCE.items():
        assert 20 * np.finfo(dtype).eps < tolerance < 1e5 * np.finfo(dtype).eps
