"""Every cell over two steps, worked by hand: one unit, one sequence, x = (1, 2).

The weights are chosen so that each gate takes values that can be written down:
sigmoid(ln r) = r / (1 + r) and tanh(ln(r) / 2) = (r - 1) / (r + 1). The loss is

    E = 2 h_1 + 3 h_2 + 1 h_2 (as last state)   [- 2 c_2 (as last state) for the LSTM]

so that dE/dh_2 = 4. What is called d below is dE/dh_1.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from unrolled import cells
from unrolled.reference import Weights, unroll, unroll_backward

LOG2, LOG3 = np.log(2), np.log(3)
Pair = tuple[float, float]


class Gate(NamedTuple):
    """One gate at both steps."""

    R: float
    c: float
    argument: Pair  # of its sigmoid, tanh or relu
    operand: Pair  # what R multiplies
    recurrent: Pair  # the share of the argument that comes from R and c
    da: Pair  # dE/d(the term of the input)
    du: Pair  # dE/d(the term of the state)


class Worked(NamedTuple):
    """What two steps start from and must come to."""

    initial: tuple[float, ...]
    d_last: tuple[float, ...]
    outputs: Pair
    gates: list[Gate]
    d_initial: tuple[float, ...]


def _gate(R: float, c: float, argument: Pair, operand: Pair, da: Pair) -> Gate:
    """Make a gate whose two terms are simply added."""
    recurrent = (R * operand[0] + c, R * operand[1] + c)
    return Gate(R, c, argument, operand, recurrent, da, da)


def _elman(argument: Pair, h: Pair, da: Pair) -> Worked:
    # h_0 = 1/4, R = -2: dh_0 = -2 da_1.
    return Worked((1 / 4,), (1,), h, [_gate(-2, 1 / 2, argument, (1 / 4, h[0]), da)], (-2 * da[0],))


def _tanh() -> Worked:
    # Values 1/2 and 1/3, slopes 3/4 and 8/9: da_2 = 4 * 8/9 = 32/9, da_1 = (2 - 2 * 32/9) * 3/4 = -23/6.
    return _elman((LOG3 / 2, LOG2 / 2), (1 / 2, 1 / 3), (-23 / 6, 32 / 9))


def _relu() -> Worked:
    # On, then off, then nothing comes back: da_2 = 0, da_1 = 2.
    return _elman((1 / 2, -3), (1 / 2, 0), (2, 0))


def _sigmoid() -> Worked:
    # Values 3/4 and 2/3, slopes 3/16 and 2/9: da_2 = 8/9, da_1 = (2 - 16/9) * 3/16 = 1/24.
    return _elman((LOG3, LOG2), (3 / 4, 2 / 3), (1 / 24, 8 / 9))


def _gru() -> Worked:
    # Step 1: h_0 = 1/4, r = 3/4, z = 2/3, n = 1/3:  h_1 = 1/3 * 1/3 + 2/3 * 1/4 = 5/18.
    # Step 2:            r = 2/3, z = 1/4, n = 1/2:  h_2 = 3/4 * 1/2 + 1/4 * 5/18 = 4/9.
    # R = (1, -2, 4), c = (0, 0, 2):  u_n = 4 h + 2 = 3, then 28/9.
    # Back from dh_2 = 4:  dn = 3, dz = 4 (5/18 - 1/2) = -8/9, kept 1;  dx_n = 3 * 3/4 = 9/4, du_n = 9/4 * 2/3 = 3/2,
    #   dr = 9/4 * 28/9 = 7, da_r = 7 * 2/9 = 14/9, da_z = -8/9 * 3/16 = -1/6;
    #   d = 2 + 1 + 14/9 + 2/6 + 4 * 3/2 = 98/9.
    # Back from d:  dn = d/3, dz = d (1/4 - 1/3) = -d/12, kept 2d/3;  dx_n = d/3 * 8/9 = 8d/27, du_n = 2d/9,
    #   dr = 8d/9, da_r = 8d/9 * 3/16 = d/6, da_z = -d/12 * 2/9 = -d/54;
    #   dh_0 = 2d/3 + d/6 + 2d/54 + 4 * 2d/9 = 95d/54.
    d = 98 / 9
    h = (1 / 4, 5 / 18)
    reset = _gate(1, 0, (LOG3, LOG2), h, (d / 6, 14 / 9))
    update = _gate(-2, 0, (LOG2, -LOG3), h, (-d / 54, -1 / 6))
    candidate = Gate(
        R=4,
        c=2,
        argument=(LOG2 / 2, LOG3 / 2),
        operand=h,
        recurrent=(3 / 4 * 3, 2 / 3 * 28 / 9),  # r u_n
        da=(8 * d / 27, 9 / 4),
        du=(2 * d / 9, 3 / 2),
    )
    return Worked((1 / 4,), (1,), (5 / 18, 4 / 9), [reset, update, candidate], (95 * d / 54,))


def _gru_reset_before() -> Worked:
    # Gates and states as for the other GRU; p = r h_{t-1} = 3/16, then 2/3 * 5/18 = 5/27.
    # Back from dh_2 = 4:  da_n = 9/4, da_z = -1/6, kept 1;  dp = 4 * 9/4 = 9, dr = 9 * 5/18 = 5/2,
    #   da_r = 5/2 * 2/9 = 5/9;  d = 2 + 1 + 9 * 2/3 + 5/9 + 2/6 = 89/9.
    # Back from d:  da_n = 8d/27, da_z = -d/54, kept 2d/3;  dp = 32d/27, dr = 32d/27 * 1/4 = 8d/27,
    #   da_r = 8d/27 * 3/16 = d/18;  dh_0 = 2d/3 + 32d/27 * 3/4 + d/18 + 2d/54 = 89d/54.
    d = 89 / 9
    h = (1 / 4, 5 / 18)
    reset = _gate(1, 0, (LOG3, LOG2), h, (d / 18, 5 / 9))
    update = _gate(-2, 0, (LOG2, -LOG3), h, (-d / 54, -1 / 6))
    candidate = _gate(4, 2, (LOG2 / 2, LOG3 / 2), (3 / 16, 5 / 27), (8 * d / 27, 9 / 4))
    return Worked((1 / 4,), (1,), (5 / 18, 4 / 9), [reset, update, candidate], (89 * d / 54,))


def _lstm() -> Worked:
    # Step 1: i = 2/3, f = 1/4, g = 1/2, o = 3/4; c_0 = 2 ln 3 - 4/3 makes c_1 = ln(3)/2 - 1/3 + 1/3 = ln(3)/2,
    #   so that m = 1/2 and h_1 = 3/8.
    # Step 2: i = 1/2, f = 3/4, o = 1/3; g = ln 2 - 3/4 ln 3 makes c_2 = 3/8 ln 3 + ln(2)/2 - 3/8 ln 3 = ln(2)/2,
    #   so that m = 1/3 and h_2 = 1/9.
    # Back from dh_2 = 4, dc_2 = -2:  do = 4/3, dm = 4/3, dc = -2 + 4/3 * 8/9 = -22/27;  kept -22/27 * 3/4 = -11/18.
    # Back from d, -11/18:  do = d/2, dm = 3d/4, e = dc = -11/18 + 3d/4 * 3/4;  dc_0 = e/4.
    g = LOG2 - 3 / 4 * LOG3
    i_2, f_2 = -22 / 27 * g * 1 / 4, -22 / 27 * LOG3 / 2 * 3 / 16
    g_2, o_2 = -22 / 27 * 1 / 2 * (1 - g * g), 4 / 3 * 2 / 9
    d = 2 + i_2 - 2 * f_2 + 3 * g_2 - o_2  # R = (1, -2, 3, -1)
    e = -11 / 18 + 9 * d / 16
    i_1, f_1 = e * 1 / 2 * 2 / 9, e * (2 * LOG3 - 4 / 3) * 3 / 16
    g_1, o_1 = e * 2 / 3 * 3 / 4, d / 2 * 3 / 16
    h = (1 / 4, 3 / 8)
    gates = [
        _gate(1, 1 / 2, (LOG2, 0), h, (i_1, i_2)),
        _gate(-2, 0, (-LOG3, LOG3), h, (f_1, f_2)),
        _gate(3, -1, (LOG3 / 2, np.arctanh(g)), h, (g_1, g_2)),
        _gate(-1, 2, (LOG3, -LOG2), h, (o_1, o_2)),
    ]
    initial, d_initial = (1 / 4, 2 * LOG3 - 4 / 3), (i_1 - 2 * f_1 + 3 * g_1 - o_1, e / 4)
    return Worked(initial, (1, -2), (3 / 8, 1 / 9), gates, d_initial)


WORKED: dict[str, Callable[[], Worked]] = {
    "tanh": _tanh,
    "relu": _relu,
    "sigmoid": _sigmoid,
    "gru": _gru,
    "gru_reset_before": _gru_reset_before,
    "lstm": _lstm,
}


def test_every_cell_is_worked_by_hand() -> None:
    assert tuple(WORKED) == cells.names()


@pytest.mark.parametrize("name", WORKED)
def test_two_steps_come_out_as_worked_by_hand(name: str) -> None:
    worked = WORKED[name]()
    terms = [np.subtract(gate.argument, gate.recurrent) for gate in worked.gates]  # W x + b at x = 1 and x = 2
    W = np.array([[term[1] - term[0]] for term in terms])
    b = np.array([2 * term[0] - term[1] for term in terms])
    R, c = np.array([[gate.R] for gate in worked.gates]), np.array([gate.c for gate in worked.gates])
    initial = tuple(np.array([[value]]) for value in worked.initial)
    x = np.array([1.0, 2.0]).reshape(2, 1, 1)

    outputs, last, tape = unroll(cells.get(name), x, Weights(W, R, b, c), initial_state=initial)
    d_last = tuple(np.array([[value]]) for value in worked.d_last)
    gradients = unroll_backward(tape, np.array([2.0, 3.0]).reshape(2, 1, 1), d_last)

    da, du = np.array([gate.da for gate in worked.gates]), np.array([gate.du for gate in worked.gates])
    operands = np.array([gate.operand for gate in worked.gates])
    expected = [
        (outputs.ravel(), worked.outputs),
        (last[0].ravel(), worked.outputs[1:]),
        (gradients.x.ravel(), (W * da).sum(axis=0)),
        (gradients.weights.weight_ih.ravel(), da @ [1, 2]),
        (gradients.weights.weight_hh.ravel(), (du * operands).sum(axis=1)),
        (gradients.weights.bias_ih, da.sum(axis=1)),
        (gradients.weights.bias_hh, du.sum(axis=1)),
        (np.ravel(gradients.initial_state), worked.d_initial),
    ]
    for found, wanted in expected:
        assert found is not None
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)
