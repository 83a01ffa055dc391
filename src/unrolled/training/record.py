"""What config.json says of a model: sizes, text, where its parts lie, how it was trained and what came of it."""

from dataclasses import asdict
from typing import Any

from unrolled.models import LanguageModelShape
from unrolled.training.data import TrainingData, parts_record
from unrolled.version import VERSION


def config_of(
    shape: LanguageModelShape, data: TrainingData, settings: dict[str, Any], results: dict[str, Any]
) -> dict[str, Any]:
    """The contents of config.json.

    Args:
        shape: the network's sizes.
        data: what it was trained on.
        settings: "text", "model", "training" and "regularization", with what was left open filled in.
        results: steps, losses, seconds.
    """
    return {
        "task": "language",
        "unrolled_version": VERSION,
        "model": asdict(shape),
        "text": settings["text"],
        "data": {"parts": parts_record(data.parts), "report": data.report.as_dict()},
        "training": {
            "model": settings["model"],
            "regularization": settings["regularization"],
            "options": settings["training"],
            "results": results,
        },
    }
