"""How settings are written: frozen dataclasses whose fields say what an option means and which values it takes."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import Any, TypeVar, get_args, get_type_hints

from unrolled.errors import UsageError

Settings = TypeVar("Settings")


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


def from_record(kind: type[Settings], record: Mapping[str, Any]) -> Settings:
    """A settings dataclass from what a file says of it.

    Raises:
        TypeError: an entry is of another type than the field of its name, or there is no such field.
        UsageError: as the dataclass.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"{record!r:.60} is no record of settings")
    hints = get_type_hints(kind)
    for name, value in record.items():
        wanted = get_args(hints.get(name)) or (hints.get(name),)
        if type(value) not in wanted and not (type(value) is int and float in wanted):
            raise TypeError(f"{name} is {value!r:.60}")
    return kind(**record)


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
