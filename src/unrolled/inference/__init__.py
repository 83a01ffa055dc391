"""From a model directory to scores, evaluations and new text; on engines alone, never on torch."""

import importlib
from typing import TYPE_CHECKING

from unrolled.inference.language_model import LanguageModel
from unrolled.inference.results import Evaluation, Score, TokenScore, UnknownTokenWarning

if TYPE_CHECKING:
    from unrolled.inference.session import Session
    from unrolled.inference.suggestions import Suggestion

__all__ = ["Evaluation", "LanguageModel", "Score", "Session", "Suggestion", "TokenScore", "UnknownTokenWarning"]

_HOMES = {"Session": "unrolled.inference.session", "Suggestion": "unrolled.inference.suggestions"}
"""What scoring does not need is loaded on first use."""


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
