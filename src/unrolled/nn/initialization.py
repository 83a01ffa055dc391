"""How the weights of a recurrent layer begin."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from unrolled.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


NAMES = ("uniform", "orthogonal", "identity", "scaled")


class Beginning(TypedDict, total=False):
    """How the weights of a network begin; what is left out is as a class by itself would have it.

    Keys:
        initialization, forget_bias: see `Recurrent`.
        initial_range: bound of all weights that begin uniform; None: as each class has it.
    """

    initialization: str
    initial_range: float | None
    forget_bias: float


def check_initialization(name: str, gates: int) -> None:
    """Refuse an initialisation that is not known or not for such a cell.

    Raises:
        UsageError: it says what to choose.
    """
    if name not in NAMES:
        raise UsageError(f'initialization is "{name}": choose one of {", ".join(NAMES)}')
    if name == "identity" and gates > 1:
        raise UsageError("initialization identity is for cells with one gate (relu, tanh, sigmoid): take orthogonal")


def initialize(
    name: str,
    weights: "Sequence[Tensor | None]",
    *,
    bound: float,
    forget: int | None = None,
    forget_bias: float | None = None,
    generator: "torch.Generator | None" = None,
) -> None:
    """Fill the weights of one layer in place, gate by gate.

    - uniform: all from +-bound, as PyTorch's modules with bound = 1/sqrt(H).
    - orthogonal: R_k a random rotation (Saxe et al., arXiv:1312.6120), so that no signal shrinks or grows at the start.
    - identity: R = I (Le et al., arXiv:1504.00941, for relu).
    - scaled: both uniform with variance 2 / (incoming + outgoing) (Glorot & Bengio, AISTATS 2010).

    Biases are zero but for "uniform".

    Args:
        name: one of `NAMES`.
        weights: weight_ih (G*H, I), weight_hh (G*H, H), and bias_ih and bias_hh (G*H), or None for both.
        bound: of what is uniform.
        forget: number of the gate "forget", where the cell has one.
        forget_bias: what the sum of its two biases begins with, if given.
        generator: source of the randomness; torch's own if None.
    """
    import torch

    weight_ih, weight_hh, *biases = weights
    if weight_ih is None or weight_hh is None:
        raise ValueError("weight_ih and weight_hh cannot be None")
    with torch.no_grad():
        _initialize_weights(name, weight_ih, weight_hh, bound, generator)
        size = weight_hh.shape[1]
        for number, bias in enumerate(bias for bias in biases if bias is not None):
            bias.zero_()
            if name == "uniform":
                bias.uniform_(-bound, bound, generator=generator)
            if forget is not None and forget_bias is not None:
                bias[forget * size : (forget + 1) * size] = 0.0 if number else forget_bias


def _initialize_weights(
    name: str, weight_ih: "Tensor", weight_hh: "Tensor", bound: float, generator: "torch.Generator | None"
) -> None:
    import torch
    from torch import nn

    weight_ih.uniform_(-bound, bound, generator=generator)
    weight_hh.uniform_(-bound, bound, generator=generator)
    size = weight_hh.shape[1]
    for w, r in zip(torch.split(weight_ih, size), torch.split(weight_hh, size), strict=True):
        if name == "orthogonal":
            nn.init.orthogonal_(r, generator=generator)
        elif name == "identity":
            nn.init.eye_(r)
        elif name == "scaled":
            for weight in (w, r):
                limit = math.sqrt(6 / sum(weight.shape))
                weight.uniform_(-limit, limit, generator=generator)
