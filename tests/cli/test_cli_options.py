"""Options stand in one place: what settings print as options, the command line reads back."""

import re
import shlex
from dataclasses import fields, replace
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import cells, engines
from unrolled.cli.options import EngineName, with_settings
from unrolled.errors import UsageError
from unrolled.models.settings import ModelSettings
from unrolled.nn.initialization import NAMES as INITIALIZATIONS
from unrolled.nn.regularization import Regularization
from unrolled.settings import options_of
from unrolled.text.settings import ERRORS, READINGS, UNITS, TextSettings
from unrolled.training.settings import AVERAGES, OPTIMIZERS, SCHEDULES, TrainingSettings

from .conftest import Call

Parsed = tuple[TextSettings, ModelSettings, Regularization, TrainingSettings]


@cache
def command() -> tuple[Any, list[Parsed]]:
    """A command with all settings, and where it leaves what it is called with."""
    found: list[Parsed] = []

    @with_settings
    def verb(
        name: Annotated[str, typer.Argument()],
        *,
        text: TextSettings,
        model: ModelSettings,
        regularization: Regularization,
        training: TrainingSettings,
    ) -> None:
        assert name == "name"
        found.append((text, model, regularization, training))

    app = typer.Typer(add_completion=False)
    app.command()(verb)
    return typer.main.get_command(app), found


def parse(words: list[str]) -> Parsed:
    """The settings that the command is called with."""
    called, found = command()
    called.main(["name", *words], standalone_mode=False)
    return found.pop()


SIZES = st.integers(1, 10**6)
POSITIVE = st.floats(1e-300, 1e300)
SHARES = st.none() | st.floats(0, 1, exclude_max=True)
FACTORS = st.none() | st.just(0.0) | POSITIVE
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)

VALUES: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    TextSettings: {
        "unit": st.sampled_from(UNITS),
        "read": st.sampled_from(READINGS),
        "vocabulary_size": st.integers(256, 10**6),
        "min_count": SIZES,
        "lowercase": st.booleans(),
        "pre_tokenized": st.just(False) | st.just(True),
        "encoding": st.sampled_from(["utf-8", "latin-1", "utf-16"]),
        "errors": st.sampled_from(ERRORS),
        "validation": st.none() | NAMES,
        "split": st.none() | st.sampled_from(["80/20", "90/5/5", "33.5/66.5"]),
    },
    ModelSettings: {
        "cell": st.none() | st.sampled_from(cells.names()),
        "hidden": st.none() | SIZES,
        "embedding": st.none() | SIZES,
        "layers": st.none() | SIZES,
        "tied": st.none() | st.booleans(),
        "factored": st.none() | st.booleans(),
        "most_parameters": st.none() | SIZES,
        "initialization": st.sampled_from(INITIALIZATIONS),
        "initial_range": st.none() | POSITIVE,
        "forget_bias": st.floats(-1e300, 1e300),
    },
    Regularization: {
        "dropout": SHARES,
        "dropout_input": SHARES,
        "dropout_between": SHARES,
        "dropout_output": SHARES,
        "dropout_embedding": SHARES,
        "locked": st.booleans(),
        "weight_drop": SHARES,
        "activation": FACTORS,
        "temporal_activation": FACTORS,
        "signal_norm": FACTORS,
    },
    TrainingSettings: {
        "epochs": st.none() | POSITIVE,
        "minutes": st.none() | POSITIVE,
        "batch": st.none() | SIZES,
        "window": st.none() | SIZES,
        "random_windows": st.booleans(),
        "optimizer": st.sampled_from(tuple(OPTIMIZERS)),
        "learning_rate": st.none() | POSITIVE,
        "schedule": st.sampled_from(SCHEDULES),
        "warm_up": st.just(0) | SIZES,
        "hold": st.floats(0, 1, exclude_max=True),
        "beta1": st.none() | st.floats(0, 1, exclude_max=True),
        "beta2": st.none() | st.floats(0, 1, exclude_max=True),
        "samples": st.none() | st.integers(0, 10**6),
        "weight_decay": st.just(0.0) | POSITIVE,
        "average": st.sampled_from(AVERAGES),
        "clip": st.just(0.0) | POSITIVE,
        "clip_value": st.just(0.0) | POSITIVE,
        "engine": st.sampled_from(("auto", *engines.names())),
        "device": NAMES,
        "threads": st.none() | st.integers(1, 1024),
        "checkpoint_every": POSITIVE,
        "seed": st.integers(0, 2**63 - 1),
        "anneal": st.none() | NAMES,
    },
}
GROUPS = tuple(VALUES)


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_has_every_field(group: type) -> None:
    assert list(VALUES[group]) == [each.name for each in fields(group)]


