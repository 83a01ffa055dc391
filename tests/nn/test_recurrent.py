"""What `Recurrent` does besides being PyTorch's: options, errors, copies, dropout, token input."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from unrolled import cells
from unrolled.errors import ShapeError, UsageError
from unrolled.nn import Recurrent

T, B, I, H = 5, 3, 2, 4  # noqa: E741 - letters of the equations


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(name: str = "lstm", num_layers: int = 2, **options: Any) -> Recurrent:
    module = Recurrent(name, I, H, num_layers, **options)
    module.reset_parameters(torch.Generator().manual_seed(1))
    return module


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "elman"}, 'cell "elman" is not known: choose one of '),
        ({"input_size": 0}, "input_size is 0: give a whole number of at least 1"),
        ({"hidden_size": -1}, "hidden_size is -1: give"),
        ({"num_layers": 0}, "num_layers is 0: give"),
        ({"proj_size": 2}, "proj_size is 2: projections are not supported, leave it at 0"),
        ({"dropout": 1.0}, "dropout is 1.0: give a probability of at least 0 and below 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], message: str) -> None:
    fitting: dict[str, Any] = {"cell": "gru", "input_size": I, "hidden_size": H}
    Recurrent(**fitting)
    with pytest.raises(UsageError) as error:
        Recurrent(**fitting | options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input": draw(1, I)}, "input has shape (2,): expected 3 axes, or 2 without a batch"),
        ({"input": draw(1, T, B, I, 1)}, "input has shape (5, 3, 2, 1): expected 3 axes"),
        ({"input": draw(1, T, B, 3)}, "input has shape (5, 3, 3): expected (5, 3, 2) for the module's input_size"),
        ({"input": draw(1, T, 3)}, "input has shape (5, 3): expected (5, 2) for the module's input_size"),
        ({"input": draw(1, T, B, I).double()}, "input has dtype torch.float64 and the module's weights have torch.fl"),
        ({"input": draw(1, 0, B, I)}, "inputs has shape (0, 2): give at least one row and one column"),
        ({"hx": draw(1, 2, B, H)}, "hx has 1 parts: cell lstm has state ('h', 'c')"),
        ({"hx": (draw(1, 2, B, H), draw(2, 1, B, H))}, "hx c has shape (1, 3, 4): expected (2, 3, 4)"),
        ({"input": draw(1, T, I), "hx": (draw(1, 2, 1, H),) * 2}, "hx h has shape (2, 1, 4): expected (2, 4)"),
        ({"hx": (draw(1, 2, B, H).double(),) * 2}, "state h has dtype torch.float64 and x has torch.float32"),
        ({"lengths": torch.tensor([1, 2])}, "lengths have shape (2,) and dtype int64: expected (3,) integers"),
        ({"lengths": torch.tensor([1, 2, 6])}, "lengths reach from 1 to 6: each must be 1 to 5"),
        ({"lengths": torch.tensor([1, 2, 0])}, "lengths reach from 0 to 2: each must be 1 to 5"),
        (
            {"input": pack_padded_sequence(draw(1, T, B, I), torch.tensor([5, 5, 1])), "lengths": torch.ones(3)},
            "lengths are given beside a PackedSequence, which has its own: leave them out",
        ),
        (
            {"input": pack_padded_sequence(draw(1, T, B, 3), torch.tensor([5, 5, 1]))},
            "input has shape (11, 3): expected (11, 2) for the module's input_size",
        ),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Any], message: str) -> None:
    module = make()
    fitting: dict[str, Any] = {"input": draw(1, T, B, I)}
    module(**fitting)
    with pytest.raises(ShapeError) as error:
        module(**fitting | arguments)
    assert str(error.value).startswith(message)


def test_an_engine_is_looked_up_when_it_is_used() -> None:
    with pytest.raises(UsageError, match='engine "warp" is not known'):
        make(engine="warp")(draw(1, T, B, I))


@pytest.mark.parametrize("name", cells.names())
def test_a_row_depends_neither_on_its_neighbours_nor_on_padding(name: str) -> None:
    module, x, lengths = make(name, bidirectional=True).double(), draw(1, T, B, I).double(), [3, 5, 1]
    padded = x.clone()
    for row, length in enumerate(lengths):
        padded[length:, row] = 1e6
    outputs, last = module(padded, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, last_alone = module(x[:length, row])
        torch.testing.assert_close(outputs[:length, row], alone, rtol=1e-12, atol=1e-14)
        assert not outputs[length:, row].any()
        for together, part in zip(*((s,) if isinstance(s, Tensor) else s for s in (last, last_alone)), strict=True):
            torch.testing.assert_close(together[:, row], part, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", cells.names())
def test_second_derivatives_through_the_module(name: str) -> None:
    """The gradient's derivative along a direction, against a difference of gradients."""
    module, x = make(name, bidirectional=True).double(), draw(1, T, B, I).double()
    parameters = list(module.parameters())
    direction = [draw(5 + i, *p.shape).double() for i, p in enumerate(parameters)]

    def gradients(create_graph: bool) -> tuple[Tensor, ...]:
        outputs, last = module(x, lengths=torch.tensor([3, 5, 1]))
        last = last if isinstance(last, Tensor) else last[1]
        loss = outputs.pow(3).sum() + last.square().sum()
        return torch.autograd.grad(loss, parameters, create_graph=create_graph)

    slope = sum((g * d).sum() for g, d in zip(gradients(True), direction, strict=True))
    assert isinstance(slope, Tensor)
    got = torch.autograd.grad(slope, parameters)
    step, ends = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.add_(d, alpha=sign * step)
        ends.append(gradients(False))
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter.sub_(d, alpha=sign * step)
    for one, above, below in zip(got, *ends, strict=True):
        expected = (above - below) / (2 * step)
        assert expected.norm() > 0
        assert (one - expected).norm() / expected.norm() < 1e-6


