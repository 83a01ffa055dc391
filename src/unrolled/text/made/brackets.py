"""Well-nested brackets of three kinds: Dyck words of bounded depth and length.

Where one bracket is missing, the others say which it was: the numbers of opening and closing ones tell whether it
opens or closes, the nesting of all of them which one it belongs to, and that one its kind. A reader from one side
cannot know the first of the three.
"""

import random
from dataclasses import dataclass
from functools import cache

from unrolled.text.made.drawing import draw_different

KINDS = (("(", ")"), ("[", "]"), ("{", "}"))
DEEPEST = 6
MOST_PAIRS = 16


@dataclass(frozen=True)
class BracketLine:
    """A well-nested string.

    Attributes:
        tokens: one bracket each.
        partners: for each bracket the position of the one that it belongs to.
    """

    tokens: tuple[str, ...]
    partners: tuple[int, ...]

    @property
    def text(self) -> str:
        """The line, with a blank between two brackets."""
        return " ".join(self.tokens)


def made_brackets(count: int = 4000, seed: int = 1) -> list[BracketLine]:
    """Different strings of one pair to `MOST_PAIRS`, all lengths alike as far as there are so many of them.

    Raises:
        UsageError: there are not so many.
    """
    return draw_different(_draw, lambda line: line.text, count=count, seed=seed)


@cache
def brackets_text() -> str:
    """One string a line."""
    return "".join(f"{line.text}\n" for line in made_brackets())


def _draw(generator: random.Random) -> BracketLine:
    pairs = generator.randrange(MOST_PAIRS) + 1
    tokens: list[str] = []
    partners = [0] * (2 * pairs)
    stack: list[tuple[int, str]] = []
    to_open = pairs
    while to_open or stack:
        may_open, may_close = to_open > 0 and len(stack) < DEEPEST, len(stack) > 0
        if may_open and (not may_close or generator.random() < 0.5):
            opening, closing = generator.choice(KINDS)
            stack.append((len(tokens), closing))
            tokens.append(opening)
            to_open -= 1
        else:
            start, closing = stack.pop()
            partners[start], partners[len(tokens)] = len(tokens), start
            tokens.append(closing)
    return BracketLine(tuple(tokens), tuple(partners))
