"""Dropped recurrent weights: the module is one whose weight_hh was multiplied by a mask before the first step."""

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from unrolled import cells, engines
from unrolled.errors import UsageError
from unrolled.nn import Recurrent
from unrolled.nn.dropout import keep_mask

T, B, I, H = 5, 3, 2, 6  # noqa: E741 - letters of the equations
IDS = torch.tensor([[0, 3, 1], [3, 3, 2], [1, 0, 0], [2, 1, 3], [3, 0, 1]])
LENGTHS = torch.tensor([3, 5, 1])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Norm-wise relative: both sides round, and batch products may add up in another order; a wrong weight costs all."""
Results = dict[str, Tensor]
each_engine = pytest.mark.parametrize("engine", engines.names())


def draw(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def make(name: str, num_layers: int = 2, dtype: torch.dtype = torch.float64, **options: Any) -> Recurrent:
    given: dict[str, Any] = {"bidirectional": True, "dtype": dtype} | options
    module = Recurrent(name, I, H, num_layers, **given)
    module.reset_parameters(torch.Generator().manual_seed(1))
    if name == "relu":  # every unit alive at some step, so that no weight lacks a gradient for want of a signal
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.abs_()
    return module


def run(module: Recurrent, form: str) -> Results:
    """Outputs, last state and all gradients of a weighted sum of both, by name."""
    dtype = module.get_parameter("weight_hh_l0").dtype
    x = draw(2, T, B, I, dtype=dtype).requires_grad_()
    state = tuple(draw(3 + i, 4, B, H, dtype=dtype) for i, _ in enumerate(module.cell.state))
    hx, outputs, last = (state[0] if len(state) == 1 else state), None, None
    if form == "packed":
        outputs, last = module(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx)
    elif form == "lengths":
        outputs, last = module(x, hx, lengths=LENGTHS)
    elif form == "batch":
        outputs, last = module(x, hx)
    else:  # tokens of a vocabulary below and above T*B, where engines take other ways
        x = draw(2, {"few tokens": 4, "many tokens": 40}[form], I, dtype=dtype).requires_grad_()
        outputs, last = module.forward_tokens(IDS, x, hx, lengths=LENGTHS)
    results = {"outputs": outputs.data if isinstance(outputs, PackedSequence) else outputs}
    results |= {f"last {i}": part for i, part in enumerate((last,) if isinstance(last, Tensor) else last)}
    leaves = {"x": x, **dict(module.named_parameters())}
    weights = [draw(10 + i, *value.shape, dtype=dtype) for i, value in enumerate(results.values())]
    gradients = torch.autograd.grad(list(results.values()), list(leaves.values()), weights)
    return {k: v.detach() for k, v in results.items()} | {f"d{k}": g for k, g in zip(leaves, gradients, strict=True)}


def masks_from(got: Results) -> dict[str, Tensor]:
    """A weight was dropped where its gradient is exactly zero; half of them are, so that the scale is 2."""
    return {name[1:]: 2 * (value != 0).to(value.dtype) for name, value in got.items() if name.startswith("dweight_hh")}


@each_engine
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("form", ["batch", "lengths", "packed", "few tokens", "many tokens"])
@pytest.mark.parametrize("name", cells.names())
def test_it_is_the_module_with_masked_weights(name: str, form: str, dtype: torch.dtype, engine: str) -> None:
    """One mask for all steps, all sequences and both passes; the gradient is masked as the weight was."""
    options: dict[str, Any] = {"engine": engine, "dtype": dtype}
    dropping = make(name, weight_drop=0.5, generator=torch.Generator().manual_seed(3), **options)
    before = copy.deepcopy(dropping.state_dict())
    got = run(dropping, form)
    assert all(torch.equal(value, before[key]) for key, value in dropping.state_dict().items())
    masks = masks_from(got)
    assert len(masks) == 4
    masked = make(name, **options)
    with torch.no_grad():
        for key, mask in masks.items():
            masked.get_parameter(key).mul_(mask)
    expected = run(masked, form)
    for key, mask in masks.items():
        expected["d" + key] = expected["d" + key] * mask
    assert got.keys() == expected.keys()
    for key, value in got.items():
        norm = expected[key].norm()
        assert norm > 0, f"{key} is zero throughout: the comparison would say nothing"
        assert (value - expected[key]).norm() / norm <= TOLERANCE[dtype], key


@pytest.mark.parametrize("form", ["batch", "few tokens"])
@pytest.mark.parametrize("p", [0.2, 0.5])
def test_the_share_by_layer_and_direction_and_masks_of_their_own(p: float, form: str) -> None:
    module = Recurrent("gru", I, 40, 2, bidirectional=True, weight_drop=p, generator=torch.Generator().manual_seed(3))
    x = draw(2, T, B, I, dtype=torch.float32)
    outputs = module(x)[0] if form == "batch" else module.forward_tokens(IDS, x[0].repeat(2, 1))[0]
    torch.autograd.backward(outputs.square().sum())
    zeros = [q.grad == 0 for n, q in module.named_parameters() if n.startswith("weight_hh") and q.grad is not None]
    assert len(zeros) == 4
    sigma = math.sqrt(p * (1 - p) / zeros[0].numel())
    assert all(abs(zero.double().mean() - p) < 4 * sigma for zero in zeros)
    assert all(abs(zero.view(3, 40, 40).double().mean(dim=(1, 2)) - p).max() < 4 * sigma * 3**0.5 for zero in zeros)
    chance = p * p + (1 - p) ** 2  # that two masks agree at a place
    for one, other in pairwise(zeros):
        agreeing = (one == other).double().mean()
        assert abs(agreeing - chance) < 4 * math.sqrt(chance * (1 - chance) / one.numel())


@pytest.mark.parametrize("form", ["batch", "lengths", "packed", "few tokens"])
def test_nothing_is_dropped_when_evaluating(form: str) -> None:
    generator = torch.Generator().manual_seed(3)
    dropping = make("lstm", weight_drop=0.5, generator=generator).eval()
    expected = run(make("lstm"), form)
    for key, value in run(dropping, form).items():
        assert torch.equal(value, expected[key]), key
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())
    assert not torch.equal(run(dropping.train(), form)["outputs"], expected["outputs"])


def test_each_call_draws_anew_from_its_own_generator() -> None:
    module = make("gru", weight_drop=0.5, generator=torch.Generator().manual_seed(3))
    first, second = (run(module, "batch")["outputs"] for _ in range(2))
    torch.manual_seed(99)
    again = make("gru", weight_drop=0.5, generator=torch.Generator().manual_seed(3))
    copied = copy.deepcopy(again)
    assert torch.equal(run(again, "batch")["outputs"], first)
    assert torch.equal(run(again, "batch")["outputs"], second)
    assert torch.equal(run(copied, "batch")["outputs"], first)
    assert not torch.equal(first, second)


def test_one_weight_worked_by_hand() -> None:
    """One relu unit with weight 1: its output at step t is t + 1 or, where the weight doubles, 2^(t + 1) - 1; or 1."""
    module = Recurrent("relu", 1, 1, bias=False, weight_drop=0.5, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        module.get_parameter("weight_ih_l0").fill_(1)
        module.get_parameter("weight_hh_l0").fill_(1)
    seen = {tuple(module(torch.ones(4, 1))[0].flatten().tolist()) for _ in range(40)}
    assert seen == {(1, 1, 1, 1), (1, 3, 7, 15)}
    assert module.eval()(torch.ones(4, 1))[0].flatten().tolist() == [1, 2, 3, 4]


def test_dropout_between_layers_and_dropped_weights_do_not_disturb_each_other() -> None:
    module = make("tanh", dropout=0.5, locked=True, weight_drop=0.5, generator=torch.Generator().manual_seed(3))
    seen: list[Tensor] = []
    module.dropout.register_forward_hook(lambda _, given, got: seen.extend([given[0], got]))
    got = run(module, "batch")
    below, dropped = seen
    multiplier = (dropped / below).detach().round()
    assert (multiplier == multiplier[0]).all()  # locked: the same at all steps
    assert set(torch.unique(multiplier).tolist()) == {0, 2}
    assert {len(torch.unique(mask)) for mask in masks_from(got).values()} == {2}


@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_a_share_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(UsageError) as error:
        Recurrent("gru", I, H, weight_drop=p)
    assert str(error.value) == f"weight_drop is {p}: give a probability of at least 0 and below 1"


def test_the_mask_comes_from_keep_mask_and_keeps_the_mean() -> None:
    """A share whose scale is no power of two: what is kept is scaled as `keep_mask` says, exactly."""
    module = make("tanh", 1, weight_drop=0.3, bidirectional=False, generator=torch.Generator().manual_seed(3))
    weight = module.get_parameter("weight_hh_l0")
    masked = make("tanh", 1, bidirectional=False)
    with torch.no_grad():
        mask = keep_mask((H, H), 0.3, weight, torch.Generator().manual_seed(3))
        masked.get_parameter("weight_hh_l0").copy_(weight * mask)
    x = draw(2, T, B, I)
    assert torch.equal(module(x)[0], masked(x)[0])
