"""Encoding text in other pieces than it comes in: before its end is known, and many lines at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import TokenizerError
from unrolled.text.tokenizer import Tokenizer

_BLANKS = (" ", "\n", "\t")


def settled_length(text: str, unit: str) -> int:
    r"""How many of the text's characters have tokens of their own, which no text behind them can change.

    For the first `settled_length` characters and the others, with any text added to them, `encode` gives what it gives
    for all of it, in two parts. The text is the beginning of one, or the rest behind a settled part.

    - char: all are, a character is a token;
    - word: up to the last blank. No rule looks past one (`word_rules`), and no word holds one;
    - bpe: up to the last blank behind something else, which itself may begin a token, as in " word". Runs of blanks are
      cut by what follows them. A newline is never merged with its neighbours.
    """
    if unit == "char":
        return len(text)
    if unit == "word":
        return max(text.rfind(blank) for blank in _BLANKS) + 1
    at, least = len(text), text.rfind("\n") + 1
    while (at := text.rfind(" ", least, at)) > least:
        if not text[at - 1].isspace():
            return at
    return least


def encode_lines(tokenizer: Tokenizer, lines: Sequence[str]) -> list[NDArray[np.int32]]:
    r"""Token ids of each line with its end; as one text, because calls cost more than tokens.

    Lines may hold "\n" themselves, but are then encoded one by one.

    Raises:
        TokenizerError: as `Tokenizer.encode`, for the first line of which it is true.
    """
    try:
        ids = tokenizer.encode("".join(f"{line}\n" for line in lines))
    except TokenizerError:
        return [tokenizer.encode(line + "\n") for line in lines]  # so that the message counts within its line
    ends = np.flatnonzero(ids == tokenizer.end_of_line_id) + 1
    if len(ends) != len(lines):
        return [tokenizer.encode(line + "\n") for line in lines]
    return np.split(ids, ends)[:-1]  # behind the last end there is nothing
