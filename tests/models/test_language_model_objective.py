"""The network's objective, written out with the masks that were drawn: losses, penalties, state, every gradient."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.models import LanguageModelNetwork, LanguageModelShape
from unrolled.models.network import Objective
from unrolled.nn import Regularization

from .tokens import IDS, LENGTHS, TARGETS, B, E, H, T, V

REGULARIZATIONS = {
    "nothing": None,
    "locked": Regularization(dropout=0.4, dropout_embedding=0.3, weight_drop=0.3),
    "each step": Regularization(dropout=0.4, dropout_embedding=0.3, locked=False),
    "penalties": Regularization(dropout=0.4, activation=2.0, temporal_activation=3.0),
}
each_length = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "padded"])


def make(regularization: Regularization | None) -> LanguageModelNetwork:
    shape = LanguageModelShape("lstm", V, E, H, 2, False)
    generator = torch.Generator().manual_seed(3)
    return LanguageModelNetwork(shape, regularization=regularization, generator=generator).double()


def seed(network: LanguageModelNetwork) -> None:
    generator = network.input_dropout.generator
    assert generator is not None
    generator.manual_seed(7)


def gradients(loss: Tensor, network: LanguageModelNetwork) -> dict[str, Tensor]:
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def lstm(x: Tensor, weights: list[Tensor], lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One layer, written out: outputs, zero past the lengths, and the last state."""
    w, r, b, c = weights
    h, cell, outputs = x.new_zeros(B, H), x.new_zeros(B, H), []
    for t in range(T):
        i, f, g, o = (x[t] @ w.T + b + h @ r.T + c).chunk(4, dim=1)
        goes_on = (t < lengths)[:, None]
        cell = torch.where(goes_on, f.sigmoid() * cell + i.sigmoid() * g.tanh(), cell)
        h = torch.where(goes_on, o.sigmoid() * cell.tanh(), h)
        outputs.append(h * goes_on)
    return torch.stack(outputs), h, cell


