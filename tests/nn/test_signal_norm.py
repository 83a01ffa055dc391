"""The penalty on the norm of backward signals: its gradient is autograd's of the formula, written out step by step."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled import cells, engines
from unrolled.errors import UsageError
from unrolled.nn import Recurrent
from unrolled.nn.penalties import SLOPES, signal_norm_gradient

T, B, I, H, V = 5, 4, 2, 4, 6  # noqa: E741 - letters of the equations
LENGTHS = torch.tensor([3, 5, 1, 4])
FACTOR = 30.0
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Norm-wise relative: both sides round, each a few dozen times over; a pair too many would cost all digits."""
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
Named = dict[str, Tensor]
each_cell = pytest.mark.parametrize("name", FUNCTIONS)


@dataclass(frozen=True)
class Setting:
    """One comparison."""

    cell: str
    form: str = "lengths"
    engine: str = "portable"
    layers: int = 1
    bidirectional: bool = False
    dtype: torch.dtype = torch.float64


SETTINGS = [
    Setting(cell, form, engine, layers, bidirectional)
    for cell in FUNCTIONS
    for form in ("batch", "lengths", "packed", "tokens", "tokens with lengths")
    for engine in engines.names()
    for layers, bidirectional in ((1, False), (2, True))
] + [Setting("tanh", form, engine, dtype=torch.float32) for form in ("batch", "tokens") for engine in engines.names()]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(setting: Setting, **options: Any) -> Recurrent:
    given: dict[str, Any] = {"engine": setting.engine, "bidirectional": setting.bidirectional} | options
    module = Recurrent(setting.cell, I, H, setting.layers, dtype=setting.dtype, **given)
    module.reset_parameters(torch.Generator().manual_seed(1), bound=1.0)
    return module


def operands(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Embedding or inputs, ids, initial state."""
    rows = setting.layers * (2 if setting.bidirectional else 1)
    ids = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(2))
    x = draw(3, V, I) if "tokens" in setting.form else draw(3, T, B, I)
    return x.to(setting.dtype).requires_grad_(), ids, draw(4, rows, B, H).to(setting.dtype)


def loss_of(outputs: Tensor, last: Tensor) -> Tensor:
    """The same whether outputs are padded or not; with signals of very different norms."""
    weights = (
        draw(5, *outputs.shape).to(outputs.dtype)
        * torch.logspace(-1, 1, len(outputs), dtype=outputs.dtype)[:, None, None]
    )
    return (outputs * weights).sum() + (last * draw(6, *last.shape).to(last.dtype)).sum()


def gradients(module: Recurrent, setting: Setting) -> Named:
    """What a backward pass leaves in .grad, by name of the leaf."""
    x, ids, hx = operands(setting)
    options: dict[str, Any] = {"lengths": LENGTHS} if "lengths" in setting.form else {}
    if "tokens" in setting.form:
        outputs, last = module.forward_tokens(ids, x, hx, **options)
    elif setting.form == "packed":
        packed, last = module(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx)
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    else:
        outputs, last = module(x, hx, **options)
    assert isinstance(last, Tensor)
    module.zero_grad()
    torch.autograd.backward(loss_of(outputs, last))
    return {name: p.grad for name, p in {"x": x, **dict(module.named_parameters())}.items() if p.grad is not None}


def literally(module: Recurrent, setting: Setting) -> Named:
    """Gradients of the loss by torch, one sequence and one step at a time, and to weight_hh's that of the penalty."""
    x, ids, hx = operands(setting)
    f, parameters = FUNCTIONS[setting.cell], dict(module.named_parameters())
    lengths = LENGTHS.tolist() if setting.form in {"lengths", "packed", "tokens with lengths"} else [T] * B
    below = x[ids] if "tokens" in setting.form else x
    activations: dict[str, list[list[Tensor]]] = {}  # by weight, sequence and step in the order of reading
    last: list[Tensor] = []
    for layer in range(setting.layers):
        sides = []
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: module.num_directions]:
            w, r, b, c = (parameters[kind + suffix] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            steps: dict[tuple[int, int], Tensor] = {}
            states = []
            for sequence, length in enumerate(lengths):
                s = hx[len(last), sequence]
                activations.setdefault("weight_hh" + suffix, []).append([])
                for t in reversed(range(length)) if "reverse" in suffix else range(length):
                    a = w @ below[t, sequence] + b + r @ s + c
                    activations["weight_hh" + suffix][-1].append(a)
                    steps[t, sequence] = s = f(a)
                states.append(s)
            last.append(torch.stack(states))
            zero = torch.zeros(H, dtype=setting.dtype)
            sides.append(torch.stack([torch.stack([steps.get((t, n), zero) for n in range(B)]) for t in range(T)]))
        below = torch.cat(sides, dim=-1)
    leaves = {"x": x, **parameters}
    nodes = [a for sequences in activations.values() for sequence in sequences for a in sequence]
    loss = loss_of(below, torch.stack(last))
    found = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), retain_graph=True), strict=True))
    signals = iter(torch.autograd.grad(loss, nodes))
    for key, sequences in activations.items():
        gs = [[next(signals) for _ in sequence] for sequence in sequences]
        found[key] = found[key] + FACTOR * penalty_gradient(parameters[key], gs, sequences, setting.cell)
    return found


def penalty_gradient(weight: Tensor, signals: list[list[Tensor]], activations: list[list[Tensor]], cell: str) -> Tensor:
    """Autograd's gradient of the mean of (|v_t| / |g_t| - 1)^2, v_t = (g_t R) f'(a_{t-1}), for R where it stands."""
    r = weight.detach().clone().requires_grad_()
    terms = []
    for gs, sequence in zip(signals, activations, strict=True):
        for g, a in zip(gs[1:], sequence[:-1], strict=True):
            before = a.detach().requires_grad_()
            (slope,) = torch.autograd.grad(FUNCTIONS[cell](before).sum(), before)
            if g.norm() > 0:
                terms.append((((g @ r) * slope).norm() / g.norm() - 1).square())
    if not terms:
        return torch.zeros_like(r)
    return torch.autograd.grad(torch.stack(terms).mean(), r)[0]


