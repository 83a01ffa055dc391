"""What a task is: what the training loop and the verbs ask of it. `models.TASKS` is the table of tasks.

Nothing here imports torch: a task's network and predictor are loaded when they are first used.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from unrolled.errors import ModelDirectoryError
from unrolled.models.settings import ModelSettings
from unrolled.nn.regularization import Regularization
from unrolled.settings import from_record
from unrolled.text.settings import TextSettings

if TYPE_CHECKING:
    import torch

    from unrolled.model_directory import ModelFiles
    from unrolled.models.network import TaskNetwork

Report = Callable[[str, float], None]
"""Is told what is done and which share of it; what it raises ends the work."""
Arrays = dict[str, npt.NDArray[Any] | None]


def nobody(what: str, share: float) -> None:
    """A report that nobody reads."""


class Batch(Protocol):
    """Sequences side by side, and what is to be learnt from them."""

    @property
    def starts(self) -> bool:
        """Whether the state before the first step is zero; otherwise it is that after the batch before."""

    @property
    def rate(self) -> float:
        """Factor of the learning rate that suits this batch."""

    @property
    def tokens(self) -> int:
        """How many targets count."""

    @property
    def width(self) -> int:
        """Sequences side by side: B."""

    def columns(self, taken: slice) -> Self:
        """Some of the sequences."""

    def arrays(self) -> Arrays:
        """What the network's `objective` takes, by the names of its parameters."""


class Reader(Protocol):
    """Cuts data into batches, the same for the same pass."""

    def __len__(self) -> int:
        """Batches in a pass."""

    def batches(self, pass_index: int, start: int = 0) -> Iterator[Batch]:
        """The batches of a pass from number `start` on."""


class DataReader(Reader, Protocol):
    """A reader that says what it reads."""

    @property
    def tokens(self) -> int:
        """Targets in a pass."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What differs from what was asked, one line each."""


class ReadingOptions(Protocol):
    """What a reader wants to know; an open choice is refused."""

    @property
    def batch(self) -> int | None:
        """Sequences side by side."""

    @property
    def window(self) -> int | None:
        """Time steps between two cuts of a stream."""

    @property
    def random_windows(self) -> bool:
        """Whether cuts are moved at random."""

    @property
    def seed(self) -> int:
        """For the order."""


class DataReport(Protocol):
    """What a person wants to know of the data."""

    def lines(self) -> list[str]:
        """For a person, one string a line."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""


@dataclass(frozen=True)
class Watched:
    """A text on which a language model's gradients are watched: ids, the first input, whether lines stand alone."""

    ids: npt.NDArray[np.integer[Any]]
    first: int
    by_lines: bool


class Data(ABC):
    """A task's data, ready to be trained on.

    Attributes:
        report: what a person wants to know of it.
        counted: what a loss is a mean over: "token", "label".
        uniform, unigram: losses of the two baselines on the validation part, in nats for each of these.
        sources: where the training part comes from.
        counts: how often each target occurs in training, (V,); None where none is ever drawn at random.
    """

    report: DataReport
    counted: str = "token"
    uniform: float
    unigram: float
    sources: tuple[str, ...]
    counts: npt.NDArray[np.int64] | None

    @property
    @abstractmethod
    def size(self) -> int:
        """Targets in a pass over the training part."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The same for the same data, cut into the same parts and tokens."""

    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """One line for each setting that had better be adapted, and for what is left out."""

    @abstractmethod
    def training_reader(self, options: ReadingOptions) -> DataReader:
        """What a pass of training reads."""

    @abstractmethod
    def validation_reader(self, options: ReadingOptions) -> DataReader:
        """What a validation reads."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What config.json says under "data": enough to find the data again."""

    @abstractmethod
    def tokenizers(self) -> dict[str, str]:
        """Contents of the files of the model directory that hold tokenizers, by the names of `model_directory.save`."""

    def figures(self, loss: float, accuracy: float | None) -> dict[str, float | None]:
        """What the log says beside a validation loss."""
        return {} if accuracy is None else {"accuracy": accuracy}

    def describe(self, loss: float, accuracy: float | None) -> str:
        """A validation in words."""
        right = "" if accuracy is None else f", accuracy {accuracy:.2%}"
        baselines = f"(uniform {self.uniform:.4f}, by frequency {self.unigram:.4f})"
        return f"{loss:.4f} nats/{self.counted} {baselines}{right}"

    def watched(self) -> Watched | None:
        """What the gradients of a language model are watched on; None for other tasks."""
        return None


