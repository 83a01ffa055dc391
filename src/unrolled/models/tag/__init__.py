"""The task "tag": a label for each token of a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unrolled.errors import UsageError
from unrolled.models.labels import with_all_labels
from unrolled.models.rows import UNUSED, ExampleSettings, RowData, Rows, RowTask
from unrolled.models.settings import ModelSettings
from unrolled.models.task import Data, Defaults, Report
from unrolled.nn.regularization import Regularization
from unrolled.settings import option
from unrolled.text.corpus import Corpus, listed
from unrolled.text.settings import TextSettings
from unrolled.text.tagged import TaggedSentence, read_tagged

if TYPE_CHECKING:
    import torch

    from unrolled.model_directory import ModelFiles
    from unrolled.models.tag.network import TaggerNetwork
    from unrolled.models.tag.predictor import Tagger


@dataclass(frozen=True)
class TaggingSettings:
    """What a tagger sees of a token."""

    spelling: int = option(
        25, "Units in each direction of the network that reads a token letter by letter; 0: tokens are only looked up"
    )

    def __post_init__(self) -> None:
        if self.spelling < 0:
            raise UsageError(f"spelling is {self.spelling}: give a whole number of at least 0")


class Tag(RowTask[TaggedSentence]):
    """A bidirectional encoder over words and their spelling, softmax over labels at each."""

    name = "tag"
    summary = "Give each token of a sentence a label."
    takes = "two columns, token and label, with a blank line between sentences"
    unused = UNUSED | {"dropout_embedding"}
    options = (ExampleSettings, TaggingSettings)

    def defaults(self, unit: str) -> Defaults:
        """The same for all units."""
        return Defaults("gru", 64, 64, batch=16, learning_rate=0.005, dropout=0.3)

    def parse(self, corpora: Sequence[Corpus], own: Sequence[Any]) -> list[TaggedSentence]:
        """Sentences of two-column files."""
        return [row for corpus in corpora for row in read_tagged(corpus.text, listed(corpus.sources))]

    def settled(self, parts: dict[str, list[TaggedSentence]]) -> dict[str, list[TaggedSentence]]:
        """No label is held out that training lacks."""
        return with_all_labels(parts, lambda row: row.labels)

    def data(
        self,
        rows: Rows[TaggedSentence],
        text: TextSettings,
        own: Sequence[Any],
        files: "ModelFiles | None",
        report: Report,
    ) -> RowData:
        """Tokens and labels in numbers."""
        from unrolled.models.tag.data import make_data

        if text.unit not in {None, "word"}:
            raise UsageError(f"--unit is {text.unit}: the data of this task say what a token is, leave it out")
        return make_data(rows, replace(text, unit="word", pre_tokenized=True), own[0], files)

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
    ) -> "TaggerNetwork":
        """The network, new."""
        from unrolled.models.tag.data import TaggingData
        from unrolled.models.tag.network import TaggerNetwork, TaggerShape

        examples = cast(TaggingData, data)
        vocabulary = examples.tokenizer.vocabulary_size
        return TaggerNetwork(
            TaggerShape.of(model, vocabulary, labels=len(examples.labels), spelling=own[1].spelling),
            regularization=regularization,
            unknown_share=own[0].unknown_share,
            unknown_id=examples.tokenizer.unknown_id,
            **model.beginning(),
            engine=engine,
            generator=generator,
        )

    def check(self, files: "ModelFiles") -> None:
        """Weights against sizes."""
        from unrolled.models.network import check_files
        from unrolled.models.tag.network import TaggerNetwork, TaggerShape

        check_files(files, TaggerShape, TaggerNetwork)

    def load(self, directory: str | Path, *, engine: str = "auto") -> "Tagger":
        """A `Tagger`."""
        from unrolled.models.tag.predictor import Tagger

        return Tagger.load(directory, engine=engine)


TASK = Tag()
