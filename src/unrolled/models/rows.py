"""Tasks whose data are examples, row by row: read, split, recorded and found again alike."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from unrolled.errors import CorpusError, ModelDirectoryError, UsageError
from unrolled.models.examples import RowReport
from unrolled.models.task import Data, DataReader, ReadingOptions, Report, SavedData, Task, check_task, nobody
from unrolled.settings import from_record, option
from unrolled.text.corpus import STANDARD_INPUT, Corpus, listed, read_files
from unrolled.text.rows import split_rows
from unrolled.text.settings import TextSettings
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
    *("tied", "factored", "samples"),  # of a vocabulary that is predicted
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
        usual = ExampleSettings().unknown_share
        if text.unit == "bpe" and own[0].unknown_share not in {0, usual}:
            raise UsageError(f"--unknown-share is {own[0].unknown_share}, but no subword is ever unknown: leave it out")
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
            return from_record(TextSettings, config["text"]), self.own_settings(config["training"]["own"])
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
