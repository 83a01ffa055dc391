"""Every engine's `unroll` and `step` against the float64 reference, forward and backward."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import cells, engines, reference
from unrolled.engines import Masks

from .contract_cases import (
    CELLS,
    ENGINES,
    EVERY_CELL,
    MASKS,
    PLACES,
    Setting,
    as_numpy,
    assert_agrees,
    by_engine,
    convert,
    each_dtype,
    each_place,
    make_case,
)

GRID = [
    (engine, kind, Setting(cell, unequal=unequal, reverse=reverse, masks=masks, bias=bias))
    for engine, kind in PLACES
    for cell in EVERY_CELL
    for unequal, reverse, masks, bias in product((False, True), (False, True), MASKS, (True, False))
]
SIZES = [
    (2, 33, 100),
    (2, 1, 100),
    (1, 1, 1),
    (1, 2, 3),
    (1, 33, 17),
    (3, 1, 17),
    (3, 2, 1),
    (4, 33, 3),
    (2, 1, 1),
]  # T, B, H
each_cell = pytest.mark.parametrize("name", CELLS)


@each_dtype
@pytest.mark.parametrize(("engine", "kind", "setting"), GRID, ids=str)
def test_unroll_and_its_backward(engine: str, setting: Setting, kind: str, dtype: str) -> None:
    case = make_case(setting)
    got = by_engine(ENGINES[engine], setting, case, kind, dtype)
    assert_agrees(got, case.expected, kind, dtype)
    if setting.unequal:
        past = np.isnan(case.x)
        assert past.any()
        assert not as_numpy(got["dx"])[past].any()


@each_dtype
@each_place
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@each_cell
def test_unroll_of_odd_sizes(name: str, sizes: tuple[int, int, int], engine: str, kind: str, dtype: str) -> None:
    setting = Setting(cells.get(name), *sizes)
    case = make_case(setting)
    assert_agrees(by_engine(ENGINES[engine], setting, case, kind, dtype), case.expected, kind, dtype)


@each_dtype
@each_place
@each_cell
def test_unroll_over_200_steps(name: str, engine: str, kind: str, dtype: str) -> None:
    setting = Setting(cells.get(name), steps=200, batch=2, size=6)
    case = make_case(setting)
    assert_agrees(by_engine(ENGINES[engine], setting, case, kind, dtype), case.expected, kind, dtype)


@each_place
@each_cell
def test_unroll_leaves_its_operands_alone_and_its_tape_serves_twice(name: str, engine: str, kind: str) -> None:
    cell = cells.get(name)
    case = make_case(Setting(cell, unequal=True, masks="zoneout"))
    given, untouched = convert(case, kind, "float64"), convert(case, kind, "float64")
    chosen = ENGINES[engine]

    def unroll(keep: bool) -> Any:
        masks = Masks(given.recurrent, given.zoneout)
        return chosen.unroll(
            cell, given.x, given.weight_hh, given.bias_hh, given.state, lengths=given.lengths, masks=masks, keep=keep
        )

    done, silent = unroll(True), unroll(False)
    outputs = np.array(as_numpy(done.outputs))
    once = chosen.unroll_backward(done.tape, given.d_outputs, given.d_state)
    twice = chosen.unroll_backward(done.tape, given.d_outputs, given.d_state)
    assert silent.tape is None
    for first, second in [
        (outputs, silent.outputs),
        (outputs, done.outputs),
        (once.x, twice.x),
        (once.weight_hh, twice.weight_hh),
        (once.bias_hh, twice.bias_hh),
        *zip(done.state, silent.state, strict=True),
        *zip(once.state, twice.state, strict=True),
        (given.x, untouched.x),
        (given.weight_hh, untouched.weight_hh),
        (given.bias_hh, untouched.bias_hh),
        (given.d_outputs, untouched.d_outputs),
        *zip(given.state, untouched.state, strict=True),
        *zip(given.d_state, untouched.d_state, strict=True),
    ]:
        np.testing.assert_array_equal(as_numpy(first), as_numpy(second))


@each_place
@each_cell
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_chunks_with_carried_state_equal_the_whole(name: str, cut: int, engine: str, kind: str) -> None:
    cell = cells.get(name)
    case = make_case(Setting(cell))
    given = convert(case, kind, "float64")
    chosen = ENGINES[engine]
    state, outputs = given.state, []
    for part in (given.x[:cut], given.x[cut:]):
        done = chosen.unroll(cell, part, given.weight_hh, given.bias_hh, state, keep=False)
        state = done.state
        outputs.append(as_numpy(done.outputs))
    np.testing.assert_allclose(np.concatenate(outputs), case.expected["outputs"], rtol=0, atol=1e-13)
    for part_name, part in zip(cell.state, state, strict=True):
        np.testing.assert_allclose(as_numpy(part), case.expected[f"last {part_name}"], rtol=0, atol=1e-13)


@each_dtype
@each_place
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("cell", EVERY_CELL, ids=lambda cell: cell.name)
def test_step_is_one_step_of_unroll(engine: str, cell: Any, bias: bool, kind: str, dtype: str) -> None:
    case = make_case(Setting(cell, steps=1, bias=bias))
    given = convert(case, kind, dtype)
    chosen = ENGINES[engine]
    state, tape = chosen.step(cell, given.x[0], given.weight_hh, given.bias_hh, given.state)
    gradients = chosen.step_backward(tape, given.d_state)
    weights = reference.Weights(np.eye(case.x.shape[2]), case.weight_hh, None, case.bias_hh)
    done = reference.unroll(cell, case.x, weights, initial_state=case.state)
    wanted = reference.unroll_backward(done.tape, None, case.d_state)
    got = {"dx": gradients.x, "dweight_hh": gradients.weight_hh}
    expected = {"dx": wanted.x[0], "dweight_hh": wanted.weights.weight_hh}
    for index, name in enumerate(cell.state):
        got |= {name: state[index], f"d{name}": gradients.state[index]}
        expected |= {name: done.last[index], f"d{name}": wanted.initial_state[index]}
    if bias:
        got["dbias_hh"], expected["dbias_hh"] = gradients.bias_hh, wanted.weights.bias_hh
    else:
        assert gradients.bias_hh is None
    assert_agrees(got, expected, kind, dtype)
    silent, nothing = chosen.step(cell, given.x[0], given.weight_hh, given.bias_hh, given.state, keep=False)
    assert nothing is None
    np.testing.assert_array_equal(as_numpy(silent[0]), as_numpy(state[0]))


@pytest.mark.parametrize(
    "options", [{}, {"unequal": True, "reverse": True, "masks": "zoneout"}, {"masks": "recurrent"}]
)
@pytest.mark.parametrize("cell", EVERY_CELL, ids=lambda cell: cell.name)
def test_the_portable_backward_pass_is_what_torch_derives_from_the_forward_lines(cell: Any, options: Any) -> None:
    setting = Setting(cell, **options)
    case = convert(make_case(setting), "torch", "float64")
    x, d_outputs = case.x.nan_to_num(), case.d_outputs.nan_to_num()  # torch's own derivative multiplies NaN by 0
    leaves = [x, case.weight_hh, case.bias_hh, *case.state]
    for leaf in leaves:
        leaf.requires_grad_()
    done = engines.get("portable").unroll(
        cell,
        x,
        case.weight_hh,
        case.bias_hh,
        case.state,
        lengths=case.lengths,
        reverse=setting.reverse,
        masks=Masks(case.recurrent, case.zoneout),
        keep=False,
    )
    d_x, d_weight, d_bias, *d_state = torch.autograd.grad(
        (done.outputs, *done.state), leaves, (d_outputs, *case.d_state)
    )
    got = {"outputs": done.outputs.detach(), "dx": d_x, "dweight_hh": d_weight, "dbias_hh": d_bias}
    got |= {f"last {name}": part.detach() for name, part in zip(cell.state, done.state, strict=True)}
    got |= {f"dstate {name}": part for name, part in zip(cell.state, d_state, strict=True)}
    assert_agrees(got, make_case(setting).expected, "torch", "float64")
