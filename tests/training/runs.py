"""Runs on a small text, for the tests of whole runs."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from unrolled import model_directory
from unrolled.models.settings import ModelSettings
from unrolled.nn import Regularization
from unrolled.text.settings import TextSettings
from unrolled.training.events import Event, Finished, Stopped, Validated
from unrolled.training.run import run
from unrolled.training.settings import Settings, TrainingSettings

SETTINGS = Settings(
    TextSettings(min_count=2),
    ModelSettings(hidden=8, embedding=5),
    TrainingSettings(epochs=2.5, batch=8, window=16, learning_rate=0.02, threads=1),
)


DEFAULTS = Settings(TextSettings(), ModelSettings(), TrainingSettings())
"""No wishes, as for a run that is resumed."""
EVERYTHING: dict[str, Any] = {
    "dropout": 0.2,
    "dropout_input": 0.1,
    "dropout_between": 0.3,
    "dropout_output": 0.15,
    "dropout_embedding": 0.1,
    "weight_drop": 0.25,
    "activation": 0.1,
    "temporal_activation": 0.05,
    "signal_norm": 0.01,
}
"""Every regularisation at once; signal_norm is for Elman cells."""


def settings(*, text: Any = None, model: Any = None, training: Any = None, regularization: Any = None) -> Settings:
    """SETTINGS, except for the fields that are given."""
    return Settings(
        replace(SETTINGS.text, **(text or {})),
        replace(SETTINGS.model, **(model or {})),
        replace(SETTINGS.training, **(training or {})),
        Regularization(**(regularization or {})),
    )


def stop_after(steps: int) -> Callable[[], bool]:
    """The question that a run asks after each step, answered with yes at the last of so many."""
    answers = iter([False] * (steps - 1) + [True])
    return lambda: next(answers)


def all_of(events: Iterator[Event]) -> tuple[Finished | Stopped, list[Validated]]:
    """How a run ended, and its validations."""
    seen = list(events)
    assert isinstance(seen[-1], Finished | Stopped)
    return seen[-1], [event for event in seen if isinstance(event, Validated)]


def train(corpus: Path, out: Path, wanted: Settings = SETTINGS, **options: Any) -> tuple[Finished, list[Validated]]:
    """A run to its end."""
    end, validations = all_of(run([corpus], out, wanted, **options))
    assert isinstance(end, Finished)
    return end, validations


def settings_of(out: Path) -> Settings:
    """What a run that is over was asked to do, with what it filled in."""
    config = config_of(out)
    training = config["training"]
    return Settings(
        TextSettings(**config["text"]),
        ModelSettings(**training["model"]),
        TrainingSettings(**training["options"]),
        Regularization(**training["regularization"]),
    )


def config_of(out: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((out / "config.json").read_text(encoding="utf-8"))
    return config


def log_of(out: Path) -> list[dict[str, Any]]:
    return model_directory.read_log(out)


def weights_of(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()
