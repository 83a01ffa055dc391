"""Cuts a corpus into parts for training, validation and test, and finds a part again later."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from unrolled.errors import CorpusError, ModelDirectoryError
from unrolled.text.corpus import EMBEDDED, STANDARD_INPUT, Corpus, read_corpus
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
        text: the part itself.
    """

    name: str
    sources: tuple[str, ...]
    sha256: str
    start: int
    end: int
    text: str = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """All but the text: what JSON keeps of the part, and what `find_part` needs."""
        record = asdict(self)
        del record["text"]
        return record | {"sources": list(self.sources)}


def split_text(corpus: Corpus, settings: TextSettings) -> dict[str, Part]:
    """The parts of a corpus by name, in order: train, validation and, where asked for, test.

    Each cut is at the end of the line nearest to the share, counted in characters; of two equally near ones, the
    earlier. With `settings.validation` the corpus is for training as a whole, and so is that file for validation.

    Raises:
        CorpusError: a part would have no text, or the validation file cannot be read.
    """
    if settings.validation is not None:
        other = read_corpus(settings.validation, encoding=settings.encoding, errors=settings.errors)
        return {
            "train": _cut(corpus, "train", 0, len(corpus.text)),
            "validation": _cut(other, "validation", 0, len(other.text)),
        }
    ends = _ends(corpus.text, settings.shares)
    names = PARTS[: len(ends)]
    parts = {name: _cut(corpus, name, *place) for name, *place in zip(names, [0, *ends], ends, strict=False)}
    for name, part in parts.items():
        if not part.text.strip():
            raise CorpusError(
                f"{', '.join(corpus.sources)}: the {name} part would be empty, the corpus has {_size(corpus.text)}: "
                f"give more text, another --split, or a --validation file"
            )
    return parts


def find_part(
    record: Mapping[str, Any],
    sources: Sequence[str | Path] | None = None,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> Part:
    """Read a part again from its record.

    Args:
        record: what `Part.as_dict` gave.
        sources: where the corpus lies now, if not where it lay then.
        encoding: as when the record was made.
        errors: as when the record was made.

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
    corpus = read_corpus(recorded if sources is None else sources, encoding=encoding, errors=errors)
    if corpus.sha256 != sha256:
        why = "it differs between Python versions" if EMBEDDED in corpus.sources else "the text has changed"
        raise CorpusError(
            f"{', '.join(corpus.sources)}: this is not the corpus that the {name} part was cut from ({why}; SHA-256 "
            f"{corpus.sha256[:12]}..., expected {sha256[:12]}...): give that one, or evaluate the text without a part"
        )
    return _cut(corpus, name, start, end)


def _ends(text: str, shares: Sequence[Fraction]) -> list[int]:
    """Where each part ends."""
    ends, share = [], Fraction(0)
    for portion in shares[:-1]:
        share += portion
        target = round(len(text) * share)
        before, after = text.rfind("\n", 0, target) + 1, text.find("\n", target) + 1 or len(text)
        ends.append(before if target - before <= after - target else after)
    return [*ends, len(text)]


def _size(text: str) -> str:
    """How long a text is, for a person who took it to be longer."""
    if len(text.split(maxsplit=1)) == 1:
        return "only one word"
    lines = text.count("\n")
    return f"{lines:,} line{'s' * (lines != 1)}"


def _cut(corpus: Corpus, name: str, start: int, end: int) -> Part:
    return Part(name, corpus.sources, corpus.sha256, start, end, corpus.text[start:end])
