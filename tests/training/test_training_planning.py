"""A plan takes the largest network that learns enough in the time, and leaves alone what a person chose."""

import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.errors import UsageError
from unrolled.models.language.data import TrainingData, prepare
from unrolled.models.language.network import shape_of
from unrolled.models.settings import ModelSettings
from unrolled.nn import Regularization, Sampler
from unrolled.text.settings import TextSettings
from unrolled.training import planning, recipe
from unrolled.training.events import Planned
from unrolled.training.planning import Plan, largest, make_plan
from unrolled.training.run import run
from unrolled.training.settings import Settings, TrainingSettings


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=25, unique=True).map(sorted),
    st.integers(0, 6000),
    st.sampled_from([0.01, 2.0, 4.0, 50.0]),
    st.floats(0.1, 1e4),
)
def test_the_largest_size_that_has_room_is_found_and_none_is_asked_twice(
    sizes: list[int], most: int, steepness: float, first: float
) -> None:
    asked: list[int] = []

    def room(size: int) -> float:
        asked.append(size)
        return float((most / size) ** steepness)

    found = largest(sizes, first, room, lambda: True)
    assert found == max([size for size in sizes if size <= most], default=sizes[0])
    assert found in asked
    assert len(asked) == len(set(asked))


def test_when_time_is_up_the_best_of_those_asked_is_taken() -> None:
    asked: list[int] = []

    def room(size: int) -> float:
        asked.append(size)
        return 1.5 if size < 1000 else 0.5

    answers = iter([True, True, False])
    found = largest(recipe.SIZES, 100, room, lambda: next(answers))
    assert len(asked) == 3
    assert found == max(size for size in asked if size < 1000)
    assert largest(recipe.SIZES, 300, lambda size: 0.0, lambda: False) == 256


@pytest.fixture
def data(corpus: Path) -> TrainingData:
    return prepare([corpus], TextSettings(min_count=2))


def plan_at(
    monkeypatch: pytest.MonkeyPatch, data: TrainingData, speed: Callable[[int], float], settings: Settings
) -> Plan:
    """The plan where a hidden size makes so many tokens a second."""
    monkeypatch.setattr(planning, "tokens_per_second", lambda whole, *_: speed(whole.model.hidden))
    return make_plan(settings, data, started=time.perf_counter(), finishing=0.0)


def minutes(value: float, **model: int | bool | None) -> Settings:
    return Settings(TextSettings(min_count=2), ModelSettings(**model), TrainingSettings(minutes=value))  # type: ignore[arg-type]


def test_a_faster_machine_and_more_time_get_a_larger_network(
    monkeypatch: pytest.MonkeyPatch, data: TrainingData
) -> None:
    monkeypatch.setattr(recipe, "WEIGHTS_A_TOKEN", 1e9)

    def size(speed: float, time_given: float) -> int:
        plan = plan_at(monkeypatch, data, lambda hidden: speed / hidden**2, minutes(time_given))
        assert plan.settings.model.hidden == plan.settings.model.embedding
        return plan.settings.model.hidden or 0

    slow, fast, longer = size(1e8, 1), size(1e9, 1), size(1e8, 20)
    assert recipe.SIZES[0] <= slow < fast <= recipe.SIZES[-1]
    assert slow < longer
    assert size(1e-3, 1) == recipe.SIZES[0]
    assert size(1e18, 1) == recipe.SIZES[-1]


def test_a_short_text_gets_no_huge_network(monkeypatch: pytest.MonkeyPatch, data: TrainingData) -> None:
    plan = plan_at(monkeypatch, data, lambda hidden: 1e18, minutes(1))
    tokens = len(data.ids["train"])
    assert recipe.SIZES[0] <= (plan.settings.model.hidden or 0) < recipe.SIZES[-1]
    larger = recipe.SIZES[recipe.SIZES.index(plan.settings.model.hidden or 0) + 1]
    shape = shape_of(
        recipe.planned(minutes(1), larger, recipe.SOME_PASSES["word"]).model, data.tokenizer.vocabulary_size
    )
    assert recipe.learning_weights(shape) > recipe.WEIGHTS_A_TOKEN * tokens


def test_what_a_person_chose_wins_over_the_plan(monkeypatch: pytest.MonkeyPatch, data: TrainingData) -> None:
    given_model = ModelSettings(cell="gru", hidden=24, embedding=12, layers=2, tied=False, forget_bias=0.5)
    given_training = TrainingSettings(minutes=2, batch=3, window=9, learning_rate=0.123, optimizer="sgd", clip=0.3)
    given_drops = Regularization(dropout=0.11, dropout_input=0.12, weight_drop=0.13, activation=0.14, locked=False)
    settings = Settings(TextSettings(min_count=2), given_model, given_training, given_drops)
    plan = plan_at(monkeypatch, data, lambda hidden: 1e6, settings)
    assert set(plan.tried) == {24}
    for asked, got in (
        (given_model, plan.settings.model),
        (given_training, plan.settings.training),
        (given_drops, plan.settings.regularization),
    ):
        for each in fields(asked):
            if getattr(asked, each.name) is not None:
                assert getattr(got, each.name) == getattr(asked, each.name), each.name


def test_passes_are_time_times_speed_and_more_of_them_drop_more(
    monkeypatch: pytest.MonkeyPatch, data: TrainingData
) -> None:
    tokens = len(data.ids["train"])
    shares = []
    for passes in (1, 6, 20, 1000):
        plan = plan_at(monkeypatch, data, lambda hidden: tokens * passes / 60, minutes(1, hidden=40))  # noqa: B023
        assert plan.passes == pytest.approx(passes, rel=0.02)  # the plan itself takes some of the time
        assert plan.tokens == pytest.approx(passes * tokens, rel=0.02)
        assert plan.tokens == pytest.approx(plan.tokens_per_second * plan.seconds)
        shares.append(plan.settings.regularization.dropout or 0.0)
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.2 < shares[-1] < 0.7


