"""What config.json says of a model: sizes, text, where its parts lie, how it was trained and what came of it."""

from dataclasses import asdict
from typing import Any

from unrolled.models.network import Shape
from unrolled.models.task import Data
from unrolled.training.settings import Settings
from unrolled.version import VERSION


def config_of(shape: Shape, data: Data, settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    """The contents of config.json.

    Args:
        shape: the network's sizes, a dataclass.
        data: what it was trained on.
        settings: with what was left open filled in.
        results: steps, losses, seconds.
    """
    own = {name: value for group in settings.own for name, value in asdict(group).items()}
    return {
        "task": settings.task,
        "unrolled_version": VERSION,
        "model": asdict(shape),  # type: ignore[call-overload]  # a protocol cannot say that it is a dataclass
        "text": asdict(settings.text),
        "data": data.record(),
        "training": {
            "model": asdict(settings.model),
            "regularization": asdict(settings.regularization),
            "own": own,
            "options": asdict(settings.training),
            "results": results,
        },
    }