def assert_agree(got: Named, expected: Named, dtype: torch.dtype) -> None:
    assert got.keys() == expected.keys()
    for key, value in got.items():
        norm = expected[key].norm()
        assert norm > 0, f"{key} is zero throughout: the comparison would say nothing"
        assert (value - expected[key]).norm() / norm <= TOLERANCE[dtype], key


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_recurrent_weight_gets_the_penalty_s_gradient_and_nothing_else_does(setting: Setting) -> None:
    plain, penalised = gradients(make(setting), setting), make(setting, signal_norm=FACTOR)
    got, expected = gradients(penalised, setting), literally(penalised, setting)
    for key in plain:  # the penalty is not too small to be seen
        if key.startswith("weight_hh"):
            assert (expected[key] - plain[key]).norm() > 0.01 * plain[key].norm(), key
    assert_agree(got, expected, setting.dtype)
    if "tokens" not in setting.form:  # where the same operations run, down to the last bit
        assert all(torch.equal(got[key], value) for key, value in plain.items() if not key.startswith("weight_hh"))


@each_cell
@pytest.mark.parametrize("form", ["batch", "tokens"])
def test_there_is_no_penalty_when_evaluating(form: str, name: str) -> None:
    setting = Setting(name, form)
    plain = gradients(make(setting), setting)
    assert all(
        torch.equal(value, plain[key])
        for key, value in gradients(make(setting, signal_norm=FACTOR).eval(), setting).items()
    )


def test_a_dropped_weight_is_penalised_as_it_acted() -> None:
    setting = Setting("tanh", "batch")
    module = make(setting, signal_norm=FACTOR, weight_drop=0.5, generator=torch.Generator().manual_seed(3))
    got = gradients(module, setting)
    mask = 2 * (got["weight_hh_l0"] != 0).to(setting.dtype)
    assert 0 < (mask == 0).sum() < H * H
    masked = make(setting)
    with torch.no_grad():
        masked.get_parameter("weight_hh_l0").mul_(mask)
    expected = literally(masked, setting)
    expected["weight_hh_l0"] = expected["weight_hh_l0"] * mask
    assert_agree(got, expected, setting.dtype)


@each_cell
def test_the_gradient_of_the_formula(name: str) -> None:
    """The function by itself: any signals and states, one of the signals and one of the states zero."""
    a, weight = 2 * draw(7, T, B, H), draw(9, H, H)
    signals = draw(8, T, B, H) * torch.logspace(-3, 3, T, dtype=torch.float64)[:, None, None]
    signals[2, 1], a[3, 2] = 0, -1e3  # which closes relu and sigmoid, so that nothing arrives
    got = signal_norm_gradient(signals, FUNCTIONS[name](a), weight, SLOPES[name])
    expected = penalty_gradient(weight, list(map(list, signals.unbind(1))), list(map(list, a.unbind(1))), name)
    assert_agree({"weight": got}, {"weight": expected}, torch.float64)


def test_one_unit_worked_by_hand() -> None:
    """f' = 1 - 0.6^2 = 0.64 and R = 2, so that |v|/|g| = 1.28; of R = -2 the same from the other side."""
    signals, outputs = torch.tensor([7.0, 3.0]).view(2, 1, 1), torch.tensor([0.6, 0.1]).view(2, 1, 1)
    for r in (2.0, -2.0):
        got = signal_norm_gradient(signals, outputs, torch.tensor([[r]]), SLOPES["tanh"])
        assert got.item() == pytest.approx(math.copysign(2 * (1.28 - 1) * 0.64, r), rel=1e-6)


@each_cell
def test_no_signal_and_no_earlier_step_are_no_penalty(name: str) -> None:
    for steps, scale in ((T, 0.0), (1, 1.0)):
        got = signal_norm_gradient(scale * draw(7, steps, B, H), draw(8, steps, B, H), draw(9, H, H), SLOPES[name])
        assert (got == 0).all()
        module = Recurrent(name, I, H, signal_norm=FACTOR, bidirectional=True)
        torch.autograd.backward(scale * module(torch.ones(steps, B, I))[0].sum())
        gradient = module.get_parameter("weight_hh_l0").grad
        assert gradient is not None
        assert (gradient == 0).all()


@each_cell
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-10, 1e10, 1e20])
def test_how_small_or_large_the_signals_are_does_not_matter(scale: float, name: str) -> None:
    """Only ratios of norms are penalised; signals that have shrunk to 1e-20 are what it is for."""
    signals, outputs, weight = draw(7, T, B, H).float(), draw(8, T, B, H).float().sigmoid(), draw(9, H, H).float()
    expected = signal_norm_gradient(signals, outputs, weight, SLOPES[name])
    got = signal_norm_gradient(scale * signals, outputs, weight, SLOPES[name])
    assert_agree({"weight": got}, {"weight": expected}, torch.float32)


@pytest.mark.parametrize("name", sorted(set(cells.names()) - set(FUNCTIONS)))
def test_cells_with_more_than_one_gate_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as error:
        Recurrent(name, I, H, signal_norm=0.1)
    assert str(error.value) == f"signal_norm is for the cells tanh, relu, sigmoid, not for {name}: leave it out"
    Recurrent(name, I, H, signal_norm=0.0)
    assert set(SLOPES) == set(FUNCTIONS)
