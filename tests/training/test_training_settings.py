"""Settings refuse what cannot be meant, and fill in what was left open."""

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from unrolled import ModelSettings, Regularization, TrainingSettings
from unrolled.errors import UsageError
from unrolled.settings import options_of
from unrolled.text.settings import TextSettings
from unrolled.training.optimizers import MAKERS
from unrolled.training.settings import OPTIMIZERS, Settings


def message_of(settings: type, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        settings(**options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lst"}, 'cell is "lst": choose one of tanh, relu, sigmoid, gru, gru_reset_before, lstm'),
        ({"hidden": 0}, "hidden is 0: give a whole number of at least 1"),
        ({"embedding": -1}, "embedding is -1: give a whole number of at least 1"),
        ({"layers": 0}, "layers is 0: give a whole number of at least 1"),
        ({"most_parameters": 0}, "most_parameters is 0: give a whole number of at least 1"),
        (
            {"initialization": "normal"},
            'initialization is "normal": choose one of uniform, orthogonal, identity, scaled',
        ),
        ({"initial_range": 0.0}, "initial_range is 0.0: give a number above 0"),
        ({"initial_range": -1.0}, "initial_range is -1.0: give a number above 0"),
        ({"initial_range": math.inf}, "initial_range is inf: give a number above 0"),
        ({"initial_range": math.nan}, "initial_range is nan: give a number above 0"),
        ({"forget_bias": math.nan}, "forget_bias is nan: give a number, such as 1"),
        ({"forget_bias": -math.inf}, "forget_bias is -inf: give a number, such as 1"),
        (
            {"tied": True, "hidden": 8, "embedding": 9},
            "tied weights need equal sizes: embedding is 9, hidden is 8",
        ),
    ],
)
def test_a_model_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    assert message_of(ModelSettings, **options) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 1, "minutes": 1}, "epochs, minutes and anneal exclude each other: give one of them"),
        ({"epochs": 1, "anneal": "1:9"}, "epochs, minutes and anneal exclude each other: give one of them"),
        ({"minutes": 1, "anneal": "1:9"}, "epochs, minutes and anneal exclude each other: give one of them"),
        ({"epochs": 0}, "epochs is 0: give a number above 0"),
        ({"epochs": math.nan}, "epochs is nan: give a number above 0"),
        ({"minutes": -1}, "minutes is -1: give a number above 0"),
        ({"minutes": math.inf}, "minutes is inf: give a number above 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: give a number above 0"),
        ({"batch": 0}, "batch is 0: give a whole number of at least 1"),
        ({"window": -3}, "window is -3: give a whole number of at least 1"),
        ({"threads": 0}, "threads is 0: give a whole number of at least 1"),
        ({"clip": -1.0}, "clip is -1.0: give a norm above 0, or 0 to leave gradients as they are"),
        ({"clip": math.inf}, "clip is inf: give a norm above 0, or 0 to leave gradients as they are"),
        ({"clip_value": -0.5}, "clip_value is -0.5: give a size above 0, or 0 to leave gradients alone"),
        ({"clip_value": math.nan}, "clip_value is nan: give a size above 0, or 0 to leave gradients alone"),
        ({"clip_value": math.inf}, "clip_value is inf: give a size above 0, or 0 to leave gradients alone"),
        ({"hold": 1.0}, "hold is 1.0: give a share of at least 0 and below 1"),
        ({"hold": -0.1}, "hold is -0.1: give a share of at least 0 and below 1"),
        ({"hold": math.nan}, "hold is nan: give a share of at least 0 and below 1"),
        ({"beta1": 1.0}, "beta1 is 1.0: give a share of at least 0 and below 1"),
        ({"beta2": -0.1}, "beta2 is -0.1: give a share of at least 0 and below 1"),
        ({"beta2": math.nan}, "beta2 is nan: give a share of at least 0 and below 1"),
        ({"weight_decay": -0.01}, "weight_decay is -0.01: give a factor of at least 0"),
        ({"weight_decay": math.nan}, "weight_decay is nan: give a factor of at least 0"),
        ({"weight_decay": math.inf}, "weight_decay is inf: give a factor of at least 0"),
        ({"warm_up": -1}, "warm_up is -1: give a whole number of at least 0"),
        ({"schedule": "steps"}, 'schedule is "steps": choose one of linear, cosine, halving, constant'),
        ({"average": "always"}, 'average is "always": choose one of none, triggered'),
        ({"seed": -1}, "seed is -1: give a whole number from 0 to 2^63 - 1"),
        ({"seed": 2**63}, f"seed is {2**63}: give a whole number from 0 to 2^63 - 1"),
        ({"optimizer": "adam"}, 'optimizer is "adam": choose one of adamw, sgd, momentum, rmsprop, adagrad'),
        ({"engine": "steam"}, 'engine is "steam": choose one of auto, portable, native'),
    ],
)
def test_training_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    assert message_of(TrainingSettings, **options) == message


def test_each_optimizer_has_its_own_rate() -> None:
    assert OPTIMIZERS.keys() == MAKERS.keys() == {"adamw", "sgd", "momentum", "rmsprop", "adagrad"}
    for name, rate in OPTIMIZERS.items():
        assert TrainingSettings(optimizer=name).highest_rate == rate
        assert TrainingSettings(optimizer=name, learning_rate=0.5).highest_rate == 0.5


@pytest.mark.parametrize("group", [TextSettings, ModelSettings, Regularization, TrainingSettings])
def test_every_field_is_frozen_and_explained(group: type) -> None:
    settings = group()
    for each in fields(settings):
        assert len(each.metadata["help"]) > 5, each.name
        with pytest.raises(FrozenInstanceError):
            setattr(settings, each.name, None)
    assert options_of(settings) == []


def test_options_name_what_differs_from_the_default_and_are_quoted() -> None:
    assert options_of(ModelSettings(cell="gru", tied=True, forget_bias=0.25)) == [
        *("--cell", "gru"),
        "--tied",
        *("--forget-bias", "0.25"),
    ]
    assert options_of(ModelSettings(layers=1, tied=False)) == ["--layers", "1", "--no-tied"]
    assert options_of(Regularization(dropout=0.0, locked=False)) == ["--dropout", "0.0", "--no-locked"]
    assert options_of(TextSettings(validation="my file's.txt", min_count=2)) == [
        *("--min-count", "2"),
        *("--validation", "'my file'\"'\"'s.txt'"),
    ]
    assert options_of(TrainingSettings(minutes=1e-05, learning_rate=0.1 + 0.2)) == [
        *("--minutes", "1e-05"),
        *("--learning-rate", "0.30000000000000004"),
    ]


@pytest.mark.parametrize("unit", ["char", "bpe"])
def test_only_words_are_sums(unit: str) -> None:
    with pytest.raises(UsageError, match=f"^factored vectors are for words, unit is {unit}: leave factored out$"):
        Settings(TextSettings(unit=unit), ModelSettings(factored=True), TrainingSettings())
    Settings(TextSettings(unit=unit), ModelSettings(factored=False), TrainingSettings())
