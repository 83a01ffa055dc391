"""Reading back a run that was stopped."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from unrolled import model_directory, models
from unrolled.errors import ModelDirectoryError, UsageError
from unrolled.models.settings import ModelSettings
from unrolled.models.task import SavedData
from unrolled.nn.regularization import Regularization
from unrolled.settings import from_record
from unrolled.text.settings import TextSettings
from unrolled.training.events import Finished
from unrolled.training.learner import Tensors
from unrolled.training.settings import Settings, TrainingSettings

FREE_TO_CHANGE = {"checkpoint_every"}
"""Options that make no difference to what a run comes to."""


@dataclass(frozen=True)
class Saved:
    """A run that was stopped or killed: its settings, its last checkpoint, and the best weights so far.

    Without tensors it was killed before its first checkpoint, and begins again.
    """

    settings: Settings
    data: SavedData
    state: dict[str, Any]
    tensors: Tensors
    best_tensors: Tensors
    best: float
    seconds: float


def finished(out: Path) -> Finished | None:
    """How the run in a directory ended; None if it did not, or there is none.

    Raises:
        ModelDirectoryError: the directory is damaged.
    """
    if not model_directory.has_model(out) or model_directory.load_training(out) is not None:
        return None
    config = model_directory.load(out).config
    try:
        results, sources = config["training"]["results"], config["data"]["parts"]["train"]["sources"]
        if not results["finished"]:
            return None
        numbers = int(results["steps"]), float(results["validation_loss"]), float(results["seconds"])
        return Finished(out, *numbers, str(results["repeat"] or ""), tuple(map(str, sources)))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirectoryError(f"{out}: its record is damaged ({error}): train anew") from error


def load(out: Path, asked: Settings) -> Saved:
    """Read a run that is not finished from its model directory.

    Raises:
        ModelDirectoryError: the directory is damaged.
        UsageError: the run is finished, or options are asked for that differ from its own.
    """
    files = model_directory.load(out)
    found = model_directory.load_training(out)
    model_directory.read_log(out)  # which the end of the run draws
    try:
        training = files.config["training"]
        if found is None and (training["results"]["finished"] is not False or training["results"]["steps"] != 0):
            raise UsageError(
                f"{out}: there is nothing to resume, for the run is finished or its training/ was deleted: train anew"
            )
        beginning = {"steps": 0, "plan": "", "highest_rate": training["options"]["learning_rate"], "seconds": 0.0}
        saved, tensors = found or (beginning, {})  # killed between its first model and its first checkpoint
        settings = Settings(
            from_record(TextSettings, files.config["text"]),
            from_record(ModelSettings, training["model"]),
            from_record(TrainingSettings, training["options"]),
            from_record(Regularization, training["regularization"]),
            files.config["task"],
            models.get(files.config["task"]).own_settings(training.get("own", {})),
        )
        kinds = {"steps": int, "plan": str, "highest_rate": float}
        state: dict[str, Any] = {name: kind(saved[name]) for name, kind in kinds.items()}
        seconds = float(saved["seconds"])
        models.get(settings.task).check(files)
        _refuse_other_sizes(settings.model, files.config["model"])
        best = training["results"]["validation_loss"]  # of the weights beside it, even if a kill came between
        best = math.inf if best is None else float(best)
        data = SavedData(files.config["data"], files)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirectoryError(f"{out}: cannot be resumed, its record is damaged ({error}): train anew") from error
    _refuse_changes(asked, settings)
    settings = replace(settings, training=replace(settings.training, checkpoint_every=asked.training.checkpoint_every))
    return Saved(settings, data, state, tensors, files.tensors, best, seconds)


def _refuse_other_sizes(settings: ModelSettings, shape: Mapping[str, Any]) -> None:
    """Hold the sizes that a run would begin with against those of the weights that it has, before it makes any.

    Raises:
        ValueError: they differ.
    """
    names = {"cell": "cell", "layers": "layers", "hidden": "hidden_size", "embedding": "embedding_size"}
    for name, of_shape in names.items():
        if getattr(settings, name) != shape[of_shape]:
            raise ValueError(f"{name} is {getattr(settings, name)}, the weights have {shape[of_shape]}")


def _refuse_changes(asked: Settings, own: Settings) -> None:
    """A resumed run goes on with its own options: refuse others rather than ignore them."""
    if asked.task not in {own.task, "language"}:  # which is what is asked for where nothing is said
        raise UsageError(f"--task is {asked.task}, but the run to resume has {own.task}: leave it out, or train anew")
    pairs = [(getattr(asked, name), getattr(own, name)) for name in ("text", "model", "training", "regularization")]
    if asked.task == own.task:
        pairs += zip(asked.own, own.own, strict=True)
    for wanted, has in pairs:
        for each in fields(wanted):
            value = getattr(wanted, each.name)
            if each.name not in FREE_TO_CHANGE and value not in {each.default, getattr(has, each.name)}:
                raise UsageError(
                    f"--{each.name.replace('_', '-')} is {value}, but the run to resume has "
                    f"{getattr(has, each.name)}: leave it out, or train anew into another --out"
                )
