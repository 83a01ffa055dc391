"""Whatever the network drops and penalises: when it does, who decides, which gradients are sparse, what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled.errors import ShapeError, UsageError
from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.nn import Regularization

from .tokens import IDS, LENGTHS, TARGETS, E, H, V

REGULARIZATIONS = {
    "nothing": None,
    "elements": Regularization(dropout=0.4),
    "elements at each step": Regularization(dropout=0.4, locked=False),
    "inputs": Regularization(dropout_input=0.4),
    "tokens": Regularization(dropout_embedding=0.4),
    "tokens and elements": Regularization(dropout=0.4, dropout_embedding=0.3),
    "tokens and elements at each step": Regularization(dropout=0.4, dropout_embedding=0.3, locked=False),
    "everything": Regularization(
        dropout=0.4, dropout_embedding=0.3, weight_drop=0.3, activation=2.0, temporal_activation=3.0
    ),
}
each_regularization = pytest.mark.parametrize("name", REGULARIZATIONS)
each_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])


def make(
    regularization: Regularization | None, tied: bool = False, vocabulary_size: int = V, **options: Any
) -> LanguageModelNetwork:
    shape = LanguageModelShape("lstm", vocabulary_size, H if tied else E, H, 2, tied)
    options = {"generator": torch.Generator().manual_seed(3), "regularization": regularization} | options
    return LanguageModelNetwork(shape, **options).double()


def seed(network: LanguageModelNetwork, number: int) -> None:
    generator = network.input_dropout.generator
    assert generator is not None
    generator.manual_seed(number)


def gradients(loss: Tensor, network: LanguageModelNetwork) -> dict[str, Tensor]:
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


@each_length
@each_regularization
def test_nothing_of_it_remains_when_evaluating(name: str, lengths: Tensor | None) -> None:
    network, plain = make(REGULARIZATIONS[name]).eval(), make(None)
    seed(network, 7)
    got, wanted = (each.objective(IDS, TARGETS, lengths=lengths) for each in (network, plain))
    assert got.penalty is None
    assert torch.equal(got.losses, wanted.losses)
    assert got.state is not None
    assert wanted.state is not None
    assert all(map(torch.equal, got.state, wanted.state))
    assert network.input_dropout.generator is not None
    assert torch.equal(network.input_dropout.generator.get_state(), torch.Generator().manual_seed(7).get_state())
    network.train()
    assert torch.equal(network(IDS)[0], plain(IDS)[0]) == (name == "nothing")


@each_regularization
def test_its_own_generator_decides_alone(name: str) -> None:
    network = make(REGULARIZATIONS[name])
    torch.manual_seed(1)
    first, second = network(IDS)[0], network(IDS)[0]
    torch.manual_seed(2)
    again = make(REGULARIZATIONS[name])
    assert torch.equal(again(IDS)[0], first)
    assert torch.equal(again(IDS)[0], second)
    assert torch.equal(first, second) == (name == "nothing")


@each_regularization
def test_tied_weights_are_one_and_their_gradient_is_the_sum(name: str) -> None:
    tied = make(REGULARIZATIONS[name], tied=True)
    assert tied.output.weight is tied.embedding.weight
    assert tied.float().double().output.weight is tied.embedding.weight
    shape = LanguageModelShape("lstm", V, H, H, 2, False)
    generator = torch.Generator().manual_seed(5)
    apart = LanguageModelNetwork(shape, regularization=REGULARIZATIONS[name], generator=generator).double()
    apart.load_state_dict(tied.state_dict())
    for network in (tied, apart):
        seed(network, 6)
        outputs, _ = network(IDS)
        torch.autograd.backward(network.losses(outputs, TARGETS).sum())
    got = tied.embedding.weight.grad
    assert got is not None
    assert apart.embedding.weight.grad is not None
    assert apart.output.weight.grad is not None
    assert min(apart.embedding.weight.grad.norm(), apart.output.weight.grad.norm()) > 0
    torch.testing.assert_close(got, apart.embedding.weight.grad + apart.output.weight.grad, rtol=1e-11, atol=1e-13)


@each_regularization
def test_sparse_gradients_are_the_dense_ones_without_the_rows_that_are_zero(name: str) -> None:
    parameters = []
    for sparse in (True, False):
        network = make(REGULARIZATIONS[name], vocabulary_size=40, sparse_gradients=sparse)
        torch.autograd.backward(network.losses(network(IDS)[0], TARGETS).sum())
        parameters.append(dict(network.named_parameters()))
    for key, dense in parameters[1].items():
        got = parameters[0][key].grad
        assert got is not None
        assert dense.grad is not None
        assert got.is_sparse == (key == "embedding.weight")
        if got.is_sparse:
            assert set(got.coalesce().indices()[0].tolist()) == set(IDS.flatten().tolist())
        torch.testing.assert_close(got.to_dense(), dense.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "few kinds of token"])
@each_regularization
def test_where_all_rows_are_in_use_gradients_are_dense(name: str, tied: bool) -> None:
    network = make(REGULARIZATIONS[name], tied=tied, sparse_gradients=True)
    ids = IDS[:2] if tied else IDS  # tied, even though V = 11 > 8 = T*B
    torch.autograd.backward(network(ids)[0].sum())
    assert network.embedding.weight.grad is not None
    assert not network.embedding.weight.grad.is_sparse


@pytest.mark.parametrize("token", [V, -1])
@each_regularization
def test_tokens_outside_the_vocabulary_are_named_whatever_is_dropped(name: str, token: int) -> None:
    ids = IDS.clone()
    ids[2, 1] = token
    lowest, highest = min(0, token), max(V - 1, token)
    with pytest.raises(ShapeError, match=rf"^ids reach from {lowest} to {highest}: each must be 0 to {V - 1}"):
        make(REGULARIZATIONS[name])(ids)


@each_length
def test_the_signal_norm_penalty_acts_on_recurrent_weights_alone(lengths: Tensor | None) -> None:
    found = []
    for factor in (0.0, 5.0):
        shape = LanguageModelShape("tanh", V, E, H, 2, False)
        generator = torch.Generator().manual_seed(3)
        network = LanguageModelNetwork(
            shape, regularization=Regularization(signal_norm=factor), generator=generator
        ).double()
        objective = network.objective(IDS, TARGETS, lengths=lengths)
        assert objective.penalty is None
        found.append(gradients(objective.losses.mean(), network))
    for key, plain in found[0].items():
        if "weight_hh" in key:
            assert (found[1][key] - plain).norm() > 0.01 * plain.norm()
        else:
            torch.testing.assert_close(found[1][key], plain, rtol=1e-12, atol=1e-15)


def test_a_cell_that_cannot_have_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^signal_norm is for the cells tanh, relu, sigmoid, not for lstm: leave it"):
        make(Regularization(signal_norm=0.1))
