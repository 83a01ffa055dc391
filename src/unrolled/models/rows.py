"""Tasks whose data are examples, row by row: read, split, recorded and found again alike."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.task import Data, DataReader, ReadingOptions, Report, SavedData, Task, check_task, nobody
from unrolled.settings import option
from unrolled.text.corpus import STANDARD_INPUT, Corpus, listed, read_files
from unrolled.text.examples import Ids
from unrolled.text.pieces import encode_lines
from unrolled.text.rows import split_rows
from unrolled.text.settings import DEFAULT_UNIT, TextSettings
from unrolled.text.split import PARTS
from unrolled.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from unrolled.model_directory import ModelFiles

Row = TypeVar("Row")
SPLIT_SEED = 0
"""The same data are cut into the same parts, whatever a run's own seed."""
VALIDATION_BATCH = 64
UNUSED = frozenset({
    *("read", "window", "random_windows"),  # of one long text
    *("tied", "samples"),  # of a vocabulary that is predicted
    *("activation", "temporal_activation"),
})  # fmt: skip
"""Settings that mean nothing to tasks with labels; see `Task.unused`."""


@dataclass(frozen=True)
class ExampleSettings:
    """What all tasks with examples have in common."""

    most_tokens: int = option(1000, "Longest example that is read, in tokens; longer ones are left out or refused")
    unknown_share: float = option(
        0.05, "Share of the words that are read as unknown while training, so that unknown ones can be dealt with"
    )

    def __post_init__(self) -> None:
        if self.most_tokens < 1:
            raise UsageError(f"most_tokens is {self.most_tokens}: give a whole number of at least 1")
        if not 0 <= self.unknown_share < 1:
            raise UsageError(f"unknown_share is {self.unknown_share}: give a share of at least 0 and below 1")


@dataclass(frozen=True)
class Rows(Generic[Row]):
    """Examples by part.

    Attributes:
        parts: train, validation and, if asked for, test.
        origins: what each part was read from: sources, and SHA-256 of all that they hold.
    """

    parts: dict[str, list[Row]]
    origins: dict[str, tuple[tuple[str, ...], str]]

    def record(self) -> dict[str, Any]:
        """What config.json keeps of the parts."""
        return {
            name: {"name": name, "sources": list(sources), "sha256": digest, "rows": len(self.parts[name])}
            for name, (sources, digest) in self.origins.items()
        }


@dataclass(frozen=True)
class RowReport:
    """Counts of examples and vocabularies.

    Attributes:
        sources: what the examples were read from.
        parts: for each the number of examples, of tokens, and the share of the tokens that are unknown.
        vocabularies: tokens kept, by what they are for.
        unit: what a token is.
        labels: how often the training part has each, if there are labels.
        example: a training example, by its sides.
        example_tokens: the same in tokens.
    """

    sources: tuple[str, ...]
    parts: dict[str, tuple[int, int, float]]
    vocabularies: dict[str, int]
    unit: str
    labels: dict[str, int]
    example: dict[str, str]
    example_tokens: dict[str, tuple[str, ...]]

    def as_dict(self) -> dict[str, Any]:
        """The report as data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people, one string a line."""
        rows = [f"{'data':<12}{', '.join(self.sources)}"]
        for name, (examples, tokens, unknown) in self.parts.items():
            missing = "" if self.unit == "bpe" else f", {unknown:.2%} unknown"
            rows.append(f"{name:<12}{examples:,} examples, {tokens:,} tokens{missing}")
        sizes = ", ".join(f"{size:,} tokens{f' ({side})' if side else ''}" for side, size in self.vocabularies.items())
        rows.append(f"{'vocabulary':<12}{sizes} (unit {self.unit})")
        if self.labels:
            shown = sorted(self.labels.items(), key=lambda pair: (-pair[1], pair[0]))
            more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
            rows.append(f"{'labels':<12}{', '.join(f'{label} {count:,}' for label, count in shown[:8])}{more}")
        for side, text in self.example.items():
            rows.append(f"{side:<12}{text}")
            rows.append(f"{'':<12}{' '.join(self.example_tokens[side])}")
        return rows


