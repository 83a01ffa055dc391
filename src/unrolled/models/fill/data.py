"""Lines whose every word is asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import metrics
from unrolled.errors import CorpusError
from unrolled.models.language.data import TrainingData, first_lines
from unrolled.models.task import Data, DataReader, ReadingOptions
from unrolled.text.examples import ExampleReader, Integers, Sequences

VALIDATION_BATCH = 64


class FillData(Data):
    """A text read by lines; ends of lines are no words, and nobody asks for them.

    Args:
        text: the text.

    Raises:
        CorpusError: it has no words.
    """

    counted = "word"

    def __init__(self, text: TrainingData) -> None:
        self.text, self.report, self.sources = text, text.report, text.sources
        end = text.tokenizer.end_of_line_id
        self.lines = Sequences.lines(text.ids["train"], end)
        if not len(self.lines):
            raise CorpusError(f"{', '.join(self.sources)}: every line is blank: give a text with words in it")
        self.counts = text.counts.copy()
        self.counts[end] = 0
        validation = np.bincount(text.ids["validation"], minlength=len(self.counts))
        validation[end] = 0
        self.uniform = metrics.uniform_baseline(len(self.counts))
        self.unigram = metrics.unigram_baseline(self.counts, validation)

    @property
    def size(self) -> int:
        """Words of the training part."""
        return int(self.lines.lengths.sum())

    def fingerprint(self) -> str:
        """Of the text."""
        return self.text.fingerprint()

    def notes(self) -> tuple[str, ...]:
        """Of the text."""
        return self.text.notes()

    def training_reader(self, options: ReadingOptions) -> DataReader:
        """Lines of about equal length side by side."""
        return line_reader(self.lines, options.batch or 0, options.seed)

    def validation_reader(self, options: ReadingOptions) -> DataReader:
        """The first lines of the validation part."""
        end = self.text.tokenizer.end_of_line_id
        return line_reader(Sequences.lines(first_lines(self.text.ids["validation"], end), end), VALIDATION_BATCH, 0)

    def record(self) -> dict[str, Any]:
        """Of the text."""
        return self.text.record()

    def tokenizers(self) -> dict[str, str]:
        """Of the text."""
        return self.text.tokenizers()

    def figures(self, loss: float, accuracy: float | None) -> dict[str, float | None]:
        """Perplexity and accuracy."""
        return {"perplexity": metrics.perplexity(loss), "accuracy": accuracy}

    def describe(self, loss: float, accuracy: float | None) -> str:
        """Nats, perplexity beside those of the baselines, and how often the best guess was right."""
        uniform, unigram = metrics.perplexity(self.uniform), metrics.perplexity(self.unigram)
        return (
            f"{loss:.4f} nats/word, perplexity {metrics.perplexity(loss):,.2f} "
            f"(uniform {uniform:,.0f}, unigram {unigram:,.1f}), first guess right {accuracy or 0:.2%}"
        )


def line_reader(lines: Sequences, batch_size: int, seed: int) -> ExampleReader:
    """Lines in batches: ids (T, B) and lengths (B,)."""

    def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
        return {"ids": lines.padded(rows), "lengths": lines.lengths[rows]}

    return ExampleReader(lines.lengths, lines.lengths, make, batch_size=batch_size, seed=seed)
