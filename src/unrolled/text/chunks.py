"""A long text in pieces of a size that a step can hold in memory at once."""

from collections.abc import Iterable, Iterator
from typing import Protocol

CHUNK = 1 << 16
LONGEST = 1 << 18
"""Characters of a line from which on it is cut at a blank; after twice as many it is cut in any case."""


class Text(Protocol):
    """A text that is read anew, in pieces of any length, whenever it is needed."""

    def pieces(self) -> Iterator[str]:
        """The text, cut anywhere."""


def line_chunks(text: str | Text, size: int = CHUNK) -> Iterator[str]:
    r"""Cut the text at line ends into pieces of about `size` characters, never more than twice `LONGEST`.

    Only "\n" ends a line. Nothing is lost: the pieces joined are the text. No piece is empty. A line longer than
    `LONGEST` is cut before a single blank between two words, where no tokenizer looks across; if there is none for as
    long again, it is cut there. Where the cuts are depends on the text alone.
    """
    pieces = [text] if isinstance(text, str) else text.pieces()
    waiting: list[str] = []
    length = 0
    for piece in pieces:
        waiting.append(piece)
        length += len(piece)
        if length > 2 * LONGEST:
            known, start = "".join(waiting), 0
            while len(known) - start > 2 * LONGEST:
                end = _end(known, start, size)
                yield known[start:end]
                start = end
            waiting, length = [known[start:]], len(known) - start
    rest, start = "".join(waiting), 0
    while start < len(rest):
        end = _end(rest, start, size)
        yield rest[start:end]
        start = end


def grouped(chunks: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Chunks in lists of about so many characters."""
    group: list[str] = []
    length = 0
    for chunk in chunks:
        group.append(chunk)
        length += len(chunk)
        if length >= characters:
            yield group
            group, length = [], 0
    if group:
        yield group


def _end(text: str, start: int, size: int) -> int:
    """Where the chunk that begins at `start` ends; more than twice `LONGEST` behind it nothing matters."""
    most = start + 2 * LONGEST
    newline = text.find("\n", start + size - 1, most) + 1
    if newline:
        return newline
    blank = text.find(" ", start + LONGEST, most)
    while blank > 0:
        if not text[blank - 1].isspace() and not text[blank + 1 : blank + 2].isspace():
            return blank
        blank = text.find(" ", blank + 1, most)
    return min(most, len(text))
