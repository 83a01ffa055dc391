"""Counting by ones, twos or threes, in figures or in words: after two numbers of a line all others are known."""

import random
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.drawing import draw_different
from unrolled.text.made.numbers import number_in_words

STEPS = (1, 2, 3)
FEWEST, MOST = 4, 12
"""Numbers in a line."""
LAST_IN_WORDS, LAST_IN_FIGURES = 99, 499
"""Words of more than 99 have blanks in them, so that nobody could say where one ends."""
_SHARE_IN_WORDS = 0.3


@dataclass(frozen=True)
class CountingLine:
    """Numbers from `start` on, each `step` more than the one before it; `in_words` or in figures."""

    start: int
    step: int
    length: int
    in_words: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(self.start + place * self.step for place in range(self.length))

    @property
    def text(self) -> str:
        """The line, with a blank between two numbers."""
        return " ".join(number_in_words(number) if self.in_words else str(number) for number in self.numbers)


def made_counting(count: int = 3000, seed: int = 1) -> list[CountingLine]:
    """Different lines of random start, step and length.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda line: line.text, count=count, seed=seed)


@cache
def counting_text() -> str:
    """One sequence a line."""
    return "".join(f"{line.text}\n" for line in made_counting())


def _draw(generator: random.Random) -> CountingLine:
    in_words = generator.random() < _SHARE_IN_WORDS
    step, length = generator.choice(STEPS), FEWEST + generator.randrange(MOST - FEWEST + 1)
    highest_start = (LAST_IN_WORDS if in_words else LAST_IN_FIGURES) - step * (length - 1)
    return CountingLine(generator.randrange(highest_start + 1), step, length, in_words)
