"""The task "fill": a missing word from what stands on both sides of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unrolled.errors import UsageError
from unrolled.models.rows import ExampleSettings
from unrolled.models.settings import ModelSettings
from unrolled.models.task import Data, Defaults, Report, SavedData, Task, nobody
from unrolled.nn.regularization import Regularization
from unrolled.text.settings import TextSettings

if TYPE_CHECKING:
    import torch

    from unrolled.model_directory import ModelFiles
    from unrolled.models.fill.network import FillNetwork
    from unrolled.models.fill.predictor import Filler


class Fill(Task):
    """One stack that reads up to the gap and one that reads back to it, from the end; softmax over the vocabulary."""

    name = "fill"
    summary = "Find missing words from both sides."
    takes = "any text, a sentence a line"
    options = (ExampleSettings,)
    unused = frozenset({"window", "random_windows", "factored", "activation", "temporal_activation"})

    def defaults(self, unit: str) -> Defaults:
        """By the unit; few words and many passes want more to be dropped."""
        if unit == "char":
            return Defaults("gru", 128, 64, batch=32, learning_rate=0.005)
        return Defaults("gru", 200, 200, batch=32, betas=(0.0, 0.999), learning_rate=0.003, dropout=0.3, tied=True)

    def prepare(
        self, sources: Sequence[str | Path], text: TextSettings, own: Sequence[Any], report: Report = nobody
    ) -> Data:
        """A corpus, split and turned into tokens, line by line."""
        from unrolled.models.fill.data import FillData
        from unrolled.models.language.data import prepare

        return FillData(prepare(sources, by_lines(text), report), own[0].most_tokens)

    def prepare_again(
        self,
        saved: SavedData,
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
    ) -> Data:
        """The same parts of the same text."""
        from unrolled.models.fill.data import FillData
        from unrolled.models.language.data import prepare_again

        return FillData(prepare_again(saved, sources, by_lines(text), report), own[0].most_tokens)

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
    ) -> "FillNetwork":
        """The network, new."""
        from unrolled.models.fill.data import FillData
        from unrolled.models.fill.network import FillNetwork, FillShape

        tokenizer = cast(FillData, data).text.tokenizer
        return FillNetwork(
            FillShape.of(model, tokenizer.vocabulary_size),
            end_of_line_id=tokenizer.end_of_line_id,
            gap_id=tokenizer.unknown_id or 0,
            gap_share=own[0].unknown_share,
            regularization=regularization,
            **model.beginning(),
            engine=engine,
            generator=generator,
        )

    def check(self, files: "ModelFiles") -> None:
        """Weights against sizes."""
        from unrolled.models.fill.network import FillNetwork, FillShape
        from unrolled.models.network import check_files

        check_files(files, FillShape, FillNetwork)

    def load(self, directory: str | Path, *, engine: str = "auto") -> "Filler":
        """A `Filler`."""
        from unrolled.models.fill.predictor import Filler

        return Filler.load(directory, engine=engine)


def by_lines(text: TextSettings) -> TextSettings:
    """The same text, each line by itself.

    Raises:
        UsageError: a gap would be less than a word.
    """
    if text.unit == "bpe":
        raise UsageError("--unit is bpe: a gap is one token, and a word would be several: take word or char")
    return replace(text, read="sentences")


TASK = Fill()
