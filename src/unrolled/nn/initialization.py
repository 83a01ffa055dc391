"""How recurrent weights begin."""

import math
from typing import TYPE_CHECKING

from unrolled.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAMES = ("uniform", "orthogonal", "identity", "scaled")


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
    name: str, weight_ih: "Tensor", weight_hh: "Tensor", *, bound: float, generator: "torch.Generator | None"
) -> None:
    """Fill the weights of one layer in place, gate by gate.

    - uniform: both from +-bound, as PyTorch's modules with bound = 1/sqrt(H).
    - orthogonal: R_k a random rotation (Saxe et al., arXiv:1312.6120), so that no signal shrinks or grows at the start.
    - identity: R = I (Le et al., arXiv:1504.00941, for relu).
    - scaled: both uniform with variance 2 / (incoming + outgoing) (Glorot & Bengio, AISTATS 2010).

    Args:
        name: one of `NAMES`.
        weight_ih: (G*H, I).
        weight_hh: (G*H, H).
        bound: of what is uniform.
        generator: source of the randomness; torch's own if None.
    """
    import torch
    from torch import nn

    size = weight_hh.shape[1]
    with torch.no_grad():
        weight_ih.uniform_(-bound, bound, generator=generator)
        weight_hh.uniform_(-bound, bound, generator=generator)
        for w, r in zip(torch.split(weight_ih, size), torch.split(weight_hh, size), strict=True):
            if name == "orthogonal":
                nn.init.orthogonal_(r, generator=generator)
            elif name == "identity":
                nn.init.eye_(r)
            elif name == "scaled":
                for weight in (w, r):
                    limit = math.sqrt(6 / sum(weight.shape))
                    weight.uniform_(-limit, limit, generator=generator)
