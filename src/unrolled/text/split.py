"""Cuts a corpus into parts for training, validation and test, and finds a part again later."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from unrolled.errors import CorpusError, ModelDirectoryError
from unrolled.text.corpus import EMBEDDED, STANDARD_INPUT, Corpus, Report, comes_along, read_corpus
from unrolled.text.settings import TextSettings

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """A stretch of a corpus.

    Attributes:
        name: "train", "validation" or "test".
        sources: what the corpus was read from.
        sha256: of the whole corpus, not only of this part.
        start: offset of the part's first character in the corpus.
        end: offset after its last one.
        corpus: what it was cut from.
    """

    name: str
    sources: tuple[str, ...]
    sha256: str
    start: int
    end: int
    corpus: Corpus = field(repr=False, compare=False)

    def pieces(self) -> Iterator[str]:
        """The part's text in pieces of any length, cut anywhere.

        Raises:
            CorpusError: as `Corpus.pieces`.
        """
        at = 0
        for piece in self.corpus.pieces():
            inside = piece[max(0, self.start - at) : max(0, self.end - at)]
            if inside:
                yield inside
            at += len(piece)

    @property
    def text(self) -> str:
        """All of the part at once."""
        return "".join(self.pieces())

    def as_dict(self) -> dict[str, Any]:
        """All but the text: what JSON keeps of the part, and what `find_part` needs."""
        return {
            "name": self.name,
            "sources": list(self.sources),
            "sha256": self.sha256,
            "start": self.start,
            "end": self.end,
        }


def split_text(corpus: Corpus, settings: TextSettings) -> dict[str, Part]:
    """The parts of a corpus by name, in order: train, validation and, where asked for, test.

    Each cut is at the end of the line nearest to the share, counted in characters; of two equally near ones, the
    earlier. Where that would leave a part empty, as in a file that is one long line, and the text is read as a stream,
    the cut is behind the nearest blank, and of characters anywhere. With `settings.validation` the corpus is for
    training as a whole, and so is that file for validation.

    Raises:
        CorpusError: a part would have no text, or the validation file cannot be read.
    """
    if settings.validation is not None:
        other = read_corpus(settings.validation, encoding=settings.encoding, errors=settings.errors)
        return {
            "train": _cut(corpus, "train", 0, corpus.characters),
            "validation": _cut(other, "validation", 0, other.characters),
        }
    ends = _ends(corpus, settings)
    names = PARTS[: len(ends)]
    parts = {name: _cut(corpus, name, *place) for name, *place in zip(names, [0, *ends], ends, strict=False)}
    for name, part in parts.items():
        if all(piece.isspace() for piece in part.pieces()):
            raise CorpusError(
                f"{', '.join(corpus.sources)}: the {name} part would be empty, the corpus has {_size(corpus)}: "
                f"give more text, another --split, or a --validation file"
            )
    return parts


def find_part(
    record: Mapping[str, Any],
    sources: Sequence[str | Path] | None = None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
    report: Report = lambda share: None,
) -> Part:
    """Read a part again from its record.

    Args:
        record: what `Part.as_dict` gave.
        sources: where the corpus lies now, if not where it lay then.
        encoding: as when the record was made.
        errors: as when the record was made.
        report: is told the share that has been read.

    Raises:
        CorpusError: the corpus cannot be read, or is another one.
        ModelDirectoryError: the record lacks an entry or has a wrong one.
    """
    try:
        name, sha256, start, end = record["name"], record["sha256"], int(record["start"]), int(record["end"])
        recorded = tuple(str(source) for source in record["sources"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelDirectoryError(f"config.json: the record of a part of the corpus is damaged ({error!r})") from error
    if sources is None and STANDARD_INPUT in recorded:
        raise CorpusError(f"the {name} part was read from standard input, which cannot be read again: give the corpus")
    names = recorded if sources is None else sources
    corpus = read_corpus(names, encoding=encoding, errors=errors, report=report)
    if corpus.sha256 != sha256:
        raise CorpusError(
            f"{', '.join(corpus.sources)}: this is not the corpus that the {name} part was cut from "
            f"({_why_another(corpus)}; SHA-256 {corpus.sha256[:12]}..., expected {sha256[:12]}...): give that one, "
            f"or evaluate the text without a part"
        )
    return _cut(corpus, name, start, end)


def _why_another(corpus: Corpus) -> str:
    """What a corpus that is not the recorded one may have come from."""
    if EMBEDDED in corpus.sources:
        return "it differs between Python versions"
    if any(comes_along(source) for source in corpus.sources):
        return "it differs between versions of Unrolled"
    return "the text has changed"


def _ends(corpus: Corpus, settings: TextSettings) -> list[int]:
    """Where each part ends."""
    ends, share = [0], Fraction(0)
    for portion in settings.shares[:-1]:
        share += portion
        target = round(corpus.characters * share)
        before, after = _beside(corpus, target, "\n")
        end = before if target - before <= after - target else after
        if settings.read == "stream" and not ends[-1] < end < corpus.characters:
            places = [target] if settings.unit == "char" else _beside(corpus, target, " ")
            end = next((place for place in places if ends[-1] < place < corpus.characters), end)
        ends.append(end)
    return [*ends[1:], corpus.characters]


def _beside(corpus: Corpus, target: int, mark: str) -> tuple[int, int]:
    """The place behind the last mark up to `target`, and that behind the first one after it."""
    at = before = 0
    for piece in corpus.pieces():
        found = piece.rfind(mark, 0, max(0, target - at)) + 1
        before = at + found if found else before
        found = piece.find(mark, max(0, target - at)) + 1
        if found and at + len(piece) > target:
            return before, at + found
        at += len(piece)
    return before, corpus.characters


def _size(corpus: Corpus) -> str:
    """How long a text is, for a person who took it to be longer."""
    lines = sum(piece.count("\n") for piece in corpus.pieces())
    if lines == 1 and corpus.characters < 1000 and len(corpus.text.split(maxsplit=1)) == 1:
        return "only one word"
    return f"{lines:,} line{'s' * (lines != 1)}"


def _cut(corpus: Corpus, name: str, start: int, end: int) -> Part:
    return Part(name, corpus.sources, corpus.sha256, start, end, corpus)