class RowData(Data):
    """Examples, ready to be trained on; subclasses make readers of them.

    Args:
        rows: the examples.
        tokenizers: by the names of `model_directory.save`.
        report: for a person.
        uniform, unigram: the baselines.
        notes: for a person.
        labels: in the order of their ids; none for tasks without.
    """

    def __init__(
        self,
        rows: Rows[Any],
        tokenizers: Mapping[str, Tokenizer],
        report: RowReport,
        *,
        uniform: float,
        unigram: float,
        notes: Sequence[str] = (),
        labels: Sequence[str] = (),
    ) -> None:
        self.rows, self._tokenizers, self.report = rows, dict(tokenizers), report
        self.uniform, self.unigram, self._notes, self.labels = uniform, unigram, tuple(notes), tuple(labels)
        self.sources, self.counts = rows.origins["train"][0], None

    @abstractmethod
    def reader(self, part: str, batch_size: int, seed: int) -> DataReader:
        """Batches of a part."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Of what is read."""
        return self._tokenizers["tokenizer_json"]

    @property
    def size(self) -> int:
        """Targets in a pass over the training part."""
        return self.reader("train", 1, 0).tokens

    def fingerprint(self) -> str:
        """Of rows and vocabularies."""
        return repr((self.rows.record(), {name: each.vocabulary_size for name, each in self._tokenizers.items()}))

    def notes(self) -> tuple[str, ...]:
        """What was left out, among others."""
        return self._notes

    def training_reader(self, options: ReadingOptions) -> DataReader:
        """The training part, in a new order in each pass."""
        return self.reader("train", options.batch or 0, options.seed)

    def validation_reader(self, options: ReadingOptions) -> DataReader:
        """The validation part."""
        return self.reader("validation", VALIDATION_BATCH, 0)

    def record(self) -> dict[str, Any]:
        """Parts, so that they can be found again, labels and the report."""
        return {"parts": self.rows.record(), "labels": list(self.labels), "report": self.report.as_dict()}

    def tokenizers(self) -> dict[str, str]:
        """All of them."""
        return {name: tokenizer.to_json() for name, tokenizer in self._tokenizers.items()}


