"""What a trained model of a task is asked, and how it answers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from unrolled.errors import LineError, UsageError
from unrolled.settings import option

Tell = Callable[[float], None]
LINES_AT_ONCE = 256
"""Lines that are read together, so that any number of them can stream through."""


def nobody(share: float) -> None:
    """Nobody wants to know how much is done."""


@dataclass(frozen=True)
class PredictionSettings:
    """How to predict; which of these a task knows, its predictor says."""

    top: int | None = option(
        None,
        "How many candidates or labels to show, the most probable first (default: 5 candidates, 1 label; in JSON all)",
    )
    candidates: str | None = option(None, "Candidates for a gap to rank, separated by commas")
    explain: bool = option(False, "Show how much each word moved the decision")
    beam: int = option(5, "Hypotheses kept side by side in beam search; 1 is greedy")
    best: int = option(1, "How many translations of each line to show, with scores; at most --beam")
    length_penalty: float = option(1.0, "Exponent of the length by which scores are divided; 0 favours short ones")
    most_output: int | None = option(None, "Longest output in tokens (default: 200, for long lines twice as long)")
    alignment: str | None = option(
        None, "Draw what each output token looked at: into this folder as PNG, on the screen for -"
    )
    batch: int = option(32, "Lines side by side; answers do not depend on it")

    def __post_init__(self) -> None:
        refuse_below_one(top=self.top, beam=self.beam, best=self.best, most_output=self.most_output, batch=self.batch)
        if self.best > self.beam:
            raise UsageError(f"best is {self.best} and beam is {self.beam}: a beam finds no more than its width")
        if not 0 <= self.length_penalty < float("inf"):
            raise UsageError(f"length_penalty is {self.length_penalty}: give a number of at least 0")


def refuse_one_text(texts: Sequence[Any]) -> None:
    """Refuse a single text where several are wanted, which would be read letter by letter.

    Raises:
        UsageError: it is one.
    """
    if isinstance(texts, str):
        raise UsageError(f'expected a list of texts, not the one text "{texts[:40]}": put it into a list')


def as_sources(sources: Sequence[str | Path] | str | Path) -> Sequence[str | Path]:
    """One source or several as several."""
    return [sources] if isinstance(sources, str | Path) else sources


def refuse_below_one(**counts: int | None) -> None:
    """Refuse a count that is below 1; None is one that was left open.

    Raises:
        UsageError: names it.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{name} is {count}: give a whole number of at least 1")


class Answer(Protocol):
    """What a model says to a line."""

    def lines(self) -> list[str]:
        """For a person or a pipe."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""


class Result(Protocol):
    """What an evaluation came to, and on which data."""

    @property
    def name(self) -> str:
        """Of the data."""

    def lines(self) -> list[str]:
        """For a person, one string a line."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""


class Predictor(ABC):
    """A trained model of a task.

    Attributes:
        config: contents of config.json.
        knows: names of the `PredictionSettings` that make a difference to it; `batch` always does.
    """

    knows: ClassVar[frozenset[str]] = frozenset()
    config: Mapping[str, Any]

    @property
    def text_column(self) -> str | None:
        """Of a table, where what is asked stands in one; None for a task whose data are no tables."""
        return None

    @classmethod
    @abstractmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> "Predictor":
        """Read and verify a model directory.

        Raises:
            ModelDirectoryError: it is missing, damaged, or another task's.
        """

    @abstractmethod
    def answers(self, lines: Sequence[str], settings: PredictionSettings, *, first: int = 1) -> Sequence[Answer]:
        """An answer to each line; `first` is the number of the first of them, for messages.

        Raises:
            LineError: a line cannot be answered; says which and why.
        """

    @abstractmethod
    def evaluate(
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> Result:
        """How good it is on data, by default on the validation part of what it was trained with.

        Args:
            sources: the data.
            part: of them, as split for training.
            tell: is told which share is done, where it takes long.

        Raises:
            CorpusError, UsageError: the data cannot be read, or have no such part.
        """

    def scores(self, lines: Sequence[str], *, first: int = 1) -> Sequence[Answer]:
        """The log-probability of each line.

        Raises:
            LineError: a line cannot be scored; says which and why.
            UsageError: the task has none.
        """
        raise UsageError(f"a model of the task {self.config.get('task')} gives no scores: see unrolled predict")

    def answer_chunks(self, chunks: Iterator[list[str]], settings: PredictionSettings) -> Iterator[Sequence[Answer]]:
        """Answers to lines that come in lists; those before a bad line come before it is refused."""
        refuse_unknown_options(self, settings)
        return _in_chunks(chunks, lambda lines, first: self.answers(lines, settings, first=first))

    def score_chunks(self, chunks: Iterator[list[str]]) -> Iterator[Sequence[Answer]]:
        """Scores of lines that come in lists; those before a bad line come before it is refused."""
        return _in_chunks(chunks, lambda lines, first: self.scores(lines, first=first))


def _in_chunks(
    chunks: Iterator[list[str]], answer: Callable[[list[str], int], Sequence[Answer]]
) -> Iterator[Sequence[Answer]]:
    number = 1
    for lines in chunks:
        yield from _up_to_a_bad_one(lines, number, answer)
        number += len(lines)


def _up_to_a_bad_one(
    lines: list[str], first: int, answer: Callable[[list[str], int], Sequence[Answer]]
) -> Iterator[Sequence[Answer]]:
    try:
        answers = answer(lines, first)
    except LineError as error:
        if error.number > first:
            yield from _up_to_a_bad_one(lines[: error.number - first], first, answer)
        raise
    yield answers


def refuse_unknown_options(predictor: Predictor, settings: PredictionSettings) -> None:
    """Refuse what the task knows nothing of, rather than ignore it.

    Raises:
        UsageError: names the option.
    """
    for each in fields(settings):
        if each.name not in {*predictor.knows, "batch"} and getattr(settings, each.name) != each.default:
            known = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(predictor.knows)) or "none"
            raise UsageError(
                f"--{each.name.replace('_', '-')} means nothing to a model of the task "
                f"{predictor.config.get('task')}: its options are {known}"
            )


def refuse_bad_line(line: str, number: int, tokens: int, most: int) -> None:
    """Refuse a line with nothing on it, or with too much.

    Raises:
        LineError: says which line, and what to do.
    """
    if not line.strip():
        raise LineError(number, "is empty: there is nothing to answer, leave it out")
    if tokens < 1:
        raise LineError(number, "has no word: there is nothing to answer, leave it out")
    if tokens > most:
        raise LineError(
            number,
            f"has {tokens:,} tokens, the model reads at most {most:,} (--most-tokens when it was trained): make it "
            "shorter",
        )
