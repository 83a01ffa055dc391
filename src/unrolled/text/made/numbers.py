"""Whole numbers in figures and in English words, one way and the other.

All lengths from one digit to six are drawn alike, though of the short numbers there are few: nearly all of those occur.
Noughts are more frequent than by chance, since they are what is hard: 300,012 and 40,000.
"""

import random
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.drawing import draw_different

LONGEST = 6
"""Most digits."""

TO_NINETEEN = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_EXTRA_NOUGHTS = 0.25
"""Probability that a digit is nought whatever was drawn."""


@dataclass(frozen=True)
class NumberLine:
    """A number, one of the ways to write it, and the other."""

    number: int
    source: str
    target: str


def made_numbers(count: int = 8000, seed: int = 1) -> list[NumberLine]:
    """From figures to words: "1,204" or "1204" to "one thousand two hundred and four". No number occurs twice.

    Raises:
        UsageError: there are not so many.
    """

    def draw(generator: random.Random) -> NumberLine:
        number = _draw_number(generator)
        source = generator.choice((str(number), f"{number:,}"))
        return NumberLine(number, source, number_in_words(number))

    return draw_different(draw, lambda line: str(line.number), count=count, seed=seed)


def made_words(count: int = 8000, seed: int = 2) -> list[NumberLine]:
    """From words to plain figures: "one thousand two hundred and four" to "1204". No number occurs twice.

    The words are those of either side of the Atlantic, with "and" or without, and half of them have no hyphen.

    Raises:
        UsageError: there are not so many.
    """

    def draw(generator: random.Random) -> NumberLine:
        number = _draw_number(generator)
        has_and, hyphen = generator.random() < 0.5, generator.choice(("-", " "))
        return NumberLine(number, number_in_words(number, has_and=has_and, hyphen=hyphen), str(number))

    return draw_different(draw, lambda line: str(line.number), count=count, seed=seed)


@cache
def numbers_text() -> str:
    """A number, a tab and its words a line."""
    return "".join(f"{line.source}\t{line.target}\n" for line in made_numbers())


@cache
def words_text() -> str:
    """Words, a tab and their number a line."""
    return "".join(f"{line.source}\t{line.target}\n" for line in made_words())


def number_in_words(number: int, *, has_and: bool = True, hyphen: str = "-") -> str:
    """English words of a number from 0 to 999,999.

    Args:
        number: to be written.
        has_and: whether "and" stands before what is less than a hundred: "one thousand and four".
        hyphen: what stands in "twenty-one".
    """
    if number < 20:
        return TO_NINETEEN[number]
    if number < 100:
        return TENS[number // 10] + (f"{hyphen}{TO_NINETEEN[number % 10]}" if number % 10 else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    many, rest = divmod(number, unit)
    words = f"{number_in_words(many, has_and=has_and, hyphen=hyphen)} {name}"
    if not rest:
        return words
    joint = " and " if has_and and rest < 100 else " "
    return words + joint + number_in_words(rest, has_and=has_and, hyphen=hyphen)


def _draw_number(generator: random.Random) -> int:
    digits = generator.randrange(LONGEST) + 1
    number = generator.randrange(10) if digits == 1 else 1 + generator.randrange(9)
    for _ in range(digits - 1):
        number = 10 * number + (0 if generator.random() < _EXTRA_NOUGHTS else generator.randrange(10))
    return number