@dataclass(frozen=True)
class Defaults:
    """What is filled in where a person leaves a choice open; see `ModelSettings` and `TrainingSettings`."""

    cell: str = "gru"
    hidden: int = 128
    embedding: int | None = None
    layers: int = 1
    batch: int = 32
    window: int = 64
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    dropout: float | None = None
    tied: bool = False


class Task(ABC):
    """A task, from a person's file to answers.

    Attributes:
        name: as `--task` has it.
        summary: what it does, in one line.
        takes: what DATA is, in one line.
        options: settings dataclasses of its own, beside those that all tasks have.
        unit: what a token is, unless `--unit` says otherwise.
        plans_sizes: whether a plan for `--minutes` chooses the size too.
        unused: settings that all tasks have and that make no difference to this one; to give one is refused.
    """

    name: str
    summary: str
    takes: str
    options: tuple[type[Any], ...] = ()
    unit: str = "word"
    plans_sizes: bool = False
    unused: frozenset[str] = frozenset()

    @abstractmethod
    def defaults(self, unit: str) -> Defaults:
        """Plain settings, the same on every machine."""

    @abstractmethod
    def prepare(
        self,
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
    ) -> Data:
        """Read data and make them ready.

        Args:
            sources: DATA.
            text: settings, with a unit.
            own: the task's own settings, in the order of `options`.
            report: is told what is done.

        Raises:
            CorpusError, TokenizerError: the data cannot be read or used.
            UsageError: settings do not go together.
        """

    @abstractmethod
    def prepare_again(
        self,
        saved: "SavedData",
        sources: Sequence[str | Path],
        text: TextSettings,
        own: Sequence[Any],
        report: Report = nobody,
    ) -> Data:
        """The data of a run that goes on: from `sources`, or from where they lay where none are given.

        Raises:
            CorpusError: they are not those that the run began with.
        """

    @abstractmethod
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
    ) -> "TaskNetwork":
        """The network, new.

        Raises:
            UsageError: what the cell cannot have, or sizes that do not go together.
        """

    @abstractmethod
    def check(self, files: "ModelFiles") -> None:
        """Hold the weights of a model directory against its sizes, without making any of that size.

        Raises:
            ModelDirectoryError: they do not fit.
        """

    @abstractmethod
    def load(self, directory: str | Path, *, engine: str = "auto") -> Any:
        """What evaluates, predicts and scores.

        Raises:
            ModelDirectoryError: the directory is damaged, or another task's.
        """

    def own_settings(self, record: Mapping[str, Any]) -> tuple[Any, ...]:
        """The task's own settings from what config.json says of them.

        Raises:
            KeyError, TypeError: an entry is missing or wrong.
        """
        return tuple(
            from_record(group, {each.name: record[each.name] for each in fields(group)}) for group in self.options
        )


@dataclass(frozen=True)
class SavedData:
    """What a model directory remembers of its data: config.json's "data", and the tokenizers."""

    record: Mapping[str, Any]
    files: "ModelFiles"


def check_task(config: Mapping[str, Any], name: str, directory: str | Path) -> None:
    """Refuse a model directory of another task.

    Raises:
        ModelDirectoryError: names both tasks.
    """
    if config.get("task") != name:
        raise ModelDirectoryError(
            f'{directory}: its task is {config.get("task")!r}, expected "{name}": unrolled info tells what it is'
        )
