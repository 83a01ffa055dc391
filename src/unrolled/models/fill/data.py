"""Lines whose every word is asked for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import metrics
from unrolled.errors import CorpusError
from unrolled.models.examples import all_too_long
from unrolled.models.language.data import TrainingData, first_lines
from unrolled.models.rows import VALIDATION_BATCH
from unrolled.models.task import Data, DataReader, ReadingOptions
from unrolled.text.examples import ExampleReader, Integers, Sequences


class FillData(Data):
    """A text read by lines; ends of lines are no words, and nobody asks for them.

    Args:
        text: the text.
        most_tokens: longest line that is read; longer ones are left out.

    Raises:
        CorpusError: it has no words, or no line that is short enough.
    """

    counted = "word"

    def __init__(self, text: TrainingData, most_tokens: int) -> None:
        self.text, self.report, self.sources = text, text.report, text.sources
        end = text.tokenizer.end_of_line_id
        everything = {part: Sequences.lines(ids, end) for part, ids in text.ids.items()}
        if not len(everything["train"]):
            raise CorpusError(f"{', '.join(self.sources)}: every line is blank: give a text with words in it")
        kept = {part: lines.taken(np.flatnonzero(lines.lengths <= most_tokens)) for part, lines in everything.items()}
        for part in ("train", "validation"):
            if not len(kept[part]):
                raise all_too_long(part, most_tokens)
        self.lines, self._notes = kept["train"], left_out(everything, kept, most_tokens)
        shown = Sequences.lines(first_lines(text.ids["validation"], end), end)
        self._validation = shown.taken(np.flatnonzero(shown.lengths <= most_tokens))
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
        """Of the text, and what was left out."""
        return (*self.text.notes(), *self._notes)

    def training_reader(self, options: ReadingOptions) -> DataReader:
        """Lines of about equal length side by side."""
        return line_reader(self.lines, options.batch or 0, options.seed)

    def validation_reader(self, options: ReadingOptions) -> DataReader:
        """The first lines of the validation part."""
        return line_reader(self._validation, VALIDATION_BATCH, 0)

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


def left_out(everything: dict[str, Sequences], kept: dict[str, Sequences], most_tokens: int) -> tuple[str, ...]:
    """One line for each part that had lines which are too long."""
    counts = {part: len(everything[part]) - len(kept[part]) for part in kept}
    return tuple(
        f"{part}: {count:,} lines of more than {most_tokens:,} tokens are left out"
        for part, count in counts.items()
        if count
    )


def line_reader(lines: Sequences, batch_size: int, seed: int) -> ExampleReader:
    """Lines in batches: ids (T, B) and lengths (B,)."""

    def make(rows: Integers, pass_index: int) -> dict[str, NDArray[Any]]:
        return {"ids": lines.padded(rows), "lengths": lines.lengths[rows]}

    return ExampleReader(lines.lengths, lines.lengths, make, batch_size=batch_size, seed=seed)
