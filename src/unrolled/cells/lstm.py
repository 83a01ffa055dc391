"""Long short-term memory (Hochreiter and Schmidhuber 1997) with the forget gate of Gers et al. (2000)."""

from unrolled.cells.cell import Cell, Operands
from unrolled.cells.elementwise import sigmoid, tanh


class LSTM(Cell):
    """No peepholes, four gates in PyTorch's order: nn.LSTM, cuDNN, Keras."""

    name = "lstm"
    gates = ("input", "forget", "candidate", "output")
    state = ("h", "c")

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        (a_i, a_f, a_g, a_o), (_, c_prev) = a, state
        i = sigmoid(a_i)  # (13)
        f = sigmoid(a_f)  # (14)
        g = tanh(a_g)  # (15)
        o = sigmoid(a_o)  # (16)
        c = f * c_prev + i * g  # (17)
        m = tanh(c)  # (18)
        h = o * m  # (19)
        return (h, c), (i, f, g, o, m, c_prev)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh, dc), (i, f, g, o, m, c_prev) = d_state, kept
        do, dm = dh * m, dh * o  # (19)
        dc = dc + dm * (1 - m * m)  # (18)
        di, df, dg, dc_prev = dc * g, dc * c_prev, dc * i, dc * f  # (17)
        da_o = do * o * (1 - o)  # (16)
        da_g = dg * (1 - g * g)  # (15)
        da_f = df * f * (1 - f)  # (14)
        da_i = di * i * (1 - i)  # (13)
        return (da_i, da_f, da_g, da_o), (), (0.0, dc_prev)
