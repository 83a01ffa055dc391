"""Settings reach what is built of them."""

import copy
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unrolled import ModelSettings, Regularization, TextSettings, TrainingSettings
from unrolled.errors import UsageError
from unrolled.models import LanguageModelNetwork
from unrolled.models.language.network import shape_of
from unrolled.nn.dropout import Dropout
from unrolled.training import optimizers
from unrolled.training.building import (
    DEFAULT_EPOCHS,
    make_network,
    make_optimizer,
    make_schedule,
)
from unrolled.training.recipe import filled
from unrolled.training.schedule import Leg, Schedule
from unrolled.training.settings import OPTIMIZERS, Settings

CPU = torch.device("cpu")
V = 9
DATA: Any = SimpleNamespace(tokenizer=SimpleNamespace(vocabulary_size=V))
"""All that a language model's network wants to know of them."""
MODEL = ModelSettings("tanh", hidden=4, embedding=3, layers=2)
NOTHING = Regularization()
WANTED = Regularization(
    dropout_input=0.1,
    dropout_between=0.2,
    dropout_output=0.3,
    dropout_embedding=0.4,
    weight_drop=0.5,
    activation=0.6,
    temporal_activation=0.7,
    signal_norm=0.8,
)


def whole(
    model: ModelSettings = MODEL,
    regularization: Regularization = NOTHING,
    **training: Any,
) -> Settings:
    return filled(Settings(TextSettings(), model, TrainingSettings(**training), regularization))


def network_of(settings: Settings) -> LanguageModelNetwork:
    network = make_network(settings, DATA, CPU)[0]
    assert isinstance(network, LanguageModelNetwork)
    return network


@pytest.mark.parametrize("locked", [True, False])
def test_each_regularisation_is_where_it_belongs(locked: bool) -> None:
    network = network_of(whole(regularization=replace(WANTED, locked=locked)))
    places = {
        "input": network.input_dropout,
        "between": network.recurrent.dropout,
        "output": network.output_dropout,
    }
    assert {name: place.p for name, place in places.items()} == {"input": 0.1, "between": 0.2, "output": 0.3}
    assert all(place.locked is locked for place in places.values())
    assert (network.recurrent.weight_drop, network.recurrent.signal_norm) == (0.5, 0.8)
    assert network.regularization == replace(WANTED, locked=locked)


def test_without_a_wish_nothing_is_dropped() -> None:
    network = network_of(whole())
    assert [module.p for module in network.modules() if isinstance(module, Dropout)] == [0.0] * 3
    assert (network.recurrent.weight_drop, network.recurrent.signal_norm) == (0.0, 0.0)


def test_all_randomness_comes_from_one_generator_of_the_seed() -> None:
    network, generator = make_network(whole(regularization=WANTED, seed=5), DATA, CPU)
    drops = [module for module in network.modules() if isinstance(module, Dropout)]
    assert len(drops) == 3
    assert all(module.generator is generator for module in drops)
    again = make_network(whole(regularization=WANTED, seed=5), DATA, CPU)
    assert torch.equal(again[1].get_state(), generator.get_state())
    other = make_network(whole(regularization=WANTED, seed=6), DATA, CPU)[0]
    for (name, one), two, three in zip(
        network.named_parameters(), again[0].parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two), name
        assert torch.equal(one, three) == (name == "output.bias"), name


@pytest.mark.parametrize(
    ("initial_range", "bounds"), [(None, (0.5, 0.5, 0.1)), (0.02, (0.02, 0.02, 0.02)), (3.0, (3.0, 3.0, 3.0))]
)
def test_weights_begin_within_their_range(initial_range: float | None, bounds: tuple[float, float, float]) -> None:
    """1 / sqrt(H) is a half here."""
    network = network_of(whole(replace(MODEL, initial_range=initial_range)))
    recurrent = torch.cat([parameter.flatten() for parameter in network.recurrent.parameters()])
    for values, bound in zip((recurrent, network.output.weight, network.embedding.weight), bounds, strict=True):
        assert 0.8 * bound < values.abs().max() <= bound
    assert network.output.bias.abs().max() == 0


@pytest.mark.parametrize("bias", [1.0, 0.0, -2.5])
def test_the_bias_of_the_forget_gate_begins_where_it_is_told_to(bias: float) -> None:
    network = network_of(whole(replace(MODEL, cell="lstm", forget_bias=bias)))
    for layer in ("l0", "l1"):
        sums = getattr(network.recurrent, f"bias_ih_{layer}") + getattr(network.recurrent, f"bias_hh_{layer}")
        assert torch.equal(sums[4:8], torch.full((4,), bias))
        assert not torch.equal(sums[:4], torch.full((4,), bias))


