"""Elman's simple recurrent network (Cognitive Science 14, 1990), with three activations.

    h_t = f(a),   a = W x_t + b + R h_{t-1} + c

The slope of each f is written in terms of its value, so that a need not be kept.
"""

from unrolled.cells.cell import Cell, Operands
from unrolled.cells.elementwise import is_positive, relu, sigmoid, tanh


class Tanh(Cell):
    """h = tanh(a): PyTorch's nn.RNN, and the tutorial's network."""

    name = "tanh"
    gates = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        h = tanh(a[0])  # (1)
        return (h,), (h,)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh,), (h,) = d_state, kept
        da = dh * (1 - h * h)  # (1)
        return (da,), (), (0.0,)


class Relu(Cell):
    """h = max(a, 0): PyTorch's nn.RNN with nonlinearity="relu"; the slope at 0 is 0."""

    name = "relu"
    gates = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        h = relu(a[0])  # (2)
        return (h,), (h,)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh,), (h,) = d_state, kept
        da = dh * is_positive(h)  # (2)
        return (da,), (), (0.0,)


class Sigmoid(Cell):
    """h = 1 / (1 + exp(-a))."""

    name = "sigmoid"
    gates = ("hidden",)

    def step(self, a: Operands, u: Operands, state: Operands) -> tuple[Operands, Operands]:
        h = sigmoid(a[0])  # (3)
        return (h,), (h,)

    def step_backward(self, d_state: Operands, kept: Operands) -> tuple[Operands, Operands, Operands]:
        (dh,), (h,) = d_state, kept
        da = dh * h * (1 - h)  # (3)
        return (da,), (), (0.0,)
