"""Penalties act on the gradients while training, and on nothing else."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.models import LanguageModelNetwork
from unrolled.nn.recurrent import HiddenState
from unrolled.text.batches import Batch
from unrolled.training import optimizers
from unrolled.training.loop import Limits, Trained, mean_loss, train_step

from .networks import CPU, T, network_of, windows

FIRST, PADDED = windows(carried=True).content
assert PADDED.lengths is not None

PENALTIES: tuple[dict[str, Any], ...] = (
    {"activation": 2.0},
    {"temporal_activation": 1.5},
    {"activation": 2.0, "temporal_activation": 1.5},
    {"activation": 2.0, "temporal_activation": 1.5, "dropout_output": 0.4},
    {"activation": 2.0, "temporal_activation": 1.5, "dropout": 0.3, "locked": False},
)


def trained(network: LanguageModelNetwork, batch: Batch, state: HiddenState | None = None) -> Trained:
    """A step that leaves the weights where they are."""
    optimizer = optimizers.make("sgd", network.parameters(), 0.1)
    return train_step(network, optimizer, batch, state, rate=0.0, limits=Limits(), device=CPU)


def gradients_of(network: LanguageModelNetwork) -> dict[str, Tensor]:
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad
    return found


def some_state(network: LanguageModelNetwork) -> HiddenState:
    state = trained(network_of(network.shape.cell, layers=network.shape.layers), FIRST).state
    assert state is not None
    return state


def texts(outputs: Tensor, batch: Batch) -> Iterator[Tensor]:
    """The outputs of each sequence as far as it is text."""
    lengths = [T] * outputs.shape[1] if batch.lengths is None else batch.lengths.tolist()
    return (outputs[:length, b] for b, length in enumerate(lengths))


def by_hand(network: LanguageModelNetwork, batch: Batch, state: HiddenState) -> float:
    """The loss without penalties; the gradients, which are left on the network, are those with them."""
    raw: list[Tensor] = []
    network.output_dropout.register_forward_hook(lambda module, given, made: raw.append(given[0]))
    lengths = None if batch.lengths is None else torch.from_numpy(batch.lengths)
    network.train()
    outputs, _ = network(torch.from_numpy(batch.inputs), state, lengths=lengths)
    loss = network.losses(outputs, torch.from_numpy(batch.targets), lengths).mean()
    dropped, whole = list(texts(outputs, batch)), list(texts(raw[0], batch))
    sizes = torch.cat([text.flatten() for text in dropped])
    changes = torch.cat([(text[t] - text[t - 1]).flatten() for text in whole for t in range(1, len(text))])
    wanted = network.regularization
    penalty = (wanted.activation or 0.0) * (sizes**2).sum() / len(sizes)
    penalty = penalty + (wanted.temporal_activation or 0.0) * (changes**2).sum() / len(changes)
    torch.autograd.backward(loss + penalty)
    return loss.item()


@pytest.mark.parametrize("options", PENALTIES, ids=" ".join)
@pytest.mark.parametrize("batch", [FIRST, PADDED], ids=["full", "padded"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_penalties_are_in_the_gradients_and_not_in_the_loss(cell: str, batch: Batch, options: dict[str, Any]) -> None:
    network, expected = (network_of(cell, layers=2, **options) for _ in range(2))
    state = some_state(network)
    done = trained(network, batch, state)
    assert done.loss == pytest.approx(by_hand(expected, batch, state), rel=1e-12)
    gradients, wanted = gradients_of(network), gradients_of(expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-13, msg=name)
    total = np.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    assert done.gradient_norm == pytest.approx(total, rel=1e-12), "the norm is of what is descended"


@pytest.mark.parametrize("options", PENALTIES[:3], ids=" ".join)
def test_a_penalty_changes_all_gradients_below_the_output_layer(options: dict[str, Any]) -> None:
    plain, penalised = network_of(layers=2), network_of(layers=2, **options)
    state = some_state(plain)
    losses = [trained(network, PADDED, state).loss for network in (plain, penalised)]
    assert losses[0] == losses[1], "nothing is dropped, so that the loss is the same to the last bit"
    without, with_it = gradients_of(plain), gradients_of(penalised)
    for name, gradient in without.items():
        assert torch.equal(gradient, with_it[name]) == name.startswith("output."), name


def test_a_penalty_grows_with_its_factor() -> None:
    found = {}
    for factor in (0.0, 1.0, 2.0):
        network = network_of(activation=factor)
        trained(network, PADDED, some_state(network))
        found[factor] = gradients_of(network)
    for name, gradient in found[0.0].items():
        torch.testing.assert_close(
            found[2.0][name] - gradient, 2 * (found[1.0][name] - gradient), rtol=1e-8, atol=1e-13, msg=name
        )


@pytest.mark.parametrize("cell", ["tanh", "relu", "sigmoid"])
def test_a_penalty_on_signals_changes_the_recurrent_weights_gradient_alone(cell: str) -> None:
    plain, penalised = network_of(cell, layers=2), network_of(cell, layers=2, signal_norm=0.5)
    state = some_state(plain)
    without, with_it = trained(plain, PADDED, state), trained(penalised, PADDED, state)
    assert without.loss == pytest.approx(with_it.loss, rel=1e-13)
    changed = {
        name
        for name, gradient in gradients_of(plain).items()
        if not torch.allclose(gradient, gradients_of(penalised)[name], rtol=1e-9, atol=1e-13)
    }
    assert changed == {"recurrent.weight_hh_l0", "recurrent.weight_hh_l1"}
    assert with_it.gradient_norm != pytest.approx(without.gradient_norm, rel=1e-6)


@pytest.mark.parametrize("cell", ["tanh", "sigmoid"])
def test_a_penalty_on_signals_does_not_depend_on_their_size(cell: str) -> None:
    """It looks at how they grow: in float32 too, where squares and products of small ones are none."""
    found = []
    for scale in (1e-6, 1e-12, 1e-19):
        network = network_of(cell, signal_norm=0.5).float()
        with torch.no_grad():
            network.output.weight.mul_(scale)
        assert np.isfinite(trained(network, FIRST).gradient_norm)
        found.append(gradients_of(network)["recurrent.weight_hh_l0"])
    assert found[0].abs().max() > 1e-2, "what the loss has in it is next to nothing"
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[2], found[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", [*PENALTIES, {"signal_norm": 3.0}, {"weight_drop": 0.5}], ids=" ".join)
def test_none_of_it_is_left_where_nothing_is_learnt(options: dict[str, Any]) -> None:
    reader = windows(carried=True)
    plain = mean_loss(network_of("tanh", layers=2), reader, CPU)
    assert mean_loss(network_of("tanh", layers=2, **options).train(), reader, CPU) == plain
