"""What the contract tests share: the table of tolerances, the inputs, and the reference's answers to them."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unrolled import cells, engines, reference
from unrolled.cells import Cell
from unrolled.cells.elementwise import tanh
from unrolled.engines import Engine, Masks
from unrolled.engines.native import library
from unrolled.engines.native.engine import Native

Doubles = npt.NDArray[np.float64]
Named = dict[str, Any]

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
"""Highest norm-wise relative error against the float64 reference.

A rounding is 6e-8 in float32 and 1e-16 in float64. Sums over a few dozen terms and errors carried over a few hundred
steps of a recurrence that does not amplify them cost up to two digits; a wrong term costs all of them.
"""
DTYPES = tuple(TOLERANCE)
KINDS = ("numpy", "torch", "cuda") if torch.cuda.is_available() else ("numpy", "torch")
DEVICES = {"numpy": "cpu", "torch": "cpu", "cuda": "cuda"}


def _engines() -> dict[str, Engine]:
    """All registered engines, and the native one for each further instruction set that this processor has."""
    named = {name: engines.get(name) for name in engines.names()}
    for isa in library.supported():
        if isa != library.load().isa:
            named[f"native-{isa}"] = Native(library.load(isa))
    return named


ENGINES = _engines()
CELLS = cells.names()
MASKS = ("none", "recurrent", "zoneout")


@dataclass(frozen=True)
class Setting:
    """One case; B = 3 sequences of T = 5 steps and H = 4 units unless a test wants other sizes."""

    cell: Cell
    steps: int = 5
    batch: int = 3
    size: int = 4
    unequal: bool = False
    reverse: bool = False
    masks: str = "none"
    bias: bool = True

    def __str__(self) -> str:
        flags = ["lengths"] * self.unequal + ["reverse"] * self.reverse + ["no_bias"] * (not self.bias)
        return "-".join([self.cell.name, *flags, *([] if self.masks == "none" else [self.masks])])


@dataclass(frozen=True)
class Case:
    """The operands and incoming gradients of one `unroll`, in float64 but exact in float32 too."""

    x: Doubles
    weight_hh: Doubles
    bias_hh: Doubles | None
    state: tuple[Doubles, ...]
    lengths: npt.NDArray[np.int64] | None
    recurrent: Doubles | None
    zoneout: tuple[Doubles, ...] | None
    d_outputs: Doubles
    d_state: tuple[Doubles, ...]
    expected: Named = field(default_factory=dict)


@cache
def make_case(setting: Setting) -> Case:
    """Random operands without any symmetry, the reference's answer beside them; NaN stands where none may look."""
    cell, steps, batch, size = setting.cell, setting.steps, setting.batch, setting.size
    random = np.random.default_rng([len(cell.gates), steps, batch, size, setting.reverse, MASKS.index(setting.masks)])

    def draw(*shape: int, scale: float = 1.0, mean: float = 0.0) -> Doubles:
        return random.normal(mean, scale, shape).astype(np.float32).astype(np.float64)

    rows = len(cell.gates) * size
    lengths, padding = None, np.zeros((steps, batch), bool)
    if setting.unequal:
        lengths = np.array([3, steps, 1])
        padding = np.arange(steps)[:, None] >= lengths
    zoneout = tuple(random.choice([0.0, 1.0, 0.25], (steps, batch, size)) for _ in cell.state)
    case = Case(
        x=draw(steps, batch, rows, mean=0.5),  # above zero, so that a relu unit by itself is alive
        weight_hh=draw(rows, size, scale=0.7 / np.sqrt(size)),
        bias_hh=draw(rows, scale=0.5) if setting.bias else None,
        state=tuple(draw(batch, size) for _ in cell.state),
        lengths=lengths,
        recurrent=random.choice([0.0, 2.0, 0.5], (batch, size)) if setting.masks == "recurrent" else None,
        zoneout=zoneout if setting.masks == "zoneout" else None,
        d_outputs=draw(steps, batch, size),
        d_state=tuple(draw(batch, size) for _ in cell.state),
    )
    case.x[padding] = np.nan
    case.d_outputs[padding] = np.nan
    case.expected.update(_by_reference(setting, case))
    return case


def with_lengths(setting: Setting, lengths: npt.NDArray[np.int64]) -> Case:
    """The same case with other lengths, and NaN past them."""
    case = replace(make_case(replace(setting, unequal=False)), lengths=lengths, expected={})
    padding = np.arange(setting.steps)[:, None] >= lengths
    case = replace(case, x=case.x.copy(), d_outputs=case.d_outputs.copy())
    case.x[padding] = np.nan
    case.d_outputs[padding] = np.nan
    case.expected.update(_by_reference(setting, case))
    return case


