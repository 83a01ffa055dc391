"""What one update reports and does beside descending: limits, the size of the update, penalties."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from unrolled.models import LanguageModelNetwork
from unrolled.training import optimizers
from unrolled.training.loop import (
    MEASURED_STEPS,
    SMALLEST_WEIGHTS,
    Limits,
    Position,
    Trained,
    train_step,
    train_steps,
)
from unrolled.training.schedule import Schedule

from .networks import CPU, Batches, network_of, schedule_of, windows

RATE = 0.7
Arrays = dict[str, npt.NDArray[Any]]


def gradients_of(network: LanguageModelNetwork) -> Arrays:
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad.to_dense().numpy().copy()
    return found


def norm_of(arrays: Arrays) -> float:
    return math.sqrt(sum(float((array**2).sum()) for array in arrays.values()))


def stepped(
    network: LanguageModelNetwork,
    *,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    rate: float = RATE,
    engine: str = "auto",
    optimizer: str = "sgd",
    measure: bool = False,
) -> Trained:
    """A step on the first window."""
    made = optimizers.make(optimizer, network.parameters(), 0.1, engine=engine)
    (batch, _) = windows(carried=True).content
    return train_step(network, made, batch, None, rate=rate, limits=limits, device=CPU, measure=measure)


# Limits


@pytest.mark.parametrize("engine", ["portable", "native"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("norm", [0.0, 0.05, 1e9], ids=["no norm", "low norm", "high norm"])
def test_elements_are_clamped_before_the_norm_is_looked_at(norm: float, sparse: bool, engine: str) -> None:
    network, free = (network_of(words=50, sparse=sparse) for _ in range(2))
    as_it_is = stepped(free, rate=0.0, engine=engine)
    gradients, before = gradients_of(free), network.tensors()
    value = 0.5 * max(float(np.abs(array).max()) for array in gradients.values())
    done = stepped(network, limits=Limits(norm, value), engine=engine)
    assert network.embedding.weight.grad is not None
    assert network.embedding.weight.grad.is_sparse == sparse
    assert done.gradient_norm == as_it_is.gradient_norm == pytest.approx(norm_of(gradients), rel=1e-12)
    assert done.clipped
    clamped = {name: np.clip(array, -value, value) for name, array in gradients.items()}
    assert 0.05 < norm_of(clamped) < norm_of(gradients)
    scale = min(1.0, norm / (norm_of(clamped) + 1e-6)) if norm else 1.0
    assert (scale < 1) == (norm == 0.05)
    for name, tensor in network.tensors().items():
        expected = before[name] - RATE * scale * clamped[name]
        np.testing.assert_allclose(tensor, expected, rtol=1e-12, atol=1e-14, err_msg=name)


def test_clipped_says_whether_a_limit_was_passed() -> None:
    free = network_of()
    norm = stepped(free).gradient_norm
    largest = max(float(np.abs(array).max()) for array in gradients_of(free).values())
    for limits, clipped in (
        (Limits(), False),
        (Limits(norm=0.99 * norm), True),
        (Limits(norm=norm), False),
        (Limits(norm=1.01 * norm), False),
        (Limits(value=0.99 * largest), True),
        (Limits(value=1.01 * largest), False),
        (Limits(1.01 * norm, 0.99 * largest), True),
        (Limits(0.99 * norm, 1.01 * largest), True),
        (Limits(1.01 * norm, 1.01 * largest), False),
    ):
        assert stepped(network_of(), limits=limits).clipped is clipped, limits


def test_limits_that_are_not_passed_change_nothing() -> None:
    free, limited = network_of(), network_of()
    stepped(free)
    stepped(limited, limits=Limits(1e6, 1e6))
    for name, tensor in free.tensors().items():
        np.testing.assert_array_equal(limited.tensors()[name], tensor)


# The size of the update


@pytest.mark.parametrize("name", optimizers.MAKERS)
@pytest.mark.parametrize("tied", [False, True], ids=["plain", "tied"])
def test_the_update_is_measured_against_the_weights_before_it(tied: bool, name: str) -> None:
    network = network_of(tied=tied)
    before = network.tensors()
    done = stepped(network, optimizer=name, measure=True, limits=Limits(0.3, 0.2))
    moved = {key: tensor - before[key] for key, tensor in network.tensors().items()}
    assert ("output.weight" in moved) != tied, "a matrix that is used twice counts once"
    assert norm_of(moved) > 0
    assert done.update_ratio == pytest.approx(norm_of(moved) / norm_of(before), rel=1e-12)


def test_without_a_wish_nothing_is_measured() -> None:
    assert stepped(network_of()).update_ratio is None
    assert stepped(network_of(), rate=0.0, measure=True).update_ratio == 0.0


def test_measuring_changes_nothing() -> None:
    plain, measured = network_of(weight_drop=0.3), network_of(weight_drop=0.3)
    stepped(plain)
    stepped(measured, measure=True)
    for name, tensor in plain.tensors().items():
        np.testing.assert_array_equal(measured.tensors()[name], tensor)


def test_weights_that_are_all_zero_have_a_ratio_too() -> None:
    network = network_of()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    done = stepped(network, measure=True)
    assert norm_of(network.tensors()) > 0
    assert done.update_ratio == pytest.approx(norm_of(network.tensors()) / SMALLEST_WEIGHTS, rel=1e-12)


@pytest.mark.parametrize("start", [0, 30])
def test_a_run_measures_once_in_so_many_steps_counted_from_its_beginning(start: int) -> None:
    network, position = network_of(), Position(start)
    made = optimizers.make("sgd", network.parameters(), 0.1)
    steps = list(
        train_steps(network, windows(carried=True), made, schedule_of(0.1, 50), position, limits=Limits(), device=CPU)
    )
    assert MEASURED_STEPS == 20
    measured = [step.number for step in steps if step.done.update_ratio is not None]
    assert measured == [number for number in (1, 21, 41) if number > start]
    assert all((step.done.update_ratio or 1) > 0 for step in steps)


def test_the_rate_of_a_batch_multiplies_that_of_the_schedule() -> None:
    first, second = windows(carried=True).content
    reader = Batches([first, replace(second, rate=0.25)])
    network, schedule = network_of(), Schedule(0.4, "constant", warm_up=0)
    schedule.fall_to(0, 4)
    made = optimizers.make("sgd", network.parameters(), 0.1)
    seen, before = [], network.tensors()
    for step in train_steps(network, reader, made, schedule, Position(), limits=Limits(norm=1e-3), device=CPU):
        moved = {name: tensor - before[name] for name, tensor in network.tensors().items()}
        assert norm_of(moved) == pytest.approx(step.rate * 1e-3, rel=1e-4), "the update has that rate too"
        before = network.tensors()
        seen.append(step.rate)
    assert seen == [0.4, 0.1, 0.4, 0.1]
