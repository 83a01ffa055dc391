"""Optimizers by name; torch's own, with the settings that suit recurrent networks."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch.nn import Parameter

from unrolled.errors import UsageError

Maker = Callable[[Iterable[Parameter], float], torch.optim.Optimizer]

MAKERS: dict[str, Maker] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.01, fused=True),
    "sgd": partial(torch.optim.SGD, fused=True),
    "momentum": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "rmsprop": torch.optim.RMSprop,
    "adagrad": partial(torch.optim.Adagrad, fused=True),
}


def make(name: str, parameters: Iterable[Parameter], rate: float) -> torch.optim.Optimizer:
    """The optimizer of that name.

    Raises:
        UsageError: no optimizer has that name.
    """
    if name not in MAKERS:
        raise UsageError(f'optimizer is "{name}": choose one of {", ".join(MAKERS)}')
    return MAKERS[name](list(parameters), rate)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
