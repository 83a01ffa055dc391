"""Characters to token ids by one look-up in a table of all code points."""

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import TokenizerError

_CHUNK = 1 << 20
_LAST_CASED = 0x1FFFF  # scripts with upper and lower case lie in the first two planes
_EXPANDED = {"İ": "i̇"}  # the one letter whose lower case is two characters


class CharacterTable:
    """The ids of a character vocabulary by code point; id 0 is that of every character outside it.

    Args:
        tokens: the vocabulary by id; the first, the unknown token, is no character.
        lowercase: look up each character's lower case instead.
    """

    def __init__(self, tokens: Sequence[str], *, lowercase: bool) -> None:
        self._ids = np.zeros(sys.maxunicode + 1, dtype=np.int32)
        self._code_points = np.array([0, *(ord(character) for character in tokens[1:])], dtype="<u4")
        self._ids[self._code_points[1:]] = np.arange(1, len(tokens), dtype=np.int32)
        self._lowercase = lowercase
        if lowercase:
            every = range(_LAST_CASED + 1)
            self._ids[: len(every)] = self._ids[[ord(chr(c).lower()[0]) for c in every]]

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids (N,) of the characters of the text."""
        if self._lowercase:
            for letter, lower in _EXPANDED.items():
                text = text.replace(letter, lower)
        ids = np.empty(len(text), dtype=np.int32)
        for start in range(0, len(text), _CHUNK):
            ids[start : start + _CHUNK] = self._ids[code_points(text[start : start + _CHUNK])]
        return ids

    def decode(self, ids: NDArray[np.int64]) -> str:
        """The text of ids (N,), none of which is that of the unknown token."""
        return self._code_points[ids].tobytes().decode("utf-32-le")

    def unseen(self, text: str) -> list[str]:
        """Characters of the text outside the vocabulary: each once, in order."""
        return [character for character in dict.fromkeys(text) if not self.encode(character).all()]


def code_points(text: str) -> NDArray[np.uint32]:
    """The code point (N,) of each character; lone surrogates count as characters."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def count_characters(chunks: Iterable[str], *, lowercase: bool) -> dict[str, int]:
    """How often texts have each of their characters, or each of their lower cases."""
    totals = np.zeros(sys.maxunicode + 1, dtype=np.int64)
    for chunk in chunks:
        counts = np.bincount(code_points(chunk))
        totals[: len(counts)] += counts
    found: dict[str, int] = {}
    for code in np.flatnonzero(totals):
        for character in chr(code).lower() if lowercase else chr(code):
            found[character] = found.get(character, 0) + int(totals[code])
    return found


def refuse_surrogates(text: str) -> None:
    """Raise TokenizerError if the text has a lone surrogate: a code point of UTF-16's own, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"text: character {error.start} is a lone surrogate (U+{ord(text[error.start]):04X}), no character at all: "
            f'decode the input with errors="replace"'
        ) from None
