"""Recurrent neural networks on sequences: train, score, generate, and see through time.

    import unrolled

    unrolled.train("novel.txt", "novel", training=unrolled.TrainingSettings(minutes=10))
    model = unrolled.LanguageModel.load("novel")
    model.score(["The prince smiled."])[0].log_probability   # in nats
    model.generate("The prince", max_tokens=50, seed=1)

Everything here is loaded on first use: importing the package loads neither torch nor matplotlib, and scoring and
generating never load torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unrolled.engines import Sampling
    from unrolled.errors import UnrolledError
    from unrolled.inference import Evaluation, LanguageModel, Score, Session
    from unrolled.models.classify.predictor import Classifier
    from unrolled.models.correct.predictor import Corrector
    from unrolled.models.fill.predictor import Filler
    from unrolled.models.settings import ModelSettings
    from unrolled.models.tag.predictor import Tagger
    from unrolled.models.translate.predictor import Translator
    from unrolled.nn import Recurrent, Regularization
    from unrolled.text.settings import TextSettings
    from unrolled.training import TrainingSettings, train
    from unrolled.version import VERSION as __version__  # noqa: N811

_HOMES = {
    "Classifier": "unrolled.models.classify.predictor",
    "Corrector": "unrolled.models.correct.predictor",
    "Evaluation": "unrolled.inference",
    "Filler": "unrolled.models.fill.predictor",
    "LanguageModel": "unrolled.inference",
    "ModelSettings": "unrolled.models.settings",
    "Recurrent": "unrolled.nn",
    "Regularization": "unrolled.nn",
    "Sampling": "unrolled.engines",
    "Score": "unrolled.inference",
    "Session": "unrolled.inference",
    "Tagger": "unrolled.models.tag.predictor",
    "TextSettings": "unrolled.text.settings",
    "TrainingSettings": "unrolled.training",
    "Translator": "unrolled.models.translate.predictor",
    "UnrolledError": "unrolled.errors",
    "train": "unrolled.training",
}

__all__ = [
    "Classifier",
    "Corrector",
    "Evaluation",
    "Filler",
    "LanguageModel",
    "ModelSettings",
    "Recurrent",
    "Regularization",
    "Sampling",
    "Score",
    "Session",
    "Tagger",
    "TextSettings",
    "TrainingSettings",
    "Translator",
    "UnrolledError",
    "__version__",
    "train",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("unrolled.version").VERSION
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