def test_recurrent_weights_begin_as_they_are_told_to() -> None:
    networks = [network_of(whole(replace(MODEL, initialization=name))) for name in ("identity", "orthogonal")]
    identity, orthogonal = (dict(network.recurrent.named_parameters())["weight_hh_l1"] for network in networks)
    assert torch.equal(identity, torch.eye(4))
    torch.testing.assert_close(orthogonal @ orthogonal.T, torch.eye(4))
    assert not torch.equal(orthogonal, torch.eye(4))


@pytest.mark.parametrize(
    ("model", "regularization", "message"),
    [
        (
            {"cell": "lstm"},
            {"signal_norm": 1.0},
            "signal_norm is for the cells tanh, relu, sigmoid, not for lstm: leave it out",
        ),
        (
            {"cell": "gru", "initialization": "identity"},
            {},
            "initialization identity is for cells with one gate (relu, tanh, sigmoid): take orthogonal",
        ),
        ({"tied": True}, {}, "tied weights need equal sizes: embedding is 3, hidden is 4"),
    ],
)
def test_what_a_cell_cannot_have_is_refused(
    model: dict[str, Any], regularization: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        network_of(whole(replace(MODEL, **model), Regularization(**regularization)))
    assert str(caught.value) == message


def test_a_shape_is_described() -> None:
    plain, tied = whole(MODEL), whole(ModelSettings("gru", hidden=4, tied=True))
    assert shape_of(plain.model, V).describe() == "2 x 4 tanh, embedding 3"
    assert shape_of(tied.model, V).describe() == "1 x 4 gru, embedding 4, tied"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rate_and_decay_reach_the_optimizer(name: str) -> None:
    settings = whole(optimizer=name, learning_rate=0.125, weight_decay=0.5)
    network = network_of(settings)
    made = make_optimizer(settings.training, network)
    (group,) = made.param_groups
    assert group["lr"] == 0.125
    assert group["weight_decay"] == (0.5 if name == "adamw" else 0)
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert network.sparse_gradients == (name in {"sgd", "adamw"})
    natives = optimizers.NativeSGD | optimizers.NativeAdamW
    portable = make_optimizer(whole(optimizer=name, engine="portable").training, network)
    assert isinstance(made, natives) == (name in optimizers.NATIVE_MAKERS)
    assert not isinstance(portable, natives)


@pytest.mark.parametrize("engine", ["auto", "portable"])
def test_betas_reach_adamw_and_have_defaults(engine: str) -> None:
    cases: tuple[tuple[dict[str, Any], tuple[float, float]], ...] = (
        ({"beta1": 0.25}, (0.25, 0.999)),
        ({"beta2": 0.5}, (0.0, 0.5)),
        ({}, (0.0, 0.999)),
    )
    for given, betas in cases:
        settings = whole(engine=engine, **given)
        (group,) = make_optimizer(settings.training, network_of(settings)).param_groups
        assert group["betas"] == betas


def test_each_setting_of_the_schedule_reaches_it() -> None:
    options: dict[str, Any] = {"learning_rate": 0.5, "schedule": "cosine", "warm_up": 7, "hold": 0.25}
    made = make_schedule(TrainingSettings(epochs=2, **options), 10)
    assert made == Schedule(0.5, "cosine", 7, 0.25, [Leg(5, 20)])
    assert {each.name for each in fields(made)} == {"highest", "fall", "warm_up", "hold", "legs"}
    planned = make_schedule(TrainingSettings(anneal="2:9,4:30", **options), 10)
    assert planned == Schedule(0.5, "cosine", 7, 0.25, [Leg(2, 9), Leg(4, 30)])
    open_ended = make_schedule(TrainingSettings(minutes=1, **options), 10)
    assert open_ended == Schedule(0.5, "cosine", 7, 0.25, [])
    assert open_ended.end is None


@pytest.mark.parametrize(("epochs", "steps"), [(None, DEFAULT_EPOCHS * 7), (1, 7), (2.5, 18), (0.01, 1)])
def test_a_run_has_as_many_steps_as_its_passes_ask_for(epochs: float | None, steps: int) -> None:
    assert make_schedule(TrainingSettings(epochs=epochs), 7).end == steps
    assert make_schedule(TrainingSettings(epochs=epochs, optimizer="sgd"), 7).highest == OPTIMIZERS["sgd"]


@pytest.mark.parametrize("engine", ["portable", "native"])
def test_adamw_is_lazy_where_tokens_are_sampled(engine: str) -> None:
    for samples in (0, 5):
        parameter = torch.nn.Parameter(torch.ones(2, 3))
        options = TrainingSettings(samples=samples, engine=engine, weight_decay=0.5)
        optimizer = make_optimizer(options, torch.nn.ParameterList([parameter]))
        parameter.grad = torch.tensor([[0.0] * 3, [1.0] * 3])
        optimizer.step()
        assert bool((parameter[0] == 1).all()) == (samples > 0)
        assert bool((parameter[1] < 1).all())
        copied = copy.deepcopy(optimizer)
        copied.step()