def _by_reference(setting: Setting, case: Case) -> Named:
    """The reference projects its input itself: with the identity as input weights its x is the engine's."""
    weights = reference.Weights(np.eye(case.x.shape[2]), case.weight_hh, None, case.bias_hh)
    done = reference.unroll(
        setting.cell,
        np.nan_to_num(case.x),
        weights,
        lengths=case.lengths,
        initial_state=case.state,
        reverse=setting.reverse,
        masks=reference.Masks(case.recurrent, case.zoneout),
    )
    gradients = reference.unroll_backward(done.tape, np.nan_to_num(case.d_outputs), case.d_state)
    named = {"outputs": done.outputs, "dx": gradients.x, "dweight_hh": gradients.weights.weight_hh}
    named |= {f"last {name}": part for name, part in zip(setting.cell.state, done.last, strict=True)}
    named |= {f"dstate {name}": part for name, part in zip(setting.cell.state, gradients.initial_state, strict=True)}
    return named | ({"dbias_hh": gradients.weights.bias_hh} if setting.bias else {})


def by_engine(engine: Engine, setting: Setting, case: Case, kind: str, dtype: str) -> Named:
    """The engine's answer to the case, under the names that the reference's has."""
    given = convert(case, kind, dtype)
    done = engine.unroll(
        setting.cell,
        given.x,
        given.weight_hh,
        given.bias_hh,
        given.state,
        lengths=given.lengths,
        reverse=setting.reverse,
        masks=Masks(given.recurrent, given.zoneout),
    )
    gradients = engine.unroll_backward(done.tape, given.d_outputs, given.d_state)
    named = {"outputs": done.outputs, "dx": gradients.x, "dweight_hh": gradients.weight_hh}
    named |= {f"last {name}": part for name, part in zip(setting.cell.state, done.state, strict=True)}
    named |= {f"dstate {name}": part for name, part in zip(setting.cell.state, gradients.state, strict=True)}
    return named | ({} if gradients.bias_hh is None else {"dbias_hh": gradients.bias_hh})


def convert(value: Any, kind: str, dtype: str) -> Any:
    """Floating arrays, alone or in a tuple or Case, as arrays of that kind and dtype; integers as that kind."""
    if value is None:
        return None
    if isinstance(value, Case):
        names = [name for name in value.__dataclass_fields__ if name != "expected"]
        return Case(**{name: convert(getattr(value, name), kind, dtype) for name in names})
    if isinstance(value, tuple):
        return tuple(convert(part, kind, dtype) for part in value)
    array = value.astype(dtype) if value.dtype.kind == "f" else value.copy()
    return array if kind == "numpy" else torch.from_numpy(array).to("cuda" if kind == "cuda" else "cpu")


def assert_agrees(got: Named, expected: Named, kind: str, dtype: str, tolerance: float | None = None) -> None:
    """Every expected array is there, is of that kind and dtype, and has the expected values norm-wise."""
    assert got.keys() == expected.keys()
    for name, array in got.items():
        assert isinstance(array, np.ndarray) if kind == "numpy" else isinstance(array, torch.Tensor), name
        assert str(array.dtype).removeprefix("torch.") == dtype, name
        values = as_numpy(array).astype(np.float64)
        assert values.shape == expected[name].shape, name
        norm = np.linalg.norm(expected[name])
        assert norm > 0, f"{name} is zero throughout: the comparison would say nothing"
        error = np.linalg.norm(values - expected[name]) / norm
        assert error <= (TOLERANCE[dtype] if tolerance is None else tolerance), f"{name} is off by {error:.1e}"


def as_numpy(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


class Peculiar(Cell):
    """A cell as a user may write it, with all that cells can ask for: apart and late gates, two parts of state."""

    name = "peculiar"
    gates = ("scale", "value", "output")
    state = ("h", "m")
    apart = ("value",)
    late = ("output",)

    def late_operand(self, a: Any, state: Any) -> Any:
        (a_s, _), (h, m) = a, state
        q = tanh(a_s)
        return q * h + m, (q, h)

    def late_operand_backward(self, dp: Any, kept: Any) -> Any:
        q, h = kept
        return (dp * h * (1 - q * q), 0.0), (dp * q, dp)

    def step(self, a: Any, u: Any, state: Any) -> Any:
        (a_s, x_v, a_o), (u_v,), (_, m_prev) = a, u, state
        s, v, o = tanh(a_s), tanh(x_v + a_s * u_v), tanh(a_o)
        m = s * m_prev + v
        return (o * m, m), (a_s, u_v, s, v, o, m, m_prev)

    def step_backward(self, d_state: Any, kept: Any) -> Any:
        (dh, dm), (a_s, u_v, s, v, o, m, m_prev) = d_state, kept
        dm, do = dm + dh * o, dh * m
        dx_v = dm * (1 - v * v)
        da_s = dm * m_prev * (1 - s * s) + dx_v * u_v
        return (da_s, dx_v, do * (1 - o * o)), (dx_v * a_s,), (0.0, dm * s)


EVERY_CELL = (*(cells.get(name) for name in CELLS), Peculiar())
"""All registered cells, and one of a user's own."""

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_engine = pytest.mark.parametrize("engine", ENGINES)
PLACES = [
    (name, kind)
    for name, engine in ENGINES.items()
    for kind in KINDS
    if engine.obstacle(cells.get("tanh"), DEVICES[kind], "float32") is None
]
"""Every engine with every kind of array that it can run on."""
each_place = pytest.mark.parametrize(("engine", "kind"), PLACES)
