"""How settings are written: frozen dataclasses whose fields say what an option means and which values it takes."""

import shlex
from collections.abc import Iterable
from dataclasses import field, fields
from typing import Any

from unrolled.errors import UsageError


def option(default: Any, description: str, *, choices: tuple[str, ...] = ()) -> Any:
    """A field of a settings dataclass that the command line offers as an option."""
    return field(default=default, metadata={"help": description, "choices": choices})


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        UsageError: names the option, the value and the choices.
    """
    choices = tuple(choices)
    if value not in choices:
        raise UsageError(f'{name} is "{value}": choose one of {", ".join(choices)}')


def options_of(settings: Any) -> list[str]:
    """The fields of a settings dataclass that differ from their defaults, as command-line options, quoted."""
    words = []
    for each in fields(settings):
        value = getattr(settings, each.name)
        name = "--" + each.name.replace("_", "-")
        if value == each.default:
            continue
        if isinstance(value, bool):
            words.append(name if value else name.replace("--", "--no-", 1))
        else:
            words += [name, shlex.quote(str(value))]
    return words


def command_line(*parts: Any) -> str:
    """The options of several settings dataclasses, as one would type them."""
    return " ".join(word for part in parts for word in options_of(part))
