"""Settings of what is dropped and penalised: refusals, fallbacks; and importing them, which loads no torch."""

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace

import pytest

import unrolled.nn
from unrolled.errors import UsageError
from unrolled.nn import Regularization

SHARES = ("dropout", "dropout_input", "dropout_between", "dropout_output", "dropout_embedding", "weight_drop")
FACTORS = ("activation", "temporal_activation", "signal_norm")
FALLBACKS = {"dropout_input": "of_inputs", "dropout_between": "between_layers", "dropout_output": "of_outputs"}


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", SHARES)
def test_a_share_outside_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        Regularization(**{name: value})  # type: ignore[arg-type]
    assert str(error.value) == f"{name} is {value}: give a share of at least 0 and below 1"


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_below_zero_or_without_a_size_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        Regularization(**{name: value})  # type: ignore[arg-type]
    assert str(error.value) == f"{name} is {value}: give a factor of at least 0"


@pytest.mark.parametrize("name", [*SHARES, *FACTORS])
def test_what_is_in_range_is_taken(name: str) -> None:
    for value in (None, 0.0, 0, 0.5, math.nextafter(1, 0), *((1, 2.0, 1e9) if name in FACTORS else ())):
        assert getattr(Regularization(**{name: value}), name) == value


def test_every_field_is_a_share_a_factor_or_the_kind_of_dropout() -> None:
    assert sorted(each.name for each in fields(Regularization)) == sorted([*SHARES, "locked", *FACTORS])
    settings = Regularization()
    assert settings.locked is True
    assert all(getattr(settings, name) is None for name in (*SHARES, *FACTORS))
    assert all(each.metadata["help"] for each in fields(Regularization))


@pytest.mark.parametrize("name", FALLBACKS)
def test_each_place_of_dropout_falls_back_on_the_common_share(name: str) -> None:
    place = FALLBACKS[name]
    others = [other for other in FALLBACKS.values() if other != place]
    settings = Regularization(dropout=0.4)
    assert [getattr(settings, each) for each in FALLBACKS.values()] == [0.4] * 3
    for own in (0.0, 0.7):
        changed = replace(settings, **{name: own})  # type: ignore[arg-type]
        assert getattr(changed, place) == own
        assert [getattr(changed, other) for other in others] == [0.4, 0.4]
        alone = Regularization(**{name: own})  # type: ignore[arg-type]
        assert getattr(alone, place) == own
        assert [getattr(alone, other) for other in others] == [0, 0]


def test_nothing_asked_for_is_nothing_dropped() -> None:
    settings = Regularization()
    assert (settings.of_inputs, settings.between_layers, settings.of_outputs) == (0.0, 0.0, 0.0)
    assert Regularization(dropout_embedding=0.5, weight_drop=0.5).of_inputs == 0


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Regularization().dropout = 0.5  # type: ignore[misc]


def test_importing_the_settings_loads_no_torch(run_python: Callable[..., str]) -> None:
    code = """
import sys
import unrolled.nn
from unrolled.nn import Regularization
Regularization(dropout=0.4, signal_norm=1.0)
print("torch" in sys.modules)
from unrolled.nn import Dropout, Recurrent
print("torch" in sys.modules, Recurrent("gru", 2, 3).num_layers, Dropout(0.5).p)
"""
    assert run_python(code) == "False\nTrue 1 0.5\n"


def test_all_that_the_package_names_is_there() -> None:
    homes = {name: getattr(unrolled.nn, name).__module__ for name in unrolled.nn.__all__}
    names = ("Attention", "Dropout", "Pooling", "Recurrent", "Regularization")
    files = {name: name.lower() for name in names} | {"Sampler": "sampling"}
    assert homes == {name: f"unrolled.nn.{file}" for name, file in files.items()}


def test_what_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'unrolled.nn' has no attribute 'Transformer'$"):
        _ = unrolled.nn.Transformer
    assert not hasattr(unrolled.nn, "Transformer")
