"""From a model directory to scores, evaluations and new text; on engines alone, never on torch."""

from unrolled.inference.language_model import LanguageModel
from unrolled.inference.results import Evaluation, Score, TokenScore, UnknownTokenWarning

__all__ = ["Evaluation", "LanguageModel", "Score", "TokenScore", "UnknownTokenWarning"]
