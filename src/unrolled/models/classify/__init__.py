"""The task "classify": a text to a label."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from unrolled.errors import CorpusError, UsageError
from unrolled.models.labels import with_all_labels
from unrolled.models.rows import UNUSED, ExampleSettings, RowData, Rows, RowTask
from unrolled.models.settings import ModelSettings
from unrolled.models.task import Data, Defaults, Report
from unrolled.nn.regularization import Regularization
from unrolled.settings import check_choice, option
from unrolled.text.corpus import Corpus, listed
from unrolled.text.settings import TextSettings
from unrolled.text.tables import LabelledText, read_table

if TYPE_CHECKING:
    import torch

    from unrolled.model_directory import ModelFiles
    from unrolled.models.classify.network import ClassifierNetwork
    from unrolled.models.classify.predictor import Classifier

POOLINGS = ("attention", "last", "mean", "max")
CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class ClassificationSettings:
    """Where text and label stand, and how the one is made of the other."""

    text_column: str = option("text", "Column of the text to classify")
    label_column: str = option("label", "Column of its label")
    pooling: str = option("attention", "How a text becomes one vector", choices=POOLINGS)
    class_weights: str = option(
        "none", "Count all labels alike, whatever their numbers (balanced), or all examples", choices=CLASS_WEIGHTS
    )

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, POOLINGS)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        if self.text_column == self.label_column:
            raise UsageError(f'text_column and label_column are both "{self.text_column}": name two columns')


class Classify(RowTask[LabelledText]):
    """A bidirectional encoder, pooling, softmax over labels."""

    name = "classify"
    summary = "Give a text one of some labels."
    takes = "CSV with a header, or JSON lines, with a column of texts and one of labels"
    unused = UNUSED
    options = (ExampleSettings, ClassificationSettings)

    def defaults(self, unit: str) -> Defaults:
        """The same for all units."""
        return Defaults("gru", 64, 64, batch=32, learning_rate=0.005, dropout=0.3)

    def parse(self, corpora: Sequence[Corpus], own: Sequence[Any]) -> list[LabelledText]:
        """Rows of tables."""
        columns = cast(ClassificationSettings, own[1])
        rows = [
            row
            for corpus in corpora
            for row in read_table(
                corpus.text,
                listed(corpus.sources),
                text_column=columns.text_column,
                label_column=columns.label_column,
            )
        ]
        for row in rows:
            if "\t" in row.label or len(row.label.splitlines()) > 1:  # answers are lines, with tabs in them
                raise CorpusError(f"{row.place}: the label {row.label!r} has a newline or a tab in it: take it out")
        return rows

    def settled(self, parts: dict[str, list[LabelledText]]) -> dict[str, list[LabelledText]]:
        """No label is held out that training lacks."""
        return with_all_labels(parts, lambda row: [row.label])

    def data(
        self,
        rows: Rows[LabelledText],
        text: TextSettings,
        own: Sequence[Any],
        files: "ModelFiles | None",
        report: Report,
    ) -> RowData:
        """Texts in tokens, labels in numbers."""
        from unrolled.models.classify.data import make_data

        return make_data(rows, text, own[0], own[1], files)

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
    ) -> "ClassifierNetwork":
        """The network, new."""
        from unrolled.models.classify.data import ClassificationData
        from unrolled.models.classify.network import ClassifierNetwork, ClassifierShape

        examples = cast(ClassificationData, data)
        vocabulary = examples.tokenizer.vocabulary_size
        return ClassifierNetwork(
            ClassifierShape.of(model, vocabulary, labels=len(examples.labels), pooling=own[1].pooling),
            regularization=regularization,
            class_weights=examples.class_weights,
            unknown_share=own[0].unknown_share,
            unknown_id=examples.tokenizer.unknown_id,
            **model.beginning(),
            engine=engine,
            generator=generator,
        )

    def check(self, files: "ModelFiles") -> None:
        """Weights against sizes."""
        from unrolled.models.classify.network import ClassifierNetwork, ClassifierShape
        from unrolled.models.network import check_files

        check_files(files, ClassifierShape, ClassifierNetwork)

    def load(self, directory: str | Path, *, engine: str = "auto") -> "Classifier":
        """A `Classifier`."""
        from unrolled.models.classify.predictor import Classifier

        return Classifier.load(directory, engine=engine)


TASK = Classify()