class RowTask(Task, Generic[Row]):
    """A task whose data are examples; `options` begins with `ExampleSettings`."""

    @abstractmethod
    def parse(self, corpora: Sequence[Corpus], own: Sequence[Any]) -> list[Row]:
        """The examples of some sources.

        Raises:
            CorpusError: they are not as the task takes them; says where and what to do.
        """

    def settled(self, parts: dict[str, list[Row]]) -> dict[str, list[Row]]:
        """Parts as they were split by chance, made such that each can be used."""
        return parts

    @abstractmethod
    def data(
        self, rows: Rows[Row], text: TextSettings, own: Sequence[Any], files: "ModelFiles | None", report: Report
    ) -> RowData:
        """Examples made ready; tokenizers and labels are those of a model directory, where one is given."""

    def prepare(
        self, sources: Sequence[str | Path], text: TextSettings, own: Sequence[Any], report: Report = nobody
    ) -> Data:
        """Examples, split and turned into tokens."""
        return self.data(self.read(sources, text, own, report), text, own, None, report)

    def prepare_again(
        self,
        saved: SavedData,
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
    ) -> Data:
        """The same parts of the same examples."""
        rows = self.read(sources or recorded_sources(saved.record, "train"), text, own, report, record=saved.record)
        return self.data(rows, text, own, saved.files, report)

    def read(
        self,
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
        *,
        record: Any = None,
    ) -> Rows[Row]:
        """Examples by part: of one source, split, or with a source of their own for validation.

        Args:
            sources, text, own, report: see `prepare`.
            record: config.json's "data", where the examples have to be those.

        Raises:
            CorpusError: they cannot be read, or are others.
        """
        whole, origin = self._read(sources, text, own, report)
        if record is not None:  # before they are split, which other ones may be too few for
            refuse_others(origin, record, "train")
        if text.validation is not None:
            places = [text.validation] if record is None else recorded_sources(record, "validation")
            other, other_origin = self._read(places, text, own, report)
            if record is not None:
                refuse_others(other_origin, record, "validation")
            return Rows({"train": whole, "validation": other}, {"train": origin, "validation": other_origin})
        parts = split_rows(whole, text.shares, SPLIT_SEED, name=listed(origin[0]))
        return Rows(self.settled(parts), dict.fromkeys(parts, origin))

    def rows_of(
        self, config: Mapping[str, Any], sources: Sequence[str | Path], part: str | None
    ) -> tuple[list[Row], str]:
        """Examples to evaluate a model on, and what to call them.

        Args:
            config: of the model.
            sources: the examples; none: those it was trained with.
            part: as split for training; None: all of the given ones, or the validation part of the recorded ones.

        Raises:
            UsageError: the model has no such part.
            CorpusError: the examples cannot be read, or are not those whose part is asked for.
            ModelDirectoryError: the record is damaged.
        """
        text, own = self.settings_of(config)
        if sources and part is None:
            rows, (names, _) = self._read(sources, text, own, nobody)
            return rows, listed(names)
        part, record = part or "validation", config.get("data") or {}
        known = PARTS[: len(text.shares)]
        if part not in known:
            raise UsageError(f'part is "{part}": this model has {", ".join(known)}')
        if text.validation is not None and part == "validation" and not sources:
            rows, origin = self._read(recorded_sources(record, part), text, own, nobody)
            refuse_others(origin, record, part)
            return rows, f"{part} part, {listed(origin[0])}"
        by_part = self.read(sources or recorded_sources(record, "train"), text, own, record=record)
        return by_part.parts[part], f"{part} part of {listed(by_part.origins[part][0])}"

    def settings_of(self, config: Mapping[str, Any]) -> tuple[TextSettings, tuple[Any, ...]]:
        """What config.json says of text and of the task's own settings.

        Raises:
            ModelDirectoryError: it is damaged.
        """
        check_task(config, self.name, "config.json")
        try:
            return TextSettings(**config["text"]), self.own_settings(config["training"]["own"])
        except (KeyError, TypeError, UsageError) as error:
            raise ModelDirectoryError(f"config.json: its settings are damaged ({error!r}): train again") from error

    def _read(
        self, sources: Sequence[str | Path], text: TextSettings, own: Sequence[Any], report: Report
    ) -> tuple[list[Row], tuple[tuple[str, ...], str]]:
        reading = partial(report, "reading")
        names, corpora = read_files(sources, encoding=text.encoding, errors=text.errors, report=reading)
        digest = hashlib.sha256("".join(corpus.sha256 for corpus in corpora).encode()).hexdigest()
        return self.parse(corpora, own), (names, digest)


def recorded_sources(record: Mapping[str, Any], part: str) -> list[str]:
    """Where a part was read from.

    Raises:
        CorpusError: from standard input.
        ModelDirectoryError: the record is damaged.
    """
    sources, _ = _recorded(record, part)
    if STANDARD_INPUT in sources:
        raise CorpusError(f"the {part} part was read from standard input, which cannot be read again: give the data")
    return sources


def refuse_others(origin: tuple[tuple[str, ...], str], record: Any, part: str) -> None:
    """Refuse examples that do not come from where those of a record do.

    Args:
        origin: sources, and SHA-256 of what they hold.
        record: config.json's "data".
        part: that was cut from them.

    Raises:
        CorpusError: says which, and what to do.
        ModelDirectoryError: the record is damaged.
    """
    (sources, found), (_, expected) = origin, _recorded(record, part)
    if found != expected:
        raise CorpusError(
            f"{listed(sources)}: these are not the data that the {part} part was cut from (SHA-256 {found[:12]}..., "
            f"expected {expected[:12]}...): give those, or evaluate without a part"
        )


