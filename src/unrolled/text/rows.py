"""Cuts examples into parts for training, validation and test: whole rows, equal ones together."""

import random
from collections import Counter
from collections.abc import Hashable, Sequence
from fractions import Fraction
from itertools import accumulate
from math import ceil
from typing import TypeVar

from unrolled.errors import CorpusError
from unrolled.text.split import PARTS

Row = TypeVar("Row", bound=Hashable)
Item = TypeVar("Item")


def split_rows(
    rows: Sequence[Row], shares: Sequence[Fraction], seed: int, *, name: str = "the data"
) -> dict[str, list[Row]]:
    """The parts of the rows by name, in order: train, validation and, where there are three shares, test.

    Rows are put into an order that depends on the seed alone, then cut where the number of rows is nearest to each
    share; of two equally near cuts, the earlier. Equal rows stand together in that order and are never cut apart, so
    that none that is held out is trained on. Inside each part the rows have the order in which they came.

    Args:
        rows: examples that are equal where they teach the same, such as `LabelledText`, `TaggedSentence` or `Pair`.
        shares: of the parts, as `TextSettings.shares` gives them; their sum is 1.
        seed: of the order; the same seed gives the same parts on every machine.
        name: of what is cut, for messages.

    Raises:
        CorpusError: a part would have no rows.
    """
    counts = Counter(rows)
    twice_ends = [ceil(2 * share * len(rows)) for share in accumulate(shares)]
    part_of, start = {}, 0
    for row, count in _shuffled(list(counts.items()), seed):
        twice_middle = 2 * start + count  # whole numbers: a comparison of fractions for each row takes long
        part_of[row] = next(part for part, end in zip(PARTS, twice_ends, strict=False) if twice_middle < end)
        start += count
    parts: dict[str, list[Row]] = {part: [] for part in PARTS[: len(shares)]}
    for row in rows:
        parts[part_of[row]].append(row)
    for part, held in parts.items():
        if not held:
            raise CorpusError(
                f"{name}: the {part} part would be empty, there are {_size(len(rows), len(counts))}: give more data, "
                f"or another --split"
            )
    return parts


def _shuffled(items: list[Item], seed: int) -> list[Item]:
    """Items in an order of chance, the same in every version of Python, which promises that of `random` alone."""
    chance = random.Random(seed)
    keys = [chance.random() for _ in items]
    return [items[place] for place in sorted(range(len(items)), key=keys.__getitem__)]


def _size(rows: int, different: int) -> str:
    """How many rows there are, for a person who took them to be more."""
    counted = f"only {rows:,} row{'s' * (rows != 1)}"
    return counted if rows == different else f"{counted}, {different:,} of them different"