def test_the_forget_bias_is_an_initialisation() -> None:
    module = make(forget_bias=1.5, bidirectional=True)
    plain = make(bidirectional=True)
    for (name, parameter), other in zip(module.named_parameters(), plain.parameters(), strict=True):
        gates = parameter.detach().view(4, H, -1)
        assert torch.equal(gates[[0, 2, 3]], other.view(4, H, -1)[[0, 2, 3]])
        if name.startswith("bias"):
            assert (gates[1] == (1.5 if name.startswith("bias_ih") else 0)).all()
        else:
            assert torch.equal(gates[1], other.view(4, H, -1)[1])
    with torch.no_grad():
        module.bias_ih_l0.fill_(7.0)  # type: ignore[operator]
    again = make(forget_bias=1.5, bidirectional=True)
    again.load_state_dict(module.state_dict())
    assert (again.state_dict()["bias_ih_l0"] == 7).all()
    x = draw(1, T, B, I)
    assert torch.equal(again(x)[0], module(x)[0])


@pytest.mark.parametrize(("name", "bias"), [("gru", True), ("lstm", False)])
def test_a_forget_bias_without_a_place_for_it_changes_nothing(name: str, bias: bool) -> None:
    for got, expected in zip(
        make(name, bias=bias, forget_bias=1.0).parameters(), make(name, bias=bias).parameters(), strict=True
    ):
        assert torch.equal(got, expected)


def test_initial_weights_follow_the_generator_and_stay_in_their_bound() -> None:
    for got, expected in zip(make().parameters(), make().parameters(), strict=True):
        assert torch.equal(got, expected)
        assert 0 < got.abs().max() <= H**-0.5
    other = make()
    other.reset_parameters(torch.Generator().manual_seed(2))
    assert not torch.equal(next(make().parameters()), next(other.parameters()))


def test_dropout_acts_between_layers_and_only_while_training() -> None:
    x = draw(1, 50, 20, I)
    module = make("tanh", 2, dropout=0.5, generator=torch.Generator().manual_seed(3))
    plain = make("tanh", 2)
    assert torch.equal(module.eval()(x)[0], plain(x)[0])
    module.train()
    seen: list[Tensor] = []
    module.dropout.register_forward_hook(lambda _, given, got: seen.extend([given[0], got]))
    outputs, last = module(x)
    below, dropped = seen  # once for two layers
    assert isinstance(last, Tensor)
    assert torch.equal(below, make("tanh", 1)(x)[0])
    assert abs((dropped == 0).double().mean() - 0.5) < 0.04
    assert torch.equal(last[0], below[-1])  # the state itself is not dropped
    second = Recurrent("tanh", H, H)
    second.load_state_dict({k.replace("l1", "l0"): v for k, v in module.state_dict().items() if "l1" in k})
    assert torch.equal(outputs, second(dropped)[0])  # and neither is the last layer's output
    assert torch.equal(make("tanh", 1, dropout=0.5)(x)[0], make("tanh", 1)(x)[0])


