"""The task "language": p(next token | all tokens so far). `inference.LanguageModel` is its predictor."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unrolled.models.settings import ModelSettings
from unrolled.models.task import Data, Defaults, Report, SavedData, Task, nobody
from unrolled.nn.regularization import Regularization
from unrolled.text.settings import TextSettings

if TYPE_CHECKING:
    import torch

    from unrolled.inference import LanguageModel
    from unrolled.model_directory import ModelFiles
    from unrolled.models.language.data import TrainingData
    from unrolled.models.language.network import LanguageModelNetwork


class Language(Task):
    """In a few minutes the GRU did better on characters and the LSTM on words (docs/results.md).

    Words tell more than characters, so that fewer of them make a good step. A rare word's gradient is next to nothing
    but where it occurs: a mean of gradients, divided by a short mean of squares, carries it far in between (Melis et
    al., arXiv:1707.05589, train without the first mean too).
    """

    name = "language"
    summary = "Predict the next token: score text, write text."
    takes = "any text"
    plans_sizes = True

    def defaults(self, unit: str) -> Defaults:
        """By the unit."""
        if unit == "char":
            return Defaults("gru", 256, batch=32, window=64, betas=(0.9, 0.99))
        return Defaults("lstm", 200, batch=16, window=32, betas=(0.0, 0.999))

    def prepare(
        self, sources: Sequence[str | Path], text: TextSettings, own: Sequence[Any], report: Report = nobody
    ) -> Data:
        """A corpus, split and turned into tokens."""
        from unrolled.models.language.data import prepare

        return prepare(sources, text, report)

    def prepare_again(
        self,
        saved: SavedData,
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
    ) -> Data:
        """The same parts of the same text."""
        from unrolled.models.language.data import prepare_again

        return prepare_again(saved, sources, text, report)

    def network(
        self,
        model: ModelSettings,
        regularization: Regularization,
        own: Sequence[Any],
        data: Data,
        *,
        engine: str,
        sparse_gradients: bool,
        generator: "torch.Generator | None",
    ) -> "LanguageModelNetwork":
        """Embedding, recurrent stack, softmax."""
        from unrolled.models.language.network import LanguageModelNetwork, shape_of
        from unrolled.text.factors import spelling_factors

        tokenizer = cast("TrainingData", data).tokenizer
        return LanguageModelNetwork(
            shape_of(model, tokenizer.vocabulary_size),
            factors=spelling_factors(tuple(tokenizer.tokens)) if model.factored else None,
            regularization=regularization,
            **model.beginning(),
            engine=engine,
            sparse_gradients=sparse_gradients,
            generator=generator,
        )

    def check(self, files: "ModelFiles") -> None:
        """As whatever runs it without torch does."""
        from unrolled.inference.network import weights_from

        weights_from(files.config, files.tensors, "float32")

    def load(self, directory: str | Path, *, engine: str = "auto") -> "LanguageModel":
        """A `LanguageModel`."""
        from unrolled.inference import LanguageModel

        return LanguageModel.load(directory, engine=engine)


TASK = Language()
