"""The task "correct": a text with mistakes to the text without, by the network of "translate"."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.errors import CorpusError, UsageError
from unrolled.models.rows import ExampleSettings, RowData, Rows
from unrolled.models.task import Defaults, Report
from unrolled.models.translate import Translate, TranslationSettings
from unrolled.settings import option
from unrolled.text.corpus import Corpus, listed
from unrolled.text.noise import noisy_pairs
from unrolled.text.pairs import Pair
from unrolled.text.settings import TextSettings

if TYPE_CHECKING:
    from unrolled.model_directory import ModelFiles
    from unrolled.models.correct.predictor import Corrector

HELD_OUT_SEED = 1_000_000_007
"""Mistakes of what is held out: the same for every run."""


@dataclass(frozen=True)
class CorrectionSettings:
    """What mistakes are made."""

    noise: float = option(0.15, "Share of the words that are missing, doubled, swapped or misspelt")

    def __post_init__(self) -> None:
        if not 0 < self.noise <= 1:
            raise UsageError(f"noise is {self.noise}: give a share above 0 and at most 1")


class Correct(Translate):
    """Clean lines are given other mistakes in each pass, and the network learns to undo them."""

    name = "correct"
    summary = "Undo mistakes: missing, doubled, swapped and misspelt words."
    takes = "clean text, a sentence a line"
    options = (ExampleSettings, TranslationSettings, CorrectionSettings)
    unit = "bpe"
    shares_vocabulary = True

    def defaults(self, unit: str) -> Defaults:
        """The same for all units; one matrix for all tokens, most of which stay as they are, is learnt soonest."""
        return Defaults("gru", 128, 128, batch=32, learning_rate=0.005, dropout=0.1, tied=True)

    def parse(self, corpora: Sequence[Corpus], own: Sequence[Any]) -> list[Pair]:
        """Lines that have words, with the mistakes that are made for what is held out."""
        pairs, noise = [], own[2].noise
        for corpus in corpora:
            lines = [(number, line) for number, line in enumerate(corpus.text.split("\n"), 1) if line.strip()]
            tabs = [number for number, line in lines if "\t" in line]
            if tabs:
                raise CorpusError(
                    f"{listed(corpus.sources)}, line {tabs[0]}: has a tab, expected clean text: pairs of wrong and "
                    "right lines are for --task translate"
                )
            made = noisy_pairs([line for _, line in lines], noise, HELD_OUT_SEED)
            name = listed(corpus.sources)
            pairs += [Pair(*pair, number, name) for (number, _), pair in zip(lines, made, strict=True)]
        if not pairs:
            raise CorpusError(f"{', '.join(listed(corpus.sources) for corpus in corpora)}: has no lines: give a text")
        return pairs

    def data(
        self, rows: Rows[Pair], text: TextSettings, own: Sequence[Any], files: "ModelFiles | None", report: Report
    ) -> RowData:
        """Both sides in tokens; the training part gets new mistakes in each pass."""
        from unrolled.models.correct.data import make_data

        return make_data(rows, text, own[0], self.decided(own[1]), own[2], files)

    def load(self, directory: str | Path, *, engine: str = "auto") -> "Corrector":
        """A `Corrector`."""
        from unrolled.models.correct.predictor import Corrector

        return Corrector.load(directory, engine=engine)


TASK = Correct()
