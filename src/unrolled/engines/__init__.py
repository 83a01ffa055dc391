"""The mathematics of recurrent networks, fast: one contract, several engines.

`choose("auto", cell, array)` is the fastest engine that can run the cell on arrays of that kind. `contract.py` says
what an engine does; torch is imported only by `engines.autograd`, `engines.native.update` and those who call them.
"""

import warnings
from collections.abc import Callable, Iterator

from unrolled import cells
from unrolled.cells import Cell
from unrolled.engines.contract import (
    Array,
    Engine,
    InputWeights,
    LanguageModelWeights,
    LayerWeights,
    LinearGradients,
    Masks,
    Predictor,
    Reading,
    RowGradient,
    StackState,
    State,
    Unrolled,
    UnrollGradients,
)
from unrolled.engines.portable import Portable
from unrolled.engines.predictor import zero_state
from unrolled.engines.sampling import Sampling
from unrolled.errors import EngineError, UnrolledWarning, UsageError

__all__ = [
    "Engine",
    "InputWeights",
    "LanguageModelWeights",
    "LayerWeights",
    "LinearGradients",
    "Masks",
    "Predictor",
    "Reading",
    "RowGradient",
    "Sampling",
    "StackState",
    "State",
    "UnrollGradients",
    "Unrolled",
    "choose",
    "get",
    "names",
    "register",
    "zero_state",
]

_makers: dict[str, Callable[[], Engine]] = {}
_made: dict[str, Engine] = {}
_chosen: dict[object, Engine] = {}
_told: set[tuple[str, Cell]] = set()


def register(name: str, make: Callable[[], Engine]) -> None:
    """Make an engine known; `make` is called at first use, and raises EngineError where the engine cannot run.

    `auto` takes the engine registered last among those that can run, so register slower engines first.
    """
    _makers.pop(name, None)  # so that the name takes the last place
    _makers[name] = make
    for made in (name, "auto"):
        _made.pop(made, None)
    _chosen.clear()


def names() -> tuple[str, ...]:
    """Names of all registered engines, slowest first."""
    return tuple(_makers)


def get(name: str = "auto") -> Engine:
    """The engine of that name, or with "auto" the fastest that can run here.

    Raises:
        UsageError: no engine has that name.
        EngineError: it cannot run here.
    """
    if name not in {"auto", *_makers}:
        raise UsageError(f'engine "{name}" is not known: choose one of auto, {", ".join(_makers)}')
    if name not in _made:
        _made[name] = _fastest() if name == "auto" else _makers[name]()
    return _made[name]


def choose(name: str, cell: Cell, like: Array) -> Engine:
    """The engine of that name, or with "auto" the fastest, that can run a cell on arrays such as `like`.

    It may be called in every forward pass: what was found is kept. Where "auto" passes over a faster engine because of
    the cell, it warns, once for each cell.

    Raises:
        UsageError: no engine has that name.
        EngineError: it cannot run here, or cannot run this.
    """
    key = (name, cell, like.dtype, getattr(like, "device", None))
    engine = _chosen.get(key)
    if engine is None:
        device = getattr(key[-1], "type", "cpu")
        dtype = str(like.dtype).removeprefix("torch.")
        engine = _choose_fastest(cell, device, dtype) if name == "auto" else _choose_named(name, cell, device, dtype)
        _chosen[key] = engine
    return engine


def _choose_named(name: str, cell: Cell, device: str, dtype: str) -> Engine:
    engine = get(name)
    obstacle = engine.obstacle(cell, device, dtype)
    if obstacle is not None:
        raise EngineError(f"engine {name} cannot run cell {cell.name} ({device}, {dtype}): {obstacle}")
    return engine


def _choose_fastest(cell: Cell, device: str, dtype: str) -> Engine:
    reasons: list[str] = []
    passed_over: list[tuple[Engine, str]] = []
    for engine in _working(reasons):
        obstacle = engine.obstacle(cell, device, dtype)
        if obstacle is None:
            for faster, reason in passed_over:
                _tell(engine, faster, cell, reason)
            return engine
        reasons.append(f"{engine.name}: {obstacle}")
        if engine.obstacle(cells.get("tanh"), device, dtype) is None:  # so it is the cell, not the device or the dtype
            passed_over.append((engine, obstacle))
    raise EngineError(f"no engine can run cell {cell.name} ({device}, {dtype}) here ({'; '.join(reasons)})")


def _tell(chosen: Engine, faster: Engine, cell: Cell, reason: str) -> None:
    if (faster.name, cell) not in _told:
        message = f"engine {chosen.name}: {faster.name} cannot run cell {cell.name}: {reason}"
        warnings.warn(message, UnrolledWarning, stacklevel=4)
        _told.add((faster.name, cell))


def _fastest() -> Engine:
    reasons: list[str] = []
    engine = next(_working(reasons), None)
    if engine is None:
        raise EngineError(f"no engine can run here ({'; '.join(reasons)})")
    return engine


def _working(reasons: list[str]) -> Iterator[Engine]:
    """The engines that can run here, fastest first; why others cannot is added to the reasons."""
    for name in reversed(_makers):
        try:
            yield get(name)
        except EngineError as error:
            reasons.append(f"{name}: {error}")


def _make_native() -> Engine:
    from unrolled.engines.native import library
    from unrolled.engines.native.engine import Native

    return Native(library.load())


register("portable", Portable)
register("native", _make_native)
