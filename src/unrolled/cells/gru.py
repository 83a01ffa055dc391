"""The gated recurrent unit (Cho et al. 2014), in both of its published forms.

Convention: z = 1 keeps the past (arXiv:1406.1078, PyTorch, cuDNN, Keras); some texts exchange z and 1 - z.
"""

from unrolled.cells.cell import Cell, Operands
from unrolled.cells.elementwise import Operand, sigmoid, tanh


class GRU(Cell):
    """Reset gate after the recurrent product: arXiv:1406.1078v1, PyTorch's nn.GRU, cuDNN, Keras' reset_after=True."""

    name = "gru"
    gates = ("reset", "update", "candidate")
    apart = ("candidate",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        (a_r, a_z, x_n), (u_n,), (h_prev,) = a, u, state
        r = sigmoid(a_r)  # (4)
        z = sigmoid(a_z)  # (5)
        n = tanh(x_n + r * u_n)  # (6)
        h = n + z * (h_prev - n)  # (7)
        return (h,), (r, z, n, u_n, h_prev)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh,), (r, z, n, u_n, h_prev) = d_state, kept
        dn, dz, dh_prev = dh * (1 - z), dh * (h_prev - n), dh * z  # (7)
        dx_n = dn * (1 - n * n)  # (6)
        dr, du_n = dx_n * u_n, dx_n * r  # (6)
        da_z = dz * z * (1 - z)  # (5)
        da_r = dr * r * (1 - r)  # (4)
        return (da_r, da_z, dx_n), (du_n,), (dh_prev,)


class GRUResetBefore(Cell):
    """Reset gate before the recurrent product: arXiv:1406.1078v3, the tutorial, Keras' reset_after=False."""

    name = "gru_reset_before"
    gates = ("reset", "update", "candidate")
    late = ("candidate",)

    def late_operand(self, a: Operands, state: Operands) -> tuple[Operand, Operands]:
        (a_r, _), (h_prev,) = a, state
        r = sigmoid(a_r)  # (8)
        p = r * h_prev  # (9)
        return p, (r, h_prev)

    def late_operand_backward(self, dp: Operand, kept: Operands) -> tuple[Operands, Operands]:
        r, h_prev = kept
        dr, dh_prev = dp * h_prev, dp * r  # (9)
        da_r = dr * r * (1 - r)  # (8)
        return (da_r, 0.0), (dh_prev,)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        (_, a_z, a_n), (h_prev,) = a, state
        z = sigmoid(a_z)  # (10)
        n = tanh(a_n)  # (11)
        h = n + z * (h_prev - n)  # (12)
        return (h,), (z, n, h_prev)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh,), (z, n, h_prev) = d_state, kept
        dn, dz, dh_prev = dh * (1 - z), dh * (h_prev - n), dh * z  # (12)
        da_n = dn * (1 - n * n)  # (11)
        da_z = dz * z * (1 - z)  # (10)
        return (0.0, da_z, da_n), (), (dh_prev,)