def test_dropout_is_repeatable_with_a_generator_of_its_own() -> None:
    x = draw(1, T, B, I)
    module = make(dropout=0.5, generator=torch.Generator().manual_seed(3))
    first, second = module(x)[0], module(x)[0]
    again = make(dropout=0.5, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    assert torch.equal(first, again(x)[0])
    assert torch.equal(second, again(x)[0])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("vocabulary_size", [4, 40])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_forward_tokens_is_forward_of_the_embedded_tokens(name: str, bidirectional: bool, vocabulary_size: int) -> None:
    module = make(name, bidirectional=bidirectional).double()
    table = draw(2, vocabulary_size, I).double().requires_grad_()
    ids = torch.tensor([[0, 3, 1], [3, 3, 2], [1, 0, 0], [2, 1, 3], [3, 0, 1]])
    rows = 4 if bidirectional else 2
    state: Any = tuple(draw(3 + i, rows, B, H).double() for i, _ in enumerate(module.cell.state))
    hx, lengths = (state[0] if len(state) == 1 else state), torch.tensor([3, 5, 1])
    leaves = [table, *module.parameters()]
    got, expected = (
        (outputs, *((last,) if isinstance(last, Tensor) else last))
        for outputs, last in (
            module.forward_tokens(ids, table, hx, lengths=lengths),
            module(table[ids], hx, lengths=lengths),
        )
    )
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
    weights = [draw(8 + i, *one.shape).double() for i, one in enumerate(got)]
    for one, two in zip(
        torch.autograd.grad(got, leaves, weights), torch.autograd.grad(expected, leaves, weights), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("ids", "table", "message"),
    [
        (torch.tensor([1, 2]), draw(1, 4, I), r"^ids has shape \(2,\): expected \(any, any\)"),
        (torch.tensor([[1, 4]]), draw(1, 4, I), "^ids reach from 1 to 4: each must be 0 to 3"),
        (
            torch.tensor([[1, 3]]),
            draw(1, 4, 3),
            r"^weight_ih has shape \(16, 2\): expected \(any, 3\) for the embedding",
        ),
    ],
)
def test_tokens_that_do_not_fit_are_named(ids: Tensor, table: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make().forward_tokens(ids, table)


def test_copies_are_equal_and_independent() -> None:
    x = draw(1, T, B, I)
    module = make(dropout=0.5, generator=torch.Generator().manual_seed(3))
    copied = copy.deepcopy(module)
    assert torch.equal(copied(x)[0], module(x)[0])  # the generator was copied in its state
    with torch.no_grad():
        copied.weight_hh_l0.zero_()  # type: ignore[operator]
    assert module.get_parameter("weight_hh_l0").abs().sum() > 0


@pytest.mark.parametrize("name", cells.names())
def test_a_state_dict_restores_the_module_bit_for_bit(name: str) -> None:
    module, other = make(name, bidirectional=True), Recurrent(name, I, H, 2, bidirectional=True)
    x = draw(1, T, B, I)
    assert not torch.equal(module(x)[0], other(x)[0])
    other.load_state_dict({key: value.clone() for key, value in module.state_dict().items()}, strict=True)
    assert torch.equal(module(x)[0], other(x)[0])


def test_the_dtype_is_that_of_the_parameters() -> None:
    module = make("gru")
    outputs, last = module.to(torch.float64)(draw(1, T, B, I).double())
    assert isinstance(last, Tensor)
    assert outputs.dtype == last.dtype == torch.float64
    assert {p.dtype for p in make("gru", dtype=torch.float64).parameters()} == {torch.float64}
    single = make("gru")(draw(1, T, B, I))[0]
    assert single.dtype == torch.float32
    torch.testing.assert_close(outputs.float(), single, rtol=1e-5, atol=1e-6)


def test_it_prints_its_settings_and_takes_what_code_for_torch_calls() -> None:
    module = make("gru", bias=False, batch_first=True)
    module.flatten_parameters()
    assert repr(module).startswith(
        "Recurrent(\n  'gru', 2, 4, num_layers=2, bias=False, batch_first=True, bidirectional=False, engine=auto"
    )
    assert module.num_directions == 1
