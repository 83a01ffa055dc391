"""How weights begin: each initialisation by what it promises, gate by gate, layer by layer, in both directions."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled import cells
from unrolled.errors import UsageError
from unrolled.nn import Recurrent
from unrolled.nn.initialization import NAMES

I, H = 90, 60  # noqa: E741 - letters of the equations
ONE_GATE = ("tanh", "relu", "sigmoid")
each_cell = pytest.mark.parametrize("name", cells.names())
each_initialization = pytest.mark.parametrize("initialization", NAMES)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str, initialization: str, bound: float | None = None, **options: Any) -> Recurrent:
    """Two layers in both directions; their input widths are I and 2*H."""
    given: dict[str, Any] = {"bidirectional": True, "dtype": torch.float64} | options
    module = Recurrent(name, I, H, 2, initialization=initialization, **given)
    module.reset_parameters(seeded(), bound=bound)
    return module


def gates_of(module: Recurrent, kind: str) -> Iterator[Tensor]:
    """Each gate's part of the parameters of one kind, in all layers and directions."""
    parameters = [p.detach() for name, p in module.named_parameters() if name.startswith(kind)]
    assert len(parameters) == 4
    for parameter in parameters:
        gates = torch.split(parameter, H)
        assert len(gates) == len(module.cell.gates)
        yield from gates


def assert_uniform(values: Tensor, bound: float) -> None:
    """From end to end of +-bound, and about as many in each tenth."""
    assert 0.97 * bound < values.abs().max() <= bound
    assert values.min() < -0.97 * bound
    tenths = torch.histc(values / bound, 10, -1, 1) / values.numel()
    assert (tenths - 0.1).abs().max() < 4 * math.sqrt(0.09 / values.numel())


@each_cell
def test_orthogonal_recurrent_weights_turn_and_do_not_stretch(name: str) -> None:
    module = make(name, "orthogonal")
    seen = []
    for r in gates_of(module, "weight_hh"):
        torch.testing.assert_close(r @ r.T, torch.eye(H, dtype=r.dtype), rtol=0, atol=1e-13)  # sums of 60 terms
        assert r.std() > 0.9 * H**-0.5  # and is no permutation
        seen.append(r)
    assert all((one - other).norm() > 1 for i, one in enumerate(seen) for other in seen[:i])
    for w in gates_of(module, "weight_ih"):
        assert_uniform(w, H**-0.5)


@pytest.mark.parametrize("name", ONE_GATE)
def test_identity_recurrent_weights_pass_the_state_on(name: str) -> None:
    module = make(name, "identity")
    for r in gates_of(module, "weight_hh"):
        assert torch.equal(r, torch.eye(H, dtype=r.dtype))
    for w in gates_of(module, "weight_ih"):
        assert_uniform(w, H**-0.5)


@each_cell
def test_scaled_weights_have_the_variance_of_their_connections(name: str) -> None:
    module = make(name, "scaled")
    for r in gates_of(module, "weight_hh"):
        assert_uniform(r, math.sqrt(6 / (H + H)))
    widths = [w.shape[1] for w in gates_of(module, "weight_ih")]
    assert set(widths) == {I, 2 * H}
    for w, width in zip(gates_of(module, "weight_ih"), widths, strict=True):
        assert_uniform(w, math.sqrt(6 / (H + width)))
        variance = 2 / (H + width)  # a uniform variable's fourth moment is 9/5 of its squared variance
        assert abs(w.square().mean() - variance) < 4 * variance * math.sqrt(0.8 / w.numel())


@each_cell
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("bound", [None, 0.25])
def test_uniform_is_one_draw_after_another_in_the_order_of_the_parameters(
    bound: float | None, bias: bool, name: str
) -> None:
    module, generator = make(name, "uniform", bound, bias=bias), seeded()
    count = 0
    for parameter in module.parameters():
        limit = 1 / math.sqrt(H) if bound is None else bound
        expected = torch.empty_like(parameter).detach().uniform_(-limit, limit, generator=generator)
        assert torch.equal(parameter, expected)
        count += 1
    assert count == (16 if bias else 8)


@each_cell
def test_a_bound_holds_for_all_that_is_uniform(name: str) -> None:
    uniform = make(name, "uniform", 0.02)
    for kind in ("weight_ih", "weight_hh"):
        for values in gates_of(uniform, kind):
            assert_uniform(values, 0.02)
    assert_uniform(torch.cat([*gates_of(uniform, "bias_ih"), *gates_of(uniform, "bias_hh")]), 0.02)
    orthogonal = make(name, "orthogonal", 0.02)
    for w in gates_of(orthogonal, "weight_ih"):
        assert_uniform(w, 0.02)
    for got, expected in zip(
        gates_of(orthogonal, "weight_hh"), gates_of(make(name, "orthogonal"), "weight_hh"), strict=True
    ):
        assert torch.equal(got, expected)


