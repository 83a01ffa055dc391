"""log.jsonl says of a run what happened in it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unrolled.models import LanguageModelNetwork
from unrolled.training import learner
from unrolled.training.loop import MEASURED_STEPS, Step, train_steps
from unrolled.training.settings import OPTIMIZERS

from .runs import EVERYTHING, config_of, log_of, settings, settings_of, train

pytestmark = pytest.mark.usefixtures("no_curve")

TRAINING = [
    *("training_loss", "learning_rate", "gradient_norm", "largest_gradient_norm", "clipped", "update_ratio"),
    "tokens_per_second",
]
VALIDATION = ["validation_loss", "perplexity", "bits_per_character", "effective_memory"]


RATES = {"adamw": 0.03, "sgd": 2.0, "momentum": 0.4, "rmsprop": 0.01, "adagrad": 0.1}
"""For a network as small as this."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """All updates of the runs to come."""
    seen: list[Step] = []

    def watched(network: LanguageModelNetwork, *arguments: Any, **options: Any) -> Iterator[Step]:
        for step in train_steps(network, *arguments, **options):
            seen.append(step)
            yield step

    monkeypatch.setattr(learner, "train_steps", watched)
    return seen


def test_each_line_sums_up_its_pass(corpus: Path, tmp_path: Path, steps: list[Step]) -> None:
    wanted = settings(training={"epochs": 3.5, "clip": 0.08, "clip_value": 0.02, "schedule": "cosine"})
    train(corpus, tmp_path / "model", wanted)
    log = log_of(tmp_path / "model")
    lines = [line for line in log if "training_loss" in line]
    a_pass = lines[0]["step"]
    assert [line["step"] for line in lines] == [a_pass, 2 * a_pass, 3 * a_pass, len(steps)]
    first = 0
    for line in lines:
        assert list(line) == ["step", "passes", *TRAINING, "seconds"]
        assert line["passes"] == line["step"] / a_pass
        done = [step.done for step in steps[first : line["step"]]]
        tokens = sum(one.tokens for one in done)
        assert line["training_loss"] == pytest.approx(sum(one.loss * one.tokens for one in done) / tokens)
        assert line["learning_rate"] == steps[line["step"] - 1].rate
        assert line["gradient_norm"] == pytest.approx(sum(one.gradient_norm for one in done) / len(done))
        assert line["clipped"] == sum(one.clipped for one in done) / len(done)
        measured = [one.update_ratio for one in done if one.update_ratio is not None]
        assert len(measured) == len([n for n in range(first, line["step"]) if n % MEASURED_STEPS == 0])
        assert line["update_ratio"] == (pytest.approx(sum(measured) / len(measured)) if measured else None)
        first = line["step"]
    assert 0 < lines[0]["clipped"] <= 1


def test_the_values_are_those_of_a_run_that_learns(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path / "model", settings(training={"epochs": 6, "clip": 0.15}))
    log = log_of(tmp_path / "model")
    lines = [line for line in log if "training_loss" in line]
    assert len(lines) == 6
    assert lines[-1]["training_loss"] < 0.9 * lines[0]["training_loss"]
    assert all(0 < line["learning_rate"] <= 0.02 for line in lines)
    assert all(0.01 < line["gradient_norm"] < 10 for line in lines)
    assert all(0 <= line["clipped"] <= 1 for line in lines)
    assert len({line["clipped"] for line in lines}) > 1
    ratios = [line["update_ratio"] for line in lines if line["update_ratio"] is not None]
    assert len(ratios) > 2
    assert all(1e-5 < ratio < 0.1 for ratio in ratios)
    assert all(line["tokens_per_second"] > 100 for line in lines)
    seconds = [line["seconds"] for line in log]
    assert seconds == sorted(seconds)
    for line in log:
        if "validation_loss" in line:
            assert list(line) == ["step", "passes", *VALIDATION, "seconds"]
            assert line["perplexity"] == pytest.approx(math.exp(line["validation_loss"]))


@pytest.mark.parametrize("limits", [{"clip": 0.0}, {"clip": 1e9, "clip_value": 1e9}])
def test_where_no_limit_is_passed_nothing_is_clipped(corpus: Path, tmp_path: Path, limits: dict[str, float]) -> None:
    train(corpus, tmp_path / "model", settings(training={"epochs": 1, **limits}))
    assert [line["clipped"] for line in log_of(tmp_path / "model") if "clipped" in line] == [0.0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns_with_every_regularisation(name: str, corpus: Path, tmp_path: Path) -> None:
    wanted = settings(
        model={"cell": "tanh", "layers": 2, "initialization": "orthogonal"},
        training={
            "optimizer": name,
            "learning_rate": RATES[name],
            "epochs": 6,
            "warm_up": 5,
            "random_windows": True,
            "clip_value": 0.5,
        },
        regularization=EVERYTHING,
    )
    train(corpus, tmp_path / "model", wanted)
    losses = [line["validation_loss"] for line in log_of(tmp_path / "model") if "validation_loss" in line]
    results = config_of(tmp_path / "model")["training"]["results"]
    assert losses[-1] < losses[0] < results["uniform_loss"]
    assert losses[-1] < 0.97 * results["unigram_loss"]
    assert settings_of(tmp_path / "model").regularization == wanted.regularization


def test_an_update_without_measure_can_be_logged(corpus: Path, tmp_path: Path) -> None:
    """Its square is beyond what float32 holds, while losses and gradients still are numbers."""
    wild = settings(
        training={"optimizer": "sgd", "learning_rate": 1e24, "clip": 0.0, "epochs": 1, "warm_up": 0, "hold": 0.5}
    )
    train(corpus, tmp_path / "model", wild)
    (line,) = (line for line in log_of(tmp_path / "model") if "training_loss" in line)
    assert line["update_ratio"] is None or 1e10 < line["update_ratio"] < math.inf