def _recorded(record: Any, part: str) -> tuple[list[str], str]:
    """Sources and SHA-256 of a part, as config.json has them."""
    try:
        entry = record["parts"][part]
        sources, digest = entry["sources"], entry["sha256"]
    except (KeyError, TypeError, IndexError) as error:
        raise ModelDirectoryError(f"config.json: has no record of its data ({error!r}): give the data") from error
    if not isinstance(sources, list) or not isinstance(digest, str):
        raise ModelDirectoryError('config.json: the record under "data" is damaged: give the data')
    return [str(source) for source in sources], digest


def short_enough(
    lengths: Sequence[int], most: int, places: Sequence[str], name: str, *, may_leave_out: bool
) -> tuple[list[int], str]:
    """Numbers of the examples that a model reads, and what to call them.

    Args:
        lengths: of each, in tokens.
        most: tokens that the model reads.
        places: where each stands, for the message.
        name: of the data.
        may_leave_out: whether longer ones are left out, as they were in training, and the name says so.

    Raises:
        CorpusError: one is longer, or all of them; says where.
    """
    fits = [number for number, length in enumerate(lengths) if length <= most]
    if len(fits) == len(lengths):
        return fits, name
    if not may_leave_out:
        length, place = next((length, place) for length, place in zip(lengths, places, strict=True) if length > most)
        raise CorpusError(
            f"{place} has {length:,} tokens, the model reads at most {most:,} (--most-tokens when it was trained): "
            "make it shorter"
        )
    if not fits:
        raise CorpusError(f"{name}: all {len(lengths):,} examples have more than {most:,} tokens: give shorter ones")
    return fits, f"{name}, without {len(lengths) - len(fits):,} of more than {most:,} tokens"


def all_too_long(part: str, most: int) -> CorpusError:
    """What there is to say where a part has nothing that is short enough."""
    return CorpusError(
        f"the {part} part has no example of at most {most:,} tokens: give a larger --most-tokens, or shorter examples"
    )


def saved_tokenizer(
    text: TextSettings, content: str, *, size: int | None = None, name: str = "tokenizer.json"
) -> Tokenizer:
    """The tokenizer of a model directory; `name` is that of its file, for messages.

    Raises:
        TokenizerError: it is none of the unit.
        ModelDirectoryError: it has not so many tokens.
    """
    tokenizer = Tokenizer.from_json(content, text.unit or DEFAULT_UNIT)
    if size is not None and tokenizer.vocabulary_size != size:
        raise ModelDirectoryError(f"{name} has {tokenizer.vocabulary_size} tokens, the model {size}: train again")
    return tokenizer


def saved_labels(config: Mapping[str, Any], count: int) -> list[str]:
    """The labels of a model directory, in the order of their ids.

    Raises:
        ModelDirectoryError: there are not so many.
    """
    data = config.get("data")
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, list) or len(labels) != count or not all(isinstance(label, str) for label in labels):
        raise ModelDirectoryError(f"config.json: does not name the {count} labels of its model: train again")
    return labels


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text with its end; newlines in a text count as blanks."""
    if not texts:
        return []
    return list(encode_lines(tokenizer, [text.replace("\n", " ") for text in texts]))


def unknown_rate(tokenizer: Tokenizer, sequences: Sequence[Ids]) -> float:
    """Share of the tokens that are unknown."""
    ids = np.concatenate([np.empty(0, np.int32), *sequences])
    return float((ids == tokenizer.unknown_id).mean()) if ids.size and tokenizer.unknown_id is not None else 0.0


def shown_tokens(tokenizer: Tokenizer, ids: Ids) -> tuple[str, ...]:
    """Tokens for people, without the end of the line."""
    kept = [int(n) for n in ids if n != tokenizer.end_of_line_id]
    if tokenizer.unit == "bpe":
        return tuple(tokenizer.decode([n]).replace(" ", "␣") for n in kept)
    return tuple(tokenizer.token(n).replace(" ", "␣") for n in kept)