@each_initialization
def test_biases_are_zero_but_for_uniform(initialization: str) -> None:
    module = make("tanh", initialization)
    for kind in ("bias_ih", "bias_hh"):
        for bias in gates_of(module, kind):
            assert bias.any() == (initialization == "uniform")


@pytest.mark.parametrize("initialization", sorted(set(NAMES) - {"identity"}))
@pytest.mark.parametrize("value", [1.5, 0.0, -2.0])
def test_the_forget_bias_is_in_its_block_of_bias_ih_alone(value: float, initialization: str) -> None:
    module, plain = make("lstm", initialization, forget_bias=value), make("lstm", initialization)
    assert module.cell.gates.index("forget") == 1
    for (name, parameter), other in zip(module.named_parameters(), plain.parameters(), strict=True):
        gates, plain_gates = (torch.split(each.detach(), H) for each in (parameter, other))
        for index, (got, expected) in enumerate(zip(gates, plain_gates, strict=True)):
            if index == 1 and name.startswith("bias"):
                assert (got == (value if name.startswith("bias_ih") else 0)).all()
            else:
                assert torch.equal(got, expected)


@each_initialization
def test_the_generator_decides_alone_and_each_reset_draws_anew(initialization: str) -> None:
    torch.manual_seed(1)
    module = make("tanh", initialization)
    first = [p.detach().clone() for p in module.parameters()]
    torch.manual_seed(2)
    assert all(map(torch.equal, make("tanh", initialization).parameters(), first))
    state = torch.get_rng_state()
    generator = seeded()
    for number in range(2):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(7)
        module.reset_parameters(generator)
        same = [torch.equal(got, expected) for got, expected in zip(module.parameters(), first, strict=True)]
        random = [
            not (name.startswith("weight_hh") and initialization == "identity")
            and (name.startswith("weight") or initialization == "uniform")
            for name, _ in module.named_parameters()
        ]
        assert same == ([True] * 16 if number == 0 else [not drawn for drawn in random])
    assert torch.equal(torch.get_rng_state(), state)


@each_initialization
def test_a_new_module_begins_so_in_its_own_dtype(initialization: str) -> None:
    torch.manual_seed(3)
    fresh = Recurrent("relu", I, H, 2, bidirectional=True, initialization=initialization)
    torch.manual_seed(3)
    reset = Recurrent("relu", I, H, 2, bidirectional=True, initialization=initialization)
    torch.manual_seed(3)
    reset.reset_parameters()
    assert all(map(torch.equal, fresh.parameters(), reset.parameters()))
    assert {p.dtype for p in fresh.parameters()} == {torch.float32}
    assert all(p.requires_grad and p.grad_fn is None for p in fresh.parameters())
    if initialization in {"orthogonal", "identity"}:
        for r in gates_of(fresh, "weight_hh"):
            torch.testing.assert_close(r @ r.T, torch.eye(H), rtol=0, atol=1e-5)


def test_signals_keep_their_norm_through_orthogonal_and_identity_weights() -> None:
    """What it is for: over 50 steps of a linear recurrence nothing shrinks or grows; uniform weights lose it all."""
    shares = {}
    for initialization in ("orthogonal", "identity", "uniform"):
        r = next(gates_of(make("relu", initialization), "weight_hh"))
        signal = torch.randn(H, generator=seeded(), dtype=torch.float64)
        shares[initialization] = ((torch.linalg.matrix_power(r.T, 50) @ signal).norm() / signal.norm()).item()
    assert shares["orthogonal"] == pytest.approx(1, rel=1e-12)
    assert shares["identity"] == 1
    assert shares["uniform"] < 1e-6


@pytest.mark.parametrize(
    ("name", "initialization", "message"),
    [
        ("tanh", "xavier", 'initialization is "xavier": choose one of uniform, orthogonal, identity, scaled'),
        ("gru", "", 'initialization is "": choose one of uniform, orthogonal, identity, scaled'),
        *(
            (
                name,
                "identity",
                "initialization identity is for cells with one gate (relu, tanh, sigmoid): take orthogonal",
            )
            for name in cells.names()
            if name not in ONE_GATE
        ),
    ],
)
def test_what_is_not_known_or_not_for_the_cell_is_refused(name: str, initialization: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        Recurrent(name, I, H, initialization=initialization)
    assert str(error.value) == message


def test_the_cells_with_one_gate_are_those_that_are_named() -> None:
    assert {name for name in cells.names() if len(cells.get(name).gates) == 1} == set(ONE_GATE)
