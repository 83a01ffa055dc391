"""What is left open is filled in, and what was given stays."""

from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from unrolled import ModelSettings, Regularization, TextSettings, TrainingSettings
from unrolled.text.settings import UNITS
from unrolled.training.recipe import filled, most_threads
from unrolled.training.settings import OPTIMIZERS, Settings

OPEN: dict[str, dict[str, dict[str, Any]]] = {
    "word": {
        "model": {"cell": "lstm", "hidden": 200, "embedding": 200, "layers": 1, "tied": False, "factored": False},
        "training": {"batch": 16, "window": 32, "learning_rate": 0.01, "beta1": 0.0, "beta2": 0.999, "samples": 0},
    },
    "char": {
        "model": {"cell": "gru", "hidden": 256, "embedding": 256, "layers": 1, "tied": False, "factored": False},
        "training": {"batch": 32, "window": 64, "learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99, "samples": 0},
    },
}
OPEN["bpe"] = OPEN["word"]
"""What a unit is filled in with where all is left open."""

EXPLICIT = Settings(
    TextSettings(min_count=3, read="sentences"),
    ModelSettings(
        cell="relu",
        hidden=7,
        embedding=5,
        layers=3,
        tied=False,
        factored=False,
        most_parameters=9999,
        initialization="identity",
        initial_range=0.05,
        forget_bias=0.0,
    ),
    TrainingSettings(
        minutes=3,
        batch=9,
        window=11,
        random_windows=True,
        optimizer="momentum",
        learning_rate=0.3,
        schedule="cosine",
        warm_up=0,
        hold=0.0,
        beta1=0.5,
        beta2=0.75,
        samples=0,
        weight_decay=0.0,
        average="triggered",
        clip=0.0,
        clip_value=2.0,
        engine="portable",
        device="meta",
        threads=3,
        seed=0,
    ),
    Regularization(dropout=0.0, locked=False, weight_drop=0.5, signal_norm=1.0),
)


def with_unit(unit: str, **model: Any) -> Settings:
    return Settings(TextSettings(unit=unit), ModelSettings(**model), TrainingSettings())


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_is_filled_in_and_nothing_else_is_touched(unit: str) -> None:
    asked = with_unit(unit)
    made = asdict(filled(asked))
    expected = asdict(asked)
    for part, values in OPEN[unit].items():
        expected[part] |= values
    assert made == expected


def test_no_size_is_left_open() -> None:
    whole = filled(with_unit("word"))
    for part, may_be_none in (
        (whole.model, {"most_parameters", "initial_range"}),
        (whole.training, {"epochs", "minutes", "anneal", "threads"}),
    ):
        assert {each.name for each in fields(part) if getattr(part, each.name) is None} == may_be_none


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_given_is_kept(unit: str) -> None:
    asked = replace(EXPLICIT, text=replace(EXPLICIT.text, unit=unit))
    assert filled(asked) == asked


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_filled_stays_as_it_is(unit: str) -> None:
    once = filled(with_unit(unit, tied=True))
    assert filled(once) == once


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("tied", [None, False, True])
@pytest.mark.parametrize(
    ("given", "plain", "when_tied"),
    [
        ({"hidden": 5}, (5, 5), (5, 5)),
        ({"hidden": 5, "embedding": 5}, (5, 5), (5, 5)),
        ({"embedding": 3}, (None, 3), (3, 3)),
        ({}, (None, None), (None, None)),
    ],
)
def test_sizes_follow_from_each_other(
    unit: str,
    tied: bool | None,
    given: dict[str, int],
    plain: tuple[int | None, int | None],
    when_tied: tuple[int | None, int | None],
) -> None:
    own = OPEN[unit]["model"]["hidden"]
    made = filled(with_unit(unit, tied=tied, **given)).model
    assert (made.hidden, made.embedding) == tuple(size or own for size in (when_tied if tied else plain))
    assert made.tied is bool(tied)


@pytest.mark.parametrize(("name", "value"), [("cell", "tanh"), ("hidden", 9), ("layers", 4)])
def test_one_that_is_given_leaves_the_others_to_the_unit(name: str, value: Any) -> None:
    made, usual = filled(with_unit("char", **{name: value})), filled(with_unit("char"))
    changed = {
        each.name for each in fields(made.model) if getattr(made.model, each.name) != getattr(usual.model, each.name)
    }
    assert changed == {name} | ({"embedding"} if name == "hidden" else set())
    assert getattr(made.model, name) == value
    assert made.training == usual.training


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_is_that_of_the_optimizer_unless_it_is_given(name: str) -> None:
    for rate, expected in ((None, OPTIMIZERS[name]), (0.5, 0.5)):
        training = TrainingSettings(optimizer=name, learning_rate=rate)
        asked = Settings(TextSettings(), ModelSettings(), training)
        assert filled(asked).training.learning_rate == expected


def test_small_networks_of_other_tasks_take_one_thread() -> None:
    def threads(task: str, hidden: int | None = None) -> int | None:
        return most_threads(Settings(TextSettings(), ModelSettings(hidden=hidden), TrainingSettings(), task=task))

    assert [threads(task) for task in ("classify", "tag", "translate")] == [1, 1, 1]
    assert [threads("translate", 128), threads("translate", 130), threads("language", 8)] == [1, None, None]
