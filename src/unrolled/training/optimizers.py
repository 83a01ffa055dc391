"""Optimizers by name, and a step of them with clipping: torch's, or with the native engine's kernels where these can.

Both kinds keep the same state under the same names, so that one can go on with what the other has stored.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from unrolled.engines.native import update
from unrolled.errors import UsageError

SMALLEST_NORM = 1e-6
"""Added to the norm that clipping divides by, as torch does."""

Maker = Callable[[Sequence[Parameter], float, dict[str, Any]], Optimizer]
"""From parameters, rate, and what AdamW takes beside."""


class NativeSGD(torch.optim.SGD):
    """torch.optim.SGD, with momentum or without, each step in one pass; a sparse gradient touches only its rows."""

    def __init__(self, parameters: Sequence[Parameter], rate: float, *, momentum: float = 0.0) -> None:
        super().__init__(parameters, rate, momentum=momentum)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters."""
        loss = _evaluated(closure)
        self.update()
        return loss

    def update(self, *, scale: float = 1.0) -> None:
        """Update all parameters, every gradient times `scale`."""
        for group in self.param_groups:
            _refuse(group, "dampening", "weight_decay", "nesterov", "maximize")
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [_coalesced(parameter) for parameter in parameters]
            if group["momentum"] == 0:
                update.sgd(parameters, gradients, rate=group["lr"], scale=scale)
                continue
            buffers = [self._buffer(parameter) for parameter in parameters]
            gradients = [_dense(gradient) for gradient in gradients]
            update.momentum(parameters, gradients, buffers, rate=group["lr"], scale=scale, momentum=group["momentum"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


class LazyAdamW(torch.optim.AdamW):
    """torch.optim.AdamW that leaves alone the rows of a matrix that have no gradient, and what it remembers of them.

    So does torch.optim.SparseAdam, which takes no dense gradients and decays no weights. What is seen once in a while
    then takes smaller steps each time; otherwise it is forgotten in between, and each step is as large as the first.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters."""
        loss, kept = _evaluated(closure), []
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            if parameter.grad is not None and parameter.dim() > 1:
                rows = _rows_without(parameter.grad)
                alike = [each for each in self.state[parameter].values() if each.shape == parameter.shape]
                kept += [(tensor, rows, tensor[rows]) for tensor in (parameter, *alike)]
        super().step()
        for tensor, rows, values in kept:
            tensor[rows] = values
        return loss


class NativeAdamW(torch.optim.AdamW):
    """torch.optim.AdamW, each step in one pass; lazy, it is `LazyAdamW`, which a sparse gradient saves much time."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        rate: float,
        *,
        betas: tuple[float, float],
        weight_decay: float,
        lazy: bool = False,
    ) -> None:
        super().__init__(parameters, rate, betas=betas, weight_decay=weight_decay)
        self._spread: dict[Tensor, Tensor] = {}
        self.defaults["lazy"] = lazy  # where copies keep it

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a copy is made of."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._spread = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters."""
        loss = _evaluated(closure)
        self.update()
        return loss

    def update(self, *, scale: float = 1.0) -> None:
        """Update all parameters, every gradient times `scale`."""
        for group in self.param_groups:
            _refuse(group, "amsgrad", "maximize")
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state(parameter) for parameter in parameters]
            try:
                update.adamw(
                    parameters,
                    [self._gradient(parameter) for parameter in parameters],
                    *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")),
                    rate=group["lr"],
                    scale=scale,
                    betas=group["betas"],
                    epsilon=group["eps"],
                    weight_decay=group["weight_decay"],
                )
            finally:
                for parameter in parameters:
                    if parameter.grad.is_sparse and parameter in self._spread:
                        self._spread[parameter][parameter.grad._indices()[0]] = 0

    def _gradient(self, parameter: Tensor) -> Tensor:
        """The gradient: lazy, the rows that it has; else all, of a sparse one in memory that is kept for it."""
        gradient = parameter.grad
        assert gradient is not None
        if self.defaults["lazy"] and parameter.dim() > 1:
            return _coalesced(parameter) if gradient.is_sparse else _without_empty_rows(gradient)
        if not gradient.is_sparse:
            self._spread.pop(parameter, None)
            return gradient
        if parameter not in self._spread:
            self._spread[parameter] = torch.zeros_like(parameter)
        gradient = gradient.coalesce()
        self._spread[parameter][gradient.indices()[0]] = gradient.values()
        return self._spread[parameter]

    def _state(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


BETAS, MOMENTUM = (0.9, 0.99), 0.9
"""Unless they are given: how much AdamW's means of gradients and of their squares keep; what momentum keeps."""

MAKERS: dict[str, Maker] = {
    "adamw": lambda all_, rate, adam: _adamw(all_, rate, **adam),
    "sgd": lambda all_, rate, adam: torch.optim.SGD(all_, rate),  # not fused, so that it takes sparse gradients
    "momentum": lambda all_, rate, adam: torch.optim.SGD(all_, rate, momentum=MOMENTUM, fused=True),
    "rmsprop": lambda all_, rate, adam: torch.optim.RMSprop(all_, rate),
    "adagrad": lambda all_, rate, adam: torch.optim.Adagrad(all_, rate, fused=True),
}
NATIVE_MAKERS: dict[str, Maker] = {
    "adamw": lambda all_, rate, adam: NativeAdamW(all_, rate, **adam),
    "sgd": lambda all_, rate, adam: NativeSGD(all_, rate),
    "momentum": lambda all_, rate, adam: NativeSGD(all_, rate, momentum=MOMENTUM),
}


def _adamw(parameters: Sequence[Parameter], rate: float, *, lazy: bool, **options: Any) -> Optimizer:
    return (LazyAdamW if lazy else torch.optim.AdamW)(parameters, rate, fused=True, **options)


def make(
    name: str,
    parameters: Iterable[Parameter],
    rate: float,
    *,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = BETAS,
    lazy: bool = False,
    engine: str = "auto",
) -> Optimizer:
    """The optimizer of that name.

    Args:
        name: a key of `MAKERS`.
        parameters: what it updates.
        rate: learning rate.
        weight_decay: of AdamW (arXiv:1711.05101); the others do without.
        betas: of AdamW, see `BETAS`.
        lazy: whether AdamW leaves rows without a gradient alone, see `LazyAdamW`.
        engine: with "auto" and "native" the native kernels update parameters that lie on the CPU in one floating dtype,
            where they can run; torch's own optimizers do the rest.

    Raises:
        UsageError: no optimizer has that name.
    """
    if name not in MAKERS:
        raise UsageError(f'optimizer is "{name}": choose one of {", ".join(MAKERS)}')
    _leave_the_compiler_alone()
    listed = list(parameters)
    wants_native = engine in {"auto", "native"} and name in NATIVE_MAKERS
    is_native = wants_native and update.suits(listed) and update.is_available()
    return (NATIVE_MAKERS if is_native else MAKERS)[name](
        listed, rate, {"betas": betas, "weight_decay": weight_decay, "lazy": lazy}
    )


def _leave_the_compiler_alone() -> None:
    """Spare a run the two seconds in which the first optimizer loads torch's compiler.

    torch loads it only to mark these methods as not to be compiled (torch/_compile.py). As long as nobody has loaded
    it, we mark them ourselves; where a torch knows no such mark, it loads the compiler as ever.
    """
    if "torch._dynamo" in sys.modules:
        return
    for name in ("add_param_group", "state_dict", "load_state_dict", "zero_grad"):
        plain = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            setattr(plain, "__dynamo_disable", plain)


def takes_sparse_gradients(name: str, engine: str = "auto") -> bool:
    """Whether the optimizer that `make` gives reads sparse gradients of parameters on the CPU, so that it saves time.

    SGD leaves alone what has a gradient of zero, and so does a lazy AdamW. Another AdamW moves every row in every step;
    the native one spreads a sparse gradient over memory that it keeps, which costs less than a new dense gradient.
    Momentum and RMSprop have no such thing. Adagrad leaves rows alone, but torch reads sparse gradients only without
    its fused kernel, which would make the rest of the update slower than this makes it faster.
    """
    return name == "sgd" or (name == "adamw" and engine in {"auto", "native"} and update.is_available())


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give all parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def forget_gradients(optimizer: Optimizer) -> None:
    """What zero_grad does, without the time that its hooks take."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def gradient_norm(optimizer: Optimizer) -> float:
    """Norm of all gradients together, before any clipping."""
    gradients = [_coalesced(parameter) for parameter in _with_gradients(optimizer)]
    if isinstance(optimizer, NativeSGD | NativeAdamW):
        return math.sqrt(update.sum_of_squares(gradients))
    return float(torch.nn.utils.get_total_norm([_values(gradient) for gradient in gradients]))


def clip_values(optimizer: Optimizer, limit: float) -> None:
    """Bring each element of the gradients into -limit..limit, in place (as in Graves, arXiv:1308.0850)."""
    torch._foreach_clamp_min_(values := [_values(parameter.grad) for parameter in _with_gradients(optimizer)], -limit)
    torch._foreach_clamp_max_(values, limit)


def clipped_step(optimizer: Optimizer, norm: float, clip: float) -> None:
    """Update all parameters, with gradients shortened to a norm of `clip` where theirs, `norm`, is greater.

    Args:
        optimizer: from `make`. With native kernels the gradients themselves stay as they are, else they are scaled.
        norm: from `gradient_norm`.
        clip: 0 does not clip.
    """
    scale = min(1.0, clip / (norm + SMALLEST_NORM)) if clip else 1.0
    if isinstance(optimizer, NativeSGD | NativeAdamW):
        optimizer.update(scale=scale)
        return
    if scale < 1:
        for parameter in _with_gradients(optimizer):
            _values(parameter.grad).mul_(scale)
    optimizer.step()


def _with_gradients(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def _coalesced(parameter: Tensor) -> Tensor:
    """The parameter's gradient; a sparse one has each row once from now on."""
    gradient = parameter.grad
    assert gradient is not None
    if gradient.is_sparse and not gradient.is_coalesced():
        rows = gradient._indices()[0]
        if (rows[1:] > rows[:-1]).all():  # as engines give them; but autograd forgets to say so
            gradient._coalesced_(True)
        else:
            parameter.grad = gradient = gradient.coalesce()
    return gradient


def _values(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient._values() if gradient.is_sparse else gradient


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.to_dense() if gradient.is_sparse else gradient


def _rows_without(gradient: Tensor) -> Tensor:
    """Numbers of the rows of a gradient that are zero."""
    return (~gradient.flatten(1).any(1)).nonzero().flatten()


def _without_empty_rows(gradient: Tensor) -> Tensor:
    """A gradient, as a sparse tensor where some of its rows are zero."""
    if gradient.flatten(1)[:, 0].all():  # as nearly always where none is
        return gradient
    rows = gradient.flatten(1).any(1).nonzero().flatten()
    if len(rows) == len(gradient):
        return gradient
    return torch.sparse_coo_tensor(
        rows[None], gradient[rows], gradient.shape, is_coalesced=True, check_invariants=False
    )


def _refuse(group: dict[str, Any], *names: str) -> None:
    """What a state dict from elsewhere may ask for, and the kernels do not do."""
    for name in names:
        if group[name]:
            raise UsageError(f"{name} is {group[name]}: the native kernels do without it, take torch's own optimizer")


def _evaluated(closure: Callable[[], Any] | None) -> Any:
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
