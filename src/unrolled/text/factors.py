"""What words have in common in their spelling, so that a rare one need not learn everything by itself."""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BEGINNINGS, ENDS = range(3, 8), range(1, 5)
"""Letters of the beginnings and ends of words that are factors."""


@lru_cache(maxsize=1)  # a plan tries networks of many sizes
def spelling_factors(words: tuple[str, ...]) -> NDArray[np.int64]:
    """The factors of each word: its form in small letters, how it uses capitals and digits, its beginnings and ends.

    A factor of one word alone would tell nothing and is left out. (Words as sums of the vectors of their morphemes:
    Botha & Blunsom 2014, arXiv:1405.4273. Beginnings and ends stand for these in any language that has letters.)

    Args:
        words: V of them.

    Returns:
        (V, K) numbers of factors from 1 on, as many as the word has; the rest is 0.
    """
    found = [list(dict.fromkeys(_factors(word))) for word in words]
    often = Counter(factor for factors in found for factor in factors)
    numbers = {factor: number for number, factor in enumerate((f for f, count in often.items() if count > 1), start=1)}
    known = [[numbers[factor] for factor in factors if factor in numbers] for factors in found]
    table = np.zeros((len(words), max(map(len, known), default=0)), dtype=np.int64)
    for row, factors in zip(table, known, strict=True):
        row[: len(factors)] = factors
    table.flags.writeable = False
    return table


def _factors(word: str) -> Iterator[tuple[str, str]]:
    small = word.lower()
    if any(letter.isalpha() for letter in word):
        yield "form", small
        if word != small:
            yield "capitals", "first" if word[1:] == small[1:] else "more"
        for length in BEGINNINGS:
            if len(small) >= length:
                yield "beginning", small[:length]
        for length in ENDS:
            if len(small) > length:
                yield "end", small[-length:]
    elif any(letter.isdigit() for letter in word):
        yield "digits", ""