def watch(network: LanguageModelNetwork, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What goes in and comes out where elements are dropped: of input, between layers, of output."""
    seen: list[tuple[Tensor, Tensor]] = []
    read_tokens = network.recurrent.forward_tokens

    def embedded() -> Tensor:
        return nn.functional.embedding(IDS, network.embedding.weight)

    def watched(ids: Tensor, embedding: Tensor, *rest: Any, **options: Any) -> Any:
        seen.append((embedded(), embedding[ids]))
        return read_tokens(ids, embedding, *rest, **options)

    monkeypatch.setattr(network.recurrent, "forward_tokens", watched)
    network.recurrent.register_forward_pre_hook(lambda _, given: seen.append((embedded(), given[0])))
    for module in (network.recurrent.dropout, network.output_dropout):
        module.register_forward_hook(lambda _, given, got: seen.append((given[0], got)))
    return seen


def written_out(
    network: LanguageModelNetwork, masks: list[Tensor], weight_masks: dict[str, Tensor], lengths: Tensor
) -> Objective:
    """Embedding, two layers and softmax with multipliers of input, between and of output and of recurrent weights."""
    named = dict(network.named_parameters())
    x, states = masks[0] * named["embedding.weight"][IDS], []
    for layer, mask in enumerate(masks[1:]):
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        keys = [f"recurrent.{kind}_l{layer}" for kind in kinds]
        raw, *state = lstm(x, [named[key] * weight_masks.get(key, 1.0) for key in keys], lengths)
        states.append(state)
        x = raw * mask
    is_text = torch.arange(T)[:, None] < lengths
    losses = nn.functional.cross_entropy(network.output(x)[is_text], TARGETS[is_text], reduction="none")
    changes = (raw[1:] - raw[:-1])[is_text[1:]]
    penalty = 2.0 * x[is_text].square().mean() + 30.0 * changes.square().mean()
    return Objective(losses, penalty, tuple(torch.stack(parts) for parts in zip(*states, strict=True)))


@each_length
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "each step"])
@pytest.mark.parametrize("of_tokens", [0.5, None], ids=["tokens", "no tokens"])
def test_the_objective_written_out_with_the_masks_that_were_drawn(
    monkeypatch: pytest.MonkeyPatch, of_tokens: float | None, locked: bool, lengths: Tensor | None
) -> None:
    """Shares whose scales are 2 and 4, so that multipliers can be read off exactly; every gradient is compared."""
    shares = Regularization(
        dropout_input=0.5,
        dropout_between=0.75,
        dropout_output=0.5,
        dropout_embedding=of_tokens,
        weight_drop=0.5,
        locked=locked,
        activation=2.0,
        temporal_activation=30.0,
    )
    network = make(shares)
    seen = watch(network, monkeypatch)
    got = network.objective(IDS, TARGETS, lengths=lengths)
    assert got.penalty is not None
    got_gradients = gradients(got.losses.mean() + got.penalty, network)
    weight_masks = {key: 2.0 * (value != 0) for key, value in got_gradients.items() if "weight_hh" in key}
    masks = [(after / before).detach().nan_to_num().round() for before, after in seen]
    by_token = torch.tensor([bool((masks[0][token == IDS] > 0).any()) for token in range(V)])
    assert by_token[torch.unique(IDS)].all() == (of_tokens is None)
    if locked:  # then the first step, which is text in all sequences, says it for all steps
        masks = [masks[0].amax(dim=0, keepdim=True), *(mask[:1] for mask in masks[1:])]
        assert [tuple(mask.shape) for mask in masks] == [(1, B, E), (1, B, H), (1, B, H)]
    for mask, scale in zip(masks, (2 if of_tokens is None else 4, 4, 2), strict=True):
        assert set(torch.unique(mask).tolist()) == {0, scale}
        assert len({tuple(sequence.flatten().tolist()) for sequence in mask.unbind(1)}) == B
        assert locked or not torch.equal(mask[0], mask[1])
    masks[0] = masks[0] * by_token[IDS][..., None]

    plain, ends = make(None), torch.full((B,), T) if lengths is None else lengths
    expected = written_out(plain, masks, weight_masks, ends)
    torch.testing.assert_close(got.losses, expected.losses, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got.penalty, expected.penalty, rtol=1e-12, atol=0)
    assert got.state is not None
    assert expected.state is not None
    for one, two in zip(got.state, expected.state, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-14)
    assert expected.penalty is not None
    for key, value in gradients(expected.losses.mean() + expected.penalty, plain).items():
        assert value.norm() > 0
        torch.testing.assert_close(got_gradients[key], value, rtol=1e-10, atol=1e-13)


@each_length
@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_the_objective_is_forward_losses_and_penalties(name: str, lengths: Tensor | None) -> None:
    network, wanted = make(REGULARIZATIONS[name]), REGULARIZATIONS[name] or Regularization()
    _, state = network(IDS.flip(0))
    state = tuple(part.detach() for part in state)
    passed: list[Tensor] = []
    network.output_dropout.register_forward_hook(lambda _, given, got: passed.extend([given[0], got]))
    seed(network)
    got = network.objective(IDS, TARGETS, state, lengths=lengths)
    raw, dropped = passed
    seed(network)
    outputs, last = network(IDS, state, lengths=lengths)
    assert torch.equal(outputs, dropped)
    assert torch.equal(got.losses, network.losses(outputs, TARGETS, lengths))
    assert got.state is not None
    assert all(map(torch.equal, got.state, last))
    if name != "penalties":
        assert got.penalty is None
        return
    is_text = torch.arange(T)[:, None] < (torch.tensor([T]) if lengths is None else lengths)
    assert not torch.equal(raw, dropped)  # AR looks at what is dropped, TAR at what is not
    assert wanted.activation is not None
    assert wanted.temporal_activation is not None
    penalty = wanted.activation * dropped[is_text.expand(T, B)].square().mean()
    penalty += wanted.temporal_activation * (raw[1:] - raw[:-1])[is_text[1:].expand(T - 1, B)].square().mean()
    torch.testing.assert_close(got.penalty, penalty, rtol=1e-12, atol=0)


@each_length
@pytest.mark.parametrize("field", ["activation", "temporal_activation"])
def test_each_penalty_comes_alone_and_grows_with_its_factor(field: str, lengths: Tensor | None) -> None:
    penalties = {}
    for factor in (None, 0.0, 1.0, 2.5):
        network = make(replace(Regularization(), **{field: factor}))  # type: ignore[arg-type]
        penalties[factor] = network.objective(IDS, TARGETS, lengths=lengths).penalty
    assert penalties[None] is None
    assert penalties[0.0] is None
    assert penalties[1.0] is not None
    assert penalties[2.5] is not None
    assert penalties[1.0] > 0
    torch.testing.assert_close(penalties[2.5], 2.5 * penalties[1.0], rtol=1e-14, atol=0)
