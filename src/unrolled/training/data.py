"""From a corpus to what training reads: tokens of each part, readers, baselines and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import metrics
from unrolled.text.batches import Ids, SentenceReader, StreamReader, without_blank_lines
from unrolled.text.corpus import read_corpus
from unrolled.text.report import DataReport, data_report
from unrolled.text.settings import TextSettings
from unrolled.text.split import Part, split_text
from unrolled.text.tokenizer import Tokenizer, train_tokenizer
from unrolled.training.settings import TrainingSettings

TextReader = StreamReader | SentenceReader
VALIDATION_STREAMS = 64
"""Most streams into which the validation text is cut, so that it is read quickly."""
VALIDATION_TOKENS = 200_000
"""Most tokens of the validation text that are read after each pass, so that a long text leaves time for training."""
SHORTEST_STREAM = 500
"""Fewest tokens of such a stream: a stream starts without memory, which costs a little at its start."""


@dataclass(frozen=True)
class TrainingData:
    """A text, ready to be trained on.

    Attributes:
        parts: train, validation and, if asked for, test.
        tokenizer: made from the training part alone.
        ids: tokens of each part.
        read: how they are read: as a stream or in sentences.
        report: what a person wants to know of it.
        validation_tokens, validation_characters: of the validation part that counts, whether it is read or not.
        uniform, unigram: losses of the two baselines on the validation part, in nats per token.
    """

    parts: dict[str, Part]
    tokenizer: Tokenizer
    ids: dict[str, Ids]
    read: str
    report: DataReport
    validation_tokens: int
    validation_characters: int
    uniform: float
    unigram: float

    def notes(self) -> tuple[str, ...]:
        """One line for each setting that had better be adapted to the text, and for what is left out."""
        train, validation = self.report.parts["train"], self.report.parts["validation"]
        notes = []
        if validation.unknown_rate > 0 and train.unknown_rate == 0 and self.tokenizer.unit == "word":
            notes.append(
                "no word of the training part is unknown, so that nothing can be learnt about the unknown words of the "
                "validation part: --min-count 2 would help"
            )
        shown = len(self._shown())
        if shown < self.validation_tokens:
            notes.append(
                f"validation while training reads the first {shown:,} of {self.validation_tokens:,} "
                "tokens; unrolled evaluate reads them all"
            )
        return tuple(notes)

    def training_reader(self, options: TrainingSettings) -> TextReader:
        """What a pass of training reads.

        Args:
            options: with a batch and a window.
        """
        batch, window = options.batch or 0, options.window or 0  # an open choice is refused
        ids, end = self.ids["train"], self.tokenizer.end_of_line_id
        if self.read == "sentences":
            return SentenceReader(ids, end_of_line_id=end, batch_size=batch, seed=options.seed)
        return StreamReader(
            ids,
            end_of_line_id=end,
            batch_size=batch,
            window=window,
            random_windows=options.random_windows,
            seed=options.seed,
        )

    def validation_reader(self, options: TrainingSettings) -> TextReader:
        """What a validation reads: side by side, so that it is quick."""
        shown, end = self._shown(), self.tokenizer.end_of_line_id
        streams = max(1, min(VALIDATION_STREAMS, len(shown) // SHORTEST_STREAM))
        if self.read == "sentences":
            return SentenceReader(shown, end_of_line_id=end, batch_size=streams, seed=0)
        return StreamReader(shown, end_of_line_id=end, batch_size=streams, window=options.window or 0)

    def _shown(self) -> Ids:
        return _first_lines(self.ids["validation"], self.tokenizer.end_of_line_id)

    def validation_bits_per_character(self, loss: float) -> float:
        """Bits per character of the validation text at a loss in nats per token."""
        return metrics.bits_per_character(loss * self.validation_tokens, self.validation_characters)


def prepare(sources: Sequence[str | Path], settings: TextSettings) -> TrainingData:
    """Read a corpus and make it ready.

    Raises:
        CorpusError, TokenizerError: the text cannot be read or used; each says what to do.
    """
    corpus = read_corpus([str(source) for source in sources], encoding=settings.encoding, errors=settings.errors)
    parts = split_text(corpus, settings)
    return with_tokenizer(parts, train_tokenizer(parts["train"].text, settings), settings)


def with_tokenizer(parts: dict[str, Part], tokenizer: Tokenizer, settings: TextSettings) -> TrainingData:
    """Make parts that have been read ready with a tokenizer that exists."""
    ids: dict[str, Ids] = {name: tokenizer.encode(part.text) for name, part in parts.items()}
    report, validation_text = data_report(parts, ids, tokenizer), parts["validation"].text
    counted = dict(ids)
    if settings.read == "sentences":
        end = tokenizer.end_of_line_id
        _, counted["train"] = without_blank_lines(parts["train"].text, ids["train"], end)
        validation_text, counted["validation"] = without_blank_lines(validation_text, ids["validation"], end)
    return TrainingData(
        parts,
        tokenizer,
        ids,
        settings.read,
        report,
        len(counted["validation"]),
        len(validation_text),
        metrics.uniform_baseline(tokenizer.vocabulary_size),
        metrics.unigram_baseline(counted["train"], counted["validation"], tokenizer.vocabulary_size),
    )


def _first_lines(ids: Ids, end_of_line_id: int) -> Ids:
    """As many whole lines as fit into VALIDATION_TOKENS; if not even one does, so much of it."""
    if len(ids) <= VALIDATION_TOKENS:
        return ids
    ends = np.flatnonzero(ids[:VALIDATION_TOKENS] == end_of_line_id)
    return ids[: ends[-1] + 1] if len(ends) else ids[:VALIDATION_TOKENS]


def parts_record(parts: dict[str, Part]) -> dict[str, Any]:
    """What a model directory remembers of the parts, so that they can be found again."""
    return {name: part.as_dict() for name, part in parts.items()}
