"""A folder for each task: its data, its network and its predictor. Here is the one table of them.

    task = models.get("classify")
    data = task.prepare(["reviews.csv"], settings.text, settings.own)

Importing this package loads settings only; torch comes with the first network.
"""

import importlib
from typing import TYPE_CHECKING

from unrolled.errors import UsageError
from unrolled.models.task import Task

if TYPE_CHECKING:
    from unrolled.models.language.network import LanguageModelNetwork, LanguageModelShape

__all__ = ["TASKS", "LanguageModelNetwork", "LanguageModelShape", "get"]

TASKS = {
    "language": "unrolled.models.language",
    "fill": "unrolled.models.fill",
    "classify": "unrolled.models.classify",
    "tag": "unrolled.models.tag",
    "translate": "unrolled.models.translate",
    "correct": "unrolled.models.correct",
}
"""Tasks by name, each with the module whose TASK it is."""

_HOMES = {
    "LanguageModelNetwork": "unrolled.models.language.network",
    "LanguageModelShape": "unrolled.models.language.network",
}


def get(name: str) -> Task:
    """The task of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TASKS:
        raise UsageError(f'task is "{name}": choose one of {", ".join(TASKS)}')
    task: Task = importlib.import_module(TASKS[name]).TASK
    return task


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
