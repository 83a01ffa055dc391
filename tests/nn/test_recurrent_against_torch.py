"""`Recurrent` beside nn.RNN, nn.GRU and nn.LSTM with the same weights: outputs, last states and every gradient."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unrolled import cells
from unrolled.nn import Recurrent

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - letters of the equations
LENGTHS = torch.tensor([3, 5, 1])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Norm-wise relative: both sides round, each a few dozen times over; a wrong term would cost all digits."""
TORCH_MODULES = {"tanh": nn.RNN, "relu": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
NOT_IN_TORCH = {"sigmoid", "gru_reset_before"}
FORMS = ("batch", "no_batch", "packed", "packed_unsorted", "lengths")


@dataclass(frozen=True)
class Setting:
    """One comparison; the defaults are those of most tests here, not of the modules."""

    cell: str
    layers: int = 2
    bidirectional: bool = True
    bias: bool = True
    batch_first: bool = False
    form: str = "lengths"
    initial: bool = True


STRUCTURES = [
    Setting(cell, layers, bidirectional, bias)
    for cell, layers, bidirectional, bias in product(TORCH_MODULES, (1, 2, 3), (False, True), (False, True))
]
CALLS = [
    Setting(cell, batch_first=batch_first, form=form, initial=initial)
    for cell, batch_first, form, initial in product(TORCH_MODULES, (False, True), FORMS, (False, True))
]


def make_pair(setting: Setting, dtype: torch.dtype = torch.float64, **options: Any) -> tuple[Recurrent, nn.RNNBase]:
    """Both modules with the same random weights, PyTorch's loaded from ours."""
    options |= {"bias": setting.bias, "batch_first": setting.batch_first, "bidirectional": setting.bidirectional}
    ours = Recurrent(setting.cell, I, H, setting.layers, dtype=dtype, **options)
    ours.reset_parameters(torch.Generator().manual_seed(1))
    if TORCH_MODULES[setting.cell] is nn.RNN:
        options["nonlinearity"] = setting.cell
    theirs = TORCH_MODULES[setting.cell](I, H, setting.layers, dtype=dtype, **options)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def initial_state(setting: Setting, dtype: torch.dtype) -> list[Tensor]:
    batch = () if setting.form == "no_batch" else (B,)
    rows = setting.layers * (2 if setting.bidirectional else 1)
    parts = range(len(cells.get(setting.cell).state))
    return [draw(10 + part, rows, *batch, H, dtype=dtype).requires_grad_() for part in parts]


def run(module: nn.Module, setting: Setting, dtype: torch.dtype) -> dict[str, Tensor]:
    """Outputs, last state and the gradients of one weighted sum of all of them, by name."""
    x = draw(2, *{"no_batch": (T, I)}.get(setting.form, (T, B, I)), dtype=dtype)
    x = (x.transpose(0, 1) if setting.batch_first and x.dim() == 3 else x).contiguous().requires_grad_()
    state = initial_state(setting, dtype)
    hx: Any = (state[0] if len(state) == 1 else tuple(state)) if setting.initial else None
    given, options = _as_form(module, x, setting)
    outputs, last = module(given, hx, **options)
    results = {"outputs": outputs.data if isinstance(outputs, PackedSequence) else outputs}
    if isinstance(outputs, PackedSequence) and setting.form == "lengths":
        results["outputs"] = pad_packed_sequence(outputs, batch_first=setting.batch_first)[0]
    results |= {f"last {index}": part for index, part in enumerate([last] if isinstance(last, Tensor) else last)}
    loss = torch.stack(
        [(value * draw(30 + i, *value.shape, dtype=dtype)).sum() for i, value in enumerate(results.values())]
    )
    leaves = {"x": x, **dict(module.named_parameters())}
    leaves |= {f"initial {index}": part for index, part in enumerate(state)} if setting.initial else {}
    gradients = torch.autograd.grad(loss.sum(), list(leaves.values()))
    return {k: v.detach() for k, v in results.items()} | {f"d{k}": g for k, g in zip(leaves, gradients, strict=True)}


def _as_form(module: nn.Module, x: Tensor, setting: Setting) -> tuple[Any, dict[str, Any]]:
    if setting.form in {"batch", "no_batch"}:
        return x, {}
    if setting.form == "packed":
        return pack_padded_sequence(x, torch.tensor([5, 3, 1]), batch_first=setting.batch_first), {}
    if setting.form == "lengths" and isinstance(module, Recurrent):
        return x, {"lengths": LENGTHS}
    return pack_padded_sequence(x, LENGTHS, batch_first=setting.batch_first, enforce_sorted=False), {}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("setting", STRUCTURES + CALLS, ids=str)
def test_outputs_states_and_gradients(setting: Setting, dtype: torch.dtype) -> None:
    ours, theirs = make_pair(setting, dtype)
    got, expected = run(ours, setting, dtype), run(theirs, setting, dtype)
    assert got.keys() == expected.keys()
    assert len([name for name in got if name.startswith("dweight")]) == 2 * setting.layers * (1 + setting.bidirectional)
    for name, value in got.items():
        assert value.shape == expected[name].shape, name
        assert value.dtype == dtype, name
        norm = expected[name].norm()
        assert norm > 0, f"{name} is zero throughout: the comparison would say nothing"
        assert (value - expected[name]).norm() / norm <= TOLERANCE[dtype], name


def test_every_cell_is_compared_here_or_known_not_to_be_in_torch() -> None:
    assert set(cells.names()) == set(TORCH_MODULES) | NOT_IN_TORCH


@pytest.mark.parametrize("setting", STRUCTURES, ids=str)
def test_state_dicts_load_both_ways(setting: Setting) -> None:
    ours, theirs = make_pair(setting)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for index, parameter in enumerate(theirs.parameters()):
            parameter.copy_(draw(index, *parameter.shape))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), parameter, rtol=0, atol=0)


@pytest.mark.parametrize("sorted_", [True, False], ids=["sorted", "unsorted"])
def test_a_packed_sequence_comes_back_packed_alike(sorted_: bool) -> None:
    ours, theirs = make_pair(Setting("gru"))
    lengths = torch.tensor([5, 3, 1]) if sorted_ else LENGTHS
    packed = pack_padded_sequence(draw(2, T, B, I), lengths, enforce_sorted=sorted_)
    (got, _), (expected, _) = ours(packed), theirs(packed)
    assert isinstance(got, PackedSequence)
    for one, two in zip(got[1:], expected[1:], strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, rtol=0, atol=0)
    padded, own_lengths = pad_packed_sequence(got)
    assert own_lengths.tolist() == lengths.tolist()
    torch.testing.assert_close(padded, pad_packed_sequence(expected)[0], rtol=1e-12, atol=1e-14)


def test_an_lstm_with_a_forget_bias_is_still_torch_s_lstm() -> None:
    ours = Recurrent("lstm", I, H, 2, bidirectional=True, forget_bias=1.0, dtype=torch.float64)
    theirs = nn.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    x = draw(3, T, B, I)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", TORCH_MODULES)
def test_initial_weights_are_drawn_as_torch_draws_them(name: str) -> None:
    torch.manual_seed(0)
    ours = Recurrent(name, I, H, 2, bidirectional=True)
    torch.manual_seed(0)
    theirs = TORCH_MODULES[name](I, H, 2, bidirectional=True)
    for got, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)
