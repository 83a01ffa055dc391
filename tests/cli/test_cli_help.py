"""Every verb explains itself."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from unrolled import cli
from unrolled.cli.app import VERBS, app
from unrolled.version import VERSION

from .conftest import Call


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"lab"}))
def test_every_verb_has_help_with_an_example_that_it_understands(verb: str, unrolled: Call) -> None:
    shown = unrolled(verb, "--help")
    assert (shown.status, shown.errors) == (0, "")
    text = " ".join(shown.output.split())
    assert text.startswith(f"Usage: unrolled {verb} ")
    match = re.search(r"Example: (.+?) (?:Arguments|Options):", text)
    assert match is not None
    command = shlex.split(match[1].split(" | ")[-1])
    assert command[:2] == ["unrolled", verb]
    options = {word for word in command if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", text.split(" Options: ")[1]))


def test_every_verb_has_a_module_and_every_module_of_a_verb_is_listed() -> None:
    folder = Path(cli.__file__).parent
    marks = ("\ndef verb(", "\napp = typer.Typer(")
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.py") if path.stem != "app"}
    modules = {name for name, text in texts.items() if any(mark in text for mark in marks)}
    assert modules == set(VERBS)


def test_without_a_verb_help_is_shown(unrolled: Call) -> None:
    bare, asked = unrolled(), unrolled("--help")
    assert bare == asked
    assert bare.status == 0
    for verb, what in VERBS.items():
        assert re.search(rf"^  {verb} +{what[:30]}", bare.output, re.MULTILINE)
    assert unrolled("--debug") == bare


def test_version(unrolled: Call) -> None:
    assert unrolled("--version").output == f"unrolled {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian': see `unrolled --help`"),
        (["--loud"], "No such option: --loud: see `unrolled --help`"),
        (["score"], "Missing argument 'DIR': see `unrolled score --help`"),
        (["info", "--loud"], "No such option: --loud: see `unrolled info --help`"),
        (["generate", "m", "--count", "many"], "Invalid value for '--count': .*: see `unrolled generate --help`"),
        (["train", "t", "--epochs", "1,5"], "Invalid value for '--epochs': .*: see `unrolled train --help`"),
        (["train", "t", "--out"], "Option '--out' requires an argument: see `unrolled --help`"),
        (["score", "m", "a", "b"], r"Got unexpected extra argument\(s\) \(b\): see `unrolled score --help`"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(arguments: list[str], message: str, unrolled: Call) -> None:
    assert re.fullmatch(message, unrolled(*arguments).error(2))


def test_typer_still_has_the_classes_that_errors_are_told_by() -> None:
    """`cli.app` finds them by their place among the ancestors of a class that typer shows."""
    from unrolled.cli import app as module

    assert module._UsageProblem.__name__ == "UsageError"
    assert module._AnyProblem.__name__ == "ClickException"
    assert issubclass(typer.BadParameter, module._UsageProblem)
    assert typer.main.get_command(app).list_commands(None) == list(VERBS)  # type: ignore[attr-defined]
