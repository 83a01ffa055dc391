"""A network for each task, trainable: nn assembled, no new mathematics."""

from unrolled.models.language_model import LanguageModelNetwork, LanguageModelShape

__all__ = ["LanguageModelNetwork", "LanguageModelShape"]
