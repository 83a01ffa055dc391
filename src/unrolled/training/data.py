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
        training, validation: readers of those parts.
        report: what a person wants to know of it.
        validation_tokens, validation_characters: of the validation part that counts, whether it is read or not.
        uniform, unigram: losses of the two baselines on the validation part, in nats per token.
    """

    parts: dict[str, Part]
    tokenizer: Tokenizer
    training: TextReader
    validation: TextReader
    report: DataReport
    validation_tokens: int
    validation_characters: int
    uniform: float
    unigram: float

    def notes(self) -> tuple[str, ...]:
        """One line for each setting that had to be adapted to the text, or had better be."""
        train, validation = self.report.parts["train"], self.report.parts["validation"]
        notes = list(self.training.notes)
        if validation.unknown_rate > 0 and train.unknown_rate == 0 and self.tokenizer.unit == "word":
            notes.append(
                "no word of the training part is unknown, so that nothing can be learnt about the unknown words of the "
                "validation part: --min-count 2 would help"
            )
        if self.validation.tokens < self.validation_tokens:
            notes.append(
                f"validation while training reads the first {self.validation.tokens:,} of {self.validation_tokens:,} "
                "tokens; unrolled evaluate reads them all"
            )
        return tuple(notes)

    def validation_bits_per_character(self, loss: float) -> float:
        """Bits per character of the validation text at a loss in nats per token."""
        return metrics.bits_per_character(loss * self.validation_tokens, self.validation_characters)


def prepare(sources: Sequence[str | Path], settings: TextSettings, training: TrainingSettings) -> TrainingData:
    """Read a corpus and make it ready.

    Raises:
        CorpusError, TokenizerError: the text cannot be read or used; each says what to do.
    """
    corpus = read_corpus([str(source) for source in sources], encoding=settings.encoding, errors=settings.errors)
    parts = split_text(corpus, settings)
    return with_tokenizer(parts, train_tokenizer(parts["train"].text, settings), settings, training)


def with_tokenizer(
    parts: dict[str, Part], tokenizer: Tokenizer, settings: TextSettings, training: TrainingSettings
) -> TrainingData:
    """Make parts that have been read ready with a tokenizer that exists."""
    ids: dict[str, Ids] = {name: tokenizer.encode(part.text) for name, part in parts.items()}
    batch, window = training.sizes_for(settings.unit)
    shown = _first_lines(ids["validation"], tokenizer.end_of_line_id)
    streams = max(1, min(VALIDATION_STREAMS, len(shown) // SHORTEST_STREAM))
    train_reader, validation_reader = (
        _reader(part, tokenizer, settings.read, batch_size=batch_size, window=window, seed=training.seed)
        for part, batch_size in ((ids["train"], batch), (shown, streams))
    )
    report, validation_text = data_report(parts, ids, tokenizer), parts["validation"].text
    if settings.read == "sentences":
        end = tokenizer.end_of_line_id
        _, ids["train"] = without_blank_lines(parts["train"].text, ids["train"], end)
        validation_text, ids["validation"] = without_blank_lines(validation_text, ids["validation"], end)
    return TrainingData(
        parts,
        tokenizer,
        train_reader,
        validation_reader,
        report,
        len(ids["validation"]),
        len(validation_text),
        metrics.uniform_baseline(tokenizer.vocabulary_size),
        metrics.unigram_baseline(ids["train"], ids["validation"], tokenizer.vocabulary_size),
    )


def _first_lines(ids: Ids, end_of_line_id: int) -> Ids:
    """As many whole lines as fit into VALIDATION_TOKENS; if not even one does, so much of it."""
    if len(ids) <= VALIDATION_TOKENS:
        return ids
    ends = np.flatnonzero(ids[:VALIDATION_TOKENS] == end_of_line_id)
    return ids[: ends[-1] + 1] if len(ends) else ids[:VALIDATION_TOKENS]


def _reader(ids: Ids, tokenizer: Tokenizer, read: str, *, batch_size: int, window: int, seed: int) -> TextReader:
    if read == "stream":
        return StreamReader(ids, end_of_line_id=tokenizer.end_of_line_id, batch_size=batch_size, window=window)
    return SentenceReader(ids, end_of_line_id=tokenizer.end_of_line_id, batch_size=batch_size, seed=seed)


def parts_record(parts: dict[str, Part]) -> dict[str, Any]:
    """What a model directory remembers of the parts, so that they can be found again."""
    return {name: part.as_dict() for name, part in parts.items()}
