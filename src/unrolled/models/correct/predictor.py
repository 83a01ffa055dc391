"""`Corrector`: a trained corrector for use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unrolled.models.correct import TASK
from unrolled.models.predictor import Tell, nobody
from unrolled.models.rows import RowTask
from unrolled.models.translate.answers import Translation
from unrolled.models.translate.predictor import Translator
from unrolled.text.pairs import Pair


@dataclass(frozen=True)
class CorrectorResult:
    """How good a corrector is.

    Attributes:
        name: of the data.
        lines_read: how many there are.
        nats_per_token: mean negative log-probability of the clean lines' tokens.
        exact: share of the lines that came out clean, blanks aside.
        exact_before: share of the lines that had no mistake.
        errors_before, errors_after: words that are wrong, missing or too many, over the clean lines' words.
    """

    name: str
    lines_read: int
    nats_per_token: float
    exact: float
    exact_before: float
    errors_before: float
    errors_after: float

    def lines(self) -> list[str]:
        """Figures, before and after."""
        return [
            f"lines               {self.lines_read:,}",
            f"nats per token      {self.nats_per_token:.4f}",
            f"without a mistake   {self.exact:.2%}   (before: {self.exact_before:.2%})",
            f"word error rate     {self.errors_after:.2%}   (before: {self.errors_before:.2%})",
        ]

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        names = ("nats_per_token", "exact", "exact_before", "errors_before", "errors_after")
        return {"data": self.name, "lines": self.lines_read} | {name: getattr(self, name) for name in names}


class Corrector(Translator):
    """A corrector read from a model directory; the same as a `Translator` from noisy to clean text."""

    task: ClassVar[RowTask[Pair]] = TASK

    def correct(self, lines: Sequence[str], **options: Any) -> list[Translation]:
        """Each line without its mistakes; options as of `translate`."""
        return self.translate(lines, **options)

    def evaluate(  # type: ignore[override]
        self, sources: Sequence[str | Path] | str | Path = (), part: str | None = None, *, tell: Tell = nobody
    ) -> CorrectorResult:
        """Correct copies of clean lines, with the mistakes that are made for what is held out.

        Raises:
            CorpusError: the lines cannot be read, or one is too long.
        """
        rows, name = self._rows_of(sources, part)
        scores = self.score([(row.source, row.target) for row in rows])
        found = self.translate_all([row.source for row in rows], tell)
        clean, noisy = [row.target for row in rows], [row.source for row in rows]
        words = sum(len(line.split()) for line in clean)
        before, after = (
            sum(word_errors(*pair) for pair in zip(clean, lines, strict=True)) / words for lines in (noisy, found)
        )
        right = [
            float(np.mean([one.split() == other.split() for one, other in zip(clean, lines, strict=True)]))
            for lines in (found, noisy)
        ]
        nats = -sum(each.log_probability for each in scores) / sum(each.tokens for each in scores)
        return CorrectorResult(name, len(rows), nats, right[0], right[1], before, after)


def word_errors(expected: str, found: str) -> int:
    """Fewest words to insert, take out or replace that make one line of the other (Levenshtein's distance)."""
    one, other = expected.split(), found.split()
    row = list(range(len(other) + 1))
    for number, word in enumerate(one, 1):
        diagonal, row[0] = row[0], number
        for place, candidate in enumerate(other, 1):
            diagonal, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, diagonal + (word != candidate)),
            )
    return row[-1]
