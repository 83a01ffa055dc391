"""From a corpus to what training reads: tokens of each part, readers, baselines and the report."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import metrics
from unrolled.errors import ModelDirectoryError
from unrolled.models.task import Data, ReadingOptions, Report, SavedData, nobody
from unrolled.models.task import Watched as WatchedText
from unrolled.text.batches import Ids, SentenceReader, StreamReader
from unrolled.text.corpus import KEPT, read_corpus
from unrolled.text.encoding import Encoded, encode
from unrolled.text.report import DataReport, data_report
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.split import Part, find_part, split_text
from unrolled.text.token_cache import kept_tokenizer, kept_tokens
from unrolled.text.tokenizer import Tokenizer, train_tokenizer

TextReader = StreamReader | SentenceReader
VALIDATION_STREAMS = 64
"""Most streams into which the validation text is cut, so that it is read quickly."""
VALIDATION_TOKENS = 200_000
"""Most tokens of the validation text that are read after each pass, so that a long text leaves time for training."""
SHORTEST_STREAM = 500
"""Fewest tokens of such a stream: a stream starts without memory, which costs a little at its start."""


@dataclass(frozen=True)
class TrainingData(Data):
    """A text, ready to be trained on.

    Attributes:
        parts: train, validation and, if asked for, test.
        tokenizer: made from the training part alone.
        ids: tokens of each part.
        counts: how often the training part has each token as a target, (V,).
        read: how they are read: as a stream or in sentences.
        report: what a person wants to know of it.
        validation_tokens, validation_characters: of the validation part that counts, whether it is read or not.
        uniform, unigram: losses of the two baselines on the validation part, in nats per token.
    """

    parts: dict[str, Part]
    tokenizer: Tokenizer
    ids: dict[str, Ids]
    counts: NDArray[np.int64]
    read: str
    report: DataReport
    validation_tokens: int
    validation_characters: int
    uniform: float
    unigram: float

    @property
    def size(self) -> int:
        """Tokens of the training part."""
        return len(self.ids["train"])

    @property
    def sources(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of the training part."""
        return self.parts["train"].sources

    def fingerprint(self) -> str:
        """The same for the same text, cut into the same parts and tokens."""
        parts = [f"{part.name} {part.sha256} {part.start} {part.end}" for part in self.parts.values()]
        counts = [f"{name} {len(ids)}" for name, ids in self.ids.items()]
        return " ".join([*parts, *counts, str(self.tokenizer.vocabulary_size)])

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

    def training_reader(self, options: ReadingOptions) -> TextReader:
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

    def validation_reader(self, options: ReadingOptions) -> TextReader:
        """What a validation reads: side by side, so that it is quick."""
        shown, end = self._shown(), self.tokenizer.end_of_line_id
        streams = max(1, min(VALIDATION_STREAMS, len(shown) // SHORTEST_STREAM))
        if self.read == "sentences":
            return SentenceReader(shown, end_of_line_id=end, batch_size=streams, seed=0)
        return StreamReader(shown, end_of_line_id=end, batch_size=streams, window=options.window or 0)

    def _shown(self) -> Ids:
        return first_lines(self.ids["validation"], self.tokenizer.end_of_line_id)

    def figures(self, loss: float, accuracy: float | None) -> dict[str, float | None]:
        """Perplexity, where it is a number, and bits per character of the validation text."""
        perplexity = metrics.perplexity(loss)
        return {
            "perplexity": perplexity if math.isfinite(perplexity) else None,
            "bits_per_character": metrics.bits_per_character(loss * self.validation_tokens, self.validation_characters),
        }

    def describe(self, loss: float, accuracy: float | None) -> str:
        """Nats, perplexity beside those of the baselines, bits per character."""
        uniform, unigram = metrics.perplexity(self.uniform), metrics.perplexity(self.unigram)
        return (
            f"{loss:.4f} nats/token, perplexity {metrics.perplexity(loss):,.2f} "
            f"(uniform {uniform:,.0f}, unigram {unigram:,.1f}), "
            f"{self.figures(loss, accuracy)['bits_per_character']:.3f} bits/character"
        )

    def watched(self) -> WatchedText:
        """The validation text."""
        return WatchedText(self.ids["validation"], self.tokenizer.end_of_line_id, self.read == "sentences")

    def record(self) -> dict[str, Any]:
        """Parts, so that they can be found again, and the report."""
        return {"parts": {name: part.as_dict() for name, part in self.parts.items()}, "report": self.report.as_dict()}

    def tokenizers(self) -> dict[str, str]:
        """The one."""
        return {"tokenizer_json": self.tokenizer.to_json()}


def prepare(sources: Sequence[str | Path], settings: TextSettings, report: Report = nobody) -> TrainingData:
    """Read a corpus and make it ready.

    Args:
        sources: of the corpus.
        settings: of the text.
        report: is told what is done, and which share of it; what it raises ends the work.

    Raises:
        CorpusError, TokenizerError: the text cannot be read or used; each says what to do.
    """
    reading = partial(report, "reading")
    names = [str(source) for source in sources]
    corpus = read_corpus(names, encoding=settings.encoding, errors=settings.errors, report=reading)
    parts = split_text(corpus, settings)
    train = parts["train"]
    text = Watched(train, partial(report, "vocabulary"))
    tokenizer = kept_tokenizer(train, text, settings) if is_long(train) else train_tokenizer(text, settings)
    return with_tokenizer(parts, tokenizer, settings, report)


def with_tokenizer(
    parts: dict[str, Part], tokenizer: Tokenizer, settings: TextSettings, report: Report = nobody
) -> TrainingData:
    """Make parts that have been read ready with a tokenizer that exists."""
    encoded: dict[str, Encoded] = {}
    by_lines = settings.read == "sentences"
    for name, part in parts.items():
        text = Watched(part, partial(report, f"tokens of {name}"))
        if is_long(part):
            encoded[name] = kept_tokens(part, text, tokenizer, by_lines=by_lines)
        else:
            encoded[name] = encode(text, tokenizer, by_lines=by_lines)
    train, validation = encoded["train"], encoded["validation"]
    return TrainingData(
        parts,
        tokenizer,
        {name: each.ids for name, each in encoded.items()},
        train.read_counts,
        settings.read,
        data_report(parts, encoded, tokenizer),
        int(validation.read_counts.sum()),
        validation.read_characters,
        metrics.uniform_baseline(tokenizer.vocabulary_size),
        metrics.unigram_baseline(train.read_counts, validation.read_counts),
    )


def prepare_again(
    saved: SavedData, sources: Sequence[str | Path], settings: TextSettings, report: Report = nobody
) -> TrainingData:
    """The same parts of the same text, from the given sources or, where none are given, the recorded ones.

    Raises:
        CorpusError: the text is not the one that the run began with.
        ModelDirectoryError: the record is damaged.
    """
    try:
        records = dict(saved.record["parts"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirectoryError(f"config.json: has no record of the text's parts ({error!r}): train anew") from error
    parts = {}
    for name, record in records.items():
        is_other = name != "train" and settings.validation is not None
        given = None if is_other else [str(source) for source in sources] or None
        reading = partial(report, f"reading {name}")
        parts[name] = find_part(record, given, encoding=settings.encoding, errors=settings.errors, report=reading)
    tokenizer = Tokenizer.from_json(saved.files.tokenizer_json, settings.unit or DEFAULT_UNIT)
    return with_tokenizer(parts, tokenizer, settings, report)


def is_long(part: Part) -> bool:
    """Whether the part's tokens are kept in a file, so that memory does not grow with the text."""
    return part.end - part.start > KEPT


class Watched:
    """A part whose reading is reported."""

    def __init__(self, part: Part, tell: Callable[[float], None]) -> None:
        self._part, self._tell = part, tell

    def pieces(self) -> Iterator[str]:
        """As of the part itself."""
        done, whole = 0, max(1, self._part.end - self._part.start)
        for piece in self._part.pieces():
            yield piece
            done += len(piece)
            self._tell(min(1.0, done / whole))


def first_lines(ids: Ids, end_of_line_id: int) -> Ids:
    """As many whole lines as fit into VALIDATION_TOKENS; if not even one does, so much of it."""
    if len(ids) <= VALIDATION_TOKENS:
        return ids
    ends = np.flatnonzero(ids[:VALIDATION_TOKENS] == end_of_line_id)
    return ids[: ends[-1] + 1] if len(ends) else ids[:VALIDATION_TOKENS]
