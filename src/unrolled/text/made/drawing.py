"""Random items without repetition: what the makers share.

Of `random.Random` only `random`, `randrange`, `choice` and `shuffle` are used, which give the same for a seed on every
platform and with every Python.
"""

import random
from collections.abc import Callable
from typing import TypeVar

from unrolled.errors import UsageError

Item = TypeVar("Item")

_PATIENCE = 2000
"""Draws in a row that bring nothing new, after which there is taken to be nothing new."""


def draw_different(
    draw: Callable[[random.Random], Item], key: Callable[[Item], str], *, count: int, seed: int
) -> list[Item]:
    """Items of which no two have the same key, in random order.

    Args:
        draw: makes one item.
        key: what must differ.
        count: how many items.
        seed: decides which.

    Raises:
        UsageError: there are fewer different ones.
    """
    generator = random.Random(seed)
    found: dict[str, Item] = {}
    fruitless = 0
    while len(found) < count:
        item = draw(generator)
        fruitless = fruitless + 1 if key(item) in found else 0
        found.setdefault(key(item), item)
        if fruitless == _PATIENCE:
            raise UsageError(
                f"made data: {count:,} different items are more than there are, about {len(found):,}: ask for fewer"
            )
    items = list(found.values())
    generator.shuffle(items)  # rare kinds are used up early: without this the first lines would differ from the last
    return items
