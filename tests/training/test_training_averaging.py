"""The mean of the weights: when it begins, what it is, and where it stands in for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from unrolled import model_directory
from unrolled.models import LanguageModelNetwork
from unrolled.training import averaging, learner
from unrolled.training import course as course_module
from unrolled.training.averaging import PATIENCE, Average
from unrolled.training.events import Stopped
from unrolled.training.loop import Found, Step, train_steps, validate
from unrolled.training.run import run

from .runs import DEFAULTS, all_of, log_of, settings, stop_after, train, weights_of

Arrays = dict[str, npt.NDArray[Any]]


def some_parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(4)
    return [Parameter(torch.randn(shape, dtype=torch.float64, generator=generator)) for shape in ((3, 2), (5,), ())]


def moved(parameters: list[Parameter]) -> None:
    """An update in place."""
    generator = torch.Generator().manual_seed(int(1e6 * float(parameters[1].detach().abs().sum())))
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, dtype=torch.float64, generator=generator))


def copies(parameters: list[Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


# When it begins


@pytest.mark.parametrize(
    ("losses", "begins_at"),
    [
        ([5.0, 4.9, 4.8, 4.7, 4.6, 4.5, 4.4, 4.3, 4.2, 4.1], None),  # always better
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 6),  # worse than the first, once it is out of the last five
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0], None),  # not yet
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0], None),  # as good is not worse
        ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0001], 7),
        ([5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 3.9], None),  # no better for five, but better than all before those
        ([5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 3.9, 2.9], None),
        ([5.0, 4.0, 3.0, 3.5, 3.6, 3.7, 3.8, 3.9, 3.1], 8),
    ],
)
def test_it_begins_when_a_loss_is_above_the_best_of_those_before_the_last_five(
    losses: list[float], begins_at: int | None
) -> None:
    assert PATIENCE == 5
    average = Average(some_parameters(), triggered=True)
    begun = [number for number, loss in enumerate(losses) if average.validated(loss)]
    assert begun == ([] if begins_at is None else [begins_at])
    assert bool(average.means) == (begins_at is not None)
    assert average.losses == losses


def test_it_begins_only_once_and_only_where_it_was_asked_for() -> None:
    average, never = (Average(some_parameters(), triggered=wanted) for wanted in (True, False))
    assert [average.validated(float(loss)) for loss in range(9)] == [False] * 6 + [True] + [False] * 2
    assert not any(never.validated(float(loss)) for loss in range(9))
    assert never.means == []


# What it is


def test_it_is_the_mean_of_the_weights_when_it_began_and_after_each_step_since() -> None:
    parameters = some_parameters()
    average = Average(parameters, triggered=True)
    for loss in range(PATIENCE + 1):
        moved(parameters)
        average.stepped()
        average.validated(float(loss))
    assert average.means == [], "what was before it began is no part of it"
    assert average.validated(99.0)
    seen = [copies(parameters)]
    for _ in range(40):
        moved(parameters)
        average.stepped()
        seen.append(copies(parameters))
        for index, mean in enumerate(average.means):
            expected = np.mean([weights[index].numpy() for weights in seen], axis=0)
            np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-12, atol=1e-13)
    assert average.count == len(seen)
    assert all(torch.equal(one, other) for one, other in zip(copies(parameters), seen[-1], strict=True))


def begun() -> tuple[Average, list[Parameter]]:
    parameters = some_parameters()
    average = Average(parameters, triggered=True)
    for loss in range(PATIENCE + 2):
        average.validated(float(loss))
    moved(parameters)
    average.stepped()
    return average, parameters


def test_meanwhile_it_stands_where_the_weights_were_and_then_they_are_back() -> None:
    average, parameters = begun()
    own, means = copies(parameters), [mean.clone() for mean in average.means]
    with average.in_place():
        assert all(torch.equal(p, mean) for p, mean in zip(parameters, means, strict=True))
        assert not any(torch.equal(p, weights) for p, weights in zip(parameters, own, strict=True))
    assert all(torch.equal(p, weights) for p, weights in zip(parameters, own, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(average.means, means, strict=True))
    assert all(parameter.requires_grad for parameter in parameters)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_the_weights_are_back_whatever_goes_wrong_meanwhile(error: type[BaseException]) -> None:
    average, parameters = begun()
    own = copies(parameters)

    def fail() -> None:
        with average.in_place():
            assert not torch.equal(parameters[0], own[0])
            raise error

    with pytest.raises(error):
        fail()
    assert all(torch.equal(p, weights) for p, weights in zip(parameters, own, strict=True))


def test_before_it_has_begun_the_weights_stay_in_place() -> None:
    parameters = some_parameters()
    average, own = Average(parameters, triggered=True), copies(parameters)
    with average.in_place():
        assert all(torch.equal(p, weights) for p, weights in zip(parameters, own, strict=True))
        moved(parameters)
    assert not torch.equal(parameters[0], own[0]), "nothing is put back that was not taken away"


# In a run

CHANGES = (0.0, 1.0, 2.0, -1.0, 0.5, -2.0)
"""Added to the validation losses of a run, so that averaging begins at the third of them and is better later on."""
EPOCHS = len(CHANGES)
AVERAGED = settings(training={"average": "triggered", "epochs": EPOCHS}, regularization={"dropout": 0.2})


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Arrays]]:
    """The weights "tried" in each validation, and "stepped" after each update, of all runs to come."""
    monkeypatch.setattr(averaging, "PATIENCE", 1)
    seen: dict[str, list[Arrays]] = {"tried": [], "stepped": []}

    def pretend(network: LanguageModelNetwork, *arguments: Any) -> Found:
        seen["tried"].append(network.tensors())
        return Found(validate(network, *arguments).loss + CHANGES[(len(seen["tried"]) - 1) % EPOCHS], None)

    def watched_steps(network: LanguageModelNetwork, *arguments: Any, **options: Any) -> Iterator[Step]:
        for step in train_steps(network, *arguments, **options):
            seen["stepped"].append(network.tensors())
            yield step

    monkeypatch.setattr(course_module, "validate", pretend)
    monkeypatch.setattr(learner, "train_steps", watched_steps)
    return seen


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("no_curve")
def test_a_run_tries_and_keeps_the_mean_and_goes_on_with_the_weights(
    corpus: Path, tmp_path: Path, watched: dict[str, list[Arrays]]
) -> None:
    finished, validations = train(corpus, tmp_path / "model", AVERAGED)
    tried, stepped = watched["tried"], watched["stepped"]
    a_pass = len(stepped) // EPOCHS
    assert (finished.steps, len(tried)) == (EPOCHS * a_pass, EPOCHS)
    assert a_pass > 5
    began = 3 * a_pass  # at the third validation
    for number in range(EPOCHS):
        done = (number + 1) * a_pass
        if done <= began:
            assert same(tried[number], stepped[done - 1])
            continue
        for name, tensor in tried[number].items():
            expected = np.mean([weights[name].astype(np.float64) for weights in stepped[began - 1 : done]], axis=0)
            np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-7)
            assert not np.array_equal(tensor, stepped[done - 1][name])
    assert [v.best for v in validations] == [True, False, False, True, False, True]
    assert same(model_directory.load(tmp_path / "model").tensors, tried[-1])
    assert finished.loss == validations[-1].loss
    plain = list(stepped)
    stepped.clear()
    train(corpus, tmp_path / "plain", settings(training={"epochs": EPOCHS}, regularization={"dropout": 0.2}))
    assert all(same(one, other) for one, other in zip(stepped, plain, strict=True)), "training never sees the mean"
    assert not same(watched["tried"][-1], tried[EPOCHS - 1])


@pytest.mark.usefixtures("no_curve", "watched")
@pytest.mark.parametrize("passes", [2.5, 3, 5.7], ids=lambda passes: f"after {passes} passes")
def test_a_run_that_averages_is_resumed_to_the_last_bit(passes: float, corpus: Path, tmp_path: Path) -> None:
    """Stopped before averaging begins, at the moment when it does, and long after it."""
    undisturbed, expected = train(corpus, tmp_path / "undisturbed", AVERAGED)
    steps = round(passes * expected[0].step)
    out = tmp_path / "stopped"
    end, validations = all_of(run([corpus], out, AVERAGED, should_stop=stop_after(steps)))
    assert isinstance(end, Stopped)
    resumed, more = all_of(run([], out, DEFAULTS, resume=True))
    assert [*validations, *more] == expected, "losses to the last bit"
    assert resumed.steps == undisturbed.steps
    assert weights_of(out) == weights_of(tmp_path / "undisturbed")
    assert [r["step"] for r in log_of(out)] == [r["step"] for r in log_of(tmp_path / "undisturbed")]
