"""A text repeats itself: what stands between two blanks is encoded once, and looked up from then on."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECES = re.compile(r"\n| *[^ \n]+(?:(?<=\s) +[^ \n]*)*| +")
"""A newline, or a word with the blanks before it; words behind other white space than blanks belong to its piece."""
REMEMBERED = 1 << 21
"""Characters of different pieces that are remembered at once; of ordinary words they take some 80 MB."""
TOGETHER = 2000
"""Pieces that the library gets as the lines of one text, for calls cost more than tokens."""

Encode = Callable[[list[str]], Sequence[Any]]
"""The library's: some texts to objects with their `ids`."""


def text_pieces(text: str, unit: str) -> list[str]:
    """The text cut where no rule of a unit looks across, whatever stands on either side.

    Words (`word_rules`) know no blanks, so that these are left out. A blank begins a subword where it stands behind
    anything but white space: such pieces joined are the text. A newline is always a piece.
    """
    return _PIECES.findall(text) if unit == "bpe" else text.replace("\n", " \n ").split(" ")


def counted_pieces(chunks: Iterable[str], unit: str) -> Iterator[dict[str, int]]:
    """How often each piece occurs: in one table or, where there are many different ones, in several."""
    counts, length = Counter[str](), 0
    for chunk in chunks:
        pieces = text_pieces(chunk, unit)
        length += sum(len(piece) for piece in set(pieces) if piece not in counts)
        counts.update(pieces)
        if length > REMEMBERED:
            yield counts
            counts, length = Counter(), 0
    if counts:
        yield counts


def as_lines(pieces: Sequence[str]) -> list[str]:
    """Pieces that hold no newline as the lines of some texts."""
    groups = (pieces[start : start + TOGETHER] for start in range(0, len(pieces), TOGETHER))
    return ["".join(f"{piece}\n" for piece in group) for group in groups]


def piece_ids(pieces: Sequence[str], encode: Encode, end_of_line: int) -> Iterator[NDArray[np.int32]]:
    """Token ids of each of some pieces that hold no newline."""
    for encoding in encode(as_lines(pieces)):
        found = np.array(encoding.ids, dtype=np.int32)
        start = 0
        for end in np.flatnonzero(found == end_of_line).tolist():
            yield found[start:end]
            start = end + 1


class Repetition:
    """Encodes pieces of text, each different one once.

    Args:
        encode: the library's.
        end_of_line: id of a newline.
    """

    def __init__(self, encode: Encode, end_of_line: int) -> None:
        self._encode, self._end = encode, end_of_line
        self._known: dict[str, bytes] = {}
        self._length = 0

    def encode(self, pieces: Sequence[str]) -> NDArray[np.int32]:
        """Token ids (N,) of the pieces, one after the other."""
        known, different = self._known, set(pieces)  # another thread may put an empty one in the place of what is known
        new = [piece for piece in different if piece not in known]
        if new:
            if self._length > REMEMBERED:
                known = self._known = {}
                self._length, new = 0, list(different)
            length = sum(map(len, new))
            known["\n"] = np.int32(self._end).tobytes()
            new = [piece for piece in new if piece != "\n"]
            ids = piece_ids(new, self._encode, self._end)
            known.update(zip(new, (each.tobytes() for each in ids), strict=True))
            self._length += length
        return np.frombuffer(bytearray().join(map(known.__getitem__, pieces)), np.int32)