@pytest.mark.parametrize("group", GROUPS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_each_field_comes_back_from_the_command_line(group: type, data: st.DataObject) -> None:
    for name, values in VALUES[group].items():
        value = data.draw(values, label=name)
        wanted = group(**{name: value})
        words = options_of(wanted)
        parsed = parse(shlex.split(" ".join(words)))[GROUPS.index(group)]
        assert parsed == wanted, words
        assert type(getattr(parsed, name)) is type(value)


@settings(max_examples=20, deadline=None)
@given(
    st.fixed_dictionaries({n: v for n, v in VALUES[ModelSettings].items() if n != "tied"}).map(
        lambda options: ModelSettings(**options)
    ),
    st.fixed_dictionaries(VALUES[Regularization]).map(lambda options: Regularization(**options)),
    NAMES,
)
def test_all_together_come_back_too(model: ModelSettings, regularization: Regularization, name: str) -> None:
    text = TextSettings(validation=name, min_count=3, lowercase=True)
    training = TrainingSettings(anneal="5:9,7:30", learning_rate=0.1 + 0.2)
    parts = (text, model, regularization, training)
    line = " ".join(word for part in parts for word in options_of(part))
    assert parse(shlex.split(line)) == parts


@pytest.mark.parametrize("value", ["-", "--", "--tied", "-x y", "a'b\"c", "$(ls) `ls` \\", "*", "~", "ü\n\t\u2028"])
def test_odd_names_are_quoted(value: str) -> None:
    wanted = TextSettings(validation=value)
    assert parse(shlex.split(" ".join(options_of(wanted))))[0] == wanted


def test_without_options_everything_is_as_by_default() -> None:
    assert parse([]) == (TextSettings(), ModelSettings(), Regularization(), TrainingSettings())
    assert [options_of(part) for part in parse([])] == [[], [], [], []]


SWITCHES = (
    (0, "lowercase", False),
    (0, "pre_tokenized", False),
    (1, "tied", None),
    (1, "factored", None),
    (2, "locked", True),
    (3, "random_windows", False),
)


def test_the_switches_are_all_fields_that_are_true_or_false() -> None:
    found = [
        (number, each.name, each.default)
        for number, group in enumerate(GROUPS)
        for each in fields(group)
        if get_type_hints(group)[each.name] in {bool, bool | None}
    ]
    assert tuple(found) == SWITCHES


@pytest.mark.parametrize(("group", "name", "default"), SWITCHES)
def test_a_switch_is_put_on_off_or_left_alone(group: int, name: str, default: bool | None) -> None:
    word = name.replace("_", "-")
    for words, value in (
        ([], default),
        ([f"--{word}"], True),
        ([f"--no-{word}"], False),
        ([f"--{word}", f"--no-{word}"], False),
        ([f"--no-{word}", f"--{word}"], True),
    ):
        assert getattr(parse(words)[group], name) is value, words


def test_what_settings_refuse_is_refused_by_the_command_line() -> None:
    with pytest.raises(UsageError, match="layers is 0"):
        parse(["--layers", "0"])


def test_every_field_is_an_option_of_train_with_its_help_and_default(unrolled: Call) -> None:
    shown = " ".join(unrolled("train", "--help").output.split()).split(" Options: ")[1]
    for group in GROUPS:
        hints = get_type_hints(group)
        for each in fields(group):
            name = "--" + each.name.replace("_", "-")
            choices = "|".join(each.metadata["choices"])
            is_switch = hints[each.name] in {bool, bool | None}
            assert (f"{name} / --no-{name[2:]} " if is_switch else f"{name} {choices}") in shown
            assert " ".join(each.metadata["help"].split()) in shown
            if hints[each.name] in {int, float, str}:
                assert re.search(rf"{name} \S+ [^[]*\[default: {re.escape(str(each.default))}\]", shown), name


def test_a_field_that_is_replaced_is_the_only_one_that_is_printed() -> None:
    assert options_of(replace(TrainingSettings(), seed=5)) == ["--seed", "5"]


def test_the_engines_to_choose_from_are_those_there_are() -> None:
    (option,) = get_args(EngineName)[1:]
    assert option.metavar == "|".join(("auto", *engines.names()))
