"""The task "translate": a text to another one, by encoder, attention and decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unrolled.errors import UsageError
from unrolled.models.rows import UNUSED, ExampleSettings, RowData, Rows, RowTask
from unrolled.models.settings import ModelSettings
from unrolled.models.task import Data, Defaults, Report
from unrolled.nn.regularization import Regularization
from unrolled.settings import check_choice, option
from unrolled.text.corpus import Corpus, listed
from unrolled.text.pairs import Pair, align, read_pairs
from unrolled.text.settings import TextSettings

if TYPE_CHECKING:
    import torch

    from unrolled.model_directory import ModelFiles
    from unrolled.models.translate.network import TranslationNetwork

ATTENTIONS = ("additive", "general", "dot", "none")
"""The first learns alignments in a third of the passes that the others take, at a little more cost."""


@dataclass(frozen=True)
class TranslationSettings:
    """How a source is read and looked at."""

    attention: str = option("additive", "How a step of the output scores those of the source", choices=ATTENTIONS)
    input_feeding: bool = option(True, "Let each step of the output know where the one before looked")
    reverse_source: bool = option(
        False, "Read the source backwards, the remedy before attention (Sutskever et al. 2014)"
    )
    shared_vocabulary: bool | None = option(
        None, "One vocabulary and one matrix of token vectors for both sides (default: to correct only)"
    )
    bidirectional: bool = option(True, "Read the source in both directions, half of the units for each")

    def __post_init__(self) -> None:
        check_choice("attention", self.attention, ATTENTIONS)


class Translate(RowTask[Pair]):
    """An encoder, attention, and a decoder.

    Attributes:
        shares_vocabulary: whether both sides have one, where settings leave it open.
    """

    name = "translate"
    summary = "Turn a text into another one."
    takes = "lines of source, tab and target, or two files with as many lines"
    options: tuple[type[Any], ...] = (ExampleSettings, TranslationSettings)
    unit = "bpe"
    unused = UNUSED - {"tied"} | {"signal_norm"}
    shares_vocabulary = False

    def defaults(self, unit: str) -> Defaults:
        """The same for all units."""
        return Defaults("gru", 128, 64, batch=32, learning_rate=0.005, dropout=0.1)

    def parse(self, corpora: Sequence[Corpus], own: Sequence[Any]) -> list[Pair]:
        """Pairs of one file, or of two.

        Raises:
            UsageError: more than two files, or two that hold pairs each.
        """
        if len(corpora) == 1:
            return read_pairs(corpora[0].text, listed(corpora[0].sources))
        if len(corpora) > 2:
            raise UsageError(
                f"there are {len(corpora)} files: give one with tabs, or one of sources and one of targets"
            )
        (one, other), names = (corpus.text for corpus in corpora), [listed(corpus.sources) for corpus in corpora]
        if all("\t" in text.split("\n", 1)[0] for text in (one, other)):
            raise UsageError(f"{' and '.join(names)} hold pairs with tabs each: put them into one file")
        return align(one, other, *names)

    def data(
        self, rows: Rows[Pair], text: TextSettings, own: Sequence[Any], files: "ModelFiles | None", report: Report
    ) -> RowData:
        """Both sides in tokens."""
        from unrolled.models.translate.data import make_data

        return make_data(rows, text, own[0], self.decided(own[1]), files)

    def decided(self, settings: TranslationSettings) -> TranslationSettings:
        """Settings without a choice that is open."""
        if settings.shared_vocabulary is not None:
            return settings
        return replace(settings, shared_vocabulary=self.shares_vocabulary)

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
    ) -> "TranslationNetwork":
        """The network, new."""
        from unrolled.models.translate.data import TranslationData
        from unrolled.models.translate.network import TranslationNetwork, TranslationShape

        pairs = cast(TranslationData, data)
        sizes = pairs.tokenizer.vocabulary_size, pairs.target_tokenizer.vocabulary_size
        return TranslationNetwork(
            TranslationShape.of(model, *sizes, self.decided(own[1])),
            regularization=regularization,
            unknown_share=own[0].unknown_share,
            unknown_id=pairs.tokenizer.unknown_id,
            **model.beginning(),
            engine=engine,
            generator=generator,
        )

    def check(self, files: "ModelFiles") -> None:
        """Weights against sizes."""
        from unrolled.models.network import check_files
        from unrolled.models.translate.network import TranslationNetwork, TranslationShape

        check_files(files, TranslationShape, TranslationNetwork)

    def load(self, directory: str | Path, *, engine: str = "auto") -> Any:
        """A `Translator`."""
        from unrolled.models.translate.predictor import Translator

        return Translator.load(directory, engine=engine)


TASK = Translate()
