"""What a `Filler` says to lines and of a text."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A word for a gap, with its probability there."""

    word: str
    probability: float


@dataclass(frozen=True)
class Filling:
    """What may stand in the gaps of a line.

    Attributes:
        text: the line, with its gaps.
        gaps: for each, the most probable candidates first. Each has the other gaps left open.
        filled: the line with the first candidates in place.
    """

    text: str
    gaps: tuple[tuple[Candidate, ...], ...]
    filled: str

    def lines(self) -> list[str]:
        """The filled line, and below it each gap's candidates: number, probability, word."""
        rows = [self.filled]
        for number, candidates in enumerate(self.gaps, 1):
            rows += [f"\t{number}\t{each.probability:.4f}\t{each.word}" for each in candidates]
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        gaps = [[{"word": each.word, "probability": each.probability} for each in gap] for gap in self.gaps]
        return {"text": self.text, "filled": self.filled, "gaps": gaps}


@dataclass(frozen=True)
class LineScore:
    """How well each word of a line fits between the others.

    Attributes:
        text: the line.
        words: how many there are.
        log_probability: sum of log p(word | all others) in nats; a pseudo-log-likelihood (Salazar et al.,
            arXiv:1910.14659), which ranks lines but is no probability of them.
        perplexity: exp(-log_probability / words).
    """

    text: str
    words: int
    log_probability: float
    perplexity: float

    def lines(self) -> list[str]:
        """Score, perplexity, text."""
        return [f"{self.log_probability:.4f}\t{self.perplexity:.4f}\t{self.text}"]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        record = {"text": self.text, "words": self.words, "log_probability": self.log_probability}
        return record | {"perplexity": self.perplexity}


@dataclass(frozen=True)
class FillerResult:
    """How well the words of a text are found.

    Attributes:
        name: of the text.
        words: how many were asked for, one at a time.
        nats_per_word: mean negative log-probability.
        perplexity: exp of it.
        first: share of the words that were the best candidate; unknown ones never are.
        unknown_rate: share of the words that the model does not know.
    """

    name: str
    words: int
    nats_per_word: float
    perplexity: float
    first: float
    unknown_rate: float

    def lines(self) -> list[str]:
        """Figures."""
        return [
            f"words               {self.words:,}",
            f"nats per word       {self.nats_per_word:.4f}",
            f"perplexity          {self.perplexity:,.3f}   (comparable only with the same words)",
            f"first guess right   {self.first:.2%}",
            f"unknown words       {self.unknown_rate:.3%}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        names = ("words", "nats_per_word", "perplexity", "first", "unknown_rate")
        return {"data": self.name} | {name: getattr(self, name) for name in names}
