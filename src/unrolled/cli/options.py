"""Command-line options made from settings dataclasses, so that each option and its default stand in one place."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from unrolled.errors import ModelDirectoryError

if TYPE_CHECKING:
    from unrolled.models.predictor import Predictor

EngineName = Annotated[str, typer.Option(metavar="auto|portable|native", help="Engine.")]
"""The option of verbs that use a model; the names are written out because engines take time to import."""


def load_predictor(directory: Path, engine: str) -> "Predictor":
    """The model in a directory, of a task that has a predictor of its own.

    Raises:
        ModelDirectoryError: the directory is damaged, or of a task that this Unrolled does not know.
    """
    from unrolled import model_directory, models

    task = model_directory.load_config(directory).get("task")
    if not isinstance(task, str) or task not in models.TASKS:
        raise ModelDirectoryError(f"{directory}: its task is {task!r}, expected one of {', '.join(models.TASKS)}")
    predictor: Predictor = models.get(task).load(directory, engine=engine)
    return predictor


def with_settings(verb: Callable[..., None], own: Sequence[type[Any]] = ()) -> Callable[..., None]:
    """A verb whose parameters that are settings dataclasses are offered field by field, as options.

    The verb is called with the dataclasses put together again; a value they refuse is their own UsageError. Those of
    `own` it gets in one dictionary by class, as its parameter of that name.
    """
    signature = inspect.signature(verb, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }
    takes_own = "own" in signature.parameters
    plain = [parameter for name, parameter in signature.parameters.items() if name not in {*groups, "own"}]
    options = [
        _parameter(each, get_type_hints(group)[each.name])
        for group in (*groups.values(), *own)
        for each in fields(group)
    ]

    @functools.wraps(verb)
    def call(**values: Any) -> None:
        made = {
            group: group(**{each.name: values.pop(each.name) for each in fields(group)})
            for group in (*groups.values(), *own)
        }
        values |= {name: made[group] for name, group in groups.items()}
        if takes_own:
            values["own"] = {group: made[group] for group in own}
        verb(**values)

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in plain]
    call.__signature__ = inspect.Signature(keyword + options)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword + options}
    return call


def _parameter(field: "Field[Any]", annotation: Any) -> inspect.Parameter:
    name = "--" + field.name.replace("_", "-")
    if isinstance(field.default, bool) or annotation == bool | None:
        name = f"{name}/{name.replace('--', '--no-', 1)}"
    choices = field.metadata.get("choices", ())
    metavar = "|".join(choices) if choices else None
    option = typer.Option(
        name, help=field.metadata["help"], metavar=metavar, show_default=type(field.default) in {int, float, str}
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[annotation, option]
    )