def test_a_limit_of_weights_is_kept_or_named(monkeypatch: pytest.MonkeyPatch, data: TrainingData) -> None:
    monkeypatch.setattr(recipe, "WEIGHTS_A_TOKEN", 1e9)
    settings = minutes(1, most_parameters=200_000)
    plan = plan_at(monkeypatch, data, lambda hidden: 1e18, settings)
    assert plan.parameters <= 200_000
    next_size = recipe.SIZES[recipe.SIZES.index(plan.settings.model.hidden or 0) + 1]
    larger = plan_at(monkeypatch, data, lambda hidden: 1e18, minutes(1, hidden=next_size))
    assert larger.parameters > 200_000
    with pytest.raises(UsageError, match=r"^most_parameters is 200,000, and 1 x 500 gru, .* has [\d,]+: allow more$"):
        plan_at(monkeypatch, data, lambda hidden: 1e18, minutes(1, hidden=500, most_parameters=200_000))


def test_passes_get_plain_settings_and_an_estimate_of_the_time(
    monkeypatch: pytest.MonkeyPatch, data: TrainingData
) -> None:
    settings = Settings(TextSettings(min_count=2), ModelSettings(), TrainingSettings(epochs=3))
    plan = plan_at(monkeypatch, data, lambda hidden: 100.0, settings)
    assert plan.settings == recipe.filled(settings)
    assert plan.passes == pytest.approx(3, rel=1e-12)
    assert plan.seconds == pytest.approx(3 * len(data.ids["train"]) / 100)


def test_a_run_that_is_repeated_has_the_passes_of_its_legs(monkeypatch: pytest.MonkeyPatch, data: TrainingData) -> None:
    settings = Settings(TextSettings(min_count=2), ModelSettings(hidden=8), TrainingSettings(anneal="2:9", batch=4))
    plan = plan_at(monkeypatch, data, lambda hidden: 100.0, settings)
    assert plan.passes == pytest.approx(9 / len(data.training_reader(plan.settings.training)), rel=1e-12)


def test_a_plan_alone_writes_nothing_and_measures_a_real_speed(corpus: Path, tmp_path: Path) -> None:
    settings = replace(minutes(0.05, hidden=8), training=TrainingSettings(minutes=0.05, threads=1))
    before = sorted(tmp_path.rglob("*"))
    *_, last = run([corpus], None, settings)
    assert isinstance(last, Planned)
    assert sorted(tmp_path.rglob("*")) == before
    assert 10 < last.plan.tokens_per_second < 1e9
    record = json.loads(json.dumps(last.plan.as_dict()))
    assert record["parameters"] == last.plan.parameters
    assert "--hidden 8" in record["options"]
    assert "1 x 8 gru" in last.plan.lines()[0]


def test_words_are_compared_with_a_sample_and_its_speed_is_measured_too(
    monkeypatch: pytest.MonkeyPatch, data: TrainingData
) -> None:
    monkeypatch.setattr(planning, "_tokens_per_second", lambda *given: 3000.0 if len(given) > 3 else 1000.0)
    whole = recipe.planned(minutes(1), 32, recipe.SOME_PASSES["word"])
    assert whole.training.samples == recipe.SAMPLES
    assert whole.model.factored is True
    assert whole.training.learning_rate == pytest.approx(recipe.RATES["factored"] * 2)
    plain = recipe.planned(replace(minutes(1), model=ModelSettings(factored=False)), 32, recipe.SOME_PASSES["word"])
    assert plain.model.factored is False
    assert plain.training.learning_rate == pytest.approx(recipe.RATES["word"] * 2)
    assert planning.tokens_per_second(whole, data) == 1000, "the vocabulary is small"
    monkeypatch.setattr(Sampler, "saves", lambda *_: True)
    assert planning.tokens_per_second(whole, data) == pytest.approx(0.82 * 3000 + 0.18 * 1000)
    passes = replace(whole, training=replace(whole.training, minutes=None, epochs=3))
    assert planning.tokens_per_second(passes, data) == pytest.approx(1 / (0.82 / 3000 + 0.18 / 1000))
    characters = replace(minutes(1), text=TextSettings(unit="char"))
    plain = recipe.planned(characters, 32, recipe.SOME_PASSES["char"])
    assert plain.training.samples == 0
    assert planning.tokens_per_second(plain, data) == 1000


@pytest.mark.parametrize(
    ("unit", "passes", "window", "penalties"),
    [
        ("word", 14.9, 70, (0.0, 0.0)),
        ("word", 15.0, 70, (2.0, 1.0)),
        ("char", 100.0, 64, (0.0, 0.0)),
        ("bpe", 100.0, 35, (0.0, 0.0)),
    ],
)
def test_words_are_read_in_long_windows_and_outputs_kept_small_where_they_are_read_often(
    unit: str, passes: float, window: int, penalties: tuple[float, float]
) -> None:
    open_ = replace(minutes(1), text=TextSettings(unit=unit))
    whole = recipe.planned(open_, 32, passes)
    assert whole.training.window == window
    assert (whole.regularization.activation, whole.regularization.temporal_activation) == penalties
    wishes = Regularization(activation=0.0, temporal_activation=0.5)
    given = replace(open_, training=TrainingSettings(minutes=1, window=20), regularization=wishes)
    kept = recipe.planned(given, 32, passes)
    assert kept.training.window == 20
    assert (kept.regularization.activation, kept.regularization.temporal_activation) == (0.0, 0.5)
