"""A part of a corpus as tokens: of a short one in memory, of a long one in a file that is mapped."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.text.batches import Ids, without_blank_lines
from unrolled.text.chunks import Text
from unrolled.text.tokenizer import Tokenizer

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """The tokens of a text, and what was counted on the way.

    Attributes:
        ids: (N,).
        characters, lines: of the text.
        counts: (V,) how often each token occurs.
        read_characters, read_counts: the same for what is read of it: in sentences, blank lines are left out.
    """

    ids: Ids
    characters: int
    lines: int
    counts: Counts
    read_characters: int
    read_counts: Counts


def encode(text: str | Text, tokenizer: Tokenizer, *, by_lines: bool = False, path: Path | None = None) -> Encoded:
    """Turn a text into tokens, in little memory.

    Args:
        text: lines, each with its end.
        tokenizer: that knows the tokens.
        by_lines: whether the text is read line by line, so that blank lines do not count.
        path: a file to write the tokens to and to map them from; None keeps them in memory.

    Raises:
        TokenizerError: as `Tokenizer.encode`.
        OSError: the file cannot be written.
    """
    dtype = token_dtype(tokenizer.vocabulary_size)
    counting = _Counting(tokenizer, by_lines)
    if path is None:
        kept = [ids.astype(dtype) for ids in counting.encoded(text)]
        ids: Ids = np.concatenate(kept) if kept else np.empty(0, dtype)
    else:
        with path.open("wb") as file:
            for some in counting.encoded(text):
                some.astype(dtype).tofile(file)
        ids = mapped(path, dtype)
    return Encoded(
        ids, counting.characters, counting.lines, counting.counts, counting.read_characters, counting.read_counts
    )


def token_dtype(vocabulary_size: int) -> "np.dtype[Any]":
    """The smallest type that holds all ids."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.int32)


def mapped(path: Path, dtype: "np.dtype[Any]") -> Ids:
    """The tokens in a file, read as they are needed."""
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, mode="r")


class _Counting:
    """Encodes a text while it counts."""

    def __init__(self, tokenizer: Tokenizer, by_lines: bool) -> None:
        self._tokenizer, self._by_lines = tokenizer, by_lines
        self.characters = self.lines = self.read_characters = 0
        self.counts: Counts = np.zeros(tokenizer.vocabulary_size, dtype=np.int64)
        self.read_counts: Counts = self.counts.copy()

    def encoded(self, text: str | Text) -> Iterator[Ids]:
        """The tokens, piece by piece."""
        pieces = self._tokenizer.encode_chunks(text)
        for chunk, ids in self._whole_lines(pieces) if self._by_lines else pieces:
            self.characters += len(chunk)
            self.lines += chunk.count("\n")
            self.counts += self._count(ids)
            if self._by_lines:
                kept, kept_ids = without_blank_lines(chunk, ids, self._tokenizer.end_of_line_id)
                self.read_characters += len(kept)
                self.read_counts += self._count(kept_ids)
            yield ids
        if not self._by_lines:
            self.read_characters, self.read_counts = self.characters, self.counts

    def _count(self, ids: Ids) -> Counts:
        return np.bincount(ids, minlength=self._tokenizer.vocabulary_size)

    @staticmethod
    def _whole_lines(pieces: Iterator[tuple[str, Ids]]) -> Iterator[tuple[str, Ids]]:
        """Pieces joined until they end a line."""
        texts: list[str] = []
        tokens: list[Ids] = []
        for chunk, ids in pieces:
            texts.append(chunk)
            tokens.append(ids)
            if chunk.endswith("\n"):
                yield "".join(texts), np.concatenate(tokens)
                texts, tokens = [], []
        if texts:
            yield "".join(texts), np.concatenate(tokens)
