"""The mathematics of recurrent networks, fast: one contract, several engines.

`get("auto")` is the fastest engine that can run here. `contract.py` says what an engine does; torch is imported only by
`engines.autograd` and by those who call it.
"""

from collections.abc import Callable

from unrolled.engines.contract import (
    Engine,
    LanguageModelWeights,
    LayerWeights,
    LinearGradients,
    Masks,
    State,
    Unrolled,
    UnrollGradients,
)
from unrolled.engines.portable import Portable
from unrolled.engines.sampling import Sampling
from unrolled.errors import EngineError, UsageError

__all__ = [
    "Engine",
    "LanguageModelWeights",
    "LayerWeights",
    "LinearGradients",
    "Masks",
    "Sampling",
    "State",
    "UnrollGradients",
    "Unrolled",
    "get",
    "names",
    "register",
]

_makers: dict[str, Callable[[], Engine]] = {}
_made: dict[str, Engine] = {}


def register(name: str, make: Callable[[], Engine]) -> None:
    """Make an engine known; `make` is called at first use, and raises EngineError where the engine cannot run.

    `auto` takes the engine registered last among those that can run, so register slower engines first.
    """
    _makers.pop(name, None)  # so that the name takes the last place
    _makers[name] = make
    for made in (name, "auto"):
        _made.pop(made, None)


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


def _fastest() -> Engine:
    reasons = []
    for name in reversed(_makers):
        try:
            return get(name)
        except EngineError as error:
            reasons.append(f"{name}: {error}")
    raise EngineError(f"no engine can run here ({'; '.join(reasons)})")


register("portable", Portable)
